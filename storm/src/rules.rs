//! The rules in force: the settings of a coordinator, to be sent to a pod and shown to a reader.

use std::time::Duration;

use refresh_coordinator::{
    Breaker, Config, Dialect, MemoryPressure, OnStoreOutage, OtherClaims, RefreshTokens, Secret, Uncertain,
};
use serde::{Deserialize, Serialize};

/// [`Config`] without its secret, durations in milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Rules {
    pub(crate) namespace: String,
    pub(crate) upstream: Option<String>,
    pub(crate) refresh_timeout_ms: u64,
    pub(crate) wait_timeout_ms: u64,
    pub(crate) call_limit_ms: u64,
    pub(crate) lease_ms: u64,
    pub(crate) retry_lost_after_ms: u64,
    pub(crate) keep_outcome_ms: u64,
    pub(crate) keep_until_used_ms: u64,
    pub(crate) keep_at_most: u32,
    pub(crate) keep_failure_ms: u64,
    pub(crate) keep_refusal_ms: u64,
    pub(crate) reusable_refresh_tokens: bool,
    pub(crate) other_claims: Others,
    pub(crate) dead_token_errors: Vec<String>,
    pub(crate) passing_refusals: Vec<String>,
    pub(crate) gateway_texts: Vec<String>,
    pub(crate) uncertain: Policy,
    pub(crate) uncertain_memory_ms: u64,
    pub(crate) store_timeout_ms: u64,
    pub(crate) wait_replicas: u32,
    pub(crate) goes_on_alone: bool,
    pub(crate) pepper: bool,
    pub(crate) max_refresh_attempts: u32,
    pub(crate) refresh_attempt_window_ms: u64,
    pub(crate) refresh_cooldown_period_ms: u64,
    pub(crate) max_concurrent_refreshes: u32,
    pub(crate) budget_wait_ms: u64,
    pub(crate) breaker_max_failures: u32,
    pub(crate) breaker_open_duration_ms: u64,
    pub(crate) breaker_half_open_requests: u32,
    pub(crate) memory_pressure: Memory,
    pub(crate) max_token_bytes: usize,
    pub(crate) max_shared_bytes: usize,
    pub(crate) cleanup_interval_ms: u64,
}

/// [`Uncertain`] as a word.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Policy {
    Retry,
    Never,
}

/// [`OtherClaims`] as a word.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Others {
    Follow,
    Refuse,
}

/// [`MemoryPressure`] as a word, or as MiB.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Memory {
    Off,
    Cgroup,
    ResidentMib(u64),
}

impl Rules {
    pub(crate) fn of(config: &Config) -> Self {
        let Config {
            namespace,
            upstream,
            refresh_timeout,
            wait_timeout,
            call_limit: _,
            lease,
            retry_lost_after: _,
            keep_outcome,
            keep_until_used,
            keep_at_most,
            keep_failure,
            keep_refusal,
            refresh_tokens,
            other_claims,
            dialect: Dialect { dead_token_errors, passing_refusals, gateway_texts },
            uncertain,
            uncertain_memory,
            store_timeout,
            wait_replicas,
            on_store_outage,
            // A storm's pods start when its Redis is there.
            start_without_redis: _,
            pepper,
            max_refresh_attempts,
            refresh_attempt_window,
            refresh_cooldown_period,
            max_concurrent_refreshes,
            budget_wait: _,
            breaker: Breaker { max_failures, open_duration, half_open_requests, .. },
            memory_pressure,
            max_token,
            max_shared,
            cleanup_interval,
            ..
        } = config;
        Self {
            namespace: namespace.clone(),
            upstream: upstream.clone(),
            refresh_timeout_ms: ms(*refresh_timeout),
            wait_timeout_ms: ms(*wait_timeout),
            call_limit_ms: ms(config.call_limit()),
            lease_ms: ms(*lease),
            retry_lost_after_ms: ms(config.retry_lost_after()),
            keep_outcome_ms: ms(*keep_outcome),
            keep_until_used_ms: ms(*keep_until_used),
            keep_at_most: *keep_at_most,
            keep_failure_ms: ms(*keep_failure),
            keep_refusal_ms: ms(*keep_refusal),
            reusable_refresh_tokens: *refresh_tokens == RefreshTokens::Reusable,
            other_claims: match other_claims {
                OtherClaims::Refuse => Others::Refuse,
                // The enum may grow outside of this crate; the default is what an older storm understands.
                _ => Others::Follow,
            },
            dead_token_errors: dead_token_errors.clone(),
            passing_refusals: passing_refusals.clone(),
            gateway_texts: gateway_texts.clone(),
            uncertain: match uncertain {
                Uncertain::Never => Policy::Never,
                // The enum may grow outside of this crate; the default is what an older storm understands.
                _ => Policy::Retry,
            },
            uncertain_memory_ms: ms(*uncertain_memory),
            store_timeout_ms: ms(*store_timeout),
            wait_replicas: *wait_replicas,
            goes_on_alone: *on_store_outage == OnStoreOutage::Local,
            pepper: pepper.is_some(),
            max_refresh_attempts: *max_refresh_attempts,
            refresh_attempt_window_ms: ms(*refresh_attempt_window),
            refresh_cooldown_period_ms: ms(*refresh_cooldown_period),
            max_concurrent_refreshes: *max_concurrent_refreshes,
            budget_wait_ms: ms(config.budget_wait()),
            breaker_max_failures: *max_failures,
            breaker_open_duration_ms: ms(*open_duration),
            breaker_half_open_requests: *half_open_requests,
            memory_pressure: match memory_pressure {
                MemoryPressure::Cgroup => Memory::Cgroup,
                MemoryPressure::ResidentMib(mib) => Memory::ResidentMib(*mib),
                // The enum may grow outside of this crate.
                _ => Memory::Off,
            },
            max_token_bytes: *max_token,
            max_shared_bytes: *max_shared,
            cleanup_interval_ms: ms(*cleanup_interval),
        }
    }

