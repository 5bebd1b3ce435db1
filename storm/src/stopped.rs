//! Why a storm has no result.

use refresh_coordinator_cli::BadSetting;

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The user can set it right.
    Setting(BadSetting),
    /// Something went away, or time ran out.
    Broken(String),
}

impl Stopped {
    pub(crate) fn broken(reason: impl Into<String>) -> Self {
        Self::Broken(reason.into())
    }
}
