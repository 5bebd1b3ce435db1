//! What does a refresh cost that nobody else asks for, in one process: distinct tokens, a provider that answers at
//! once, from 1 task and from 64, with 1,000 and with 1,000,000 sessions tracked?
//!
//! Tokens and answers are made before the clock starts. The peer is a miss of moka's `get_with`, which neither hashes
//! the token nor keeps a lease, an attempt window, a budget or a circuit. What it allocates is told by `allocations`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use refresh_coordinator::{Config, MemoryStore, Refresh, RefreshCoordinator, TokenResponse};
use refresh_coordinator_benches::pods::{answer, token, told, wide};
use refresh_coordinator_benches::report::{Report, Row};
use refresh_coordinator_benches::stats::median;
use refresh_coordinator_benches::{is_quick, is_wanted, rounds, runtime};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

static NEXT: AtomicU64 = AtomicU64::new(0);

fn next_token() -> String {
    token("lead-in-memory", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Tracks so many sessions, without outcomes: those are over at once.
async fn fill(store: &MemoryStore, config: &Config, sessions: usize) {
    let config = config.clone().with_keep_outcome(Duration::ZERO);
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

/// What any such refresh is made of, from the same libraries, without a rule, a fence or anything that could be
/// repeated: the token hashed for its callers and for the log, a flight that others could find, a record that holds the
/// outcome, a task for the flight and one for the call, a timer for the callers and one for the lease, and the end of
/// the process. In a process whose coordinator keeps an earlier timer registered, as here.
struct Parts {
    flights: DashMap<[u8; 32], Arc<Notify>>,
    records: DashMap<[u8; 32], Option<TokenResponse>>,
    closing: CancellationToken,
}

impl Parts {
    fn tracking(sessions: usize) -> Arc<Self> {
        let records = DashMap::new();
        for _ in 0..sessions {
            records.insert(Sha256::digest(next_token()).into(), None);
        }
        Arc::new(Self { flights: DashMap::new(), records, closing: CancellationToken::new() })
    }

    async fn refresh(self: &Arc<Self>, token: String, tokens: TokenResponse) -> TokenResponse {
        let key: [u8; 32] = Sha256::new().chain_update("of this process").chain_update(&token).finalize().into();
        let name: [u8; 32] = Sha256::digest(&token).into();
        self.flights.insert(key, Arc::default());
        let parts = Arc::clone(self);
        let flight = tokio::spawn(async move {
            let (late, renewal) = (sleep(Duration::from_secs(10)), sleep(Duration::from_secs(3)));
            parts.records.insert(name, None);
            let call = tokio::spawn(async move { tokens });
            let answer = tokio::select! {
                biased;
                answer = call => answer.expect("no panic"),
                () = renewal => panic!("it answers at once"),
                () = late => panic!("it answers at once"),
                () = parts.closing.cancelled() => panic!("it is open"),
            };
            parts.records.insert(name, Some(answer.clone()));
            parts.flights.remove(&key);
            answer
        });
        flight.await.expect("no panic")
    }
}

async fn bare_parts(parts: &Arc<Parts>, tasks: usize, each: usize) -> f64 {
    let mut work = Vec::new();
    for _ in 0..tasks {
        work.push((0..each).map(|_| (next_token(), answer())).collect::<Vec<_>>());
    }
    let mut running = JoinSet::new();
    let began = Instant::now();
    for work in work {
        let parts = Arc::clone(parts);
        running.spawn(async move {
            for (token, tokens) in work {
                parts.refresh(token, tokens).await;
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
    let one_worker =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (mut by_size, mut bare) = (Vec::new(), Vec::new());
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
        // A pod is at home on one runtime: that is where it keeps a timer.
        let pod_of_one_worker =
            RefreshCoordinator::in_memory_shared(&store, config.clone()).expect("possible settings");
        let parts = Parts::tracking(sessions);
        let mut times = Vec::new();
        for tasks in [1, 64] {
            let each = each / tasks;
            let mut taken = Vec::new();
            for round in 0..=rounds {
                let each_takes = [
                    runtime.block_on(coordinator(&pod, tasks, each)),
                    one_worker.block_on(coordinator(&pod_of_one_worker, tasks, each)),
                    runtime.block_on(moka(&cache, tasks, each)),
                    runtime.block_on(two_tasks(tasks, each)),
                    runtime.block_on(bare_parts(&parts, tasks, each)),
                ];
                if round > 0 {
                    taken.push(each_takes);
                }
            }
            let [ours, of_one_worker, moka, two_tasks, parts] =
                std::array::from_fn(|i| median(&taken.iter().map(|takes| takes[i] / 1e3).collect::<Vec<_>>()));
            if sessions == sizes[0] {
                bare.push(parts);
                report.limit(format!(
                    "{tasks} tasks: the flight and the call are a task each, so that neither a caller who goes away nor a \
                     call that blocks takes the lease along; two bare tasks that hand the answer back take {two_tasks:.2} \
                     us of the {ours:.2}, with the maps, hashes and timers of a refresh {parts:.2}"
                ));
                if tasks == 1 {
                    report.limit(format!(
                        "1 tasks: on a runtime of one worker it takes {of_one_worker:.2} us: the rest is what two workers \
                         that hand tasks to each other cost"
                    ));
                }
            } else {
                report.limit(format!(
                    "{tasks} tasks, {sessions} sessions: beside as many entries in two bare maps its parts take {:.2} times \
                     as long as beside {}: what is not in the processor's caches has to be fetched",
                    parts / bare[times.len()],
                    sizes[0]
                ));
            }
            let what = format!("{tasks} tasks, {sessions} sessions");
            let time = || Row::new(format!("{what}: time for each"), ours, "us");
            let row = time().beside("moka miss", moka);
            report.row(if tasks == 1 { row.at_most(3.0) } else { row });
            report.row(time().beside("two bare tasks", two_tasks));
            report.row(time().beside("its parts, bare", parts));
            report.row(time().beside("a runtime of one worker", of_one_worker));
            let row = Row::new(format!("{what}: throughput"), 1e6 / ours, "per s").beside("moka miss", 1e6 / moka);
            report.row(if tasks == 64 { row.at_least(500_000.0) } else { row });
            times.push(ours);
        }
        by_size.push(times);
    }
    for (i, tasks) in [1, 64].into_iter().enumerate() {
        let row = Row::new(format!("{tasks} tasks, {} sessions: time for each", sizes[1]), by_size[1][i], "us");
        report.row(row.beside(format!("with {} sessions", sizes[0]), by_size[0][i]).ratio_at_most(1.15));
    }
}
