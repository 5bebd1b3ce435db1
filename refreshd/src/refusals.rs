//! What is refused before it is read as a token request is told in the log, for each status once a second at most: callers
//! can bring it about as often as they like.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;

/// Between two lines for one status.
const PAUSE: Duration = Duration::from_secs(1);

/// When each was told last, and how many were left out since.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<StatusCode, (Instant, u64)>>);

impl Refusals {
    pub(crate) fn tell(&self, status: StatusCode, reason: &str) {
        if let Some(left_out) = self.due(status, Instant::now()) {
            tracing::info!(reason, status = status.as_u16(), left_out, "a token request is refused");
        }
    }

    fn due(&self, status: StatusCode, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((at, left_out)) = told.get_mut(&status) else {
            told.insert(status, (now, 0));
            return Some(0);
        };
        if now < *at + PAUSE {
            *left_out += 1;
            return None;
        }
        *at = now;
        Some(std::mem::take(left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_is_told_once_a_second_with_what_was_left_out() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let due = |status, after| refusals.due(status, now + Duration::from_millis(after));

        let large = StatusCode::PAYLOAD_TOO_LARGE;
        assert_eq!([due(large, 0), due(large, 1), due(large, 999)], [Some(0), None, None]);
        assert_eq!(due(StatusCode::REQUEST_TIMEOUT, 1), Some(0));
        assert_eq!([due(large, 1000), due(large, 1001)], [Some(2), None]);
    }
}
