//! Words: what a flight ends with, and what follows from it for the token.
//!
//! The refresh function answers with a [`TokenResponse`] or a [`ProviderFailure`]. [`Outcome`]'s methods tell which class
//! that is and what became of the token. `retention.rs` tells for how long it is kept.

use std::time::Duration;

use crate::token_response::{ProviderResponse, TokenResponse};

/// Why a refresh brought no tokens, sorted by what is known of the refresh token afterwards.
///
/// The four ways decide which callers are given the failure, for how long, and whether the token may be presented again:
/// choose by what happened to the token, not by the look of the error.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderFailure {
    /// Nothing was sent: name resolution, connecting or TLS failed. The token is untouched, the attempt is free.
    #[error("nothing was sent to the provider: {reason}")]
    NotSent {
        /// What failed, for the log. Must not hold a secret.
        reason: String,
    },
    /// The provider understood and said no (RFC 6749 section 5.2).
    #[error("the provider refused the refresh: {error}")]
    Denied {
        /// The OAuth error code; `invalid_grant` means that the token is dead.
        error: String,
        /// What the provider sent, for every caller of the flight.
        response: Option<ProviderResponse>,
    },
    /// The provider is overloaded or limits us: 429, or 503 with Retry-After. The token is untouched. A 503 keeps
    /// everybody away and is known by its `response`; anything else keeps this session away.
    #[error("the provider is busy")]
    Busy {
        /// How long the provider asks us to stay away (RFC 9110 section 10.2.3).
        retry_after: Option<Duration>,
        /// What the provider sent, for every caller of the flight.
        response: Option<ProviderResponse>,
    },
    /// The request may have reached the provider, and nobody knows what it did: a 5xx, a reset, a timeout, an
    /// unreadable answer. The token may have been rotated.
    #[error("nobody knows what the provider did: {reason}")]
    Unknown {
        /// What happened, for the log. Must not hold a secret.
        reason: String,
        /// What the provider sent, if anything, for every caller of the flight.
        response: Option<ProviderResponse>,
    },
}

impl ProviderFailure {
    /// Nothing was sent, for this reason.
    pub fn not_sent(reason: impl Into<String>) -> Self {
        Self::NotSent { reason: reason.into() }
    }

    /// The provider's OAuth error code.
    pub fn denied(error: impl Into<String>) -> Self {
        Self::Denied { error: error.into(), response: None }
    }

    /// The provider asks to stay away: this session, or all with the response of a 503
    /// ([`with_response`](Self::with_response)).
    pub fn busy(retry_after: Option<Duration>) -> Self {
        Self::Busy { retry_after, response: None }
    }

    /// Sent, or perhaps sent, without an answer that tells.
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown { reason: reason.into(), response: None }
    }

    /// Adds what the provider sent, so that every caller of the flight gets it.
    pub fn with_response(mut self, answer: ProviderResponse) -> Self {
        match &mut self {
            Self::NotSent { .. } => {}
            Self::Denied { response, .. } | Self::Busy { response, .. } | Self::Unknown { response, .. } => {
                *response = Some(answer);
            }
        }
        self
    }

    /// What the provider sent, if it sent anything.
    pub fn response(&self) -> Option<&ProviderResponse> {
        match self {
            Self::NotSent { .. } => None,
            Self::Denied { response, .. } | Self::Busy { response, .. } | Self::Unknown { response, .. } => {
                response.as_ref()
            }
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NotSent { .. } | Self::Busy { .. } | Self::Unknown { .. } => true,
            Self::Denied { error, .. } => {
                matches!(error.as_str(), "temporarily_unavailable" | "server_error" | "slow_down" | "use_dpop_nonce")
            }
        }
    }

    /// The same failure for a caller that comes `age` later: less is left of what the provider asked to wait.
    pub(crate) fn aged(&self, age: Duration) -> Self {
        let mut aged = self.clone();
        if let Self::Busy { retry_after: Some(left), .. } = &mut aged {
            *left = left.saturating_sub(age);
        }
        aged
    }

    /// Whether the token is dead. No other denial says anything about it.
    pub(crate) fn is_invalid_grant(&self) -> bool {
        matches!(self, Self::Denied { error, .. } if error == "invalid_grant")
    }
}

