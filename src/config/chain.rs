//! Words: each setting of a coordinator as a method.

use std::time::Duration;

use super::{Breaker, Config, MemoryPressure, OnStoreOutage, OtherClaims, RefreshTokens, Uncertain};
use crate::chained::chained;
use crate::dialect::Dialect;
use crate::secret::Secret;

chained! { Config {
    with_namespace(namespace: impl Into<String>) = namespace.into(),
    with_upstream(upstream: impl Into<String>) = Some(upstream.into()),
    with_refresh_timeout(refresh_timeout: Duration) = refresh_timeout,
    with_wait_timeout(wait_timeout: Duration) = wait_timeout,
    with_call_limit(call_limit: impl Into<Option<Duration>>) = call_limit.into(),
    with_lease(lease: Duration) = lease,
    with_retry_lost_after(retry_lost_after: impl Into<Option<Duration>>) = retry_lost_after.into(),
    with_keep_outcome(keep_outcome: Duration) = keep_outcome,
    with_keep_until_used(keep_until_used: Duration) = keep_until_used,
    with_keep_at_most(keep_at_most: u32) = keep_at_most,
    with_keep_failure(keep_failure: Duration) = keep_failure,
    with_keep_refusal(keep_refusal: Duration) = keep_refusal,
    with_refresh_tokens(refresh_tokens: RefreshTokens) = refresh_tokens,
    with_other_claims(other_claims: OtherClaims) = other_claims,
    with_dialect(dialect: Dialect) = dialect,
    with_uncertain(uncertain: Uncertain) = uncertain,
    with_uncertain_memory(uncertain_memory: Duration) = uncertain_memory,
    with_store_timeout(store_timeout: Duration) = store_timeout,
    with_wait_replicas(wait_replicas: u32) = wait_replicas,
    with_on_store_outage(on_store_outage: OnStoreOutage) = on_store_outage,
    with_start_without_redis(start_without_redis: bool) = start_without_redis,
    with_pepper(pepper: impl Into<Secret>) = Some(pepper.into()),
    with_max_refresh_attempts(max_refresh_attempts: u32) = max_refresh_attempts,
    with_refresh_attempt_window(refresh_attempt_window: Duration) = refresh_attempt_window,
    with_refresh_cooldown_period(refresh_cooldown_period: Duration) = refresh_cooldown_period,
    with_max_concurrent_refreshes(max_concurrent_refreshes: u32) = max_concurrent_refreshes,
    with_budget_wait(budget_wait: impl Into<Option<Duration>>) = budget_wait.into(),
    with_breaker(breaker: Breaker) = breaker,
    with_memory_pressure(memory_pressure: MemoryPressure) = memory_pressure,
    with_max_token(max_token: usize) = max_token,
    with_max_shared(max_shared: usize) = max_shared,
    with_cleanup_interval(cleanup_interval: Duration) = cleanup_interval,
} }

chained! { Breaker {
    with_max_failures(max_failures: u32) = max_failures,
    with_open_duration(open_duration: Duration) = open_duration,
    with_half_open_requests(half_open_requests: u32) = half_open_requests,
} }
