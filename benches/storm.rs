//! 8 processes with 64 callers each hold the same token, or the same 1,000 tokens, and all refresh at once: how often is
//! the provider asked, how long does a caller wait after it answered, and what does it cost Redis and the processes?
//!
//! The peer is the same storm on what is written by hand today: a lock of rslock and a key for the result. The wait is
//! counted from the provider's answer, or from the caller's arrival where that came later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use refresh_coordinator::{Config, Refresh, RefreshCoordinator, TokenResponse};
use refresh_coordinator_benches::child::{self, Child};
use refresh_coordinator_benches::clock::{cpu, now_ns};
use refresh_coordinator_benches::pods::{PROVIDER, answer_json, ended_ns, stamped_answer, token, told, wide};
use refresh_coordinator_benches::redis_server::RedisServer;
use refresh_coordinator_benches::report::{Report, Row};
use refresh_coordinator_benches::stats::{median, percentile, us};
use refresh_coordinator_benches::{is_quick, is_wanted, rounds, runtime};
use tokio::task::JoinSet;

#[path = "peers/by_hand.rs"]
mod by_hand;
use by_hand::{ByHand, RETRY};

const PROCESSES: usize = 8;
const CALLERS: usize = 64;

#[derive(Clone)]
enum Pod {
    Coordinator(RefreshCoordinator),
    ByHand(ByHand),
}

impl Pod {
    /// When the provider answered.
    async fn refresh(&self, token: String, asked: &Arc<AtomicU64>) -> u64 {
        let asked = Arc::clone(asked);
        match self {
            Self::Coordinator(coordinator) => {
                let call = async move |_| {
                    asked.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(PROVIDER).await;
                    Ok(stamped_answer())
                };
                let refreshed = coordinator.refresh(Refresh::new(token), call).await.expect("tokens");
                ended_ns(refreshed.tokens())
            }
            Self::ByHand(by_hand) => {
                let call = async || {
                    asked.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(PROVIDER).await;
                    answer_json(now_ns())
                };
                let result = by_hand.refresh(&token, call).await;
                ended_ns(&TokenResponse::from_json(result).expect("tokens"))
            }
        }
    }
}

/// One process: told `go <series> <tokens>`, it lets its callers loose and says what came of it.
async fn pod(kind: &str, url: &str, namespace: &str) {
    let pod = match kind {
        "coordinator" => {
            let config = Config { namespace: namespace.to_owned(), ..wide() };
            Pod::Coordinator(RefreshCoordinator::connect(url, config).await.expect("redis is there"))
        }
        _ => Pod::ByHand(ByHand::connect(url).await),
    };
    println!("ready");
    let mut lines = child::told();
    while let Some(line) = lines.next_line().await.expect("lines") {
        let words: Vec<&str> = line.split(' ').collect();
        let (series, tokens) = (words[1].to_owned(), words[2].parse::<u64>().expect("a number"));
        // One token: every caller asks for it. Many: each is asked for once in this process, 64 at a time.
        let calls = if tokens == 1 { CALLERS as u64 } else { tokens };
        let (asked, next) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let before = cpu();
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (pod, asked, next, series) = (pod.clone(), Arc::clone(&asked), Arc::clone(&next), series.clone());
            callers.spawn(async move {
                let mut waits = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= calls {
                        return waits;
                    }
                    let arrived = now_ns();
                    let ended = pod.refresh(token(&series, number % tokens), &asked).await;
                    waits.push(now_ns() - ended.max(arrived));
                }
            });
        }
        let waits = callers.join_all().await.concat();
        let used = (cpu() - before).as_micros();
        let waits: Vec<String> = waits.iter().map(u64::to_string).collect();
        println!("{} {used} {}", asked.load(Ordering::Relaxed), waits.join(" "));
    }
}

/// What one storm came to.
#[derive(Default)]
struct Storm {
    presentations: f64,
    p50_us: f64,
    last_us: f64,
    commands: f64,
    bytes: f64,
    cpu_us: f64,
    redis_us: f64,
    took_ms: f64,
}

