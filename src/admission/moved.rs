//! How the circuit moves, and the lines for who is on call: each once at most in the fleet, by the pod
//! whose outcome moved it. Lost where Redis' reply to it is lost.

use std::fmt::Display;
use std::time::Duration;

use tracing::{info, warn};

use crate::identity::Hash;

/// Why a circuit opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TripReason {
    /// `breaker.max_failures` flights failed in a row, or a probe failed.
    Failures,
    /// The provider answered 503 with Retry-After.
    RetryAfter,
    /// The provider answered 429 to three sessions within 10 s.
    SessionsLimited,
}

impl TripReason {
    /// The word for it, as it stands in Redis.
    pub fn word(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::RetryAfter => "retry_after",
            Self::SessionsLimited => "sessions_limited",
        }
    }

    /// The setting that governs when it opens for this, or what does.
    pub(crate) fn setting(self) -> &'static str {
        match self {
            Self::Failures => "breaker.max_failures",
            Self::RetryAfter => "Retry-After of the provider",
            Self::SessionsLimited => "429 to three sessions within 10 s",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Failures, Self::RetryAfter, Self::SessionsLimited].into_iter().find(|reason| reason.word() == word)
    }
}

/// How an outcome or the time moved the circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    Opened {
        reason: TripReason,
        /// How long nobody leads; then the first probe goes.
        pause: Duration,
        /// The client that it is open for, by its name in Redis; none where it is everybody.
        client: Option<String>,
    },
    /// The pause is over: a probe goes next.
    HalfOpen {
        /// Why it had opened.
        reason: TripReason,
    },
    Closed,
}

impl Moved {
    /// Says so in the log.
    pub(crate) fn say(&self, namespace: &str, pod: impl Display, flight: &Hash) {
        match self {
            Self::Opened { reason, pause, client } => warn!(
                namespace,
                %pod,
                %flight,
                reason = reason.word(),
                client = client.as_deref().unwrap_or("all"),
                for_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                setting = reason.setting(),
                "circuit opened: the provider is left in peace, and then asked by a probe"
            ),
            Self::HalfOpen { reason } => info!(
                namespace,
                %pod,
                %flight,
                reason = reason.word(),
                setting = "breaker.half_open_requests",
                "circuit half open: its time is over, and probes decide"
            ),
            Self::Closed => info!(namespace, %pod, %flight, "circuit closed: a probe succeeded"),
        }
    }
}