/// What a flight ended with.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Success(TokenResponse),
    Failure(ProviderFailure),
    /// An earlier leader was lost with its answer, or the policy forbids to ask again: the token may have been
    /// rotated and the successor is gone. Holds the provider's refusal where there was one.
    TokenLost(Option<ProviderResponse>),
}

/// The class of an outcome. Its word stands in Redis, where scripts decide by it, in metrics and in logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Success,
    Denied,
    Busy,
    NotSent,
    Unknown,
    TokenLost,
}

impl Class {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denied => "denied",
            Self::Busy => "busy",
            Self::NotSent => "not_sent",
            Self::Unknown => "unknown",
            Self::TokenLost => "lost",
        }
    }
}

/// What became of the refresh token that was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenState {
    /// The provider gave a successor: a second presentation would be a reuse.
    Rotated,
    /// The provider gave none: the same token is used again.
    Kept,
    /// `invalid_grant`.
    Dead,
    /// It was not looked at, as far as anyone knows.
    Untouched,
    /// Nobody knows.
    Unknown,
}

impl TokenState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Rotated => "rotated",
            Self::Kept => "kept",
            Self::Dead => "dead",
            Self::Untouched => "untouched",
            Self::Unknown => "unknown",
        }
    }
}

/// What an outcome says of the provider, for the circuit and the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProviderHealth {
    Healthy,
    Failing,
    /// Nothing of the provider's health.
    Neutral,
    /// 429: this session is to stay away, for as long as the provider says, if it does.
    SessionLimited(Option<Duration>),
    /// 503 with Retry-After: everybody is to stay away.
    FleetLimited(Duration),
}

/// A provider that asks to stay away for longer is asked again after this.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);
impl Outcome {
    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Success(_) => Class::Success,
            Self::Failure(ProviderFailure::Denied { .. }) => Class::Denied,
            Self::Failure(ProviderFailure::Busy { .. }) => Class::Busy,
            Self::Failure(ProviderFailure::NotSent { .. }) => Class::NotSent,
            Self::Failure(ProviderFailure::Unknown { .. }) => Class::Unknown,
            Self::TokenLost(_) => Class::TokenLost,
        }
    }

    pub(crate) fn health(&self) -> ProviderHealth {
        match self {
            Self::Success(_) => ProviderHealth::Healthy,
            Self::Failure(ProviderFailure::Unknown { .. }) => ProviderHealth::Failing,
            Self::Failure(ProviderFailure::Busy { retry_after, response }) => match (retry_after, response) {
                (Some(retry_after), Some(response)) if response.status() == 503 => {
                    ProviderHealth::FleetLimited(*retry_after)
                }
                (retry_after, _) => ProviderHealth::SessionLimited(*retry_after),
            },
            Self::Failure(ProviderFailure::Denied { .. } | ProviderFailure::NotSent { .. }) | Self::TokenLost(_) => {
                ProviderHealth::Neutral
            }
        }
    }

    /// Whether the session pays for it: not where nothing was sent, nor where the client was at fault or has only to
    /// come again with a nonce.
    pub(crate) fn is_charged(&self) -> bool {
        match self {
            Self::Failure(ProviderFailure::NotSent { .. }) => false,
            Self::Failure(ProviderFailure::Denied { error, .. }) => !matches!(
                error.as_str(),
                "invalid_client" | "unauthorized_client" | "unsupported_grant_type" | "use_dpop_nonce"
            ),
            Self::Success(_) | Self::Failure(_) | Self::TokenLost(_) => true,
        }
    }

    pub(crate) fn token_state(&self) -> TokenState {
        match self {
            Self::Success(tokens) if tokens.refresh_token().is_some() => TokenState::Rotated,
            Self::Success(_) => TokenState::Kept,
            Self::Failure(ProviderFailure::Denied { error, .. }) if error == "invalid_grant" => TokenState::Dead,
            Self::Failure(
                ProviderFailure::Denied { .. } | ProviderFailure::Busy { .. } | ProviderFailure::NotSent { .. },
            ) => TokenState::Untouched,
            Self::Failure(ProviderFailure::Unknown { .. }) => TokenState::Unknown,
            Self::TokenLost(_) => TokenState::Dead,
        }
    }
}
