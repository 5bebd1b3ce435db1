//! A caller that joins and a refresh that is led allocate no more than they did when these bounds were set.
//!
//! Counts, not times: they do not depend on the machine. Whoever makes them smaller lowers the bound; whoever needs more
//! raises it and says why. The bounds hold for builds without optimization, as tests are built.

#[path = "../../tests/support/redis.rs"]
mod redis_support;

use std::alloc::System;
use std::sync::Mutex;

use redis_support::RedisServer;
use refresh_coordinator::RefreshCoordinator;
use refresh_coordinator_benches::allocations::{bare_tasks, joiners, led, valid};
use refresh_coordinator_benches::one_thread;
use refresh_coordinator_benches::pods::wide;
use refresh_coordinator_benches::valid::{ACCESS_TOKEN_BYTES, access_tokens, sessions};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What other threads allocate would be counted, too.
static ALONE: Mutex<()> = Mutex::new(());

fn alone<T>(measure: impl Future<Output = T>) -> T {
    let _alone = ALONE.lock();
    one_thread().block_on(measure)
}

/// The smallest of three counts: the test runner's own thread, which starts the next test meanwhile, only adds.
async fn smallest(mut count: impl AsyncFnMut() -> (f64, f64)) -> (f64, f64) {
    let mut smallest = (f64::INFINITY, f64::INFINITY);
    for _ in 0..3 {
        let (one, other) = count().await;
        smallest = (smallest.0.min(one), smallest.1.min(other));
    }
    smallest
}

#[test]
fn joiner_in_the_same_process_allocates_little() {
    let (bytes, allocations) = alone(async {
        let pod = RefreshCoordinator::in_memory(wide()).expect("possible settings");
        joiners(&pod, 100).await;
        let (bytes, allocations) = smallest(async || joiners(&pod, 1_000).await).await;
        let (bare, _) = smallest(async || (bare_tasks(1_000).await, 0.0)).await;
        (bytes - bare, allocations)
    });

    // Its task and its token, and a share of the leader's.
    assert!(allocations <= 2.1, "{allocations} allocations for each joiner");
    assert!(bytes <= 170.0, "{bytes} bytes for each joiner, beyond a task that only waits");
}

#[test]
fn leading_in_memory_allocates_little() {
    let (allocations, bytes) = alone(async {
        let pod = RefreshCoordinator::in_memory(wide()).expect("possible settings");
        led(&pod, 200).await;
        smallest(async || led(&pod, 1_000).await).await
    });

    // The token that a call is handed is a copy.
    assert!(allocations <= 8.1, "{allocations} allocations for each refresh");
    assert!(bytes <= 6_000.0, "{bytes} bytes for each refresh");
}

#[test]
fn leading_on_redis_allocates_little() {
    let (allocations, bytes) = alone(async {
        let redis = RedisServer::start().await;
        let pod = RefreshCoordinator::connect(redis.url(), wide()).await.expect("redis is there");
        led(&pod, 200).await;
        smallest(async || led(&pod, 500).await).await
    });

    assert!(allocations <= 68.0, "{allocations} allocations for each refresh");
    // Two boxes of what Redis takes, begin and complete, so that flights in memory need not be as large; and the completion, which
    // is kept for a lease.
    assert!(bytes <= 31_600.0, "{bytes} bytes for each refresh");
}

#[test]
fn valid_access_token_of_a_session_allocates_little() {
    let (allocations, bytes) = alone(async {
        let sessions = sessions(100);
        let tokens = access_tokens(&sessions);
        valid(&tokens, &sessions, 200).await;
        smallest(async || valid(&tokens, &sessions, 1_000).await).await
    });

    // The caller's own copy of what the session holds: the access token and the refresh token.
    assert!(allocations <= 2.1, "{allocations} allocations for each token");
    assert!(bytes <= ACCESS_TOKEN_BYTES as f64 + 50.0, "{bytes} bytes for each token");
}
