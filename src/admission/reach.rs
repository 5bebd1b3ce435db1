//! Whether this pod reaches the provider at all: counted in the pod, because one pod with broken DNS must not stop
//! the others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use tokio::time::Instant;

use crate::config::Breaker;
use crate::error::Refusal;

/// Flights in a row of which this pod could send nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reach {
    unsent: u32,
    /// Until when this pod leads nothing.
    until: Option<Instant>,
}

impl Reach {
    /// Why the pod may not lead, if it may not. When the time is over it tries again; one more failure starts the
    /// time anew.
    pub(crate) fn refusal(&self, now: Instant) -> Option<Refusal> {
        let retry_after = self.until?.saturating_duration_since(now);
        (!retry_after.is_zero()).then_some(Refusal::NotReaching { retry_after })
    }

    /// Nothing could be sent.
    pub(crate) fn failed(&mut self, now: Instant, breaker: &Breaker) {
        self.unsent = self.unsent.saturating_add(1);
        if self.unsent >= breaker.max_failures {
            self.until = Some(now + breaker.open_duration);
        }
    }

    /// Something was sent, whatever came of it.
    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }
}

/// The same, for all flights of a pod at once.
#[derive(Debug, Default)]
pub(crate) struct PodReach {
    reach: Mutex<Reach>,
    /// Something failed since the last success. As long as nothing does, no flight needs the lock.
    has_failed: AtomicBool,
}

impl PodReach {
    /// As [`Reach::refusal`].
    pub(crate) fn refusal(&self, now: Instant) -> Option<Refusal> {
        if self.has_failed.load(Ordering::Relaxed) { self.lock().refusal(now) } else { None }
    }

    /// As [`Reach::failed`].
    pub(crate) fn failed(&self, now: Instant, breaker: &Breaker) {
        let mut reach = self.lock();
        reach.failed(now, breaker);
        self.has_failed.store(true, Ordering::Relaxed);
    }

    /// As [`Reach::succeeded`].
    pub(crate) fn succeeded(&self) {
        if self.has_failed.load(Ordering::Relaxed) {
            let mut reach = self.lock();
            reach.succeeded();
            self.has_failed.store(false, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Reach> {
        self.reach.lock().expect("BUG: nothing panics with this lock held")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn pod_leads_nothing_after_failures_in_a_row_and_tries_again_later() {
        let (now, breaker, reach) = (Instant::now(), Breaker::default(), PodReach::default());
        let s = Duration::from_secs(1);
        for _ in 0..2 {
            reach.failed(now, &breaker);
        }
        reach.succeeded();
        for _ in 0..2 {
            reach.failed(now, &breaker);
            assert_eq!(reach.refusal(now), None);
        }

        reach.failed(now, &breaker);

        assert_eq!(reach.refusal(now + 10 * s), Some(Refusal::NotReaching { retry_after: 20 * s }));
        assert_eq!(reach.refusal(now + 30 * s), None);
        // One failure is enough now.
        reach.failed(now + 31 * s, &breaker);
        assert_eq!(reach.refusal(now + 31 * s), Some(Refusal::NotReaching { retry_after: 30 * s }));
        reach.succeeded();
        assert_eq!(reach.refusal(now + 31 * s), None);
    }
}
