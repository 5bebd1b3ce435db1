//! Words: what an application does about a refresh that brought no tokens.

use std::time::Duration;

use crate::error::RefreshError;
use crate::outcome::ProviderFailure;

/// What to do about an error: one of three.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The user has to log in again, or to consent to what was asked for: 401.
    SessionOver,
    /// The session is as good as before: 503, with Retry-After.
    TryAgain {
        /// When asking again makes sense.
        after: Duration,
    },
    /// The application or the provider is misconfigured, for example by a wrong client secret: 500. Nobody is logged out for
    /// it.
    Misconfigured {
        /// What is wrong, for the log: the provider's error code, or words of this crate.
        error: String,
    },
}

impl Verdict {
    /// What this error means.
    ///
    /// ```
    /// use refresh_coordinator::{ProviderFailure, RefreshError, Verdict};
    ///
    /// let refused = |error| RefreshError::Provider { failure: ProviderFailure::denied(error), fence: 1 };
    /// assert_eq!(Verdict::of(&refused("invalid_grant")), Verdict::SessionOver);
    /// let Verdict::Misconfigured { error } = Verdict::of(&refused("invalid_client")) else { panic!() };
    /// assert_eq!(error, "invalid_client");
    /// ```
    pub fn of(error: &RefreshError) -> Self {
        let needs_user = matches!(error, RefreshError::Provider { failure, .. } if failure.needs_user());
        if error.is_session_over() || needs_user {
            return Self::SessionOver;
        }
        if error.is_transient() {
            return Self::TryAgain { after: error.retry_after().unwrap_or(Duration::from_secs(1)) };
        }
        Self::Misconfigured {
            error: match error {
                RefreshError::Provider { failure: ProviderFailure::Denied { error, .. }, .. } => error.clone(),
                RefreshError::Provider { failure, .. } => failure.to_string(),
                RefreshError::Invalid(invalid) => invalid.to_string(),
                other => other.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Refusal;
    use crate::request::InvalidRefresh;
    use crate::token_response::ProviderResponse;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn only_a_dead_or_lost_token_logs_anybody_out() {
        let provider = |failure| Verdict::of(&RefreshError::Provider { failure, fence: 1 });
        let later = |seconds: u32| Verdict::TryAgain { after: seconds * S };
        let wrong = |error: &str| Verdict::Misconfigured { error: error.to_owned() };

        assert_eq!(Verdict::of(&RefreshError::Lost { response: None }), Verdict::SessionOver);
        assert_eq!(provider(ProviderFailure::denied("invalid_grant")), Verdict::SessionOver);
        let consent = provider(ProviderFailure::denied("consent_required"));
        assert_eq!(consent, Verdict::SessionOver, "its user brings what was asked for");
        assert_eq!(provider(ProviderFailure::denied("invalid_scope")), wrong("invalid_scope"));
        assert_eq!(provider(ProviderFailure::denied("temporarily_unavailable")), later(1));
        assert_eq!(provider(ProviderFailure::busy(Some(7 * S))), later(7));
        assert_eq!(provider(ProviderFailure::unknown("x")), later(1));
        let response = ProviderResponse::new(200, "?");
        let not_understood = provider(ProviderFailure::NotUnderstood { response });
        assert!(matches!(not_understood, Verdict::Misconfigured { .. }), "{not_understood:?}");
        assert_eq!(Verdict::of(&Refusal::Budget { retry_after: 3 * S }.into()), later(3));
        assert_eq!(Verdict::of(&InvalidRefresh::EmptyToken.into()), wrong("the refresh token is empty"));
    }
}
