//! Words: the settings, what each is for, and which contradict each other.

use std::time::Duration;

use crate::token::Secret;

/// The settings of a coordinator. All pods of a namespace should have the same.
///
/// ```
/// use std::time::Duration;
/// use refresh_coordinator::Config;
///
/// let config = Config { keep_outcome: Duration::from_secs(60), ..Config::default() };
/// assert!(config.validate().is_ok());
///
/// let config = Config { refresh_timeout: Duration::from_secs(60), ..Config::default() };
/// assert_eq!(
///     config.validate().unwrap_err().to_string(),
///     "refresh_timeout is 60s: it must not be longer than wait_timeout (35s)"
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// The provider's or tenant's coordination domain: 1 to 64 of `A-Z a-z 0-9 . _ -`. Coordinators share flights
    /// within a namespace only. Default: `default`.
    pub namespace: String,
    /// What the namespace refreshes at, such as the token endpoint's URL. Only its fingerprint is stored, so that
    /// a pod that points elsewhere is refused at start. Default: none, nothing is compared.
    pub upstream: Option<String>,
    /// How long a caller waits for the provider's answer, from its own arrival. The refresh itself goes on.
    /// Default: 30 s. At most `wait_timeout`.
    pub refresh_timeout: Duration,
    /// How long a caller waits at all, queueing and takeover of a lost leader included. Default: 35 s.
    pub wait_timeout: Duration,
    /// How long the refresh function may run. Until then its lease is renewed and nobody else presents the token.
    /// Default: none, which means twice `refresh_timeout`. At least `refresh_timeout`.
    pub call_limit: Option<Duration>,
    /// How long a leader that is not heard of keeps the token. It is renewed every third of it. Default: 10 s.
    /// At least `store_timeout`, 100 ms to 10 min.
    pub lease: Duration,
    /// When a token whose leader was lost is presented again, counted from the start of the lost flight. Zero
    /// means as soon as the lease is over: right for providers with a grace window or without rotation, and for
    /// fleets that prefer speed; later gives a leader that is only cut off from Redis the time to come back with
    /// its answer. Default: none, which means `refresh_timeout`.
    pub retry_lost_after: Option<Duration>,
    /// How long a success is handed to newcomers who still hold the old token: other pods, slow tabs. Zero is
    /// allowed. Default: 30 s. At most 1 h.
    pub keep_outcome: Duration,
    /// How long a failure is handed to newcomers; damps a storm. Zero is allowed. Default: 100 ms. At most 1 min.
    pub keep_failure: Duration,
    /// What to do with a token of which nobody knows whether the provider rotated it. Default: [`Uncertain::Retry`].
    pub uncertain: Uncertain,
    /// How long it is remembered that a token is uncertain. Default: 1 h. 1 s to 24 h.
    pub uncertain_memory: Duration,
    /// How long a call to Redis may take, retries included, before the store counts as out of reach. Default: 1 s.
    /// At most `lease`.
    pub store_timeout: Duration,
    /// Keys the hashes that stand in Redis, so that tokens of little entropy (under 128 bits) cannot be guessed
    /// from them. 32 bytes or more, the same in all pods. Default: none.
    pub pepper: Option<Secret>,
    /// How often the memory store forgets what is over. Redis expires keys itself. Default: 1 min.
    pub cleanup_interval: Duration,
}

/// What to do with a token of which nobody knows whether the provider rotated it: the answer was unreadable or
/// missing, or the leader was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Uncertain {
    /// Present it again: the session is lost for certain if nobody does, and may be saved if somebody does.
    #[default]
    Retry,
    /// Never present it again while `uncertain_memory` lasts; callers get [`Lost`](crate::RefreshError::Lost).
    Never,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            namespace: "default".to_owned(),
            upstream: None,
            refresh_timeout: Duration::from_secs(30),
            wait_timeout: Duration::from_secs(35),
            call_limit: None,
            lease: Duration::from_secs(10),
            retry_lost_after: None,
            keep_outcome: Duration::from_secs(30),
            keep_failure: Duration::from_millis(100),
            uncertain: Uncertain::Retry,
            uncertain_memory: Duration::from_secs(60 * 60),
            store_timeout: Duration::from_secs(1),
            pepper: None,
            cleanup_interval: Duration::from_secs(60),
        }
    }
}

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {value}: it must {allowed}")]
pub struct ConfigError {
    /// The field of [`Config`].
    pub setting: &'static str,
    /// What it holds; `set` where it is secret.
    pub value: String,
    /// What would be right.
    pub allowed: String,
}

