//! One clock for all processes: monotonic, so that nobody's wrong wall clock reaches the histories.

use nix::time::{ClockId, clock_gettime};

/// Microseconds since the machine started, the same in every process.
pub(crate) fn now_us() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("BUG: every Unix has this clock");
    now.tv_sec() as u64 * 1_000_000 + now.tv_nsec() as u64 / 1_000
}
