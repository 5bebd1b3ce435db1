//! What this pod has landed lately, until no failover can have lost it any more.
//!
//! Redis acknowledges what it has, not what its replicas have. A server that takes over may lack the last outcomes: who holds the
//! old token would present it again, though it was rotated. So a pod keeps its successes for one longest lease, sealed as they
//! were landed, and under `never` also what is uncertain, and lands them once more where another server has taken over. Landing
//! again what stands changes nothing.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::calls::Calls;
use super::calls::complete::{Complete, CompleteReply};
use super::calls::end::{End, EndReply};
use super::locator::Locator;
use super::register::Register;
use crate::config::Config;
use crate::identity::Hash;
use crate::outcome::{Class, TokenState};
use crate::store::contract::StoreError;

/// At most so many bytes of sealed outcomes: the oldest give way.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// At most so many sessions that were ended.
const MOST_ENDED: usize = 10_000;
/// So many are landed again at once: a busy pod has thousands, and the server gives leads again after a lease.
const AT_ONCE: usize = 32;
/// A pause after a try that had no answer.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Keeper {
    pub(super) calls: Arc<Calls>,
    pub(super) locator: Arc<Locator>,
    pub(super) register: Arc<Register>,
    pub(super) config: Arc<Config>,
    pub(super) kept: Mutex<Kept>,
    /// How often everything was landed again.
    pub(super) landings: AtomicU64,
}

#[derive(Default)]
pub(super) struct Kept {
    /// Sessions that this pod has ended, in the order of their ends, too.
    ended: VecDeque<(Arc<End>, Instant)>,
    /// In the order of their ends.
    outcomes: VecDeque<Arc<KeptOutcome>>,
    bytes: usize,
}

/// An outcome that a server has acknowledged.
struct KeptOutcome {
    complete: Arc<Complete>,
    until: Instant,
}

impl Kept {
    /// Forgets those that had to be kept until this moment, and the oldest where all together are too large.
    fn forget(&mut self, confirmed: Instant) {
        while self.bytes > MOST_BYTES || self.outcomes.front().is_some_and(|oldest| oldest.until <= confirmed) {
            let Some(oldest) = self.outcomes.pop_front() else { break };
            self.bytes -= oldest.complete.sealed.len();
        }
        while self.ended.len() > MOST_ENDED || self.ended.front().is_some_and(|(_, until)| *until <= confirmed) {
            self.ended.pop_front();
        }
    }
}

impl Keeper {
    /// Lands it and keeps it; again, where another server has taken over meanwhile: the one before may have answered, and what
    /// that one has is lost.
    pub(super) async fn land(&self, complete: &Arc<Complete>) -> Result<CompleteReply, StoreError> {
        loop {
            let landings = self.landings();
            let reply = self.calls.complete(complete).await?;
            if matches!(reply, CompleteReply::Landed { .. }) {
                self.keep(complete);
            }
            // Only after it is kept: what comes later lands it again.
            if self.landings() == landings {
                return Ok(reply);
            }
        }
    }

    /// Keeps what has landed, if a server that loses it would do harm.
    fn keep(&self, complete: &Arc<Complete>) {
        let is_uncertain = complete.token == TokenState::Unknown && self.register.remembers_strictly();
        if complete.class != Class::Success && !is_uncertain {
            return;
        }
        let until = Instant::now() + self.kept_for();
        let mut kept = self.kept();
        kept.bytes += complete.sealed.len();
        kept.outcomes.push_back(Arc::new(KeptOutcome { complete: Arc::clone(complete), until }));
        kept.forget(self.confirmed());
    }

    /// Ends a session and keeps that; again, where another server has taken over meanwhile.
    pub(super) async fn end(&self, end: End) -> Result<EndReply, StoreError> {
        let end = Arc::new(end);
        loop {
            let landings = self.landings();
            let reply = self.calls.end(&end).await?;
            let until = Instant::now() + self.kept_for();
            {
                let mut kept = self.kept();
                kept.ended.push_back((Arc::clone(&end), until));
                kept.forget(self.confirmed());
            }
            if self.landings() == landings {
                return Ok(reply);
            }
        }
    }

