//! Seals outcomes, so that they may stand in Redis: only a holder of the refresh token and the client's credential can
//! open one.
//!
//! The key is HKDF-SHA-256 (RFC 5869) over both, so there is nothing to distribute, and a dump of Redis is
//! worthless. The claim is authenticated with the outcome. XChaCha20-Poly1305 with a random nonce, never the fence: fences can repeat when Redis forgets.

use std::time::Duration;

use chacha20poly1305::aead::{AeadInOut, Generate, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::authentication::Authentication;
use crate::identity::{Entitlement, Hash};
use crate::outcome::{Outcome, ProviderFailure};
use crate::secret::Secret;
use crate::token_response::{ProviderResponse, TokenResponse};

/// Part of every key: outcomes of another protocol do not open.
pub(crate) const PROTOCOL: u32 = 2;
/// The oldest protocol that this release understands as well.
pub(crate) const OLDEST_PROTOCOL: u32 = 2;

const NONCE: usize = 24;

/// Seals and opens the outcomes of one flight, for one credential.
pub(crate) struct Seal(XChaCha20Poly1305);

/// It does not open: it is another's, or it was tampered with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotOurs;

/// What else must be equal for an outcome to open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label {
    pub(crate) flight: Hash,
    pub(crate) claim: Hash,
    pub(crate) attempt: Uuid,
    pub(crate) fence: u64,
}

impl Label {
    fn bytes(&self) -> [u8; 88] {
        let mut bytes = [0; 88];
        bytes[..32].copy_from_slice(self.flight.as_bytes());
        bytes[32..64].copy_from_slice(self.claim.as_bytes());
        bytes[64..80].copy_from_slice(self.attempt.as_bytes());
        bytes[80..].copy_from_slice(&self.fence.to_be_bytes());
        bytes
    }
}

impl Seal {
    pub(crate) fn new(entitlement: &Entitlement, pepper: Option<&Secret>, namespace: &str, flight: &Hash) -> Self {
        let token = entitlement.token.expose();
        let credential = entitlement.credential.as_ref().map(Secret::expose);
        // Sized at once: a buffer that grows would leave unwiped copies behind.
        let mut secret = Zeroizing::new(Vec::with_capacity(17 + token.len() + credential.map_or(0, str::len)));
        secret.extend_from_slice(&(token.len() as u64).to_be_bytes());
        secret.extend_from_slice(token.as_bytes());
        if let Some(credential) = credential {
            secret.push(1);
            secret.extend_from_slice(&(credential.len() as u64).to_be_bytes());
            secret.extend_from_slice(credential.as_bytes());
        } else {
            secret.push(0);
        }

        let protocol = PROTOCOL.to_be_bytes();
        let namespace_length = [u8::try_from(namespace.len()).expect("BUG: namespaces have at most 64 bytes")];
        let info: [&[u8]; 5] =
            [b"refresh-coordinator outcome", &protocol, &namespace_length, namespace.as_bytes(), flight.as_bytes()];
        let mut key = Zeroizing::new([0u8; 32]);
        Hkdf::<Sha256>::new(pepper.map(|pepper| pepper.expose().as_bytes()), &secret)
            .expand_multi_info(&info, &mut *key)
            .expect("BUG: 32 bytes are a valid HKDF-SHA-256 length");
        Self(XChaCha20Poly1305::new((&*key).into()))
    }

    pub(crate) fn seal(&self, label: &Label, outcome: &Outcome) -> Vec<u8> {
        self.seal_with(label, outcome, &[])
    }

    /// As [`seal`](Self::seal), with the refresh tokens that lie between the one that opens it and the outcome's.
    pub(crate) fn seal_with(&self, label: &Label, outcome: &Outcome, passed: &[Secret]) -> Vec<u8> {
        let nonce = XNonce::generate();
        let mut text = Zeroizing::new(written(outcome, passed));
        self.0
            .encrypt_in_place(&nonce, &label.bytes(), &mut *text)
            .expect("BUG: a vector grows, and no outcome reaches the cipher's limit of 256 GiB");
        [&nonce[..], &text[..]].concat()
    }

    /// A secret alone, under a label of its own: no outcome is taken for it.
    pub(crate) fn seal_secret(&self, label: &Label, secret: &Secret) -> Vec<u8> {
        let nonce = XNonce::generate();
        // Sized at once, the tag included.
        let mut text = Zeroizing::new(Vec::with_capacity(secret.expose().len() + 16));
        text.extend_from_slice(secret.expose().as_bytes());
        self.0
            .encrypt_in_place(&nonce, &secret_label(label), &mut *text)
            .expect("BUG: a vector grows, and no token reaches the cipher's limit of 256 GiB");
        [&nonce[..], &text[..]].concat()
    }

