//! What does a refresh cost that nobody else asks for, in one process: distinct tokens, a provider that answers at
//! once, from 1 task and from 64, with 1,000 and with 1,000,000 sessions tracked?
//!
//! Tokens and answers are made before the clock starts. The peer is a miss of moka's `get_with`, which neither hashes
//! the token nor keeps a lease, an attempt window, a budget or a circuit. What it allocates is told by `allocations`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use refresh_coordinator::{Config, MemoryStore, Refresh, RefreshCoordinator, TokenResponse};
use refresh_coordinator_benches::pods::{answer, token, told, wide};
use refresh_coordinator_benches::report::{Report, Row};
use refresh_coordinator_benches::stats::median;
use refresh_coordinator_benches::{is_quick, is_wanted, rounds, runtime};
use tokio::task::JoinSet;

static NEXT: AtomicU64 = AtomicU64::new(0);

fn next_token() -> String {
    token("lead-in-memory", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Tracks so many sessions, without outcomes: those are over at once.
async fn fill(store: &MemoryStore, config: &Config, sessions: usize) {
    let config = Config { keep_outcome: Duration::ZERO, ..config.clone() };
    let loader = RefreshCoordinator::in_memory_shared(store, config).expect("possible settings");
    let tokens = TokenResponse::from_json(r#"{"access_token":"a"}"#).expect("a token response");
    for number in 0..sessions {
        let (token, tokens) = (token("session", number as u64), tokens.clone());
        loader.refresh(Refresh::new(token), async move |_| Ok(tokens)).await.expect("tokens");
    }
}

/// Nanoseconds of wall time for each, and how many a second.
async fn coordinator(pod: &RefreshCoordinator, tasks: usize, each: usize) -> f64 {
    let mut work = Vec::new();
    for _ in 0..tasks {
        work.push((0..each).map(|_| (Refresh::new(next_token()), answer())).collect::<Vec<_>>());
    }
    // Driven from a worker, as a server's tasks are.
    let mut running = JoinSet::new();
    let began = Instant::now();
    for work in work {
        let pod = pod.clone();
        running.spawn(async move {
            for (refresh, tokens) in work {
                pod.refresh(refresh, async move |_| Ok(tokens)).await.expect("tokens");
            }
        });
    }
    running.join_all().await;
    began.elapsed().as_nanos() as f64 / (tasks * each) as f64
}

/// What two tasks cost, one for the flight and one for the call, that hand the answer back and do nothing else.
async fn two_tasks(tasks: usize, each: usize) -> f64 {
    let mut work = Vec::new();
    for _ in 0..tasks {
        work.push((0..each).map(|_| answer()).collect::<Vec<_>>());
    }
    let mut running = JoinSet::new();
    let began = Instant::now();
    for work in work {
        running.spawn(async move {
            for tokens in work {
                let flight = tokio::spawn(async move { tokio::spawn(async move { tokens }).await.expect("no panic") });
                flight.await.expect("no panic");
            }
        });
    }
    running.join_all().await;
    began.elapsed().as_nanos() as f64 / (tasks * each) as f64
}

async fn moka(cache: &moka::future::Cache<String, Arc<TokenResponse>>, tasks: usize, each: usize) -> f64 {
    let mut work = Vec::new();
    for _ in 0..tasks {
        work.push((0..each).map(|_| (next_token(), Arc::new(answer()))).collect::<Vec<_>>());
    }
    let mut running = JoinSet::new();
    let began = Instant::now();
    for work in work {
        let cache = cache.clone();
        running.spawn(async move {
            for (token, tokens) in work {
                cache.get_with(token, async move { tokens }).await;
            }
        });
    }
    running.join_all().await;
    began.elapsed().as_nanos() as f64 / (tasks * each) as f64
}

fn main() {
    if !is_wanted() {
        return;
    }
    let mut report =
        Report::open("lead_in_memory", "What does a refresh cost that nobody else asks for, in one process?");
    let config = wide();
    report.setting(told(&config));
    let each = if is_quick() { 2_000 } else { 10_000 };
    let rounds = rounds(9);
    report.setting(format!("distinct tokens, 1.5 KB answers; median of {rounds} rounds of {each} refreshes, in turn"));
    let sizes: [usize; 2] = [1_000, if is_quick() { 100_000 } else { 1_000_000 }];

    let runtime = runtime();
    let mut by_size = Vec::new();
    for sessions in sizes {
        let store = MemoryStore::new();
        let cache = moka::future::Cache::new(10_000_000);
        let pod = runtime.block_on(async {
            fill(&store, &config, sessions).await;
            for _ in 0..sessions {
                cache
                    .insert(
                        next_token(),
                        Arc::new(TokenResponse::from_json(r#"{"access_token":"a"}"#).expect("tokens")),
                    )
                    .await;
            }
            cache.run_pending_tasks().await;
            RefreshCoordinator::in_memory_shared(&store, config.clone()).expect("possible settings")
        });
        let mut medians = Vec::new();
        for tasks in [1, 64] {
            let (mut ours, mut theirs, mut floors) = (Vec::new(), Vec::new(), Vec::new());
            for round in 0..=rounds {
                let our = runtime.block_on(coordinator(&pod, tasks, each / tasks));
                let their = runtime.block_on(moka(&cache, tasks, each / tasks));
                let floor = runtime.block_on(two_tasks(tasks, each / tasks));
                if round > 0 {
                    ours.push(our);
                    theirs.push(their);
                    floors.push(floor);
                }
            }
            let (ours, theirs, floor) = (median(&ours), median(&theirs), median(&floors));
            if sessions == sizes[0] {
                report.limit(format!(
                    "{tasks} tasks: the flight and the call are a task each, so that neither a caller who goes away nor a \
                     call that blocks takes the lease along; two bare tasks that hand the answer back take {:.2} us of the \
                     {:.2}",
                    floor / 1e3,
                    ours / 1e3
                ));
            }
            medians.push(ours);
            let what = format!("{tasks} tasks, {sessions} sessions");
            let row = Row::new(format!("{what}: time for each"), ours / 1e3, "us").beside("moka miss", theirs / 1e3);
            report.row(if tasks == 1 { row.at_most(3.0) } else { row });
            let row = Row::new(format!("{what}: throughput"), 1e9 / ours, "per s").beside("moka miss", 1e9 / theirs);
            report.row(if tasks == 64 { row.at_least(500_000.0) } else { row });
        }
        by_size.push(medians);
    }
    for (i, tasks) in [1, 64].into_iter().enumerate() {
        let row = Row::new(format!("{tasks} tasks, {} sessions: time for each", sizes[1]), by_size[1][i] / 1e3, "us");
        report.row(row.beside(format!("with {} sessions", sizes[0]), by_size[0][i] / 1e3).ratio_at_most(1.15));
    }
}
