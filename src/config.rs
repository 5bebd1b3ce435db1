//! Words: the settings, what each is for, and which contradict each other.

use std::time::Duration;

use crate::config_error::{Allowed, ConfigError, at_most, count, within};
use crate::secret::Secret;

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
    /// a pod that points elsewhere is refused at start. In memory nothing is compared. Default: none, nothing is
    /// compared.
    pub upstream: Option<String>,
    /// How long a caller waits for the provider's answer, from its own arrival. The refresh itself goes on.
    /// Default: 30 s. 10 ms to 1 h; at most `wait_timeout` and `call_limit`.
    pub refresh_timeout: Duration,
    /// How long a caller waits at all, queueing and takeover of a lost leader included. Default: 35 s.
    /// 10 ms to 1 h.
    pub wait_timeout: Duration,
    /// How long the refresh function may run. Until then its lease is renewed and nobody else presents the token.
    /// Default: none, which means twice `refresh_timeout`. 10 ms to 2 h; at least `refresh_timeout`.
    pub call_limit: Option<Duration>,
    /// How long a leader that is not heard of keeps the token. A leader renews its lease after each third of this.
    /// Default: 10 s.
    /// At least `store_timeout`, 100 ms to 10 min.
    pub lease: Duration,
    /// When the token of a lost leader is presented again, counted from the start of the lost flight. Zero
    /// means as soon as the lease is over: right for providers with a grace window or without rotation, and for
    /// fleets that prefer speed; later gives a leader that is only cut off from Redis the time to come back with
    /// its answer. Where it is longer than `lease`, and under `never`, no pod acts on a lost leader within two
    /// `store_timeout` from when a pod first missed it, either: it may have been Redis that was away. Default: none,
    /// which means `refresh_timeout`. At most 1 h.
    pub retry_lost_after: Option<Duration>,
    /// How long a success is handed to newcomers who still hold the old token: other pods, slow tabs. Where the
    /// provider gave no new refresh token, no longer than the access token lives. Zero is allowed. Default: 30 s. At
    /// most 1 h.
    pub keep_outcome: Duration,
    /// How long a failure that may pass is handed to newcomers; damps a storm. Zero is allowed. Default: 100 ms. At
    /// most 1 min. Other failures go by what they say: a dead or lost token 1 min, a refused client 5 s, a busy
    /// provider for as long as it asks to stay away (5 min at most), a missing DPoP nonce not at all.
    pub keep_failure: Duration,
    /// What to do with a token of which nobody knows whether the provider rotated it. Default: [`Uncertain::Retry`].
    pub uncertain: Uncertain,
    /// How long it is remembered that a token is uncertain. For as long a pod tries to tell a Redis that is out of reach
    /// that a token was rotated. (What it obtained without Redis, [`OnStoreOutage::Local`], it tries to tell for
    /// `keep_outcome` and `wait_timeout` together.) Default: 1 h. 1 s to 24 h.
    pub uncertain_memory: Duration,
    /// How long a call to Redis may take, retries included, before the store counts as out of reach. Default: 1 s.
    /// 10 ms to 1 min; at most `lease`.
    pub store_timeout: Duration,
    /// What to do while the store is out of reach. Default: [`OnStoreOutage::Reject`].
    pub on_store_outage: OnStoreOutage,
    /// Keys the hashes that stand in Redis, so that tokens of little entropy (under 128 bits) cannot be guessed
    /// from them. 32 bytes or more, the same in all pods. Default: none.
    pub pepper: Option<Secret>,
    /// How many flights a session may lead in a window; successes count, too: that is what stops refresh loops. The
    /// next one starts the cooldown. A flight is free if nothing of it was sent, if its client was refused, or if it only
    /// lacked a DPoP nonce.
    /// Default: 5. 1 to 1,000,000.
    pub max_refresh_attempts: u32,
    /// How long a window is. It is fixed, and starts with the session's first attempt. Default: 5 min. 10 ms to
    /// 24 h.
    pub refresh_attempt_window: Duration,
    /// How long a session that asked too often is refused. Asking meanwhile does not make it longer; afterwards the
    /// count begins anew. Default: 10 min. 10 ms to 24 h.
    pub refresh_cooldown_period: Duration,
    /// How many flights of the namespace may ask the provider at once. Default: 10. 1 to 100,000.
    pub max_concurrent_refreshes: u32,
    /// How long a flight queues for its turn when that many ask already, first come, first served. Zero refuses at
    /// once. Default: 5 s. At most 1 h; no caller waits longer than `wait_timeout` for all.
    pub budget_wait: Duration,
    /// When the provider is left in peace because it fails.
    pub breaker: Breaker,
    /// When this pod only joins and leads nothing, because its memory is short. Default:
    /// [`MemoryPressure::Cgroup`].
    pub memory_pressure: MemoryPressure,
    /// How often the memory store forgets what is over. Redis expires keys itself. Default: 1 min. 10 ms to 1 h.
    pub cleanup_interval: Duration,
}

