//! How long an outcome is handed out, and how long it is remembered: the one place where classes of outcomes meet the
//! settings `keep_*` and `uncertain_memory`.

use std::time::Duration;

use crate::config::{Config, Uncertain};
use crate::outcome::{LONGEST_RETRY_AFTER, Outcome, ProviderFailure, TokenState};

/// The spans of one outcome, as the settings have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retention {
    /// For how long after it landed callers who come later are given this outcome, unless [`lives`](Self::lives) is over
    /// before.
    pub(crate) fresh: Duration,
    /// How long after the provider's answer it is worth anything; none where nothing bounds that. Where the old refresh
    /// token still works, an access token that has expired must not be handed out instead of it.
    pub(crate) lives: Option<Duration>,
    /// For how long after it landed the store remembers it: a rotated token for `wait_timeout` longer than its outcome
    /// is fresh, so that a reuse is noticed; an uncertain one for as long as the policy wants.
    pub(crate) kept: Duration,
}

/// How long a dead token's refusal is handed on: it will not come back to life, and bots retry.
const DEAD_TOKEN_FRESH: Duration = Duration::from_secs(60);
/// How long a refused client's refusal is handed on: secrets are being rolled while this happens.
const REFUSED_CLIENT_FRESH: Duration = Duration::from_secs(5);

impl Retention {
    pub(crate) fn of(outcome: &Outcome, config: &Config) -> Self {
        let fresh = fresh_for(outcome, config);
        let kept = match outcome.token_state() {
            TokenState::Rotated | TokenState::Kept => fresh + config.wait_timeout,
            TokenState::Unknown if config.uncertain == Uncertain::Never => fresh.max(config.uncertain_memory),
            TokenState::Unknown | TokenState::Dead | TokenState::Untouched => fresh,
        };
        Self { fresh, lives: lives_for(outcome), kept }
    }

    /// For how long callers who come now are given an outcome that the provider gave `age` ago.
    pub(crate) fn fresh_at(&self, age: Duration) -> Duration {
        self.lives.map_or(self.fresh, |lives| self.fresh.min(lives.saturating_sub(age)))
    }
}

fn fresh_for(outcome: &Outcome, config: &Config) -> Duration {
    match outcome {
        Outcome::Success(_) => config.keep_outcome,
        Outcome::Failure(ProviderFailure::Denied { error, .. }) => match error.as_str() {
            "invalid_grant" => DEAD_TOKEN_FRESH,
            "invalid_client" | "unauthorized_client" | "unsupported_grant_type" => REFUSED_CLIENT_FRESH,
            // The caller comes again at once, with the nonce it was told (RFC 9449 section 8).
            "use_dpop_nonce" => Duration::ZERO,
            _ => config.keep_failure,
        },
        Outcome::Failure(ProviderFailure::Busy { retry_after, .. }) => {
            retry_after.unwrap_or_default().clamp(config.keep_failure, LONGEST_RETRY_AFTER)
        }
        Outcome::Failure(ProviderFailure::NotSent { .. } | ProviderFailure::Unknown { .. }) => config.keep_failure,
        Outcome::TokenLost(_) => DEAD_TOKEN_FRESH,
    }
}

fn lives_for(outcome: &Outcome) -> Option<Duration> {
    match outcome {
        Outcome::Success(tokens) if tokens.refresh_token().is_none() => tokens.expires_in(),
        Outcome::Success(_) | Outcome::Failure(_) | Outcome::TokenLost(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token_response::TokenResponse;

    const S: Duration = Duration::from_secs(1);

    fn of(json: &str) -> Retention {
        let tokens = TokenResponse::from_json(json).expect("a token response");
        Retention::of(&Outcome::Success(tokens), &Config::default())
    }

    #[test]
    fn only_an_access_token_whose_refresh_token_is_kept_bounds_what_is_fresh() {
        let (kept, rotated) = (
            of(r#"{"access_token":"a","expires_in":3}"#),
            of(r#"{"access_token":"a","expires_in":3,"refresh_token":"r"}"#),
        );

        assert_eq!((kept.lives, rotated.lives), (Some(3 * S), None));
        assert_eq!((kept.fresh_at(S), kept.fresh_at(4 * S)), (2 * S, Duration::ZERO));
        assert_eq!(rotated.fresh_at(4 * S), Config::default().keep_outcome);
    }

    #[test]
    fn uncertain_token_is_remembered_for_as_long_as_the_policy_wants() {
        let unknown = Outcome::Failure(ProviderFailure::unknown("a reset"));
        let kept = |uncertain| Retention::of(&unknown, &Config { uncertain, ..Config::default() }).kept;

        assert_eq!(kept(Uncertain::Retry), Config::default().keep_failure);
        assert_eq!(kept(Uncertain::Never), Config::default().uncertain_memory);
    }
}
