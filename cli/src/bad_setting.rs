//! What a user gets wrong, in the user's words: flags, not fields.

use refresh_coordinator::{Allowed, ConfigError, ConnectError};

/// Why nothing was started: one line that names the setting and the remedy. Ends the process with code 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSetting(String);

impl BadSetting {
    /// The line; line breaks that an operating system or a library put into its message are taken out.
    pub fn new(line: impl Into<String>) -> Self {
        Self(line.into().split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// Fields with another flag than their own name with `-` for `_`.
const OTHER_NAMES: [(&str, &str); 5] = [
    ("pepper", "the pepper (--pepper-file or REFRESHD_PEPPER)"),
    ("upstream", "--provider-name"),
    ("dialect.dead_token_errors", "--dead-token-error"),
    ("dialect.passing_refusals", "--passing-refusal"),
    ("dialect.gateway_texts", "--gateway-text"),
];

/// What the user calls a field of [`Config`].
fn flag(field: &str) -> String {
    match OTHER_NAMES.iter().find(|(name, _)| *name == field) {
        Some((_, flag)) => (*flag).to_owned(),
        None => format!("--{}", field.replace(['_', '.'], "-")),
    }
}

impl From<ConfigError> for BadSetting {
    fn from(error: ConfigError) -> Self {
        let ConfigError { setting, value, allowed, .. } = error;
        let allowed = match allowed {
            Allowed::AtMost { setting, bound } => format!("not be longer than {} ({bound:?})", flag(setting)),
            Allowed::Default { setting, value } => format!("keep its default where {} is {value}", flag(setting)),
            Allowed::AtLeast { setting, bound } => format!("not be shorter than {} ({bound:?})", flag(setting)),
            Allowed::AtMostTogether { settings: [one, other], bound } => {
                format!("not be longer than {} and {} together ({bound:?})", flag(one), flag(other))
            }
            // They name no other setting.
            allowed => allowed.to_string(),
        };
        Self::new(format!("{} is {value}: it must {allowed}", flag(setting)))
    }
}

impl From<ConnectError> for BadSetting {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Config(error) => error.into(),
            ConnectError::Unreachable { .. } => {
                Self::new(format!("--redis: {error}; start it, correct the URL, or leave --redis out to run alone"))
            }
            ConnectError::Tls { .. } => {
                Self::new(format!("--redis: {error} (--redis-ca-file, --redis-cert-file, --redis-key-file)"))
            }
            ConnectError::Mismatch { .. } => Self::new(format!("--namespace: {error}")),
            // The other ways name their remedy themselves.
            error => Self::new(format!("--redis: {error}")),
        }
    }
}
