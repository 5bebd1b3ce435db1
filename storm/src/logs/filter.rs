//! Which events are wanted: `info,refresh_coordinator=debug`.

use std::str::FromStr;

use tracing::Level;
use tracing::level_filters::LevelFilter;

/// Levels by target. The longest target that an event's begins with decides.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Filter(Vec<(String, LevelFilter)>);

impl Filter {
    pub(super) fn wants(&self, target: &str, level: Level) -> bool {
        let is_for = |wanted: &str| match target.strip_prefix(wanted) {
            Some(rest) => wanted.is_empty() || rest.is_empty() || rest.starts_with("::"),
            None => false,
        };
        let directives = self.0.iter().filter(|(wanted, _)| is_for(wanted));
        // Of two for the same target the later one counts.
        directives.max_by_key(|(wanted, _)| wanted.len()).is_some_and(|(_, most)| level <= *most)
    }
}

impl FromStr for Filter {
    /// The directive that is none.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let directive = |text: &str| {
            let not_understood = |_| format!("{text:?}");
            match text.split_once('=') {
                Some(("", _)) => Err(format!("{text:?}")),
                Some((target, level)) => Ok((target.to_owned(), level.parse().map_err(not_understood)?)),
                None => match text.parse() {
                    Ok(level) => Ok((String::new(), level)),
                    // A target alone: all of it.
                    Err(_) if text.chars().all(|c| c.is_alphanumeric() || "_-:".contains(c)) => {
                        Ok((text.to_owned(), LevelFilter::TRACE))
                    }
                    Err(error) => Err(not_understood(error)),
                },
            }
        };
        let directives = text.split(',').map(str::trim).filter(|text| !text.is_empty());
        let mut directives: Vec<_> = directives.map(directive).collect::<Result<_, _>>()?;
        if directives.is_empty() {
            directives.push((String::new(), LevelFilter::ERROR));
        }
        Ok(Self(directives))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_target_decides() {
        let filter: Filter =
            "info, refresh_coordinator=debug,refresh_coordinator::leader=off".parse().expect("a filter");

        assert!(filter.wants("hyper", Level::INFO) && !filter.wants("hyper", Level::DEBUG));
        assert!(filter.wants("refresh_coordinator::store", Level::DEBUG));
        assert!(!filter.wants("refresh_coordinator_cli", Level::DEBUG), "it only begins like another");
        assert!(!filter.wants("refresh_coordinator::leader", Level::ERROR));
        let nothing: Filter = "".parse().expect("a filter");
        assert!(nothing.wants("hyper", Level::ERROR) && !nothing.wants("hyper", Level::WARN));
    }

    #[test]
    fn what_is_no_directive_is_named() {
        for text in ["info,=x=", "hyper=loud", "a b"] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
    }
}