async fn storm(redis: &RedisServer, pods: &mut [Child], is_by_hand: bool, series: &str, tokens: u64) -> Storm {
    redis.reset_stats().await;
    let redis_cpu = async || redis.info("cpu", "used_cpu_user").await + redis.info("cpu", "used_cpu_sys").await;
    let cpu_before = redis_cpu().await;
    redis.reset_stats().await;
    let began = now_ns();
    for pod in pods.iter_mut() {
        pod.tell(&format!("go {series} {tokens}")).await;
    }
    let (mut storm, mut waits) = (Storm::default(), Vec::new());
    for pod in pods.iter_mut() {
        let line = pod.hear().await;
        let mut words = line.split(' ').map(|word| word.parse::<u64>().expect("a number"));
        storm.presentations += words.next().expect("presentations") as f64;
        storm.cpu_us += words.next().expect("CPU") as f64;
        waits.extend(words.map(us));
    }
    storm.took_ms = us(now_ns() - began) / 1e3;
    // First the bytes: what is asked here is not counted before it is answered.
    storm.bytes = redis.info("stats", "total_net_input_bytes").await;
    storm.bytes += redis.info("stats", "total_net_output_bytes").await;
    let stats = redis.stats().await;
    let (all, scripts) = (stats.0.values().map(|calls| calls.calls).sum::<u64>(), stats.of("evalsha").calls);
    storm.commands = if is_by_hand {
        // Inside its script rslock calls GET, and DEL where the lock is its own.
        (all - scripts - stats.of("del").calls) as f64
    } else {
        scripts as f64
    };
    storm.redis_us = (redis_cpu().await - cpu_before) * 1e6;
    storm.p50_us = percentile(&waits, 50.0);
    storm.last_us = percentile(&waits, 100.0);
    let callers = waits.len() as f64;
    storm.cpu_us /= callers;
    storm.redis_us /= callers;
    storm
}

fn main() {
    let runtime = runtime();
    if let Some((kind, arguments)) = child::role() {
        runtime.block_on(pod(&kind, &arguments[0], &arguments[1]));
    } else if is_wanted() {
        runtime.block_on(runtime.spawn(run())).expect("no panic");
    }
}

async fn run() {
    let mut report = Report::open(
        "storm",
        "8 processes with 64 callers each refresh the same token, or the same 1,000 tokens, at once: what does it come to?",
    );
    let config = wide();
    report.setting(told(&config));
    report.setting(format!(
        "the provider takes {PROVIDER:?}; by hand: rslock, tries again after a random part of {RETRY:?}"
    ));

    // A Redis for each, so that neither's commands are counted as the other's.
    let (ours, theirs) = (RedisServer::start().await, RedisServer::start().await);
    let mut fleets = [Vec::new(), Vec::new()];
    for _ in 0..PROCESSES {
        fleets[0].push(Child::start("coordinator", &[ours.url(), &config.namespace]));
        fleets[1].push(Child::start("by_hand", &[theirs.url(), "none"]));
    }
    for pod in fleets.iter_mut().flatten() {
        assert_eq!(pod.hear().await, "ready");
    }
    let [our_fleet, their_fleet] = &mut fleets;

    for (tokens, rounds) in [(1, rounds(11)), (1_000, if is_quick() { 1 } else { 3 })] {
        report.setting(format!("{tokens} tokens: median of {rounds} rounds, in turn"));
        let (mut our_storms, mut their_storms) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let series = format!("storm-{tokens}-{round}");
            let our = storm(&ours, our_fleet, false, &series, tokens).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            let their = storm(&theirs, their_fleet, true, &series, tokens).await;
            // The first round warms up: connections, scripts.
            if round > 0 || rounds == 1 {
                our_storms.push(our);
                their_storms.push(their);
            }
        }
        let middle = |storms: &[Storm], of: fn(&Storm) -> f64| median(&storms.iter().map(of).collect::<Vec<_>>());
        let mut row = |name: &str, of: fn(&Storm) -> f64, unit, bound: Option<f64>| {
            let (our, their) = (middle(&our_storms, of), middle(&their_storms, of));
            let row = Row::new(format!("{tokens} tokens: {name}"), our, unit).beside("by hand", their);
            report.row(match bound {
                Some(bound) => row.at_most(bound),
                None => row,
            });
        };
        row("presentations", |storm| storm.presentations, "calls", Some(tokens as f64));
        row("wait after the answer, p50", |storm| storm.p50_us, "us", None);
        row("wait after the answer, last caller", |storm| storm.last_us, "us", None);
        let commands = if tokens == 1 { 9.0 } else { 9.0 * tokens as f64 };
        row("Redis commands", |storm| storm.commands, "commands", Some(commands));
        row("bytes to and from Redis", |storm| storm.bytes, "bytes", None);
        row("CPU of the processes for each caller", |storm| storm.cpu_us, "us", None);
        row("CPU of Redis for each caller", |storm| storm.redis_us, "us", None);
        row("from start to end", |storm| storm.took_ms, "ms", None);
    }
}