    pub(crate) fn open_secret(&self, label: &Label, sealed: &[u8]) -> Result<Secret, NotOurs> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE).ok_or(NotOurs)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| NotOurs)?;
        let mut text = Zeroizing::new(sealed.to_vec());
        self.0.decrypt_in_place(&nonce, &secret_label(label), &mut *text).map_err(|_| NotOurs)?;
        std::str::from_utf8(&text).map(Secret::from).map_err(|_| NotOurs)
    }

    /// The outcome, and the refresh tokens that were sealed beside it.
    pub(crate) fn open(&self, label: &Label, sealed: &[u8]) -> Result<(Outcome, Vec<Secret>), NotOurs> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE).ok_or(NotOurs)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| NotOurs)?;
        let mut text = Zeroizing::new(sealed.to_vec());
        self.0.decrypt_in_place(&nonce, &label.bytes(), &mut *text).map_err(|_| NotOurs)?;
        read(&text).ok_or(NotOurs)
    }
}

fn secret_label(label: &Label) -> Vec<u8> {
    [&label.bytes()[..], b"secret"].concat()
}

/// What is sealed: this as JSON, its length before it, the provider's body after it.
#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(flatten)]
    ending: Written,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response: Option<ResponseHead>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    passed: Vec<Zeroizing<String>>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "class", rename_all = "snake_case")]
enum Written {
    Success {
        /// Whether the presented refresh token is used again.
        is_kept: bool,
    },
    NotUnderstood,
    NotSent {
        reason: String,
    },
    NotProcessed {
        reason: String,
    },
    Denied {
        error: String,
        is_token_dead: bool,
    },
    Busy {
        retry_after_ms: Option<u64>,
    },
    Unknown {
        reason: String,
    },
    Lost,
}

#[derive(Serialize, Deserialize)]
struct ResponseHead {
    status: u16,
    headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    heeds_no_accept: bool,
    #[serde(default, skip_serializing_if = "Authentication::is_unknown")]
    authentication: Authentication,
}

fn written(outcome: &Outcome, passed: &[Secret]) -> Vec<u8> {
    let (ending, response) = match outcome {
        Outcome::Success(tokens) => (Written::Success { is_kept: tokens.is_kept() }, Some(tokens.response())),
        Outcome::TokenLost(response) => (Written::Lost, response.as_ref()),
        Outcome::Failure(failure) => {
            let written = match failure {
                ProviderFailure::NotSent { reason } => Written::NotSent { reason: reason.clone() },
                ProviderFailure::Denied { error, is_token_dead, .. } => {
                    Written::Denied { error: error.clone(), is_token_dead: *is_token_dead }
                }
                ProviderFailure::NotProcessed { reason, .. } => Written::NotProcessed { reason: reason.clone() },
                ProviderFailure::NotUnderstood { .. } => Written::NotUnderstood,
                ProviderFailure::Busy { retry_after, .. } => Written::Busy {
                    retry_after_ms: retry_after.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)),
                },
                ProviderFailure::Unknown { reason, .. } => Written::Unknown { reason: reason.clone() },
            };
            (written, failure.response())
        }
    };
    let head = Head {
        ending,
        passed: passed.iter().map(|token| Zeroizing::new(token.expose().to_owned())).collect(),
        response: response.map(|response| ResponseHead {
            status: response.status(),
            headers: response.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            heeds_no_accept: response.heeds_no_accept(),
            authentication: response.authentication(),
        }),
    };
    let head = Zeroizing::new(serde_json::to_vec(&head).expect("BUG: strings and numbers are always JSON"));
    let body = response.map_or(&[][..], ProviderResponse::body);
    // Sized at once, the tag included: a buffer that grows would leave the body behind.
    let mut text = Vec::with_capacity(4 + head.len() + body.len() + 16);
    text.extend_from_slice(&(head.len() as u32).to_be_bytes());
    text.extend_from_slice(&head);
    text.extend_from_slice(body);
    text
}

