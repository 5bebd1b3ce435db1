//! How many bytes and allocations does a local joiner cost, and how many a refresh that is led?
//!
//! A process of its own, because its allocator counts. Bytes of a joiner are those that are held while all of them
//! wait, the task of each included, as a server's request is a task.

use std::alloc::System;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use refresh_coordinator::{Refresh, RefreshCoordinator};
use refresh_coordinator_benches::is_wanted;
use refresh_coordinator_benches::pods::{answer, connect, token, told, wide};
use refresh_coordinator_benches::redis_server::RedisServer;
use refresh_coordinator_benches::report::{Report, Row};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::sync::Semaphore;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Bytes held for each of so many callers while they wait, and allocations from the first call to the last answer.
async fn joiners(pod: &RefreshCoordinator, callers: usize) -> (f64, f64) {
    let token = token("joined", NEXT.fetch_add(1, Ordering::Relaxed));
    let gate = Arc::new(Semaphore::new(0));
    let back = Arc::new(AtomicU64::new(0));
    let tokens = Arc::new(answer());
    let before = pod.metrics().callers;
    let region = Region::new(ALLOCATOR);
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
async fn bare_tasks(callers: usize) -> f64 {
    let gate = Arc::new(Semaphore::new(0));
    let region = Region::new(ALLOCATOR);
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
async fn led(pod: &RefreshCoordinator, flights: usize) -> (f64, f64) {
    let work: Vec<_> =
        (0..flights).map(|_| (Refresh::new(token("led", NEXT.fetch_add(1, Ordering::Relaxed))), answer())).collect();
    let region = Region::new(ALLOCATOR);
    for (refresh, tokens) in work {
        pod.refresh(refresh, async move |_| Ok(tokens)).await.expect("tokens");
    }
    let all = region.change();
    (all.allocations as f64 / flights as f64, all.bytes_allocated as f64 / flights as f64)
}

fn main() {
    if !is_wanted() {
        return;
    }
    let mut report = Report::open(
        "allocations",
        "How many bytes and allocations does a local joiner cost, and how many a refresh that is led?",
    );
    report.setting(told(&wide()));
    report.setting("one thread; a joiner's bytes are those held while it waits, its task included".to_owned());

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let pod = RefreshCoordinator::in_memory(wide()).expect("possible settings");
        joiners(&pod, 100).await;
        let bare = bare_tasks(10_000).await;
        report.row(Row::new("a task that only waits: bytes", bare, "bytes"));
        for callers in [1_000, 10_000] {
            let (bytes, allocations) = joiners(&pod, callers).await;
            let name = format!("{callers} local joiners");
            report.row(
                Row::new(format!("{name}: bytes each, task included"), bytes, "bytes").beside("a bare task", bare),
            );
            report
                .row(Row::new(format!("{name}: bytes each beyond a bare task"), bytes - bare, "bytes").at_most(300.0));
            report.row(Row::new(format!("{name}: allocations each"), allocations, "calls"));
        }
        led(&pod, 1_000).await;
        let (allocations, bytes) = led(&pod, 4_000).await;
        report.row(Row::new("leading in memory: allocations", allocations, "calls"));
        report.row(Row::new("leading in memory: bytes allocated", bytes, "bytes"));

        let redis = RedisServer::start().await;
        let pod = connect(&redis, &wide()).await;
        led(&pod, 1_000).await;
        let (allocations, bytes) = led(&pod, 4_000).await;
        report.row(Row::new("leading on Redis: allocations", allocations, "calls"));
        report.row(Row::new("leading on Redis: bytes allocated", bytes, "bytes"));
    });
}
