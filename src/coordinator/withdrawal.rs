//! Takes back what flights have left in the store, or may have: one list for the pod, and one task.
//!
//! However long Redis is out of reach, up to a day: one that hangs runs what it was sent when it goes on, and what an
//! attempt takes then counts as a lost leader until it is withdrawn. Why not a task for each: a Redis that refuses them
//! all would be asked by each of them, again and again.
//!
//! A pod that is told to end does not stay for it alone while Redis is out of reach: its leases end, and then the next leader
//! presents the token, as after any leader that was lost. It stays where a lost leader ends a session: where a living pod goes by
//! `uncertain = never`.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;
use tracing::warn;

use super::inner::{Inner, RETRY_AFTER};
use super::pending_withdrawals::{MOST, Pending};
use crate::store::AttemptId;

/// The longest time that a pod tries to withdraw something from a Redis that is out of reach.
const LONGEST_OUTAGE: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a pod that ends looks whether its last flight has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What is withdrawn of a flight. One verb of the store does it for all three.
#[derive(Clone, Copy, Debug)]
pub(super) enum Withdrawal {
    /// A `begin` or a renewal without an answer: it may still arrive, and is then to find its attempt abandoned.
    UnansweredBegin,
    /// A lead that could not be abandoned. `withdraw` does that as well as `abandon`: it knows the lead by its attempt
    /// instead of its fence.
    Lead,
    /// A place in the queue, which the flight had since then.
    QueuePlace { since: Instant },
}

/// What the store may hold of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// Its attempt: a lead, a place in the queue, or a `begin` on its way.
    Attempt,
    /// Its lead. What comes of that is the leader's, from the call on.
    Lead,
}

/// Withdraws what a flight left behind, after what others left before.
pub(super) fn later(inner: &Arc<Inner>, attempt: AttemptId, left: Withdrawal) {
    let waiting_since = match left {
        Withdrawal::UnansweredBegin | Withdrawal::Lead => None,
        Withdrawal::QueuePlace { since } => Some(since),
    };
    let mut list = inner.withdrawals.list();
    list.waiting.push_back(Pending { attempt, waiting_since, since: Instant::now() });
    let makes_way = (list.waiting.len() > MOST).then(|| list.waiting.pop_front()).flatten();
    drop(list);
    if makes_way.is_some() {
        inner.give_up(1, "too many others wait");
    }
    work_off(inner);
}

/// Goes on with what a task left behind that ended with its runtime.
pub(super) fn keep_working(inner: &Arc<Inner>) {
    if inner.withdrawals.are_left_alone() {
        work_off(inner);
    }
}

/// Starts the task that works the list off, unless there is one.
fn work_off(inner: &Arc<Inner>) {
    if inner.withdrawals.needs_task() {
        let work = Work { inner: Arc::clone(inner), is_done: false };
        // Else the next flight starts it: this one has no runtime any more.
        if Handle::try_current().is_ok() {
            inner.tasks.spawn(work.off());
        }
    }
}

impl Inner {
    /// So many are not withdrawn. Counted always, told once a second at most.
    fn give_up(&self, attempts: u64, reason: &str) {
        if attempts == 0 {
            return;
        }
        self.counters.not_withdrawn.add(attempts);
        let mut list = self.withdrawals.list();
        list.untold += attempts;
        let now = Instant::now();
        if list.told.is_some_and(|told| now < told + Duration::from_secs(1)) {
            return;
        }
        list.told = Some(now);
        let attempts = std::mem::take(&mut list.untold);
        drop(list);
        warn!(attempts, reason, "attempts could not be withdrawn; their leases will end");
    }
}

/// The task that works the list off. Where its runtime ends, the next flight starts another.
struct Work {
    inner: Arc<Inner>,
    is_done: bool,
}

impl Work {
    async fn off(mut self) {
        self.work_off().await;
        self.is_done = true;
    }

