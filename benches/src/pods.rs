//! Pods to measure, and the tokens they are given.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use refresh_coordinator::{Breaker, Config, RefreshCoordinator, TokenResponse};

use crate::redis_server::RedisServer;

/// Settings whose rules refuse nobody, in a namespace of its own. All others are the defaults, but for the time that
/// Redis has to answer: a bench that overloads the machine is to measure it, not to give up.
pub fn wide() -> Config {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    Config::default()
        .with_namespace(format!("bench-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
        .with_max_refresh_attempts(1_000_000)
        .with_max_concurrent_refreshes(100_000)
        .with_breaker(Breaker::default().with_max_failures(1_000_000))
        .with_store_timeout(Duration::from_secs(10))
}

/// The same in a namespace that is always named alike, for what counts bytes or instructions on a Redis of its own.
pub fn wide_and_alike() -> Config {
    wide().with_namespace("counted")
}

/// What of the settings matters here, for the report.
pub fn told(config: &Config) -> String {
    format!(
        "coordinator: max_refresh_attempts {}, max_concurrent_refreshes {}, breaker.max_failures {}, keep_outcome {:?}, \
         lease {:?}, store_timeout {:?}, the rest by default",
        config.max_refresh_attempts,
        config.max_concurrent_refreshes,
        config.breaker.max_failures,
        config.keep_outcome,
        config.lease,
        config.store_timeout
    )
}

/// A pod on a Redis.
pub async fn connect(redis: &RedisServer, config: &Config) -> RefreshCoordinator {
    RefreshCoordinator::connect(redis.url(), config.clone()).await.expect("redis is there")
}

/// The size of an answer with an ID token, a usual one.
pub const ANSWER_BYTES: usize = 1536;

/// An answer of that size, which rotates the token.
pub fn answer() -> TokenResponse {
    TokenResponse::from_json(answer_json(0)).expect("a token response")
}

/// The same, telling when the provider's answer was complete.
pub fn answer_json(ended_ns: u64) -> String {
    let head = format!(
        r#"{{"access_token":"access","token_type":"Bearer","expires_in":3600,"refresh_token":"rotated","ended_ns":"{ended_ns:020}","id_token":""#
    );
    let filling = "x".repeat(ANSWER_BYTES - head.len() - 2);
    format!(r#"{head}{filling}"}}"#)
}

/// Answers in an instant, and stamps when.
pub fn stamped_answer() -> TokenResponse {
    TokenResponse::from_json(answer_json(crate::clock::now_ns())).expect("a token response")
}

/// When a stamped answer was given.
pub fn ended_ns(tokens: &TokenResponse) -> u64 {
    let stamp = tokens.field("ended_ns").expect("a stamped answer");
    stamp.as_str().expect("a text").parse().expect("a number")
}

/// A refresh token as providers make them: 43 characters. Distinct for distinct numbers.
pub fn token(series: &str, number: u64) -> String {
    format!("{series:-<23}{number:020}")
}

/// How long a provider takes in the benches where it matters.
pub const PROVIDER: Duration = Duration::from_millis(50);
