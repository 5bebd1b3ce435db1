//! Clocks that processes of one machine share, and what a process has used up.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of the machine's monotonic clock: the same in every process.
pub fn now_ns() -> u64 {
    nanos(ClockId::CLOCK_MONOTONIC)
}

/// CPU time of this process, all threads together.
pub fn cpu() -> Duration {
    Duration::from_nanos(nanos(ClockId::CLOCK_PROCESS_CPUTIME_ID))
}

/// The most memory this process has had, in bytes.
pub fn peak_memory() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("the kernel knows");
    u64::try_from(usage.max_rss()).expect("not negative") * 1024
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("a clock that every Unix has");
    u64::try_from(time.tv_sec()).expect("after boot") * 1_000_000_000 + u64::try_from(time.tv_nsec()).expect("positive")
}
