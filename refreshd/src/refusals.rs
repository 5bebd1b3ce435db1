//! What is refused before it is read as a token request is told in the log, for each status once a second at most, and so is a handshake of
//! TLS that fails: callers can bring it about as often as they like.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;

/// Between two lines of one kind.
const PAUSE: Duration = Duration::from_secs(1);

/// When each was told last, and how many were left out since.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<Kind, (Instant, u64)>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Answered(StatusCode),
    Handshake,
}

impl Refusals {
    pub(crate) fn tell(&self, status: StatusCode, reason: &str) {
        if let Some(left_out) = self.due(Kind::Answered(status), Instant::now()) {
            tracing::info!(reason, status = status.as_u16(), left_out, "a token request is refused");
        }
    }

    /// What TLS has found wrong with what a caller sent or shows, or that caller with what it was shown.
    pub(crate) fn tell_of_handshake(&self, reason: &str) {
        if let Some(left_out) = self.due(Kind::Handshake, Instant::now()) {
            tracing::info!(reason, left_out, "a caller is refused in the TLS handshake");
        }
    }

    fn due(&self, kind: Kind, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((at, left_out)) = told.get_mut(&kind) else {
            told.insert(kind, (now, 0));
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
        let due = |status, after| refusals.due(Kind::Answered(status), now + Duration::from_millis(after));

        let large = StatusCode::PAYLOAD_TOO_LARGE;
        assert_eq!([due(large, 0), due(large, 1), due(large, 999)], [Some(0), None, None]);
        assert_eq!(due(StatusCode::REQUEST_TIMEOUT, 1), Some(0));
        assert_eq!([due(large, 1000), due(large, 1001)], [Some(2), None]);
    }
}
