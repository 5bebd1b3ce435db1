//! Which settings are possible, each alone and beside the others.

use std::time::Duration;

use super::{Config, KIB, MemoryPressure, RefreshTokens, Uncertain};
use crate::config_error::{Allowed, ConfigError, at_least, at_most, at_most_together, count, size, within};
use crate::provider_name;

/// More than any Redis has: each of them has to answer before a token is presented.
const MOST_REPLICAS: u32 = 16;

impl Config {
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
        if let Some(name) = &self.upstream {
            provider_name::check("upstream", name)?;
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
        within("keep_until_used", self.keep_until_used, Duration::ZERO, 24 * HOUR)?;
        count("keep_at_most", self.keep_at_most, 10_000_000)?;
        within("keep_failure", self.keep_failure, Duration::ZERO, MIN)?;
        within("keep_refusal", self.keep_refusal, Duration::ZERO, HOUR)?;
        within("uncertain_memory", self.uncertain_memory, S, 24 * HOUR)?;
        within("store_timeout", self.store_timeout, 10 * MS, MIN)?;
        if self.wait_replicas > MOST_REPLICAS {
            let allowed = Allowed::UpTo { most: MOST_REPLICAS };
            return Err(ConfigError { setting: "wait_replicas", value: self.wait_replicas.to_string(), allowed });
        }
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
        size("max_token", self.max_token, KIB, KIB * KIB)?;
        size("max_shared", self.max_shared, 4 * KIB, 16 * KIB * KIB)?;
        within("cleanup_interval", self.cleanup_interval, 10 * MS, HOUR)?;

        self.dialect.validate()?;
        if self.refresh_tokens == RefreshTokens::Reusable && self.uncertain != Uncertain::Retry {
            return Err(ConfigError {
                setting: "uncertain",
                value: "never".to_owned(),
                allowed: Allowed::Default { setting: "refresh_tokens", value: "reusable" },
            });
        }

        self.validate_together()
    }

    /// Checks the settings that must be larger or smaller than others.
    fn validate_together(&self) -> Result<(), ConfigError> {
        at_most("refresh_timeout", self.refresh_timeout, "wait_timeout", self.wait_timeout)?;
        at_most("refresh_timeout", self.refresh_timeout, "call_limit", self.call_limit())?;
        // A call to the store that outlasts the lease could not renew it.
        at_most("store_timeout", self.store_timeout, "lease", self.lease)?;
        // A flight that queues for longer than its callers wait would lead for nobody.
        at_most("budget_wait", self.budget_wait(), "wait_timeout", self.wait_timeout)?;
        if self.uncertain == Uncertain::Never {
            // Else it is forgotten that a token is uncertain while the call may still run that made it so.
            at_least("uncertain_memory", self.uncertain_memory, "call_limit", self.call_limit())?;
        }
        // A record must not end before the lease of a leader that it says is over: a late leader is judged by it.
        at_most_together("lease", self.lease, ["keep_outcome", "wait_timeout"], self.keep_outcome + self.wait_timeout)
    }
}

/// Whether a text may stand in a key: 1 to 64 of `A-Z a-z 0-9 . _ -`.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Breaker;
    use crate::dialect::Dialect;

    #[test]
    fn defaults_are_possible() {
        Config::default().validate().expect("the defaults");
    }

    #[test]
    fn settings_may_be_as_long_as_those_they_are_compared_with() {
        let default = Config::default;
        let policy = Config { uncertain_memory: default().call_limit(), ..default() };

        for config in [
            Config { budget_wait: Some(default().wait_timeout), ..default() },
            Config { uncertain: Uncertain::Never, ..policy.clone() },
            // Under `retry` it is not compared.
            Config { uncertain_memory: Duration::from_secs(1), ..policy },
            Config { lease: default().keep_outcome + default().wait_timeout, ..default() },
        ] {
            config.validate().expect("as long as the other");
        }
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
            ("upstream", Config { upstream: Some("a b".into()), ..default() }),
            ("pepper", Config { pepper: Some("short".into()), ..default() }),
            ("refresh_timeout", Config { refresh_timeout: ms(0), ..default() }),
            ("refresh_timeout", Config { wait_timeout: ms(20), ..default() }),
            ("refresh_timeout", Config { call_limit: Some(ms(20)), ..default() }),
            ("lease", Config { lease: ms(0), ..default() }),
            ("store_timeout", Config { lease: ms(500), ..default() }),
            ("keep_outcome", Config { keep_outcome: ms(3_600_001), ..default() }),
            ("keep_until_used", Config { keep_until_used: ms(86_400_001), ..default() }),
            ("keep_at_most", Config { keep_at_most: 0, ..default() }),
            ("wait_replicas", Config { wait_replicas: 17, ..default() }),
            ("keep_failure", Config { keep_failure: ms(60_001), ..default() }),
            ("keep_refusal", Config { keep_refusal: ms(3_600_001), ..default() }),
            ("uncertain", Config { refresh_tokens: RefreshTokens::Reusable, uncertain: Uncertain::Never, ..default() }),
            (
                "dialect.dead_token_errors",
                Config {
                    dialect: Dialect { dead_token_errors: vec![String::new()], ..Dialect::default() },
                    ..default()
                },
            ),
            (
                "dialect.gateway_texts",
                Config {
                    dialect: Dialect { gateway_texts: vec!["x".to_owned(); 65], ..Dialect::default() },
                    ..default()
                },
            ),
            ("uncertain_memory", Config { uncertain_memory: ms(0), ..default() }),
            ("max_token", Config { max_token: 1023, ..default() }),
            ("max_shared", Config { max_shared: 16 * 1024 * 1024 + 1, ..default() }),
            ("cleanup_interval", Config { cleanup_interval: ms(0), ..default() }),
            ("max_refresh_attempts", Config { max_refresh_attempts: 0, ..default() }),
            ("refresh_attempt_window", Config { refresh_attempt_window: ms(0), ..default() }),
            ("refresh_cooldown_period", Config { refresh_cooldown_period: ms(0), ..default() }),
            ("max_concurrent_refreshes", Config { max_concurrent_refreshes: 0, ..default() }),
            ("budget_wait", Config { budget_wait: Some(ms(35_001)), ..default() }),
            ("uncertain_memory", Config { uncertain: Uncertain::Never, uncertain_memory: ms(59_999), ..default() }),
            ("lease", Config { keep_outcome: ms(0), lease: ms(35_001), ..default() }),
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
                Config { budget_wait: Some(ms(40_000)), ..default() },
                "budget_wait is 40s: it must not be longer than wait_timeout (35s)",
            ),
            (
                Config { uncertain: Uncertain::Never, uncertain_memory: ms(50_000), ..default() },
                "uncertain_memory is 50s: it must not be shorter than call_limit (60s)",
            ),
            (
                Config { lease: ms(70_000), ..default() },
                "lease is 70s: it must not be longer than keep_outcome and wait_timeout together (65s)",
            ),
            (
                Config { memory_pressure: MemoryPressure::ResidentMib(0), ..default() },
                "memory_pressure is 0 MiB: it must be 1 MiB or more, or off",
            ),
        ] {
            assert_eq!(told(config), expected);
        }
    }
}
