//! 8 processes with 64 callers each hold the same token, or the same 1,000 tokens, or with 50 callers for each of 200
//! tokens, and all refresh at once: how often is the provider asked, how long does a caller wait after it answered, and
//! what does it cost Redis and the processes?
//!
//! The peers are the same storm on what is written by hand: a lock of rslock and a key for the result, and a single
//! flight in each process before a lock and such a key. The wait is counted from the provider's answer, or from the
//! caller's arrival where that came later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use refresh_coordinator::{Config, Refresh, RefreshCoordinator};
use refresh_coordinator_benches::child::{self, Child};
use refresh_coordinator_benches::clock::{cpu, now_ns};
use refresh_coordinator_benches::pods::{PROVIDER, answer_json, ended_ns, stamped_answer, token, told, wide};
use refresh_coordinator_benches::redis_server::RedisServer;
use refresh_coordinator_benches::report::{Report, Row};
use refresh_coordinator_benches::stats::{median, percentile, us};
use refresh_coordinator_benches::{is_quick, is_wanted, rounds, runtime};
use tokio::task::JoinSet;

mod peers;
use peers::{Peer, RSLOCK, SINGLE_FLIGHT};

const PROCESSES: usize = 8;
const COORDINATOR: &str = "coordinator";

#[derive(Clone)]
enum Pod {
    Coordinator(RefreshCoordinator),
    Peer(Peer),
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
            Self::Peer(peer) => {
                let call = async move || {
                    asked.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(PROVIDER).await;
                    answer_json(now_ns())
                };
                let tokens = peer.refresh(&token, call).await;
                ended_ns(&tokens)
            }
        }
    }
}

/// Who asks for what.
struct Case {
    tokens: u64,
    /// How often each process asks for each token.
    each: u64,
    /// Callers of a process that ask at the same time.
    callers: u64,
    rounds: usize,
}

