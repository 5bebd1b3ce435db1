//! Whose access token a handle hands out.

use std::sync::Arc;

/// So many bytes the name of a claim may have.
const LONGEST_NAME: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// The login's own.
    Login,
    /// That of another audience, resource or scope, by the name under which rows hold it.
    Named(Arc<str>),
}

impl Claim {
    /// # Panics
    ///
    /// Where no claim can have this name.
    pub(super) fn named(name: &str) -> Self {
        let is_name = (1..=LONGEST_NAME).contains(&name.len()) && !name.contains(char::is_control);
        assert!(is_name, "the name of a claim has 1 to {LONGEST_NAME} bytes and no control characters: {name:?}");
        Self::Named(name.into())
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Login => "",
            Self::Named(name) => name,
        }
    }
}
