//! Words: what is wrong with a setting, and what would be right.

use std::fmt;
use std::time::Duration;

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {value}: it must {allowed}")]
pub struct ConfigError {
    /// The field of [`Config`](crate::Config).
    pub setting: &'static str,
    /// What it holds; only its length where it is secret.
    pub value: String,
    /// What would be right.
    pub allowed: Allowed,
}

/// What a setting must be. Prints as what follows the word `must`.
///
/// ```
/// use std::time::Duration;
/// use refresh_coordinator::{Allowed, Config};
///
/// let config = Config { refresh_timeout: Duration::from_secs(60), ..Config::default() };
/// let allowed = config.validate().unwrap_err().allowed;
///
/// assert_eq!(allowed, Allowed::AtMost { setting: "wait_timeout", bound: Duration::from_secs(35) });
/// assert_eq!(allowed.to_string(), "not be longer than wait_timeout (35s)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Allowed {
    /// 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
    Name,
    /// A text of that many bytes or more.
    Bytes {
        /// The shortest that is allowed.
        least: usize,
    },
    /// A number, 1 or more.
    Count {
        /// The largest that is allowed.
        most: u32,
    },
    /// A time.
    Time {
        /// The shortest that is allowed.
        least: Duration,
        /// The longest that is allowed.
        most: Duration,
    },
    /// No longer than another setting is.
    AtMost {
        /// The other field of [`Config`](crate::Config).
        setting: &'static str,
        /// What the other field holds.
        bound: Duration,
    },
    /// 1 MiB or more, or another [`MemoryPressure`](crate::MemoryPressure).
    Memory,
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("be 1 to 64 characters of A-Z a-z 0-9 . _ -"),
            Self::Bytes { least } => write!(f, "have {least} bytes or more"),
            Self::Count { most } => write!(f, "be 1 to {most}"),
            Self::Time { least, most } => write!(f, "be {least:?} to {most:?}"),
            Self::AtMost { setting, bound } => write!(f, "not be longer than {setting} ({bound:?})"),
            Self::Memory => f.write_str("be 1 MiB or more, or off"),
        }
    }
}

pub(crate) fn count(setting: &'static str, value: u32, most: u32) -> Result<(), ConfigError> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(ConfigError { setting, value: value.to_string(), allowed: Allowed::Count { most } })
}

pub(crate) fn within(
    setting: &'static str,
    value: Duration,
    least: Duration,
    most: Duration,
) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(ConfigError { setting, value: format!("{value:?}"), allowed: Allowed::Time { least, most } })
}

pub(crate) fn at_most(
    setting: &'static str,
    value: Duration,
    other: &'static str,
    bound: Duration,
) -> Result<(), ConfigError> {
    if value <= bound {
        return Ok(());
    }
    Err(ConfigError { setting, value: format!("{value:?}"), allowed: Allowed::AtMost { setting: other, bound } })
}
