//! How long an outcome is handed out, and how long it is remembered: the one place where classes of outcomes meet the
//! settings `keep_*` and `uncertain_memory`.

use std::time::Duration;

use crate::config::{Config, Uncertain};
use crate::outcome::{Denial, LONGEST_RETRY_AFTER, Outcome, ProviderFailure, TokenState};
use crate::token_response::TokenResponse;

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

/// For how long at most a refusal is handed on that says nothing of the token: secrets are being rolled while a client is
/// refused, and parameters mended.
const OTHER_REFUSAL_FRESH: Duration = Duration::from_secs(5);
/// What is left at least of an access token that is handed on, unless that is more than half of its life.
const LEAST_LEFT: Duration = Duration::from_secs(5);
/// No outcome is handed on for longer, whatever the provider says of the access token's life.
const LONGEST_FRESH: Duration = Duration::from_secs(24 * 60 * 60);

impl Retention {
    pub(crate) fn of(outcome: &Outcome, config: &Config) -> Self {
        let fresh = fresh_for(outcome, config);
        let kept = match outcome.token_state() {
            TokenState::Rotated | TokenState::Kept => fresh + config.wait_timeout,
            TokenState::Unknown if config.uncertain == Uncertain::Never => fresh.max(config.uncertain_memory),
            TokenState::Unknown | TokenState::Dead | TokenState::Untouched => fresh,
        };
        Self { fresh, lives: lives_for(outcome, config), kept }
    }

    /// For how long callers who come now are given an outcome that the provider gave `age` ago.
    pub(crate) fn fresh_at(&self, age: Duration) -> Duration {
        self.lives.map_or(self.fresh, |lives| self.fresh.min(lives.saturating_sub(age)))
    }
}

fn fresh_for(outcome: &Outcome, config: &Config) -> Duration {
    match outcome {
        Outcome::Success(tokens) => kept_for(tokens, config).unwrap_or(config.keep_outcome),
        Outcome::Failure(failure @ ProviderFailure::Denied { .. }) => match failure.denial() {
            Some(Denial::DeadToken | Denial::User) => config.keep_refusal,
            // The caller comes again at once, with the nonce it was told (RFC 9449 section 8).
            Some(Denial::Nonce) => Duration::ZERO,
            Some(Denial::Client | Denial::Passing | Denial::Other) | None => {
                config.keep_refusal.min(OTHER_REFUSAL_FRESH)
            }
        },
        Outcome::Failure(ProviderFailure::Busy { retry_after, .. }) => {
            retry_after.unwrap_or_default().clamp(config.keep_failure, LONGEST_RETRY_AFTER)
        }
        Outcome::Failure(ProviderFailure::NotUnderstood { .. }) => config.keep_outcome,
        Outcome::Failure(
            ProviderFailure::NotSent { .. } | ProviderFailure::NotProcessed { .. } | ProviderFailure::Unknown { .. },
        ) => config.keep_failure,
        Outcome::TokenLost(_) => config.keep_refusal,
    }
}

/// For how long after the provider's answer its access token is good enough for a caller that comes later with an older
/// refresh token: as long as that of a refresh token that is kept.
pub(crate) fn good_for(tokens: &TokenResponse, config: &Config) -> Duration {
    tokens.expires_in().map_or(config.keep_outcome, |life| (life - least_left(life)).min(LONGEST_FRESH))
}

/// How long after the provider's answer its access token lives, as far as is known.
pub(crate) fn lives(tokens: &TokenResponse, config: &Config) -> Duration {
    tokens.expires_in().unwrap_or(config.keep_outcome)
}

fn least_left(life: Duration) -> Duration {
    (life / 10).max(LEAST_LEFT).min(life / 2)
}

/// For how long the tokens of a success are good enough for newcomers, where the presented refresh token is used again and
/// the provider says how long the access token lives.
fn kept_for(tokens: &TokenResponse, config: &Config) -> Option<Duration> {
    let life = tokens.expires_in().filter(|_| tokens.is_kept())?;
    if config.keep_outcome.is_zero() {
        return Some(Duration::ZERO);
    }
    Some((life - least_left(life)).min(LONGEST_FRESH))
}

fn lives_for(outcome: &Outcome, config: &Config) -> Option<Duration> {
    match outcome {
        Outcome::Success(tokens) => kept_for(tokens, config),
        Outcome::Failure(_) | Outcome::TokenLost(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn of(json: &str) -> Retention {
        let tokens = TokenResponse::from_json(json).expect("a token response");
        Retention::of(&Outcome::Success(tokens), &Config::default())
    }

    #[test]
    fn only_an_access_token_whose_refresh_token_is_kept_bounds_what_is_fresh() {
        let (kept, rotated) = (
            of(r#"{"access_token":"a","expires_in":6}"#),
            of(r#"{"access_token":"a","expires_in":6,"refresh_token":"r"}"#),
        );

        assert_eq!((kept.lives, rotated.lives), (Some(3 * S), None));
        assert_eq!((kept.fresh_at(S), kept.fresh_at(4 * S)), (2 * S, Duration::ZERO));
        assert_eq!(rotated.fresh_at(4 * S), Config::default().keep_outcome);
    }

    #[test]
    fn kept_token_is_fresh_until_a_tenth_of_the_access_tokens_life_is_left() {
        let fresh = |life: u64| of(&format!(r#"{{"access_token":"a","expires_in":{life}}}"#)).fresh;

        assert_eq!(fresh(3600), 3240 * S);
        assert_eq!(fresh(40), 35 * S, "at least 5 s");
        assert_eq!(fresh(4), 2 * S, "at most half of it");
        assert_eq!(fresh(0), Duration::ZERO);
        assert_eq!(fresh(u64::MAX), LONGEST_FRESH);
        assert_eq!(of(r#"{"access_token":"a"}"#).fresh, Config::default().keep_outcome, "nobody says");
    }

    #[test]
    fn refusal_is_handed_on_for_as_long_as_its_kind_says() {
        let fresh = |error: &str, keep_refusal| {
            let config = Config { keep_refusal, ..Config::default() };
            Retention::of(&Outcome::Failure(ProviderFailure::denied(error)), &config).fresh
        };

        assert_eq!(fresh("invalid_grant", 60 * S), 60 * S);
        assert_eq!(fresh("refresh_token_reused", 7 * S), 7 * S);
        assert_eq!((fresh("invalid_client", 60 * S), fresh("invalid_scope", 60 * S)), (5 * S, 5 * S));
        assert_eq!(fresh("invalid_client", 2 * S), 2 * S);
        assert_eq!(fresh("use_dpop_nonce", 60 * S), Duration::ZERO);
    }

    #[test]
    fn uncertain_token_is_remembered_for_as_long_as_the_policy_wants() {
        let unknown = Outcome::Failure(ProviderFailure::unknown("a reset"));
        let kept = |uncertain| Retention::of(&unknown, &Config { uncertain, ..Config::default() }).kept;

        assert_eq!(kept(Uncertain::Retry), Config::default().keep_failure);
        assert_eq!(kept(Uncertain::Never), Config::default().uncertain_memory);
    }
}