    async fn work_off(&self) {
        let Inner { config, store, overdue, withdrawals, .. } = &*self.inner;
        let patience = config.lease.max(config.retry_lost_after());
        let mut gaps = store.gaps();
        // While Redis answers with errors: every second, for so long since it is back. While it is away: when it is back.
        let mut back_since = Instant::now();
        while let Some(item) = withdrawals.next() {
            if self.is_all_that_is_left() && store.is_out_of_reach() && !store.remembers_strictly() {
                self.drop_over("this pod ends and redis is out of reach", |_, _| true);
                continue;
            }
            let Err(error) = store.withdraw(&item.attempt, item.waiting_since).await else {
                withdrawals.done(&item);
                continue;
            };
            withdrawals.refused(&item);
            let is_away = store.is_out_of_reach();
            let is_overdue = overdue.is_cancelled();
            self.drop_over(&error.reason, |item, now| {
                let end = if is_away { item.since + LONGEST_OUTAGE } else { item.since.max(back_since) + patience };
                is_overdue || now >= end
            });
            let pause = if is_away { LONGEST_OUTAGE } else { RETRY_AFTER };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // The store is back.
                () = gaps.passed() => back_since = Instant::now(),
                () = overdue.cancelled() => {}
                () = self.until_it_is_all_that_is_left(), if is_away && !store.remembers_strictly() => {}
            }
        }
    }

    /// Whether the pod ends and leads nothing any more. While it stays for a flight, Redis may come back.
    fn is_all_that_is_left(&self) -> bool {
        self.inner.closing.is_cancelled() && self.inner.flights.len() == 0
    }

    async fn until_it_is_all_that_is_left(&self) {
        self.inner.closing.cancelled().await;
        while !self.is_all_that_is_left() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn drop_over(&self, reason: &str, is_over: impl Fn(&Pending, Instant) -> bool) {
        let now = Instant::now();
        let dropped = self.inner.withdrawals.drop_where(|item| is_over(item, now));
        self.inner.give_up(dropped, reason);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.is_done {
            self.inner.withdrawals.are_left();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime;
    use uuid::Uuid;

    use super::*;
    use crate::config::Config;
    use crate::coordinator::RefreshCoordinator;
    use crate::identity::Hash;

    fn attempt() -> AttemptId {
        let flight = Hash::unkeyed("t");
        AttemptId { flight, session: flight, attempt: Uuid::new_v4(), client_name: None }
    }

    fn pod() -> RefreshCoordinator {
        RefreshCoordinator::in_memory(Config::default()).expect("the defaults")
    }

    #[tokio::test]
    async fn oldest_makes_way_where_too_many_wait_and_is_counted() {
        let pod = pod();
        let first = attempt();
        later(&pod.inner, first, Withdrawal::Lead);

        for _ in 0..MOST {
            later(&pod.inner, attempt(), Withdrawal::Lead);
        }

        assert_eq!((pod.inner.withdrawals.list().waiting.len(), pod.metrics().not_withdrawn), (MOST, 1));
        assert_ne!(pod.inner.withdrawals.list().waiting[0].attempt, first);
        assert_eq!(pod.inner.tasks.len(), 1);
        pod.close(Duration::from_secs(60)).await;
        assert_eq!((pod.inner.withdrawals.list().waiting.len(), pod.metrics().not_withdrawn), (0, 1));
    }

    #[test]
    fn what_a_runtime_that_ended_has_left_is_withdrawn_by_the_next() {
        let pod = pod();
        let runtime = || runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime().block_on(async { later(&pod.inner, attempt(), Withdrawal::Lead) });
        assert_eq!(pod.inner.withdrawals.list().waiting.len(), 1);

        runtime().block_on(async {
            later(&pod.inner, attempt(), Withdrawal::Lead);
            pod.close(Duration::from_secs(60)).await;
        });

        assert_eq!(pod.inner.withdrawals.list().waiting.len(), 0);
    }
}
