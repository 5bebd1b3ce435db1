//! Counts what callers allocate. Only a program whose global allocator is [`INSTRUMENTED_SYSTEM`] has something to
//! count: the bench `allocations`, and the test that guards its figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use refresh_coordinator::{Refresh, RefreshCoordinator};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region};
use tokio::sync::Semaphore;

use crate::pods::{answer, token};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Bytes held for each of so many callers while they wait, and allocations from the first call to the last answer.
pub async fn joiners(pod: &RefreshCoordinator, callers: usize) -> (f64, f64) {
    let token = token("joined", NEXT.fetch_add(1, Ordering::Relaxed));
    let gate = Arc::new(Semaphore::new(0));
    let back = Arc::new(AtomicU64::new(0));
    let tokens = Arc::new(answer());
    let before = pod.metrics().callers;
    let region = Region::new(&INSTRUMENTED_SYSTEM);
    for _ in 0..callers {
        let (pod, token, gate, tokens, back) =
            (pod.clone(), token.clone(), Arc::clone(&gate), Arc::clone(&tokens), Arc::clone(&back));
        // Gives back what it holds when it is done, as a request does.
        tokio::spawn(async move {
            let call = async move |_| {
                gate.acquire().await.expect("not closed").forget();
                Ok(Arc::unwrap_or_clone(tokens))
            };
            pod.refresh(Refresh::new(token), call).await.expect("tokens");
            back.fetch_add(1, Ordering::Relaxed);
        });
    }
    while pod.metrics().callers < before + callers as u64 {
        tokio::task::yield_now().await;
    }
    let held = region.change();
    gate.add_permits(1);
    while back.load(Ordering::Relaxed) < callers as u64 {
        tokio::task::yield_now().await;
    }
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
    let work: Vec<_> =
        (0..flights).map(|_| (Refresh::new(token("led", NEXT.fetch_add(1, Ordering::Relaxed))), answer())).collect();
    let region = Region::new(&INSTRUMENTED_SYSTEM);
    for (refresh, tokens) in work {
        pod.refresh(refresh, async move |_| Ok(tokens)).await.expect("tokens");
    }
    let all = region.change();
    (all.allocations as f64 / flights as f64, all.bytes_allocated as f64 / flights as f64)
}
