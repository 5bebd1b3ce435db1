//! Refreshes that nobody else asks for, over Redis, and their floor: two scripts that do nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use redis::Script;
use redis::aio::MultiplexedConnection;
use refresh_coordinator::{Refresh, RefreshCoordinator};
use tokio::task::JoinSet;

use crate::pods::{answer, token};
use crate::stats::{median, percentile};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Connections for commands, as many as a pod has.
pub const LANES: usize = 4;

/// What one round measured.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Refreshes.
    pub per_second: f64,
    /// Microseconds.
    pub p50: f64,
    /// Microseconds.
    pub p99: f64,
}

impl Round {
    fn of(flights: usize, began: Instant, mut latencies: Vec<f64>) -> Self {
        let per_second = flights as f64 / began.elapsed().as_secs_f64();
        latencies.sort_by(f64::total_cmp);
        Self { per_second, p50: median(&latencies), p99: percentile(&latencies, 99.0) }
    }
}

/// The middle of several rounds.
pub fn middle(rounds: &[Round], of: fn(&Round) -> f64) -> f64 {
    median(&rounds.iter().map(of).collect::<Vec<_>>())
}

/// Refreshes of distinct tokens by so many tasks, with a provider that answers at once.
pub async fn coordinator(pod: &RefreshCoordinator, tasks: usize, flights: usize) -> Round {
    let mut running = JoinSet::new();
    let began = Instant::now();
    for _ in 0..tasks {
        let pod = pod.clone();
        running.spawn(async move {
            let mut latencies = Vec::new();
            for _ in 0..flights / tasks {
                let (token, tokens) = (token("lead-on-redis", NEXT.fetch_add(1, Ordering::Relaxed)), answer());
                let asked = Instant::now();
                pod.refresh(Refresh::new(token), async move |_| Ok(tokens)).await.expect("tokens");
                latencies.push(asked.elapsed().as_nanos() as f64 / 1e3);
            }
            latencies
        });
    }
    let latencies = running.join_all().await.concat();
    Round::of(flights, began, latencies)
}

/// A script that does nothing, loaded.
pub async fn bare_script(connection: &mut MultiplexedConnection) -> Arc<Script> {
    let script = Script::new("return {'lead', '1', 'nothing'}");
    script.load_async(connection).await.expect("loaded");
    Arc::new(script)
}

/// Two round trips for each, of a script that does nothing, with arguments of the same size.
pub async fn bare(lanes: &[MultiplexedConnection], script: &Arc<Script>, tasks: usize, flights: usize) -> Round {
    let mut running = JoinSet::new();
    let began = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    for _ in 0..tasks {
        let (lanes, script, next) = (lanes.to_vec(), Arc::clone(script), Arc::clone(&next));
        running.spawn(async move {
            let mut latencies = Vec::new();
            let (small, sealed) = ("x".repeat(600), "x".repeat(2_400));
            for _ in 0..flights / tasks {
                let asked = Instant::now();
                for argument in [&small, &sealed] {
                    let lane = next.fetch_add(1, Ordering::Relaxed) as usize % lanes.len();
                    let mut call = script.prepare_invoke();
                    call.key("rc:{bench}:bare").arg(argument);
                    call.invoke_async::<Vec<String>>(&mut lanes[lane].clone()).await.expect("an answer");
                }
                latencies.push(asked.elapsed().as_nanos() as f64 / 1e3);
            }
            latencies
        });
    }
    let latencies = running.join_all().await.concat();
    Round::of(flights, began, latencies)
}
