//! Whether Redis is out of reach. Then callers are refused at once, instead of waiting for a dead Redis one by one.
//!
//! An outage begins with a call that was repeated for the whole of `store_timeout` and got no answer that counts. It
//! ends when a probe is let in, which is sent all the time, so that nobody has to come for it. What this pod holds
//! then goes first: outcomes before anything new.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::store::contract::StoreError;

#[derive(Debug)]
pub(super) struct Outage {
    state: Mutex<State>,
    began: Notify,
    /// Outcomes that could not be shared yet.
    unshared: AtomicUsize,
    /// The number of gaps so far: outages, and subscriptions that were made again. Redis may have forgotten something in
    /// each, so leaders renew and complete at once when it grows.
    gaps: Arc<watch::Sender<u64>>,
    /// How long outcomes may go first.
    patience: Duration,
    /// Whose the outage is, for the operator.
    namespace: String,
    pod: String,
}

#[derive(Debug)]
enum State {
    Reached,
    OutOfReach {
        since: Instant,
        reason: String,
    },
    /// Redis answers, and is being told what was done without it. Nothing more is done without it meanwhile, or that
    /// would never end.
    Returning {
        since: Instant,
        reason: String,
    },
    /// Redis is back: outcomes go first.
    Settling {
        until: Instant,
    },
}

/// An outcome that waits for Redis, for as long as this lives.
#[derive(Debug)]
pub(crate) struct UnsharedOutcomeGuard(Arc<Outage>);

/// Tells when Redis is in reach again.
#[derive(Clone, Debug)]
pub(crate) struct Reached(Arc<Outage>);

impl Reached {
    pub(super) fn of(outage: &Arc<Outage>) -> Self {
        Self(Arc::clone(outage))
    }

    /// Waits until Redis is in reach.
    pub(crate) async fn again(&self) {
        // First subscribed, then looked: an end between the two would otherwise be missed.
        let mut gaps = self.0.gaps.subscribe();
        while self.0.is_out_of_reach() {
            // The outage holds their sender: it is never gone.
            _ = gaps.changed().await;
        }
    }
}

impl Outage {
    pub(super) fn new(gaps: Arc<watch::Sender<u64>>, patience: Duration, namespace: &str, pod: &str) -> Self {
        Self {
            state: Mutex::new(State::Reached),
            began: Notify::new(),
            unshared: AtomicUsize::new(0),
            gaps,
            patience,
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
        }
    }

    /// Whether anything new may be begun.
    ///
    /// # Errors
    ///
    /// At once, with what was said last, while Redis is out of reach.
    pub(super) fn admits(&self) -> Result<(), StoreError> {
        let mut state = self.state();
        match &*state {
            State::Reached => Ok(()),
            State::OutOfReach { reason, .. } | State::Returning { reason, .. } => {
                Err(StoreError::did_not_run(reason.clone()))
            }
            State::Settling { until } if *until > Instant::now() && self.unshared.load(Ordering::SeqCst) > 0 => {
                Err(StoreError::did_not_run("redis is back; outcomes that waited for it go first".to_owned()))
            }
            State::Settling { .. } => {
                *state = State::Reached;
                Ok(())
            }
        }
    }

    /// Whether Redis is out of reach. Where it is back, outcomes are let in, though nothing new may be.
    pub(super) fn is_out_of_reach(&self) -> bool {
        matches!(&*self.state(), State::OutOfReach { .. } | State::Returning { .. })
    }

    /// Runs `act` if the outage has lasted for at least `span`. It cannot end while `act` runs.
    pub(super) fn if_lasts_for<T>(&self, span: Duration, act: impl FnOnce() -> T) -> Option<T> {
        let state = self.state();
        match &*state {
            State::OutOfReach { since, .. } if since.elapsed() >= span => Some(act()),
            State::OutOfReach { .. } | State::Returning { .. } | State::Reached | State::Settling { .. } => None,
        }
    }

