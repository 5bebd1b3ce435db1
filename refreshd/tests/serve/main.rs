//! `refreshd serve` as its users meet it: the real binary, real signals, and a provider that judges by what it saw.

mod daemon;
mod provider;

#[path = "../../../tests/support/certified.rs"]
mod certified;

#[path = "../../../tests/support/environment.rs"]
mod environment;

#[path = "../../../tests/support/redis.rs"]
mod redis;

#[path = "../../../tests/support/stopwatch.rs"]
mod stopwatch;

mod connections;
mod drain;
mod fleet;
mod http2;
mod lifetimes;
mod limits;
mod onward;
mod outage;
mod refresh;
mod rules;
mod secrets;
mod start;
mod tls;

use std::time::Duration;

/// Longer than anything here takes: a test that hangs fails, and says where.
#[track_caller]
fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(Duration::from_secs(30), future).await {
            Ok(output) => output,
            Err(_) => panic!("still waiting at {place}"),
        }
    }
}
