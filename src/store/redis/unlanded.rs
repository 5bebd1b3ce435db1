//! Outcomes that this pod obtained without Redis, or whose flight cannot land them any more: they land when Redis is in reach.
//!
//! They wait in a list that one task of the pod works off. A task per outcome would end with the runtime that its flight ran on,
//! and take the outcome with it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::calls::complete::Complete;
use super::keeper::Keeper;
use super::outage::{Outage, UnsharedOutcomeGuard};

/// A pause between two tries, should nobody say that Redis is back.
const PAUSE: Duration = Duration::from_secs(1);
/// So many land at once: after a long outage a busy pod has thousands.
const AT_ONCE: usize = 32;

pub(super) struct Unlanded {
    keeper: Arc<Keeper>,
    outage: Arc<Outage>,
    /// Told when Redis is back.
    gaps: watch::Receiver<u64>,
    outcomes: Mutex<VecDeque<Arc<UnlandedOutcome>>>,
    added: Notify,
    count: watch::Sender<usize>,
}

struct UnlandedOutcome {
    complete: Arc<Complete>,
    /// From then on it is not worth it.
    until: Instant,
    /// It has landed; the next look at the list drops it.
    has_landed: AtomicBool,
    /// While it waits, nothing new is begun for a moment when Redis is back.
    _unshared: UnsharedOutcomeGuard,
}

impl Unlanded {
    pub(super) fn new(keeper: Arc<Keeper>, outage: Arc<Outage>, gaps: watch::Receiver<u64>) -> Self {
        Self { keeper, outage, gaps, outcomes: Mutex::default(), added: Notify::new(), count: watch::Sender::default() }
    }

    /// Lands it when Redis is back, unless Redis would not keep it by then.
    pub(super) fn add_while_kept(&self, complete: Arc<Complete>) {
        let kept = complete.retention.kept;
        if kept > PAUSE {
            let until = complete.answered + kept;
            self.add(complete, until);
        }
    }

    /// Lands it when Redis is in reach, if that is before `until`.
    pub(super) fn add(&self, complete: Arc<Complete>, until: Instant) {
        let mut outcomes = self.outcomes();
        let (has_landed, _unshared) = (AtomicBool::new(false), self.outage.note_unshared());
        outcomes.push_back(Arc::new(UnlandedOutcome { complete, until, has_landed, _unshared }));
        self.count.send_replace(outcomes.len());
        let is_first = outcomes.len() == 1;
        drop(outcomes);
        // While Redis is away the first one has woken the task: not each further one is to make it look at all of them.
        if is_first || !self.outage.is_out_of_reach() {
            self.added.notify_one();
        }
    }

    pub(super) fn len(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until all have landed, or are not worth it any more.
    pub(super) async fn drained(&self) {
        _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Lands what waits, whenever Redis is in reach.
    pub(super) async fn run(self: Arc<Self>, closed: CancellationToken) {
        let mut gaps = self.gaps.clone();
        if self.len() > 0 {
            // Started again.
            self.added.notify_one();
        }
        loop {
            let is_waiting = self.len() > 0;
            tokio::select! {
                () = closed.cancelled() => return,
                () = self.added.notified() => {}
                gap = gaps.changed() => if gap.is_err() { return },
                () = tokio::time::sleep(PAUSE), if is_waiting => {}
            }
            if closed.run_until_cancelled(self.land_all()).await.is_none() {
                return;
            }
        }
    }

    /// Lands all that wait, where Redis is in reach.
    async fn land_all(self: &Arc<Self>) {
        let mut landing = JoinSet::new();
        for outcome in self.worth_landing() {
            // First Redis is told the fences that were given without it: pods that read a higher one than Redis knows would take
            // it for one that has forgotten.
            if self.outage.is_out_of_reach() {
                break;
            }
            if landing.len() >= AT_ONCE {
                landing.join_next().await;
            }
            let keeper = Arc::clone(&self.keeper);
            landing.spawn(async move { outcome.land(&keeper).await });
        }
        while landing.join_next().await.is_some() {}
        self.drop_what_is_done();
    }

    /// What waits, where Redis is in reach: while it is away, a look at the list is all that thousands of them cost.
    fn worth_landing(&self) -> Vec<Arc<UnlandedOutcome>> {
        self.drop_what_is_done();
        if self.outage.is_out_of_reach() { Vec::new() } else { self.outcomes().iter().cloned().collect() }
    }

    /// Drops what has landed, and what Redis would not keep any more.
    fn drop_what_is_done(&self) {
        let (now, mut too_old) = (Instant::now(), 0_usize);
        let mut outcomes = self.outcomes();
        outcomes.retain(|outcome| {
            let has_landed = outcome.has_landed.load(Ordering::Relaxed);
            let is_old = !has_landed && outcome.is_too_old(now);
            too_old += usize::from(is_old);
            !has_landed && !is_old
        });
        self.count.send_replace(outcomes.len());
        drop(outcomes);
        if too_old > 0 {
            warn!(outcomes = too_old, "what could not be landed in time is not worth it any more");
        }
    }

    fn outcomes(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<UnlandedOutcome>>> {
        self.outcomes.lock().expect("BUG: nothing panics with this lock held")
    }
}

impl UnlandedOutcome {
    fn is_too_old(&self, now: Instant) -> bool {
        now >= self.until
    }

    async fn land(&self, keeper: &Keeper) {
        let Complete { flight, fence, .. } = &*self.complete;
        match keeper.land(&self.complete).await {
            Ok(_) => {
                debug!(%flight, fence, "an outcome that waited for redis is there now");
                self.has_landed.store(true, Ordering::Relaxed);
            }
            Err(error) => debug!(%flight, %error, "an outcome still waits for redis"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::store::suite::stage::*;

    /// Many outcomes of leads that a pod gave itself.
    #[tokio::test]
    async fn outcomes_that_wait_cost_one_look_while_redis_is_away_and_all_land_when_it_is_back() {
        let stage = Stage::on_redis(permits(1000)).await;
        let (Store::Redis(store), redis) = (&stage.a, stage.redis.as_ref().expect("on redis")) else {
            panic!("on redis")
        };
        let asks: Vec<_> = (0..1000).map(|_| anybody()).collect();
        let mut leases = Vec::new();
        for ask in &asks {
            leases.push(lead(&stage.a, ask).await);
        }
        // What goes on beside the flights is not to end the outage.
        store.close();
        store.outage.begin("away");
        let unlanded = &store.completer.unlanded;

        for (lease, ask) in leases.iter().zip(&asks) {
            store.seal(lease, ask, &completion(&success("alone"))).when_redis_is_back();
        }
        assert_eq!((unlanded.worth_landing().len(), unlanded.len()), (0, 1000));
        assert!(store.outage.end(|| true));
        unlanded.land_all().await;

        assert_eq!(unlanded.len(), 0);
        let landed = &redis.dump(&stage.config.namespace).await.matches("landed_at").count();
        assert_eq!(*landed, 1000);
    }
}
