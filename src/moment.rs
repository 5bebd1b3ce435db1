//! Words: a moment on the clocks of this pod, and how long ago it was at most.
//!
//! A process may be stopped and its machine suspended, and no clock counts both everywhere: tokio's stands still in a
//! suspended machine, boot time in a virtual machine that was put to disk, and wall time may be set. So the largest
//! counts. That errs on the safe side for a lease, which is believed for too short a time rather than for too long.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// A moment of this pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    instant: Instant,
    /// Since the machine was started, suspensions included. Zero where the system does not tell.
    booted_ns: u64,
    /// Since 1970.
    wall_ns: u64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self::at(Instant::now())
    }

    /// The present, for a caller that has just read tokio's clock.
    pub(crate) fn at(now: Instant) -> Self {
        Self { instant: now, booted_ns: booted_ns(), wall_ns: wall_ns() }
    }

    pub(crate) fn instant(&self) -> Instant {
        self.instant
    }

    /// How long ago it was, by the clock that says the longest. A wall clock that was set back says nothing.
    pub(crate) fn elapsed(&self) -> Duration {
        let now = Self::now();
        let ns = now.booted_ns.saturating_sub(self.booted_ns).max(now.wall_ns.saturating_sub(self.wall_ns));
        now.instant.saturating_duration_since(self.instant).max(Duration::from_nanos(ns))
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn booted_ns() -> u64 {
    let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let ns = (since.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(since.tv_nsec as u64);
    ns.saturating_add(suspended_ns())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn booted_ns() -> u64 {
    0
}

fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).saturating_add(suspended_ns())
}

#[cfg(not(test))]
fn suspended_ns() -> u64 {
    0
}

#[cfg(test)]
pub(crate) use seam::suspend;
#[cfg(test)]
use seam::suspended_ns;

/// A machine that was suspended, for tests: of this thread, so that they run beside each other.
#[cfg(test)]
mod seam {
    use std::cell::Cell;
    use std::time::Duration;

    thread_local! {
        static SUSPENDED_NS: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn suspended_ns() -> u64 {
        SUSPENDED_NS.get()
    }

    /// The machine was suspended for this long: tokio's clock stood still.
    pub(crate) fn suspend(span: Duration) {
        SUSPENDED_NS.set(SUSPENDED_NS.get() + u64::try_from(span.as_nanos()).expect("a short time"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn longest_of_the_clocks_counts() {
        let moment = Moment::now();
        assert!(moment.elapsed() < S);

        tokio::time::advance(10 * S).await;
        assert!((10 * S..11 * S).contains(&moment.elapsed()), "{:?}", moment.elapsed());

        suspend(20 * S);
        assert!((20 * S..21 * S).contains(&moment.elapsed()), "{:?}", moment.elapsed());
    }

    #[test]
    fn wall_clock_that_was_set_back_says_nothing() {
        let now = Moment::now();

        let moment = Moment { wall_ns: now.wall_ns + 3_600_000_000_000, ..now };

        assert!(moment.elapsed() < S, "{:?}", moment.elapsed());
    }

    /// A virtual machine that was put to disk: its boot time stood still, too.
    #[test]
    fn wall_clock_that_went_on_alone_counts() {
        let now = Moment::now();

        let moment = Moment { wall_ns: now.wall_ns - 3_600_000_000_000, ..now };

        assert!(moment.elapsed() >= 3600 * S, "{:?}", moment.elapsed());
    }
}
