//! Which signed texts of a request are believed: DPoP proofs and client assertions. Read by `request`, and by `client`.
//!
//! What is not believed is no error here. It goes to the provider as it came, in a flight that nobody shares: the provider
//! judges it, and its answer is for nobody else. Without the feature `signatures` nothing is believed.

#[cfg(feature = "signatures")]
mod seen;
#[cfg(feature = "signatures")]
mod jwk;
#[cfg(feature = "signatures")]
mod jws;
#[cfg(feature = "signatures")]
pub(super) mod client_keys;
#[cfg(feature = "signatures")]
mod dpop;
#[cfg(feature = "signatures")]
mod assertion;
#[cfg(all(test, feature = "signatures"))]
pub(super) mod signing;

use std::fmt;
#[cfg(feature = "signatures")]
use std::time::SystemTime;

use http::Request;

use super::options::ExchangeOptions;
use super::proven::{DpopKey, Signatory};
use crate::secret::Secret;
use crate::told::Told;

#[cfg(feature = "signatures")]
pub use client_keys::{ClientKeys, UnusableKeys};

/// What an exchange believes, and what it has seen.
pub(super) struct Trust {
    #[cfg(feature = "signatures")]
    proofs: dpop::Proofs,
    /// None: no keys of clients are known.
    #[cfg(feature = "signatures")]
    assertions: Option<assertion::Assertions>,
    /// The addresses that a proof may be made for, for people.
    expected: String,
    told: Told,
}

impl Trust {
    pub(super) fn by(options: &ExchangeOptions) -> Self {
        Self {
            #[cfg(feature = "signatures")]
            proofs: dpop::Proofs::made_for(&options.dpop_htu),
            #[cfg(feature = "signatures")]
            assertions: options
                .client_keys
                .clone()
                .map(|keys| assertion::Assertions::by(keys, &options.assertion_audiences)),
            expected: options.dpop_htu.join(" "),
            told: Told::default(),
        }
    }

    /// The key of the request's DPoP proof. Equal doubles of the header are one.
    pub(super) fn dpop_key(&self, request: &Request<Vec<u8>>) -> DpopKey {
        let mut proofs = request.headers().get_all("dpop").iter();
        let Some(first) = proofs.next() else { return DpopKey::Absent };
        if proofs.any(|other| other != first) {
            self.tell_of_doubt("there are several proofs");
            return DpopKey::Doubtful;
        }
        match self.key(first.to_str().unwrap_or_default(), request) {
            Ok(thumbprint) => DpopKey::Proven(thumbprint),
            Err(reason) => {
                self.tell_of_doubt(reason);
                DpopKey::Doubtful
            }
        }
    }

    #[cfg(feature = "signatures")]
    fn key(&self, proof: &str, request: &Request<Vec<u8>>) -> Result<String, &'static str> {
        self.proofs.key(proof, request.method(), request.headers(), now()).map_err(dpop::Doubt::reason)
    }

    #[cfg(not(feature = "signatures"))]
    fn key(&self, _proof: &str, _request: &Request<Vec<u8>>) -> Result<String, &'static str> {
        Err("the feature signatures is off")
    }

    /// Says in the log that the provider will refuse the proof of a request that is passed on, where it is made for another
    /// address than the provider's: most likely for that of the exchange, which the client was told.
    pub(super) fn tell_of_another_address(&self, request: &Request<Vec<u8>>) {
        #[cfg(feature = "signatures")]
        if let Some(proof) = request.headers().get("dpop").and_then(|proof| proof.to_str().ok())
            && let Err(doubt) = self.proofs.address(proof, request.headers())
        {
            self.tell_of_doubt(doubt.reason());
        }
        #[cfg(not(feature = "signatures"))]
        let _ = request;
    }

    fn tell_of_doubt(&self, reason: &'static str) {
        let Some(left_out) = self.told.due(reason) else { return };
        tracing::info!(
            reason,
            expected = self.expected,
            left_out,
            "a DPoP proof is not believed: its request shares no answer, and the provider judges it"
        );
    }

    /// Who has signed this assertion, if that is known for certain.
    #[cfg(feature = "signatures")]
    pub(super) fn signatory(&self, assertion: &Secret) -> Option<Signatory> {
        let signatory = self.assertions.as_ref()?.signatory(assertion.expose(), now());
        signatory
            .inspect_err(|reason| {
                if let Some(left_out) = self.told.due(reason) {
                    tracing::info!(
                        reason,
                        left_out,
                        "a client assertion is not believed: its request shares no answer, and the provider judges it"
                    );
                }
            })
            .ok()
    }

    #[cfg(not(feature = "signatures"))]
    pub(super) fn signatory(&self, _assertion: &Secret) -> Option<Signatory> {
        None
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trust({})", self.expected)
    }
}

/// In seconds since 1970.
#[cfg(feature = "signatures")]
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
