//! Words: what a flight ends with, and what follows from it for the token.
//!
//! The refresh function answers with a [`TokenResponse`] or a [`ProviderFailure`]. [`Outcome`]'s methods tell which class
//! that is and what became of the token. `retention.rs` tells for how long it is kept.

use std::time::Duration;

mod denial;

pub(crate) use self::denial::Denial;
use crate::authentication::Authentication;
use crate::dialect::Dialect;
use crate::identity::Payer;
use crate::token_response::{ProviderResponse, TokenResponse};

/// Why a refresh brought no tokens, sorted by what is known of the refresh token afterwards.
///
/// The ways decide which callers are given the failure, for how long, and whether the token may be presented again:
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
        /// The OAuth error code, or what the provider has in its place.
        error: String,
        /// Whether it says that the refresh token is dead: `invalid_grant`, or another of the names in
        /// [`Dialect`](crate::Dialect). No other refusal says anything of the token.
        is_token_dead: bool,
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
    /// The provider, or a gateway before it, answered that it did not process the request: a redirect but 303, 408, 421,
    /// 425, a 503 that names no time, a 521, 523, 525, 526 or 530 of Cloudflare. The token is untouched.
    #[error("the provider did not process the refresh: {reason}")]
    NotProcessed {
        /// What was answered, for the log. Must not hold a secret.
        reason: String,
        /// What the provider sent, for every caller of the flight. A 5xx speaks against the provider's health.
        response: Option<ProviderResponse>,
    },
    /// The provider answered a 2xx in which no tokens could be read. It counts as a success that rotated the token: its
    /// bytes are for every caller of the flight, and hold what there is.
    #[error("the provider answered with success, in a form that is not understood")]
    NotUnderstood {
        /// What the provider sent.
        response: ProviderResponse,
    },
    /// The request may have reached the provider, and nobody knows what it did: a 500, a reset, a timeout, a page
    /// where tokens were expected. The token may have been rotated.
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

    /// The provider's OAuth error code. Whether that names a dead token is known of the usual names, and when a flight
    /// ends with it also of those in [`Config::dialect`](crate::Config::dialect).
    pub fn denied(error: impl Into<String>) -> Self {
        let error = error.into();
        Self::Denied { is_token_dead: Dialect::default().is_dead_token(&error), error, response: None }
    }

    /// The provider answered that it did not process the request.
    pub fn not_processed(reason: impl Into<String>) -> Self {
        Self::NotProcessed { reason: reason.into(), response: None }
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
            Self::NotUnderstood { response } => *response = answer,
            Self::Denied { response, .. }
            | Self::Busy { response, .. }
            | Self::NotProcessed { response, .. }
            | Self::Unknown { response, .. } => *response = Some(answer),
        }
        self
    }

    /// The same, as the answer to a client that authenticates in these ways.
    #[cfg(feature = "http")]
    pub(crate) fn told_to(mut self, authentication: Authentication) -> Self {
        if let Self::Denied { response, .. } = &mut self {
            *response = response.take().map(|response| response.authenticated(authentication));
        }
        self
    }

    /// What the provider sent, if it sent anything.
    pub fn response(&self) -> Option<&ProviderResponse> {
        match self {
            Self::NotSent { .. } => None,
            Self::NotUnderstood { response } => Some(response),
            Self::Denied { response, .. }
            | Self::Busy { response, .. }
            | Self::NotProcessed { response, .. }
            | Self::Unknown { response, .. } => response.as_ref(),
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NotSent { .. } | Self::Busy { .. } | Self::NotProcessed { .. } | Self::Unknown { .. } => true,
            Self::NotUnderstood { .. } => false,
            Self::Denied { .. } => matches!(self.denial(), Some(Denial::Passing | Denial::Nonce)),
        }
    }

    /// The same failure for a caller that comes `age` later: less is left of what the provider asked to wait.
    pub(crate) fn aged(&self, age: Duration) -> Self {
        let mut aged = self.clone();
        if let Self::Busy { retry_after: Some(left), .. } = &mut aged {
            *left = left.saturating_sub(age);
        }
        match &mut aged {
            Self::NotSent { .. } => {}
            Self::NotUnderstood { response } => response.age(age),
            Self::Denied { response, .. }
            | Self::Busy { response, .. }
            | Self::NotProcessed { response, .. }
            | Self::Unknown { response, .. } => response.iter_mut().for_each(|response| response.age(age)),
        }
        aged
    }

    /// What kind of refusal it is.
    pub(crate) fn denial(&self) -> Option<Denial> {
        let Self::Denied { error, is_token_dead, .. } = self else { return None };
        Some(Denial::of(error, *is_token_dead))
    }

    /// In which ways the client authenticated that was refused, where that is known and may be the reason.
    pub(crate) fn refused_authentication(&self) -> Option<Authentication> {
        let denial = self.denial().filter(|denial| denial.may_be_of_authentication());
        denial.and_then(|_| self.response()).map(ProviderResponse::authentication)
    }

    /// Whether the token is dead. No other denial says anything about it.
    pub(crate) fn is_token_dead(&self) -> bool {
        matches!(self, Self::Denied { is_token_dead: true, .. })
    }

    /// Whether only its user brings what was asked for, though the token may be good for something else.
    pub(crate) fn needs_user(&self) -> bool {
        self.denial() == Some(Denial::User)
    }

    /// The same failure, once it is known what the provider calls a dead token.
    pub(crate) fn told_in(mut self, dialect: &Dialect) -> Self {
        if let Self::Denied { error, is_token_dead, .. } = &mut self {
            *is_token_dead |= dialect.is_dead_token(error);
        }
        self
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
    NotProcessed,
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
            Self::NotProcessed => "not_processed",
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
    /// The provider gave none, or the same one again, or its tokens are reusable: the same token is used again.
    Kept,
    /// The provider says so, by `invalid_grant` or another name.
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
            Self::Success(_) | Self::Failure(ProviderFailure::NotUnderstood { .. }) => Class::Success,
            Self::Failure(ProviderFailure::NotProcessed { .. }) => Class::NotProcessed,
            Self::Failure(ProviderFailure::Denied { .. }) => Class::Denied,
            Self::Failure(ProviderFailure::Busy { .. }) => Class::Busy,
            Self::Failure(ProviderFailure::NotSent { .. }) => Class::NotSent,
            Self::Failure(ProviderFailure::Unknown { .. }) => Class::Unknown,
            Self::TokenLost(_) => Class::TokenLost,
        }
    }

    pub(crate) fn health(&self) -> ProviderHealth {
        match self {
            Self::Success(_) | Self::Failure(ProviderFailure::NotUnderstood { .. }) => ProviderHealth::Healthy,
            // A page with a 2xx: somebody between here and the provider wants something of a browser.
            Self::Failure(ProviderFailure::Unknown { response: Some(response), .. })
                if (200..300).contains(&response.status()) =>
            {
                ProviderHealth::Neutral
            }
            Self::Failure(ProviderFailure::Unknown { .. }) => ProviderHealth::Failing,
            Self::Failure(ProviderFailure::NotProcessed { response: Some(response), .. })
                if response.status() >= 500 =>
            {
                ProviderHealth::Failing
            }
            Self::Failure(ProviderFailure::Busy { retry_after, response }) => match (retry_after, response) {
                (Some(retry_after), Some(response)) if response.status() == 503 => {
                    ProviderHealth::FleetLimited(*retry_after)
                }
                (retry_after, _) => ProviderHealth::SessionLimited(*retry_after),
            },
            Self::Failure(
                ProviderFailure::Denied { .. } | ProviderFailure::NotSent { .. } | ProviderFailure::NotProcessed { .. },
            )
            | Self::TokenLost(_) => ProviderHealth::Neutral,
        }
    }

    /// Whether the session pays for it: not where nothing was sent, where the client was at fault, its user is needed, or it has only to come
    /// again with a nonce, where the provider was busy or said that it cannot answer for now; nor for a token that is the session and is used again, which would
    /// be refused for nothing but living on.
    pub(crate) fn is_charged(&self, payer: Payer) -> bool {
        match self {
            Self::Success(tokens) => !(tokens.is_kept() && payer == Payer::Token),
            Self::Failure(ProviderFailure::NotSent { .. } | ProviderFailure::Busy { .. }) => false,
            Self::Failure(failure) => {
                !matches!(failure.denial(), Some(Denial::Client | Denial::User | Denial::Nonce | Denial::Passing))
            }
            Self::TokenLost(_) => true,
        }
    }

    pub(crate) fn token_state(&self) -> TokenState {
        match self {
            Self::Success(tokens) if tokens.is_kept() => TokenState::Kept,
            Self::Success(_) | Self::Failure(ProviderFailure::NotUnderstood { .. }) => TokenState::Rotated,
            Self::Failure(ProviderFailure::Denied { is_token_dead: true, .. }) | Self::TokenLost(_) => TokenState::Dead,
            Self::Failure(
                ProviderFailure::Denied { .. }
                | ProviderFailure::Busy { .. }
                | ProviderFailure::NotSent { .. }
                | ProviderFailure::NotProcessed { .. },
            ) => TokenState::Untouched,
            Self::Failure(ProviderFailure::Unknown { .. }) => TokenState::Unknown,
        }
    }
}
