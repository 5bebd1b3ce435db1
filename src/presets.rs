//! What is known of some providers, as data: each fact with its source.

mod preset;
mod table;

pub use preset::{Fact, Preset};

/// There is no preset of this name; the text of the error lists those that there are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no provider is known as {name:?}: expected one of {}", Preset::names())]
pub struct UnknownPreset {
    name: String,
}

impl Preset {
    /// All of them, by name.
    pub fn all() -> &'static [Self] {
        &table::PRESETS
    }

    /// The preset of this name.
    ///
    /// # Errors
    ///
    /// [`UnknownPreset`] lists the right names.
    pub fn named(name: &str) -> Result<&'static Self, UnknownPreset> {
        Self::all().iter().find(|preset| preset.name == name).ok_or_else(|| UnknownPreset { name: name.to_owned() })
    }

    fn names() -> String {
        Self::all().iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Config, OtherClaims};

    #[test]
    fn every_preset_gives_possible_settings_and_names_a_source_for_each_fact() {
        for preset in Preset::all() {
            preset.applied_to(Config::default()).validate().unwrap_or_else(|error| panic!("{}: {error}", preset.name));
            let told = preset.to_string();
            let (facts, sources) = told.lines().partition::<Vec<_>, _>(|line| !line.starts_with("    "));
            assert_eq!(facts.len() - 2, sources.len(), "all but the name and what follows: {told}");
            assert!(sources.iter().all(|source| source.trim().starts_with("https://")), "{told}");
        }
        let names: Vec<_> = Preset::all().iter().map(|preset| preset.name).collect();
        assert!(names.is_sorted(), "{names:?}");
    }

    #[test]
    fn provider_that_narrows_tokens_or_ends_access_refuses_other_claims_and_no_other_does() {
        let refusing: Vec<_> = Preset::all()
            .iter()
            .filter(|preset| preset.applied_to(Config::default()).other_claims == OtherClaims::Refuse)
            .map(|preset| preset.name)
            .collect();

        assert_eq!(refusing, ["django-oauth-toolkit", "github"]);
        let told = Preset::named("github").expect("known").to_string();
        assert!(told.ends_with("other_claims refuse\n"), "{told}");
        let refused = Config { other_claims: OtherClaims::Refuse, ..Config::default() };
        let okta = Preset::named("okta").expect("known").applied_to(refused);
        assert_eq!(okta.other_claims, OtherClaims::Refuse, "nothing is known that speaks against it");
    }

    #[test]
    fn preset_leaves_what_it_does_not_know_of() {
        let config = Config { retry_lost_after: Some(Duration::from_secs(7)), ..Config::default() };

        let github = Preset::named("github").expect("known").applied_to(config.clone());
        let okta = Preset::named("okta").expect("known").applied_to(config);

        assert_eq!(github.retry_lost_after(), Duration::from_secs(7));
        assert_eq!(okta.retry_lost_after(), Duration::ZERO, "within its grace");
    }
}