fn read(text: &[u8]) -> Option<(Outcome, Vec<Secret>)> {
    let (length, rest) = text.split_first_chunk::<4>()?;
    let (head, body) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let Head { ending, response, passed } = serde_json::from_slice(head).ok()?;
    let response = response.map(|ResponseHead { status, headers, heeds_no_accept, authentication }| {
        let bare = ProviderResponse::new(status, body).heeding_no_accept(heeds_no_accept).authenticated(authentication);
        headers.into_iter().fold(bare, |response, (name, value)| response.with_header(name, value))
    });
    let outcome = match ending {
        Written::Success { is_kept } => {
            Outcome::Success(TokenResponse::from_response(response?).ok()?.keeping(is_kept))
        }
        Written::NotUnderstood => Outcome::Failure(ProviderFailure::NotUnderstood { response: response? }),
        Written::Lost => Outcome::TokenLost(response),
        Written::NotSent { reason } => Outcome::Failure(ProviderFailure::NotSent { reason }),
        Written::NotProcessed { reason } => Outcome::Failure(ProviderFailure::NotProcessed { reason, response }),
        Written::Denied { error, is_token_dead } => {
            Outcome::Failure(ProviderFailure::Denied { error, is_token_dead, response })
        }
        Written::Busy { retry_after_ms } => {
            let retry_after = retry_after_ms.map(Duration::from_millis);
            Outcome::Failure(ProviderFailure::Busy { retry_after, response })
        }
        Written::Unknown { reason } => Outcome::Failure(ProviderFailure::Unknown { reason, response }),
    };
    let passed = passed.iter().map(|token| Secret::from(token.as_str())).collect();
    Some((outcome, passed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::request::Refresh;

    fn of(refresh: Refresh) -> (Seal, Label) {
        let identity = Identity::of(refresh, None).expect("valid");
        let seal = Seal::new(&identity.entitlement, None, "ns", &identity.flight);
        (seal, Label { flight: identity.flight, claim: identity.claim, attempt: Uuid::from_u128(7), fence: 3 })
    }

    fn outcomes() -> Vec<Outcome> {
        let response = ProviderResponse::new(400, *b"{\"error\":\"x\"}\0\xff").with_header("content-type", "text/x");
        let response = response.heeding_no_accept(true).authenticated(Authentication::BASIC);
        let tokens = TokenResponse::from_json(r#"{"access_token":"hush"}"#).expect("tokens");
        vec![
            Outcome::Success(tokens.clone()),
            Outcome::Success(tokens.keeping(false)),
            Outcome::Failure(ProviderFailure::NotUnderstood { response: response.clone() }),
            Outcome::Failure(ProviderFailure::not_processed("421").with_response(response.clone())),
            Outcome::Failure(ProviderFailure::denied("invalid_grant").with_response(response.clone())),
            Outcome::TokenLost(None),
            Outcome::TokenLost(Some(response.clone())),
            Outcome::Failure(ProviderFailure::not_sent("dns")),
            Outcome::Failure(ProviderFailure::denied("invalid_scope").with_response(response.clone())),
            Outcome::Failure(ProviderFailure::busy(Some(Duration::from_secs(3))).with_response(response.clone())),
            Outcome::Failure(ProviderFailure::busy(None)),
            Outcome::Failure(ProviderFailure::unknown("reset").with_response(response)),
        ]
    }

    #[test]
    fn who_is_entitled_opens_every_kind_of_outcome_as_it_was() {
        let (seal, label) = of(Refresh::new("t").client("app", "pw"));

        for outcome in outcomes() {
            let (opened, _) = seal.open(&label, &seal.seal(&label, &outcome)).expect("ours");
            assert_eq!(written(&opened, &[]), written(&outcome, &[]));
            if let Outcome::TokenLost(Some(response)) = &opened {
                assert!(response.heeds_no_accept(), "that is sealed, too");
            }
        }
    }

    #[test]
    fn nobody_else_opens_it() {
        let (seal, label) = of(Refresh::new("t").client("app", "pw"));
        let sealed = seal.seal(&label, &outcomes()[0]);

        let others = [
            Refresh::new("u").client("app", "pw"),
            Refresh::new("t").client("app", "pw2"),
            Refresh::new("t").client("app2", "pw"),
            Refresh::new("t").public_client("app"),
            Refresh::new("t").client("app", "pw").parameters([("scope", "a")]),
        ];
        for other in others {
            let (seal, theirs) = of(other);
            let label = Label { claim: theirs.claim, ..label };
            assert_eq!(seal.open(&label, &sealed).err(), Some(NotOurs));
        }
        for label in [
            Label { fence: 4, ..label },
            Label { attempt: Uuid::from_u128(8), ..label },
            Label { flight: of(Refresh::new("u")).1.flight, ..label },
        ] {
            assert_eq!(seal.open(&label, &sealed).err(), Some(NotOurs));
        }
        for cut in [0, 10, NONCE, sealed.len() - 1] {
            assert_eq!(seal.open(&label, &sealed[..cut]).err(), Some(NotOurs));
        }
    }

    #[test]
    fn the_same_outcome_is_never_sealed_to_the_same_bytes() {
        let (seal, label) = of(Refresh::new("t"));

        let outcome = &outcomes()[0];

        assert_ne!(seal.seal(&label, outcome), seal.seal(&label, outcome));
    }
}
