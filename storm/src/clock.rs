//! The one clock that the processes of a storm agree on.

use std::time::{SystemTime, UNIX_EPOCH};

/// Wall clock, in microseconds. Callers are let go by it and a picture is drawn by it; no wait is measured by it.
pub(crate) fn unix_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}
