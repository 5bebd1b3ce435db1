//! Outcomes as they stand in Redis and in messages: sealed, and opened by the callers that are entitled.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;
use uuid::Uuid;

use crate::config::Config;
use crate::identity::{FlightName, Hash, Identity};
use crate::metrics::Counters;
use crate::outcome::{Outcome, ProviderFailure};
use crate::seal::{Label, Seal};
use crate::secret::Secret;
use crate::store::contract::{Ask, Held, Lease, StoredOutcome, Tip};

/// A landed outcome, still sealed.
#[derive(Clone, Debug)]
pub(super) struct SealedOutcome {
    pub(super) fence: u64,
    pub(super) attempt: Uuid,
    pub(super) age: Duration,
    pub(super) bytes: Arc<[u8]>,
}

/// The request that opens an outcome, with the refresh token in it. None where it holds none but the one presented.
pub(super) fn next_identity(identity: &Identity, outcome: &Outcome, config: &Config) -> Option<Identity> {
    let Outcome::Success(tokens) = outcome else { return None };
    let next = tokens.refresh_token().filter(|_| !tokens.is_kept())?;
    let request = identity.chain.as_ref()?.with_token(next, config.max_token)?;
    Some(request.in_fleet(config.pepper.as_ref(), FlightName::Token))
}

/// The same with the token that was presented, where that may be used again and its claim came with an older one: that is what the claim
/// was given.
pub(super) fn kept_identity(ask: &Ask, outcome: &Outcome, config: &Config) -> Option<Identity> {
    let request = ask.request_with_kept(outcome, config.max_token)?;
    Some(request.in_fleet(config.pepper.as_ref(), FlightName::Token))
}

/// Opens the outcomes of one flight for one claim.
pub(super) struct Opener {
    seal: Seal,
    flight: Hash,
    claim: Hash,
    counters: Arc<Counters>,
}

impl Opener {
    pub(super) fn new(identity: &Identity, config: &Config, counters: &Arc<Counters>) -> Self {
        Self {
            seal: seal_for(identity, config),
            flight: identity.flight,
            claim: identity.claim,
            counters: Arc::clone(counters),
        }
    }

    /// For another claim of the same client: the key is of token and credential.
    pub(super) fn of_claim(mut self, claim: Hash) -> Self {
        self.claim = claim;
        self
    }

    /// None when it does not open: it is another's, or Redis was tampered with.
    pub(super) fn open(&self, sealed: &SealedOutcome) -> Option<StoredOutcome> {
        self.open_with(sealed).map(|(landed, _)| landed)
    }

    /// An answer that is held for the token of this flight.
    pub(super) fn open_held(&self, sealed: &SealedOutcome, generation: u64) -> Option<Held> {
        self.open_with(sealed).map(|(landed, passed)| Held { landed, passed, generation })
    }

    fn open_with(&self, sealed: &SealedOutcome) -> Option<(StoredOutcome, Vec<Secret>)> {
        let label = Label { flight: self.flight, claim: self.claim, attempt: sealed.attempt, fence: sealed.fence };
        match self.seal.open(&label, &sealed.bytes) {
            Ok((outcome, passed)) => {
                Some((StoredOutcome { outcome: Arc::new(outcome), fence: sealed.fence, age: sealed.age }, passed))
            }
            Err(_) => {
                self.counters.unopened.add_one();
                warn!(flight = %self.flight, fence = sealed.fence, "an outcome in redis does not open");
                None
            }
        }
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opener({})", self.flight)
    }
}

/// An outcome as it is written.
pub(super) struct Sealing {
    /// What Redis gets: the outcome, or, where that is too large, that no other pod can be told.
    pub(super) shared: Vec<u8>,
    /// The outcome that is too large. The pod that led hands it on.
    pub(super) whole: Option<Vec<u8>>,
}

pub(super) fn seal(identity: &Identity, config: &Config, lease: &Lease, outcome: &Outcome) -> Sealing {
    let label = Label { flight: lease.flight, claim: lease.claim, attempt: lease.attempt, fence: lease.fence };
    seal_outcome(identity, config, &label, outcome)
}

/// What is to be held for the token of this request from now on.
pub(super) fn seal_tip(identity: &Identity, config: &Config, attempt: Uuid, tip: &Tip) -> Vec<u8> {
    let label = Label { flight: identity.flight, claim: identity.claim, attempt, fence: tip.landed.fence };
    seal_for(identity, config).seal_with(&label, &tip.landed.outcome, &tip.passed)
}

fn seal_outcome(identity: &Identity, config: &Config, label: &Label, outcome: &Outcome) -> Sealing {
    let seal = seal_for(identity, config);
    let bytes = seal.seal(label, outcome);
    if bytes.len() <= config.max_shared {
        return Sealing { shared: bytes, whole: None };
    }
    warn!(flight = %label.flight, fence = label.fence, bytes = bytes.len(), max_shared = config.max_shared,
        "the answer is too large to be shared: other pods cannot be told");
    let failure = ProviderFailure::unknown("the provider's answer is too large to be shared (setting max_shared)");
    Sealing { shared: seal.seal(label, &Outcome::Failure(failure)), whole: Some(bytes) }
}

fn seal_for(identity: &Identity, config: &Config) -> Seal {
    Seal::new(&identity.entitlement, config.pepper.as_ref(), &config.namespace, &identity.flight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Refresh;
    use crate::token_response::TokenResponse;

    fn shared(config: &Config, length: usize) -> Outcome {
        let identity = Identity::of(Refresh::new("t"), None).expect("valid");
        let body = format!(r#"{{"access_token":"{}"}}"#, "a".repeat(length));
        let outcome = Outcome::Success(TokenResponse::from_json(body).expect("tokens"));
        let (attempt, fence) = (Uuid::from_u128(7), 3);
        let label = Label { flight: identity.flight, claim: identity.claim, attempt, fence };
        let Sealing { shared, whole } = seal_outcome(&identity, config, &label, &outcome);
        let open = |bytes: &[u8]| seal_for(&identity, config).open(&label, bytes).expect("ours").0;
        if let Some(whole) = whole {
            assert!(matches!(open(&whole), Outcome::Success(_)), "it is there for this pod");
        }
        open(&shared)
    }

    #[test]
    fn answer_is_shared_up_to_what_the_setting_allows() {
        let config = Config::default();

        assert!(matches!(shared(&config, 68_099), Outcome::Success(_)));
        assert!(matches!(shared(&config, config.max_shared - 1024), Outcome::Success(_)));
        assert!(matches!(shared(&config, config.max_shared), Outcome::Failure(ProviderFailure::Unknown { .. })));
        let config = Config { max_shared: 4096, ..config };
        assert!(matches!(shared(&config, 4096), Outcome::Failure(ProviderFailure::Unknown { .. })));
    }
}
