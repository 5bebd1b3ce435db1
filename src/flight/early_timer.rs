//! One timer that goes off before those of the flights to come, and wakes nobody.
//!
//! Whenever a timer is registered that is earlier than all others, tokio wakes the thread that waits for the earliest
//! one: a system call and a thread switch, which cost as much as all else that a refresh does. In a process that has
//! little else to do every flight's timer is the earliest, and most are gone before they go off. With this one kept
//! registered a flight's is not, but for one flight in a while. `benches/run lead_in_memory` measures what that saves.

use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The timer of a pod.
#[derive(Debug)]
pub(crate) struct EarlyTimer {
    start: Instant,
    /// When the timer goes off, in nanoseconds since `start`.
    until: AtomicU64,
    timer: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl EarlyTimer {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), until: AtomicU64::new(0), timer: Mutex::new(None) }
    }

    /// Timers that are registered from now on go off `earliest` from now or later.
    pub(crate) fn keep(&self, now: Instant, earliest: Duration) {
        let since_start = |at: Instant| at.saturating_duration_since(self.start).as_nanos() as u64;
        let until = self.until.load(Ordering::Relaxed);
        if until > since_start(now)
            || self
                .until
                .compare_exchange(until, since_start(now + earliest), Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        let mut timer = Box::pin(sleep_until(now + earliest));
        // Registers it. Nobody waits for it.
        _ = timer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        *self.timer.lock().expect("BUG: nothing panics with this lock held") = Some(timer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn timer_is_registered_once_for_all_flights_until_it_goes_off() {
        let (timer, start) = (EarlyTimer::new(), Instant::now());
        let goes_off = |timer: &EarlyTimer| {
            let timer = timer.timer.lock().expect("not poisoned");
            timer.as_ref().map(|timer| timer.deadline() - start)
        };
        assert_eq!(goes_off(&timer), None);

        timer.keep(Instant::now(), 3 * S);
        tokio::time::sleep(2 * S).await;
        timer.keep(Instant::now(), 3 * S);
        assert_eq!(goes_off(&timer), Some(3 * S));
        tokio::time::sleep(2 * S).await;
        timer.keep(Instant::now(), 3 * S);

        assert_eq!(goes_off(&timer), Some(7 * S));
    }

    #[test]
    fn runtime_that_ends_takes_nothing_along() {
        let timer = EarlyTimer::new();
        for _ in 0..2 {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async { timer.keep(Instant::now() + 3 * S, S) });
        }
    }
}