/// The circuit breaker of the namespace: for the whole fleet, in the store.
///
/// Only what speaks of the provider's health moves it: a 5xx, a reset, a timeout, an unreadable answer is a failure,
/// tokens are a success; a refused token or client is neither. Failures that are further apart than `call_limit` and
/// `open_duration` together are not in a row. What failed before anything was sent counts in the pod alone: after
/// `max_failures` of these in a row the pod only joins for `open_duration`.
///
/// A provider that asks to be left in peace is: 503 with Retry-After opens it for that time, 429 to three sessions
/// within 10 s for theirs, or for `open_duration` where they name none; 5 min at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Failed flights in a row that open it. Default: 3. 1 to 1,000,000.
    pub max_failures: u32,
    /// How long it stays open. Default: 30 s. 10 ms to 1 h.
    pub open_duration: Duration,
    /// How many flights may then probe the provider at once. The first of them that succeeds closes it, the first
    /// that fails opens it again. Default: 1. 1 to 1,000.
    pub half_open_requests: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { max_failures: 3, open_duration: Duration::from_secs(30), half_open_requests: 1 }
    }
}

/// What a pod takes for a shortage of memory. While there is one, it joins flights of others and leads none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum MemoryPressure {
    /// Never.
    Off,
    /// Above 90 % of the limit of its cgroup (Linux; version 1 and 2). Without a limit, never.
    #[default]
    Cgroup,
    /// Above so many MiB of resident memory (Linux). 1 or more.
    ResidentMib(u64),
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

