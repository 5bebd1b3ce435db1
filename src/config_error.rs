//! Words: what is wrong with a setting, and what would be right.

use std::fmt;
use std::time::Duration;

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {value}: it must {allowed}")]
#[non_exhaustive]
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
/// let config = Config::default().with_refresh_timeout(Duration::from_secs(60));
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
    /// A provider's name: 1 to 200 visible ASCII characters, not `-`, or a URL.
    ProviderName,
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
    /// A number, 0 or more.
    UpTo {
        /// The largest that is allowed.
        most: u32,
    },
    /// A number of bytes.
    Size {
        /// The smallest that is allowed.
        least: usize,
        /// The largest that is allowed.
        most: usize,
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
    /// So many texts at most, none of them empty or longer than that many bytes.
    Texts {
        /// How many there may be.
        most: usize,
        /// The longest that is allowed, in bytes.
        longest: usize,
    },
    /// Left at its default, because another setting has a value that it contradicts.
    Default {
        /// The other field of [`Config`](crate::Config).
        setting: &'static str,
        /// What the other field holds.
        value: &'static str,
    },
    /// No shorter than another setting is.
    AtLeast {
        /// The other field of [`Config`](crate::Config).
        setting: &'static str,
        /// What the other field holds.
        bound: Duration,
    },
    /// No longer than two other settings are together.
    AtMostTogether {
        /// The other fields of [`Config`](crate::Config).
        settings: [&'static str; 2],
        /// What the other fields add up to.
        bound: Duration,
    },
    /// As it is in the [`Fleet`](crate::Fleet) that the namespace belongs to.
    AsInFleet {
        /// What it is there.
        bound: Duration,
    },
    /// 1 MiB or more, or another [`MemoryPressure`](crate::MemoryPressure).
    Memory,
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("be 1 to 64 characters of A-Z a-z 0-9 . _ -"),
            Self::ProviderName => {
                f.write_str("be a URL, or a name of 1 to 200 visible ASCII characters without @, ? and #, and not -")
            }
            Self::Bytes { least } => write!(f, "have {least} bytes or more"),
            Self::Count { most } => write!(f, "be 1 to {most}"),
            Self::UpTo { most } => write!(f, "be 0 to {most}"),
            Self::Size { least, most } => write!(f, "be {least} to {most} bytes"),
            Self::Time { least, most } => write!(f, "be {least:?} to {most:?}"),
            Self::AtMost { setting, bound } => write!(f, "not be longer than {setting} ({bound:?})"),
            Self::Texts { most, longest } => write!(f, "be at most {most} texts of 1 to {longest} bytes"),
            Self::Default { setting, value } => write!(f, "keep its default where {setting} is {value}"),
            Self::AtLeast { setting, bound } => write!(f, "not be shorter than {setting} ({bound:?})"),
            Self::AtMostTogether { settings: [one, other], bound } => {
                write!(f, "not be longer than {one} and {other} together ({bound:?})")
            }
            Self::AsInFleet { bound } => write!(f, "be {bound:?}, as in its fleet"),
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

pub(crate) fn size(setting: &'static str, value: usize, least: usize, most: usize) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(ConfigError { setting, value: format!("{value} bytes"), allowed: Allowed::Size { least, most } })
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

pub(crate) fn at_least(
    setting: &'static str,
    value: Duration,
    other: &'static str,
    bound: Duration,
) -> Result<(), ConfigError> {
    if value >= bound {
        return Ok(());
    }
    Err(ConfigError { setting, value: format!("{value:?}"), allowed: Allowed::AtLeast { setting: other, bound } })
}

/// `bound` is what the two others are together.
pub(crate) fn at_most_together(
    setting: &'static str,
    value: Duration,
    settings: [&'static str; 2],
    bound: Duration,
) -> Result<(), ConfigError> {
    if value <= bound {
        return Ok(());
    }
    Err(ConfigError { setting, value: format!("{value:?}"), allowed: Allowed::AtMostTogether { settings, bound } })
}
