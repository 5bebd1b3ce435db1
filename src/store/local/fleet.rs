//! What a pod knows of the tokens that the fleet has in hand, or has an outcome of: those it leaves alone while it goes on
//! without Redis.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Uncertain};
use crate::error::Refusal;
use crate::identity::Hash;
use crate::outcome::{Outcome, TokenState};
use crate::retention::Retention;
use crate::store::contract::{Begun, Completion, Standing, StoreError};

/// Flights, and until when their tokens are not to be presented without Redis.
#[derive(Debug)]
pub(crate) struct FleetTokens {
    until: DashMap<Hash, Instant>,
    config: Arc<Config>,
}

impl FleetTokens {
    pub(super) fn new(config: &Arc<Config>) -> Self {
        Self { until: DashMap::new(), config: Arc::clone(config) }
    }

    /// Whether the fleet is known to have this token in hand, or an outcome of it.
    pub(super) fn has(&self, flight: &Hash) -> bool {
        let now = Instant::now();
        self.until.get(flight).is_some_and(|until| *until > now)
    }

    /// What Redis answered to `begin`.
    pub(super) fn begun<N>(&self, flight: Hash, begun: &Begun<N>) {
        match begun {
            Begun::Landed(landed) | Begun::Untold(landed) => self.landed(flight, &landed.outcome, landed.age),
            Begun::Lead(_) => _ = self.until.insert(flight, Instant::now() + self.uncertain_for()),
            // Another pod leads it, or was lost with it.
            Begun::Join(_) => self.has_for(
                flight,
                match self.config.uncertain {
                    Uncertain::Never => self.uncertain_for(),
                    Uncertain::Retry => self.config.retry_lost_after(),
                },
            ),
            // Its answer is for another claim, and this pod cannot open it.
            Begun::Rejected(Refusal::AnotherClaim { retry_after, .. }) => self.has_for(flight, *retry_after),
            // Nobody is to present it while its answer is held.
            Begun::Held(_) | Begun::Claims => self.has_for(flight, self.config.keep_until_used),
            Begun::Unused
            | Begun::Ended
            | Begun::ChainOver(_)
            | Begun::Queued(_)
            | Begun::Recovering(_)
            | Begun::Rejected(_) => {}
        }
    }

    /// This is known to stand in Redis, or to be on its way there, `age` old. While that is fresh, callers with the same
    /// token are refused here: the answer is where nobody reaches it, and presenting the token once more would be a reuse,
    /// or what the policy `never` forbids.
    pub(super) fn landed(&self, flight: Hash, outcome: &Outcome, age: Duration) {
        let is_uncertain = matches!(outcome, Outcome::TokenLost(_)) || outcome.token_state() == TokenState::Unknown;
        let fresh = match self.config.uncertain {
            Uncertain::Never if is_uncertain => self.config.uncertain_memory,
            // It is fresh from its landing on. When that was is not known here, so the whole span from now on is the bound.
            Uncertain::Never | Uncertain::Retry => Retention::of(outcome, &self.config).fresh_at(age),
        };
        // A thousandth longer, because Redis' clock may run slower than this one (clocks are slewed by 500 ppm at most):
        // what is obtained here could not land while Redis held this outcome for fresh.
        self.until.insert(flight, Instant::now() + fresh + fresh / 1000);
    }

    /// What came of a completion by this pod.
    pub(super) fn completed(&self, flight: Hash, completion: &Completion, standing: &Result<Standing, StoreError>) {
        match standing {
            Ok(Standing::Theirs(landed) | Standing::TheirsUntold(landed)) => {
                self.landed(flight, &landed.outcome, landed.age)
            }
            Ok(Standing::Ours | Standing::Stale | Standing::Ended) => {
                self.landed(flight, &completion.outcome, completion.age)
            }
            Err(_) => match completion.outcome.token_state() {
                // It is still tried to land it. What `begun` has noted of this lead lasts for longer than that.
                TokenState::Rotated | TokenState::Unknown => {}
                TokenState::Kept | TokenState::Dead | TokenState::Untouched => {
                    self.landed(flight, &completion.outcome, completion.age);
                }
            },
        }
    }

    /// The lead was abandoned.
    pub(super) fn abandoned(&self, flight: &Hash) {
        self.until.remove(flight);
    }

    /// Forgets what is over, until the pod is closed.
    pub(super) async fn clean_up_regularly(self: Arc<Self>, closed: CancellationToken) {
        let interval = self.config.cleanup_interval;
        while closed.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
            let now = Instant::now();
            self.until.retain(|_, until| *until > now);
        }
    }

    /// The fleet has it in hand for this long at least.
    fn has_for(&self, flight: Hash, span: Duration) {
        let until = Instant::now() + span;
        self.until.entry(flight).and_modify(|known| *known = until.max(*known)).or_insert(until);
    }

    /// How long a lead may be uncertain.
    fn uncertain_for(&self) -> Duration {
        self.config.call_limit() + self.config.uncertain_memory
    }
}