    /// How long a failover may lose what a server has acknowledged.
    fn kept_for(&self) -> Duration {
        // A look at the endpoint longer than is promised: writes may be lost just after one.
        let span = self.register.longest_lease() + self.config.lease / 3;
        // And then one look more, which finds that the server is still the one.
        self.locator.is_active_for(span + self.config.lease);
        span
    }

    /// Others are told of an outcome from now on, also where it is landed again.
    pub(super) fn told(&self, flight: &Hash, fence: u64) {
        let kept = self.kept();
        let mut newest_first = kept.outcomes.iter().rev();
        if let Some(told) = newest_first.find(|kept| (kept.complete.flight, kept.complete.fence) == (*flight, fence)) {
            told.complete.is_untold.store(false, Ordering::SeqCst);
        }
    }

    /// A machine that stands still, or an endpoint that does not answer, hides for longer than a lease that another server has
    /// taken over. So the span of an outcome is over when the endpoint was asked after it, not before.
    fn confirmed(&self) -> Instant {
        self.locator.confirmed().unwrap_or_else(Instant::now)
    }

    /// Lands everything again: another server has taken over.
    pub(super) async fn land_again(self: Arc<Self>) {
        // First the count, then the look at what is kept: an outcome that is kept too late for the look finds another count.
        self.landings.fetch_add(1, Ordering::SeqCst);
        let (ended, kept): (Vec<_>, Vec<_>) = {
            let mut kept = self.kept();
            kept.forget(self.confirmed());
            (kept.ended.iter().cloned().collect(), kept.outcomes.iter().cloned().collect())
        };
        // First what is over, so that nobody is told what lands for it. Not for long: an outcome that comes too late is lost.
        let mut ending = pin!(Arc::clone(&self).end_again(ended));
        let have_ended = tokio::time::timeout(self.config.store_timeout, &mut ending).await.is_ok();
        if !kept.is_empty() {
            info!(outcomes = kept.len(), "telling the server that took over what the one before had acknowledged");
        }
        let mut landing = JoinSet::new();
        for outcome in kept {
            if landing.len() >= AT_ONCE {
                landing.join_next().await;
            }
            let keeper = Arc::clone(&self);
            landing.spawn(async move { keeper.land_once_more(&outcome).await });
        }
        while landing.join_next().await.is_some() {}
        if !have_ended {
            ending.await;
        }
    }

    /// Ends all sessions again that this pod has ended.
    async fn end_again(self: Arc<Self>, ended: Vec<(Arc<End>, Instant)>) {
        let mut ending = JoinSet::new();
        for (end, until) in ended {
            if ending.len() >= AT_ONCE {
                ending.join_next().await;
            }
            let keeper = Arc::clone(&self);
            ending.spawn(async move { keeper.end_once_more(&end, until).await });
        }
        while ending.join_next().await.is_some() {}
    }

    /// How often everything was landed again. What a server answered while this grew may be lost with that server.
    fn landings(&self) -> u64 {
        self.landings.load(Ordering::SeqCst)
    }

    async fn end_once_more(&self, end: &End, until: Instant) {
        let until = until.max(Instant::now() + self.config.lease);
        while until > Instant::now() {
            match self.calls.end(end).await {
                Ok(_) => return debug!(flight = %end.flight, "a session was ended again"),
                Err(error) if error.may_have_run => tokio::time::sleep(PAUSE).await,
                Err(error) => return warn!(flight = %end.flight, %error, "a session could not be ended again"),
            }
        }
    }

    async fn land_once_more(&self, outcome: &KeptOutcome) {
        let Complete { flight, fence, .. } = &*outcome.complete;
        // For one that was kept for longer a lease is left: no new lead is given before.
        let until = outcome.until.max(Instant::now() + self.config.lease);
        while until > Instant::now() {
            match self.calls.complete(&outcome.complete).await {
                Ok(_) => return debug!(%flight, fence, "landed again"),
                Err(error) if error.may_have_run => {
                    debug!(%flight, fence, %error, "an outcome could not be landed again yet");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return warn!(%flight, fence, %error, "an outcome could not be landed again"),
            }
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().expect("BUG: nothing panics with this lock held")
    }
}