/// One process: told `go <series> <tokens> <each> <callers>`, it lets its callers loose and says what came of it.
async fn pod(kind: &str, url: &str, namespace: &str) {
    let pod = match kind {
        COORDINATOR => {
            let config = wide().with_namespace(namespace.to_owned());
            Pod::Coordinator(RefreshCoordinator::connect(url, config).await.expect("redis is there"))
        }
        peer => Pod::Peer(Peer::connect(peer, url).await),
    };
    println!("ready");
    let mut lines = child::told();
    while let Some(line) = lines.next_line().await.expect("lines") {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |index: usize| words[index].parse::<u64>().expect("a number");
        let (series, tokens, calls, at_once) = (words[1].to_owned(), number(2), number(2) * number(3), number(4));
        let (asked, next) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let before = cpu();
        let mut callers = JoinSet::new();
        for _ in 0..at_once {
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
    callers: f64,
    cpu_us: f64,
    redis_us: f64,
    took_ms: f64,
}

/// The processes that share refreshes in one way, with a Redis of their own, so that its counts are theirs alone.
struct Fleet {
    kind: &'static str,
    redis: RedisServer,
    pods: Vec<Child>,
}

impl Fleet {
    async fn start(kind: &'static str, config: &Config) -> Self {
        let redis = RedisServer::start().await;
        let mut pods: Vec<Child> =
            (0..PROCESSES).map(|_| Child::start(kind, &[redis.url(), &config.namespace])).collect();
        for pod in &mut pods {
            assert_eq!(pod.hear().await, "ready");
        }
        Self { kind, redis, pods }
    }

    async fn redis_cpu(&self) -> f64 {
        self.redis.info("cpu", "used_cpu_user").await + self.redis.info("cpu", "used_cpu_sys").await
    }

    async fn storm(&mut self, series: &str, case: &Case) -> Storm {
        self.redis.reset_stats().await;
        let cpu_before = self.redis_cpu().await;
        self.redis.reset_stats().await;
        let began = now_ns();
        for pod in &mut self.pods {
            pod.tell(&format!("go {series} {} {} {}", case.tokens, case.each, case.callers)).await;
        }
        let (mut storm, mut waits) = (Storm::default(), Vec::new());
        for pod in &mut self.pods {
            let line = pod.hear().await;
            let mut words = line.split(' ').map(|word| word.parse::<u64>().expect("a number"));
            storm.presentations += words.next().expect("presentations") as f64;
            storm.cpu_us += words.next().expect("CPU") as f64;
            waits.extend(words.map(us));
        }
        storm.took_ms = us(now_ns() - began) / 1e3;
        // First the bytes: what is asked here is not counted before it is answered.
        storm.bytes = self.redis.info("stats", "total_net_input_bytes").await;
        storm.bytes += self.redis.info("stats", "total_net_output_bytes").await;
        let stats = self.redis.stats().await;
        let (all, scripts) = (stats.0.values().map(|calls| calls.calls).sum::<u64>(), stats.of("evalsha").calls);
        storm.commands = if self.kind == COORDINATOR {
            scripts as f64
        } else {
            // Inside its script, which unlocks, a peer calls GET, and DEL where the lock is its own.
            (all - scripts - stats.of("del").calls) as f64
        };
        storm.redis_us = (self.redis_cpu().await - cpu_before) * 1e6;
        storm.p50_us = percentile(&waits, 50.0);
        storm.last_us = percentile(&waits, 100.0);
        storm.callers = waits.len() as f64;
        storm
    }
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
        "8 processes with 64 callers each refresh the same token, or the same 1,000 tokens, at once, or with 50 callers \
         for each of 200 tokens: what does it come to?",
    );
    let config = wide();
    report.setting(told(&config));
    report.setting(format!("the provider takes {PROVIDER:?}; {}", peers::told()));

    let mut ours = Fleet::start(COORDINATOR, &config).await;
    let mut by_hand = Fleet::start(RSLOCK, &config).await;
    let mut single_flight = Fleet::start(SINGLE_FLIGHT, &config).await;

    let cases = [
        // Every caller asks for the one token.
        Case { tokens: 1, each: 64, callers: 64, rounds: rounds(11) },
        // Each token is asked for once in each process, 64 at a time.
        Case { tokens: 1_000, each: 1, callers: 64, rounds: if is_quick() { 1 } else { 3 } },
        Case { tokens: 200, each: 50, callers: 200 * 50, rounds: rounds(5) },
    ];
    for case in &cases {
        let Case { tokens, each, callers, rounds } = *case;
        report.setting(format!(
            "{tokens} tokens, each asked for {each} times in each process, by {callers} callers at once: median of {rounds} \
             rounds, in turn"
        ));
        // With rslock every caller polls: of 80,000 nobody would wait for the end.
        let is_for_rslock = callers < 1_000;
        let mut rivals = Vec::new();
        if is_for_rslock {
            rivals.push(("by hand", &mut by_hand, Vec::new()));
        }
        rivals.push(("single flight by hand", &mut single_flight, Vec::new()));
        let mut our_storms = Vec::new();
        for round in 0..=rounds {
            let series = format!("storm-{tokens}-{round}");
            // The first round warms up: connections, scripts.
            let counts = round > 0 || rounds == 1;
            our_storms.extend(Some(ours.storm(&series, case).await).filter(|_| counts));
            for (_, fleet, storms) in &mut rivals {
                tokio::time::sleep(Duration::from_millis(20)).await;
                storms.extend(Some(fleet.storm(&series, case).await).filter(|_| counts));
            }
        }
        let middle = |storms: &[Storm], of: fn(&Storm) -> f64| median(&storms.iter().map(of).collect::<Vec<_>>());
        let row = |name: &str, of: fn(&Storm) -> f64, unit| {
            let row = Row::new(format!("{tokens} tokens: {name}"), middle(&our_storms, of), unit);
            rivals.iter().fold(row, |row, (peer, _, storms)| row.beside(*peer, middle(storms, of)))
        };
        let count = tokens as f64;
        report.row(row("presentations", |storm| storm.presentations, "calls").at_most(count));
        report.row(row("wait after the answer, p50", |storm| storm.p50_us, "us"));
        report.row(row("wait after the answer, last caller", |storm| storm.last_us, "us"));
        report.row(row("Redis commands", |storm| storm.commands, "commands").at_most(9.0 * count));
        report.row(row("bytes to and from Redis", |storm| storm.bytes, "bytes"));
        report.row(row("CPU of the processes for each caller", |storm| storm.cpu_us / storm.callers, "us"));
        report.row(row("CPU of Redis for each caller", |storm| storm.redis_us / storm.callers, "us"));
        let redis = row("CPU of Redis in all", |storm| storm.redis_us / 1e3, "ms");
        if is_for_rslock {
            report.row(redis);
        } else {
            report.row(redis.ratio_at_most(2.0));
            let each = |storms| middle(storms, |storm| storm.redis_us / storm.commands);
            report.limit(format!(
                "{tokens} tokens: a script, which decides, counts and keeps, costs Redis {:.1} us, and a command of a single \
                 flight by hand, which only reads or writes a key, {:.1} us",
                each(&our_storms),
                each(&rivals[0].2)
            ));
        }
        report.row(row("from start to end", |storm| storm.took_ms, "ms"));
    }
}
