//! Three `refreshd serve` on one Redis in front of a real provider, which judges by its own access log.

#[allow(dead_code, reason = "shared with other test binaries")]
#[path = "../serve/daemon.rs"]
mod daemon;
#[path = "../../../tests/support/environment.rs"]
mod environment;
#[path = "../support/real_provider.rs"]
mod provider;
#[path = "../../../tests/support/redis.rs"]
mod redis;

mod fleet;

mod another_claim;
mod one_presentation;
mod passed_on;

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
