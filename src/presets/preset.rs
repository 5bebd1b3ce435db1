//! What can be known of a provider, and the settings that follow from it.

use std::fmt;
use std::time::Duration;

use crate::config::{Config, OtherClaims, RefreshTokens, Uncertain};
use crate::dialect::Dialect;

/// Something that is known of a provider, and where it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fact<T> {
    /// What is known.
    pub value: T,
    /// The page that says so.
    pub source: &'static str,
}

/// What is known of a provider with its usual settings, and what follows for [`Config`].
///
/// ```
/// use refresh_coordinator::{Config, OtherClaims, Preset, RefreshTokens};
///
/// let config = Preset::named("entra")?.applied_to(Config::default());
/// assert_eq!(config.refresh_tokens, RefreshTokens::Reusable);
///
/// // What you know better is said after it.
/// let narrowing = Preset::named("django-oauth-toolkit")?.applied_to(Config::default());
/// assert_eq!(narrowing.other_claims, OtherClaims::Refuse);
/// assert_eq!(narrowing.with_other_claims(OtherClaims::Follow).other_claims, OtherClaims::Follow);
///
/// let wrong = Preset::named("entrance").unwrap_err();
/// assert!(wrong.to_string().contains("auth0, django-oauth-toolkit, entra,"));
/// # Ok::<(), refresh_coordinator::UnknownPreset>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preset {
    /// What it is chosen by.
    pub name: &'static str,
    /// Whether a refresh token can be presented more than once.
    pub refresh_tokens: Fact<RefreshTokens>,
    /// For how long a token that was rotated can be presented again, if at all.
    pub grace: Option<Fact<Duration>>,
    /// What names a dead token, beside the names that are known of all providers.
    pub dead_token_errors: &'static [Fact<&'static str>],
    /// What a refusal that will pass says in its text.
    pub passing_refusals: &'static [Fact<&'static str>],
    /// What a 503 says in its text that may come after the request was processed.
    pub gateway_texts: &'static [Fact<&'static str>],
    /// Where it is so: a refresh with a narrower scope narrows the successor for good.
    pub narrows: Option<Fact<()>>,
    /// Where it is so: a refresh ends the access token that was given before.
    pub revokes_access: Option<Fact<()>>,
}

impl Preset {
    /// What to do with a token of which nobody knows whether it was rotated: a reusable one is presented again, which costs
    /// nothing. None: as usual.
    pub fn uncertain(&self) -> Option<Uncertain> {
        (self.refresh_tokens.value == RefreshTokens::Reusable).then_some(Uncertain::Retry)
    }

    /// When the token of a lost leader is presented again: at once where that is within the provider's grace, or where the
    /// token is reusable. None: as usual.
    pub fn retry_lost_after(&self) -> Option<Duration> {
        let is_harmless = self.grace.is_some() || self.refresh_tokens.value == RefreshTokens::Reusable;
        is_harmless.then_some(Duration::ZERO)
    }

    /// What to do when another scope, resource or audience comes with a token that was already rotated: refuse it if the provider
    /// would leave it the first one's scope, or end the first one's access token. None: as usual.
    pub fn other_claims(&self) -> Option<OtherClaims> {
        let harms_others = self.narrows.is_some() || self.revokes_access.is_some();
        harms_others.then_some(OtherClaims::Refuse)
    }

    /// The settings with what follows from these facts; all others stay, and the texts of the dialect come beside those that are there.
    pub fn applied_to(&self, config: Config) -> Config {
        let with = |mut texts: Vec<String>, facts: &[Fact<&str>]| {
            texts.extend(facts.iter().map(|fact| fact.value.to_owned()));
            texts
        };
        Config {
            refresh_tokens: self.refresh_tokens.value,
            uncertain: self.uncertain().unwrap_or(config.uncertain),
            retry_lost_after: self.retry_lost_after().or(config.retry_lost_after),
            other_claims: self.other_claims().unwrap_or(config.other_claims),
            dialect: Dialect {
                dead_token_errors: with(config.dialect.dead_token_errors, self.dead_token_errors),
                passing_refusals: with(config.dialect.passing_refusals, self.passing_refusals),
                gateway_texts: with(config.dialect.gateway_texts, self.gateway_texts),
            },
            ..config
        }
    }
}

/// Its name and a line for each fact, with its source.
impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.name)?;
        let mut line = |what: &str, source: &str| writeln!(f, "  {what}\n    {source}");
        let tokens = match self.refresh_tokens.value {
            RefreshTokens::SingleUse => "refresh tokens: single-use",
            RefreshTokens::Reusable => "refresh tokens: reusable",
        };
        line(tokens, self.refresh_tokens.source)?;
        if let Some(grace) = self.grace {
            line(&format!("a rotated token works for {:?} more", grace.value), grace.source)?;
        }
        for (what, facts) in [
            ("dead token", self.dead_token_errors),
            ("refusal that will pass", self.passing_refusals),
            ("503 after the request was sent", self.gateway_texts),
        ] {
            facts.iter().try_for_each(|fact| line(&format!("{what}: {}", fact.value), fact.source))?;
        }
        if let Some(narrows) = self.narrows {
            line("a refresh with a narrower scope narrows the next refresh token", narrows.source)?;
        }
        if let Some(revokes_access) = self.revokes_access {
            line("a refresh ends the access token that was given before", revokes_access.source)?;
        }
        let uncertain = match self.uncertain() {
            Some(Uncertain::Retry) => "retry",
            Some(Uncertain::Never) => "never",
            None => "as usual",
        };
        let lost = self.retry_lost_after().map_or("as usual".to_owned(), |span| format!("{span:?}"));
        let others = match self.other_claims() {
            Some(OtherClaims::Refuse) => "refuse",
            Some(OtherClaims::Follow) => "follow",
            None => "as usual",
        };
        writeln!(f, "  so: uncertain {uncertain}, retry_lost_after {lost}, other_claims {others}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_config_says_stays_beside_what_a_preset_knows() {
        let given = Config::default()
            .with_uncertain(Uncertain::Never)
            .with_dialect(Dialect::default().with_dead_token_errors(["token_gone"]));

        let okta = Preset::named("okta").expect("known").applied_to(given.clone());
        assert_eq!(okta.uncertain, Uncertain::Never);
        // A reusable token is presented again without harm.
        let entra = Preset::named("entra").expect("known").applied_to(given.clone());
        assert_eq!(entra.uncertain, Uncertain::Retry);

        let errors = Preset::named("supabase").expect("known").applied_to(given).dialect.dead_token_errors;
        assert!(
            errors.contains(&"token_gone".to_owned()) && errors.contains(&"session_not_found".to_owned()),
            "{errors:?}"
        );
    }
}
