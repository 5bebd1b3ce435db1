//! An access token that a session holds, with what is known of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::secret::Secret;
use crate::token_response::LONGEST_LIFE;

#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) access_token: Secret,
    pub(super) expires_at: SystemTime,
    pub(super) lifetime: Duration,
    pub(super) scope: Option<String>,
    /// Of the refresh that brought it, while the session holds the refresh token that came with it.
    pub(super) fence: Option<u64>,
}

impl Grant {
    /// Given at `at` for `lifetime`: 100 years at most.
    pub(super) fn new(access_token: Secret, at: SystemTime, lifetime: Duration) -> Self {
        let lifetime = lifetime.min(LONGEST_LIFE);
        Self { access_token, expires_at: at + lifetime, lifetime, scope: None, fence: None }
    }

    pub(super) fn expires_at_ms(&self) -> i64 {
        let since = self.expires_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    pub(super) fn has_same_token(&self, other: &Self) -> bool {
        self.access_token.expose() == other.access_token.expose()
    }

    /// Whether it was brought after the other: by fences where both are of one refresh token, else by what lives longer.
    pub(super) fn is_later_than(&self, other: &Self) -> bool {
        match (self.fence, other.fence) {
            (Some(own), Some(theirs)) => own > theirs,
            (None, _) | (_, None) => self.expires_at > other.expires_at,
        }
    }
}