    /// The settings again, on the other side of a pipe.
    pub(crate) fn config(&self, pepper: Option<Secret>) -> Config {
        let mut config = Config::default();
        config.namespace = self.namespace.clone();
        config.upstream = self.upstream.clone();
        config.refresh_timeout = Duration::from_millis(self.refresh_timeout_ms);
        config.wait_timeout = Duration::from_millis(self.wait_timeout_ms);
        config.call_limit = Some(Duration::from_millis(self.call_limit_ms));
        config.lease = Duration::from_millis(self.lease_ms);
        config.retry_lost_after = Some(Duration::from_millis(self.retry_lost_after_ms));
        config.keep_outcome = Duration::from_millis(self.keep_outcome_ms);
        config.keep_until_used = Duration::from_millis(self.keep_until_used_ms);
        config.keep_at_most = self.keep_at_most;
        config.keep_failure = Duration::from_millis(self.keep_failure_ms);
        config.keep_refusal = Duration::from_millis(self.keep_refusal_ms);
        config.refresh_tokens = match self.reusable_refresh_tokens {
            true => RefreshTokens::Reusable,
            false => RefreshTokens::SingleUse,
        };
        config.other_claims = match self.other_claims {
            Others::Follow => OtherClaims::Follow,
            Others::Refuse => OtherClaims::Refuse,
        };
        config.dialect = Dialect {
            dead_token_errors: self.dead_token_errors.clone(),
            passing_refusals: self.passing_refusals.clone(),
            gateway_texts: self.gateway_texts.clone(),
        };
        config.uncertain = match self.uncertain {
            Policy::Retry => Uncertain::Retry,
            Policy::Never => Uncertain::Never,
        };
        config.uncertain_memory = Duration::from_millis(self.uncertain_memory_ms);
        config.store_timeout = Duration::from_millis(self.store_timeout_ms);
        config.wait_replicas = self.wait_replicas;
        config.on_store_outage = if self.goes_on_alone { OnStoreOutage::Local } else { OnStoreOutage::Reject };
        config.start_without_redis = false;
        config.pepper = pepper;
        config.max_refresh_attempts = self.max_refresh_attempts;
        config.refresh_attempt_window = Duration::from_millis(self.refresh_attempt_window_ms);
        config.refresh_cooldown_period = Duration::from_millis(self.refresh_cooldown_period_ms);
        config.max_concurrent_refreshes = self.max_concurrent_refreshes;
        config.budget_wait = Some(Duration::from_millis(self.budget_wait_ms));
        config.breaker.max_failures = self.breaker_max_failures;
        config.breaker.open_duration = Duration::from_millis(self.breaker_open_duration_ms);
        config.breaker.half_open_requests = self.breaker_half_open_requests;
        config.memory_pressure = match self.memory_pressure {
            Memory::Off => MemoryPressure::Off,
            Memory::Cgroup => MemoryPressure::Cgroup,
            Memory::ResidentMib(mib) => MemoryPressure::ResidentMib(mib),
        };
        config.max_token = self.max_token_bytes;
        config.max_shared = self.max_shared_bytes;
        config.cleanup_interval = Duration::from_millis(self.cleanup_interval_ms);
        config
    }

    /// Every rule with its value, as a reader wants it: `lease 10s`.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Ok(serde_json::Value::Object(rules)) = serde_json::to_value(self) else {
            unreachable!("BUG: a struct of words and numbers is a JSON object");
        };
        let line = |(name, value): (String, serde_json::Value)| match (name.strip_suffix("_ms"), value) {
            (_, serde_json::Value::Null) => None,
            (_, serde_json::Value::Array(texts)) if texts.is_empty() => None,
            (Some(name), serde_json::Value::Number(n)) => {
                let time = Duration::from_millis(n.as_u64().unwrap_or_default());
                Some(format!("{name} {}", humantime::format_duration(time)))
            }
            (_, serde_json::Value::String(word)) => Some(format!("{name} {word}")),
            (_, value) => Some(format!("{name} {value}")),
        };
        rules.into_iter().filter_map(line).collect()
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_survive_the_pipe() {
        let config = Config::default().with_namespace("n").with_lease(Duration::from_secs(3));

        let json = serde_json::to_string(&Rules::of(&config)).expect("rules are JSON");
        let there: Rules = serde_json::from_str(&json).expect("and back");

        assert_eq!(serde_json::to_string(&Rules::of(&there.config(None))).expect("JSON"), json);
        assert!(there.lines().contains(&"lease 3s".to_owned()), "{:?}", there.lines());
    }

    /// The library's settings may grow.
    #[test]
    fn every_setting_of_the_library_reaches_the_pods() {
        let config = Config::default();
        let rules = serde_json::to_value(Rules::of(&config)).expect("rules are JSON");
        let text = format!("{config:#?}");
        let is_field = |line: &&str| line.starts_with(|first: char| first.is_ascii_lowercase());
        let fields = text.lines().filter_map(|line| line.strip_prefix("    ")).filter(is_field);
        for field in fields.filter_map(|line| line.split(':').next()) {
            let meant = match field {
                // A storm's pods start when its Redis is there.
                "start_without_redis" => continue,
                "dialect" => "dead_token_errors",
                "refresh_tokens" => "reusable_refresh_tokens",
                "on_store_outage" => "goes_on_alone",
                field => field,
            };
            let names = rules.as_object().expect("an object");
            assert!(names.keys().any(|name| name.starts_with(meant)), "{field} is in no rule: {names:?}");
        }
    }
}
