//! A request that names the scope which was granted, after another one had the token refreshed without naming any (RFC 6749
//! section 6): it asks for the same, and shares the answer.

use std::collections::BTreeSet;

use super::pair::MARK;
use crate::request::{Refresh, Sharing};
use crate::secret::Secret;
use crate::{RefreshCoordinator, Refreshed};

/// The same request without the scope that it names.
#[derive(Debug)]
pub(super) struct Unscoped {
    refresh: Refresh,
    scope: Secret,
}

impl Unscoped {
    /// None where it names no scope, or several, or where nobody's request can be equal to it.
    pub(super) fn of(refresh: &Refresh) -> Option<Self> {
        if refresh.sharing == Sharing::Alone {
            return None;
        }
        let mut scopes = refresh.parameters.iter().filter(|(name, _)| is_scope(name));
        let (_, scope) = scopes.next().filter(|(name, value)| name == "scope" && !value.expose().trim().is_empty())?;
        if scopes.next().is_some() {
            return None;
        }
        let (scope, mut refresh) = (scope.clone(), refresh.clone());
        refresh.parameters.retain(|(name, _)| name != "scope");
        Some(Self { refresh, scope })
    }

    /// The answer to it, where there is one that is fresh, or under way, and was given for this scope.
    pub(super) async fn answer(self, coordinator: &RefreshCoordinator) -> Option<Refreshed> {
        let Self { refresh, scope } = self;
        let refreshed = coordinator.wait_for(refresh).await.ok()?;
        (words(refreshed.tokens().scope()?) == words(scope.expose())).then_some(refreshed)
    }
}

/// Also one of several: these are told apart by where they stood.
pub(super) fn is_scope(name: &str) -> bool {
    name == "scope" || name.starts_with(MARK) && name.ends_with(" scope")
}

/// A scope is a set of words, whatever their order (RFC 6749 section 3.3).
fn words(scope: &str) -> BTreeSet<&str> {
    scope.split_ascii_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_that_names_one_scope_and_can_be_shared_has_another_one_without() {
        let with = |parameters: &[(&str, &str)]| Refresh::new("r").parameters(parameters.iter().copied());

        let unscoped = Unscoped::of(&with(&[("x", "1"), ("scope", "b a")])).expect("one scope");
        let left: Vec<_> = unscoped.refresh.parameters.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((left, unscoped.scope.expose()), (vec!["x"], "b a"));

        let (first, second) = (format!("{MARK}\n0 scope"), format!("{MARK}\n1 scope"));
        for parameters in [&[("x", "1")][..], &[("scope", " ")], &[(&first, "a"), (&second, "b")]] {
            assert!(Unscoped::of(&with(parameters)).is_none(), "{parameters:?}");
        }
        assert!(Unscoped::of(&with(&[("scope", "a")]).alone()).is_none());
    }

    #[test]
    fn order_of_words_says_nothing() {
        assert_eq!(words(" b  a "), words("a b b"));
        assert_ne!(words("a"), words("a b"));
    }
}
