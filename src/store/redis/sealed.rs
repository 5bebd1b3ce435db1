//! Outcomes as they stand in Redis and in messages: sealed, and opened by the callers that are entitled.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;
use uuid::Uuid;

use crate::config::Config;
use crate::identity::{Hash, Identity};
use crate::metrics::Counters;
use crate::outcome::{Outcome, ProviderFailure};
use crate::seal::{Label, Seal};
use crate::store::contract::{Lease, StoredOutcome};

/// A larger outcome is not shared: Redis is no place for it, and no token response is that long.
const LARGEST_SHARED: usize = 64 * 1024;

/// A landed outcome, still sealed.
#[derive(Clone, Debug)]
pub(super) struct SealedOutcome {
    pub(super) fence: u64,
    pub(super) attempt: Uuid,
    pub(super) age: Duration,
    pub(super) bytes: Arc<[u8]>,
}

/// Opens the outcomes of one flight for one claim.
pub(super) struct Opener {
    seal: Seal,
    flight: Hash,
    counters: Arc<Counters>,
}

impl Opener {
    pub(super) fn new(identity: &Identity, config: &Config, counters: &Arc<Counters>) -> Self {
        Self { seal: seal_for(identity, config), flight: identity.flight, counters: Arc::clone(counters) }
    }

    /// None when it does not open: it is another's, or Redis was tampered with.
    pub(super) fn open(&self, sealed: &SealedOutcome) -> Option<StoredOutcome> {
        let label = Label { flight: self.flight, attempt: sealed.attempt, fence: sealed.fence };
        match self.seal.open(&label, &sealed.bytes) {
            Ok(outcome) => Some(StoredOutcome { outcome: Arc::new(outcome), fence: sealed.fence, age: sealed.age }),
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

/// What is to be written for an outcome: itself, or, where it is too large, that nobody else can be told. The
/// leader's own callers have the answer.
pub(super) fn seal(identity: &Identity, config: &Config, lease: &Lease, outcome: &Outcome) -> Vec<u8> {
    let seal = seal_for(identity, config);
    let label = Label { flight: lease.flight, attempt: lease.attempt, fence: lease.fence };
    let bytes = seal.seal(&label, outcome);
    if bytes.len() <= LARGEST_SHARED {
        return bytes;
    }
    warn!(flight = %lease.flight, fence = lease.fence, bytes = bytes.len(), "the answer is too large to be shared");
    let failure = ProviderFailure::unknown("the provider's answer is too large to be shared (over 64 KiB)");
    seal.seal(&label, &Outcome::Failure(failure))
}

fn seal_for(identity: &Identity, config: &Config) -> Seal {
    Seal::new(&identity.entitlement, config.pepper.as_ref(), &config.namespace, &identity.flight, &identity.claim)
}
