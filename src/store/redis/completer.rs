//! Lands an outcome in Redis: at once, or, where it was obtained without Redis, when that is back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::calls::Calls;
use super::calls::complete::{Complete, CompleteReply};
use super::outage::{Outage, UnsharedOutcome};
use super::sealed::{Opener, seal};
use crate::config::Config;
use crate::metrics::Counters;
use crate::outcome::Outcome;
use crate::retention::Retention;
use crate::store::contract::{Ask, Completion, Lease, Standing, StoreError};

/// A pause between two tries, should nobody say that Redis is back.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Completer {
    pub(super) calls: Arc<Calls>,
    pub(super) config: Arc<Config>,
    pub(super) counters: Arc<Counters>,
    pub(super) outage: Arc<Outage>,
    pub(super) gaps: Arc<watch::Sender<u64>>,
    /// What was obtained without Redis and has not landed there yet.
    pub(super) later: TaskTracker,
    pub(super) closed: CancellationToken,
}

impl Completer {
    pub(super) async fn complete(
        &self,
        lease: &Lease,
        ask: &Ask,
        completion: &Completion,
    ) -> Result<Standing, StoreError> {
        let complete = self.arguments(lease, ask, completion);
        Ok(self.standing(ask, self.calls.complete(&complete).await?))
    }

    /// What was obtained without Redis, sealed, until Redis has it.
    pub(super) fn seal(self: &Arc<Self>, lease: &Lease, ask: &Ask, completion: &Completion) -> SealedCompletion {
        // Before Redis is asked: a task that subscribes later misses that it is back.
        let gaps = self.gaps.subscribe();
        SealedCompletion { completer: Arc::clone(self), complete: self.arguments(lease, ask, completion), gaps }
    }

    fn arguments(&self, lease: &Lease, ask: &Ask, completion: &Completion) -> Complete {
        let Completion { outcome, health, age } = completion;
        let outcome: &Outcome = outcome;
        Complete {
            flight: lease.flight,
            session: ask.identity.session,
            claim: lease.claim,
            attempt: lease.attempt,
            fence: lease.fence,
            granted: lease.granted,
            answered: Instant::now() - *age,
            class: outcome.class(),
            token: outcome.token_state(),
            retention: Retention::of(outcome, &self.config),
            is_charged: outcome.is_charged(),
            health: *health,
            sealed: seal(&ask.identity, &self.config, lease, outcome),
        }
    }

    fn standing(&self, ask: &Ask, reply: CompleteReply) -> Standing {
        match reply {
            CompleteReply::Landed => Standing::Ours,
            CompleteReply::Stale => Standing::Stale,
            CompleteReply::Stands(sealed) => Opener::new(&ask.identity, &self.config, &self.counters)
                .open(&sealed)
                .map_or(Standing::Stale, Standing::Theirs),
        }
    }
}

/// What was obtained without Redis, until Redis has it.
pub(crate) struct SealedCompletion {
    completer: Arc<Completer>,
    complete: Complete,
    gaps: watch::Receiver<u64>,
}

impl SealedCompletion {
    /// Lands it, if Redis is back. None: it is not.
    pub(crate) async fn try_now(&self, ask: &Ask) -> Option<Standing> {
        if self.completer.outage.is_out_of_reach() {
            return None;
        }
        let reply = self.completer.calls.complete(&self.complete).await.ok()?;
        Some(self.completer.standing(ask, reply))
    }

    /// Lands it when Redis is back, unless Redis would not keep it by then.
    pub(crate) fn when_redis_is_back(self) {
        // The first try is after a pause.
        if self.complete.retention.kept > PAUSE {
            let completer = Arc::clone(&self.completer);
            let later = self.land_later(completer.outage.note_unshared());
            completer.later.spawn(completer.closed.clone().run_until_cancelled_owned(later));
        }
    }

    /// Tries when Redis is back, for as long as the outcome would have been kept there.
    async fn land_later(self, unshared: UnsharedOutcome) {
        let Self { completer, complete, mut gaps } = self;
        while complete.answered.elapsed() < complete.retention.kept {
            tokio::select! {
                gap = gaps.changed() => if gap.is_err() { return },
                () = tokio::time::sleep(PAUSE) => {}
            }
            // First Redis is told the fences that were given without it: pods that read a higher one than Redis knows
            // would take it for one that has forgotten.
            if unshared.outage().is_out_of_reach() {
                continue;
            }
            match completer.calls.complete(&complete).await {
                Ok(_) => {
                    debug!(flight = %complete.flight, fence = complete.fence, "what was obtained without redis is there now");
                    return;
                }
                Err(error) => debug!(flight = %complete.flight, %error, "an outcome still waits for redis"),
            }
        }
        warn!(flight = %complete.flight, fence = complete.fence, "what was obtained without redis is not fresh any more");
    }
}