    /// A call has had all its time.
    pub(super) fn begin(&self, reason: &str) {
        let mut state = self.state();
        match &mut *state {
            State::OutOfReach { reason: last, .. } => reason.clone_into(last),
            State::Returning { since, .. } => {
                *state = State::OutOfReach { since: *since, reason: reason.to_owned() };
            }
            State::Reached | State::Settling { .. } => {
                let (namespace, pod, setting) = (&self.namespace, &self.pod, "on_store_outage");
                warn!(namespace, pod, reason, setting, "redis is out of reach: refusing at once until it answers");
                *state = State::OutOfReach { since: Instant::now(), reason: reason.to_owned() };
                self.began.notify_one();
            }
        }
    }

    /// Whether that is another reason than the one said last.
    pub(super) fn is_news(&self, reason: &str) -> bool {
        match &*self.state() {
            State::OutOfReach { reason: last, .. } | State::Returning { reason: last, .. } => last != reason,
            State::Reached | State::Settling { .. } => true,
        }
    }

    /// A probe was let in. Answers whether the outage is over: not if this pod gave fences meanwhile that the probe did not
    /// tell.
    pub(super) fn end(&self, was_told_all: impl FnOnce() -> bool) -> bool {
        let mut state = self.state();
        let (State::OutOfReach { since, reason } | State::Returning { since, reason }) = &mut *state else {
            return true;
        };
        if !was_told_all() {
            *state = State::Returning { since: *since, reason: std::mem::take(reason) };
            return false;
        }
        info!(namespace = self.namespace, pod = self.pod, lasted = ?since.elapsed(), "redis answers again");
        *state = State::Settling { until: Instant::now() + self.patience };
        drop(state);
        self.gaps.send_modify(|gaps| *gaps += 1);
        true
    }

    /// Waits for the next outage, or for one that has begun since.
    pub(super) async fn began(&self) {
        self.began.notified().await;
    }

    /// Notes an outcome that could not be shared: when Redis is back, it goes first.
    pub(super) fn note_unshared(self: &Arc<Self>) -> UnsharedOutcomeGuard {
        self.unshared.fetch_add(1, Ordering::SeqCst);
        UnsharedOutcomeGuard(Arc::clone(self))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("BUG: nothing panics with this lock held")
    }
}

impl Drop for UnsharedOutcomeGuard {
    fn drop(&mut self) {
        self.0.unshared.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn nothing_new_begins_before_what_was_unshared_or_for_too_long() {
        let outage = Arc::new(Outage::new(Arc::new(watch::Sender::new(0)), S, "n", "pod"));
        let unshared = outage.note_unshared();
        outage.begin("no answer");
        assert_eq!(outage.admits().expect_err("lost").reason, "no answer");
        assert!(outage.is_out_of_reach());

        outage.end(|| true);
        assert!(outage.admits().is_err() && !outage.is_out_of_reach());
        drop(unshared);
        assert!(outage.admits().is_ok());

        let _unshared = outage.note_unshared();
        outage.begin("no answer");
        outage.end(|| true);
        tokio::time::advance(S).await;
        assert!(outage.admits().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn outage_is_noticed_by_who_listens_later_and_its_end_is_told_once() {
        let gaps = Arc::new(watch::Sender::new(0));
        let outage = Outage::new(Arc::clone(&gaps), S, "n", "pod");
        let start = Instant::now();
        outage.begin("no answer");
        tokio::time::advance(3 * S).await;
        outage.begin("still none");

        outage.began().await;

        assert_eq!(outage.if_lasts_for(3 * S, Instant::now), Some(start + 3 * S));
        assert_eq!(outage.if_lasts_for(4 * S, Instant::now), None);
        assert!(!outage.end(|| false), "there is news");
        assert_eq!((outage.if_lasts_for(3 * S, || ()), *gaps.borrow()), (None, 0));
        outage.begin("the news did not arrive");
        assert_eq!((outage.if_lasts_for(3 * S, || ()), *gaps.borrow()), (Some(()), 0));
        assert!(outage.end(|| true) && outage.end(|| false));
        assert_eq!((outage.if_lasts_for(S, || ()), *gaps.borrow()), (None, 1));
    }
}