/// What to do while Redis is out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnStoreOutage {
    /// Refuse as transient, with a time to come again. Nobody's session ends, and no token is presented twice.
    #[default]
    Reject,
    /// After a whole `lease` without Redis, go on within the pod: one flight per token and the limits hold in each pod
    /// alone. Pods that are cut off from Redis do not see each other, so two of them **may present one token twice**,
    /// and give the same fence twice. For providers with a grace window or without rotation, and for fleets that pin a
    /// session to a pod. Each such flight is counted (`led_alone`) and logged; a pod that goes on alone is ready
    /// ([`check_store`](crate::RefreshCoordinator::check_store)).
    Local,
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
            on_store_outage: OnStoreOutage::Reject,
            pepper: None,
            max_refresh_attempts: 5,
            refresh_attempt_window: Duration::from_secs(5 * 60),
            refresh_cooldown_period: Duration::from_secs(10 * 60),
            max_concurrent_refreshes: 10,
            budget_wait: Duration::from_secs(5),
            breaker: Breaker::default(),
            memory_pressure: MemoryPressure::default(),
            cleanup_interval: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// How long the refresh function may run.
    pub fn call_limit(&self) -> Duration {
        self.call_limit.unwrap_or(2 * self.refresh_timeout)
    }

    /// When the token of a lost leader is presented again.
    pub fn retry_lost_after(&self) -> Duration {
        self.retry_lost_after.unwrap_or(self.refresh_timeout)
    }

    /// How long it is remembered that a leader was lost.
    pub(crate) fn memory_of_lost(&self) -> Duration {
        self.uncertain_memory.max(self.retry_lost_after())
    }

    /// How long a leader may still be heard of from when it is first missed on: where the store was away for everybody,
    /// it is on its way there with what it holds. Under `retry` no longer than a pod that misses it at its lease's end would
    /// wait anyway; under `never` always, because to be told too early that a token is lost ends the session.
    pub(crate) fn grace_of_lost(&self) -> Duration {
        let heard = 2 * self.store_timeout;
        match self.uncertain {
            Uncertain::Never => heard,
            Uncertain::Retry => heard.min(self.retry_lost_after().saturating_sub(self.lease)),
        }
    }

    /// How long a permit is kept for a flight that was called from the queue: as long as a call to the store may
    /// take, for the flight has nothing else to do than to make one.
    pub(crate) fn called_for(&self) -> Duration {
        self.store_timeout
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
        const SHORTEST_PEPPER: usize = 32;

        if !is_name(&self.namespace) {
            return Err(ConfigError {
                setting: "namespace",
                value: format!("{:?}", self.namespace),
                allowed: Allowed::Name,
            });
        }
        if let Some(pepper) = &self.pepper
            && pepper.expose().len() < SHORTEST_PEPPER
        {
            return Err(ConfigError {
                setting: "pepper",
                value: format!("{} bytes long", pepper.expose().len()),
                allowed: Allowed::Bytes { least: SHORTEST_PEPPER },
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
        count("max_refresh_attempts", self.max_refresh_attempts, 1_000_000)?;
        within("refresh_attempt_window", self.refresh_attempt_window, 10 * MS, 24 * HOUR)?;
        within("refresh_cooldown_period", self.refresh_cooldown_period, 10 * MS, 24 * HOUR)?;
        count("max_concurrent_refreshes", self.max_concurrent_refreshes, 100_000)?;
        count("breaker.max_failures", self.breaker.max_failures, 1_000_000)?;
        within("breaker.open_duration", self.breaker.open_duration, 10 * MS, HOUR)?;
        count("breaker.half_open_requests", self.breaker.half_open_requests, 1_000)?;
        if self.memory_pressure == MemoryPressure::ResidentMib(0) {
            return Err(ConfigError {
                setting: "memory_pressure",
                value: "0 MiB".to_owned(),
                allowed: Allowed::Memory,
            });
        }
        within("cleanup_interval", self.cleanup_interval, 10 * MS, HOUR)?;

        at_most("refresh_timeout", self.refresh_timeout, "wait_timeout", self.wait_timeout)?;
        at_most("refresh_timeout", self.refresh_timeout, "call_limit", self.call_limit())?;
        // A call to the store that outlasts the lease could not renew it.
        at_most("store_timeout", self.store_timeout, "lease", self.lease)?;
        within("budget_wait", self.budget_wait, Duration::ZERO, HOUR)?;
        Ok(())
    }
}

/// Whether a text may stand in a key: 1 to 64 of `A-Z a-z 0-9 . _ -`.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
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
        let with_breaker = |change: &dyn Fn(&mut Breaker)| {
            let mut config = default();
            change(&mut config.breaker);
            config
        };
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
            ("max_refresh_attempts", Config { max_refresh_attempts: 0, ..default() }),
            ("refresh_attempt_window", Config { refresh_attempt_window: ms(0), ..default() }),
            ("refresh_cooldown_period", Config { refresh_cooldown_period: ms(0), ..default() }),
            ("max_concurrent_refreshes", Config { max_concurrent_refreshes: 0, ..default() }),
            ("budget_wait", Config { budget_wait: ms(3_600_001), ..default() }),
            ("breaker.max_failures", with_breaker(&|breaker| breaker.max_failures = 0)),
            ("breaker.open_duration", with_breaker(&|breaker| breaker.open_duration = ms(0))),
            ("breaker.half_open_requests", with_breaker(&|breaker| breaker.half_open_requests = 0)),
            ("memory_pressure", Config { memory_pressure: MemoryPressure::ResidentMib(0), ..default() }),
        ];

        for (setting, config) in cases {
            let error = config.validate().expect_err(setting);
            assert_eq!(error.setting, setting, "{error}");
        }
    }

    #[test]
    fn what_is_allowed_is_told_in_one_line() {
        let told = |config: Config| config.validate().expect_err("impossible").to_string();
        let ms = Duration::from_millis;
        let default = Config::default;

        for (config, expected) in [
            (
                Config { namespace: "a b".into(), ..default() },
                "namespace is \"a b\": it must be 1 to 64 characters of A-Z a-z 0-9 . _ -",
            ),
            (
                Config { pepper: Some("short".into()), ..default() },
                "pepper is 5 bytes long: it must have 32 bytes or more",
            ),
            (Config { lease: ms(1), ..default() }, "lease is 1ms: it must be 100ms to 600s"),
            (Config { max_refresh_attempts: 0, ..default() }, "max_refresh_attempts is 0: it must be 1 to 1000000"),
            (Config { lease: ms(500), ..default() }, "store_timeout is 1s: it must not be longer than lease (500ms)"),
            (
                Config { memory_pressure: MemoryPressure::ResidentMib(0), ..default() },
                "memory_pressure is 0 MiB: it must be 1 MiB or more, or off",
            ),
        ] {
            assert_eq!(told(config), expected);
        }
    }
}
