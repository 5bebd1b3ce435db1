//! Counts what callers allocate. Only a program whose global allocator is [`INSTRUMENTED_SYSTEM`] has something to
//! count: the bench `allocations`, and the test that guards its figures.

use std::sync::Arc;

use refresh_coordinator::RefreshCoordinator;
use refresh_coordinator::tokens::{AccessTokens, MemoryTokens};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats};
use tokio::sync::Semaphore;

use crate::callers::{join, lead, refreshes};
use crate::valid::ask;

/// Bytes held for each of so many callers while they wait, and allocations from the first call to the last answer.
pub async fn joiners(pod: &RefreshCoordinator, callers: usize) -> (f64, f64) {
    let region = Region::new(&INSTRUMENTED_SYSTEM);
    let mut held = Stats::default();
    join(pod, callers, || held = region.change()).await;
    let all = region.change();
    let bytes = held.bytes_allocated as f64 - held.bytes_deallocated as f64;
    (bytes / callers as f64, all.allocations as f64 / callers as f64)
}

/// What a task costs that does nothing but wait.
pub async fn bare_tasks(callers: usize) -> f64 {
    let gate = Arc::new(Semaphore::new(0));
    let region = Region::new(&INSTRUMENTED_SYSTEM);
    let mut tasks = Vec::with_capacity(callers);
    for _ in 0..callers {
        let gate = Arc::clone(&gate);
        tasks.push(tokio::spawn(async move { gate.acquire().await.expect("not closed").forget() }));
    }
    tokio::task::yield_now().await;
    let held = region.change();
    gate.add_permits(callers);
    for task in tasks {
        task.await.expect("no panic");
    }
    (held.bytes_allocated as f64 - held.bytes_deallocated as f64) / callers as f64
}

/// Allocations and bytes allocated for each of so many led refreshes, their tokens and answers made before.
pub async fn led(pod: &RefreshCoordinator, flights: usize) -> (f64, f64) {
    let work = refreshes(flights);
    let region = Region::new(&INSTRUMENTED_SYSTEM);
    lead(pod, work).await;
    let all = region.change();
    (all.allocations as f64 / flights as f64, all.bytes_allocated as f64 / flights as f64)
}

/// Allocations and bytes allocated for each access token that is asked for and valid.
pub async fn valid(tokens: &AccessTokens<MemoryTokens>, sessions: &[String], times: usize) -> (f64, f64) {
    let region = Region::new(&INSTRUMENTED_SYSTEM);
    ask(tokens, sessions, times).await;
    let all = region.change();
    (all.allocations as f64 / times as f64, all.bytes_allocated as f64 / times as f64)
}