impl Config {
    /// How long the refresh function may run.
    pub fn call_limit(&self) -> Duration {
        self.call_limit.unwrap_or(2 * self.refresh_timeout)
    }

    /// When a token whose leader was lost is presented again.
    pub fn retry_lost_after(&self) -> Duration {
        self.retry_lost_after.unwrap_or(self.refresh_timeout)
    }

    /// Checks every setting alone and against the others. Building a coordinator does so, too.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first setting that is wrong, its value, and what is allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        const MS: Duration = Duration::from_millis(1);
        const S: Duration = Duration::from_secs(1);
        const MIN: Duration = Duration::from_secs(60);
        const HOUR: Duration = Duration::from_secs(60 * 60);

        if !is_name(&self.namespace) {
            return Err(ConfigError {
                setting: "namespace",
                value: format!("{:?}", self.namespace),
                allowed: "be 1 to 64 characters of A-Z a-z 0-9 . _ -".to_owned(),
            });
        }
        if let Some(pepper) = &self.pepper
            && pepper.expose().len() < 32
        {
            return Err(ConfigError {
                setting: "pepper",
                value: format!("{} bytes long", pepper.expose().len()),
                allowed: "have 32 bytes or more".to_owned(),
            });
        }
        within("refresh_timeout", self.refresh_timeout, 10 * MS, HOUR)?;
        within("wait_timeout", self.wait_timeout, 10 * MS, HOUR)?;
        within("call_limit", self.call_limit(), 10 * MS, 2 * HOUR)?;
        within("lease", self.lease, 100 * MS, 10 * MIN)?;
        within("retry_lost_after", self.retry_lost_after(), Duration::ZERO, HOUR)?;
        within("keep_outcome", self.keep_outcome, Duration::ZERO, HOUR)?;
        within("keep_failure", self.keep_failure, Duration::ZERO, MIN)?;
        within("uncertain_memory", self.uncertain_memory, S, 24 * HOUR)?;
        within("store_timeout", self.store_timeout, 10 * MS, MIN)?;
        within("cleanup_interval", self.cleanup_interval, 10 * MS, HOUR)?;

        at_most("refresh_timeout", self.refresh_timeout, "wait_timeout", self.wait_timeout)?;
        at_most("refresh_timeout", self.refresh_timeout, "call_limit", self.call_limit())?;
        // A call to the store that outlasts the lease could not renew it.
        at_most("store_timeout", self.store_timeout, "lease", self.lease)?;
        Ok(())
    }
}

/// Whether a text may stand in a key: 1 to 64 of `A-Z a-z 0-9 . _ -`.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn within(setting: &'static str, value: Duration, least: Duration, most: Duration) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(ConfigError { setting, value: format!("{value:?}"), allowed: format!("be {least:?} to {most:?}") })
}

fn at_most(setting: &'static str, value: Duration, other: &'static str, bound: Duration) -> Result<(), ConfigError> {
    if value <= bound {
        return Ok(());
    }
    Err(ConfigError {
        setting,
        value: format!("{value:?}"),
        allowed: format!("not be longer than {other} ({bound:?})"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_possible() {
        Config::default().validate().expect("the defaults");
    }

    #[test]
    fn each_impossible_setting_is_named() {
        let ms = Duration::from_millis;
        let default = Config::default;
        let cases = [
            ("namespace", Config { namespace: "a b".into(), ..default() }),
            ("namespace", Config { namespace: String::new(), ..default() }),
            ("pepper", Config { pepper: Some("short".into()), ..default() }),
            ("refresh_timeout", Config { refresh_timeout: ms(0), ..default() }),
            ("refresh_timeout", Config { wait_timeout: ms(20), ..default() }),
            ("refresh_timeout", Config { call_limit: Some(ms(20)), ..default() }),
            ("lease", Config { lease: ms(0), ..default() }),
            ("store_timeout", Config { lease: ms(500), ..default() }),
            ("keep_outcome", Config { keep_outcome: ms(3_600_001), ..default() }),
            ("keep_failure", Config { keep_failure: ms(60_001), ..default() }),
            ("uncertain_memory", Config { uncertain_memory: ms(0), ..default() }),
            ("cleanup_interval", Config { cleanup_interval: ms(0), ..default() }),
        ];

        for (setting, config) in cases {
            let error = config.validate().expect_err(setting);
            assert_eq!(error.setting, setting, "{error}");
        }
    }
}
