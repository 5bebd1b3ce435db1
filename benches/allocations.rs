//! How many bytes and allocations does a local joiner cost, and how many a refresh that is led?
//!
//! A process of its own, because its allocator counts. Bytes of a joiner are those that are held while all of them
//! wait, the task of each included, as a server's request is a task.

use std::alloc::System;

use refresh_coordinator::RefreshCoordinator;
use refresh_coordinator_benches::allocations::{bare_tasks, joiners, led};
use refresh_coordinator_benches::pods::{connect, told, wide};
use refresh_coordinator_benches::redis_server::RedisServer;
use refresh_coordinator_benches::report::{Report, Row};
use refresh_coordinator_benches::{is_wanted, one_thread};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

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

    one_thread().block_on(async {
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
