//! How long after the provider answered in one process is a caller in another process back, with 1, 100 and 10,000
//! flights waiting?
//!
//! The clock starts when the leader's function has its answer, so completing is in it. The floor is the raw hop: a
//! script that does nothing but PUBLISH the same number of bytes, sent by the one process, until the other's handler
//! has the message. The peers are what is written by hand: rslock with a key for the result, a poll of such a key, and a
//! single flight in each process before such a poll. Both processes share the machine and its monotonic clock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushKind, Script, Value};
use refresh_coordinator::{Config, Refresh, RefreshCoordinator};
use refresh_coordinator_benches::child::{self, Child};
use refresh_coordinator_benches::clock::now_ns;
use refresh_coordinator_benches::plot::Plot;
use refresh_coordinator_benches::pods::{answer_json, connect, ended_ns, stamped_answer, token, told, wide};
use refresh_coordinator_benches::redis_server::RedisServer;
use refresh_coordinator_benches::report::{Report, Row};
use refresh_coordinator_benches::stats::{percentile, us};
use refresh_coordinator_benches::{is_quick, is_wanted, runtime};
use tokio::sync::oneshot;

mod peers;
use peers::{Peer, RSLOCK, SINGLE_FLIGHT};

const CHANNEL: &str = "rc:{bench}:hop";

/// As long as a provider may take: enough for cores to fall asleep and caches to be lost.
const REST: Duration = Duration::from_millis(10);

/// Waiters by hand begin spread over so much, so that the result comes at any moment of their pauses: parts of it all.
const SPREAD: Duration = Duration::from_millis(200);

/// So many waiters by hand at a time: many more would keep Redis and both processes busy with their polls.
const AT_ONCE: u64 = 50;

/// Renewals of thousands of flights that wait would be measured, too.
fn config(namespace: &str) -> Config {
    wide().with_namespace(namespace.to_owned()).with_lease(Duration::from_secs(60))
}

fn name(number: u64) -> String {
    token("join-over-redis", number)
}

/// What the joining process does, by the lines it is told.
async fn joiner(url: &str, namespace: &str) {
    let pod = RefreshCoordinator::connect(url, config(namespace)).await.expect("redis is there");
    let on_push = |push: redis::PushInfo| {
        let received = now_ns();
        if push.kind == PushKind::Message
            && let Some(Value::BulkString(message)) = push.data.get(1)
        {
            let sent: u64 = std::str::from_utf8(&message[..20]).expect("digits").parse().expect("a number");
            println!("hop {}", received - sent);
        }
        Ok::<(), std::convert::Infallible>(())
    };
    let client = redis::Client::open(format!("{url}?protocol=resp3")).expect("a redis URL");
    let config = AsyncConnectionConfig::new().set_push_sender(on_push);
    let mut subscription = client.get_multiplexed_async_connection_with_config(&config).await.expect("redis is there");
    subscription.subscribe(CHANNEL).await.expect("subscribed");
    println!("ready");

    let mut told = child::told();
    while let Some(line) = told.next_line().await.expect("lines") {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |index: usize| words[index].parse::<u64>().expect("a number");
        match words[0] {
            "join" => {
                let (from, to) = (number(1), number(2));
                let before = pod.metrics().joined_fleet;
                for flight in from..to {
                    let pod = pod.clone();
                    tokio::spawn(async move {
                        let refreshed =
                            pod.refresh(Refresh::new(name(flight)), async |_| unreachable!("another leads"));
                        let refreshed = refreshed.await.expect("tokens");
                        let back = now_ns();
                        println!("back {}", back - ended_ns(refreshed.tokens()));
                    });
                }
                // Awake, so that what is measured next does not find the machine at rest.
                while pod.metrics().joined_fleet < before + (to - from) {
                    tokio::task::yield_now().await;
                }
                println!("joined");
            }
            "by-hand" => {
                let (from, to) = (number(1), number(2));
                let peer = Peer::connect(words[3], url).await;
                for flight in from..to {
                    let peer = peer.clone();
                    // Not all at the same moment, and not in the order in which the results come.
                    let place = flight.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
                    let phase = SPREAD.mul_f64(place as f64 / f64::from(u32::MAX));
                    tokio::spawn(async move {
                        tokio::time::sleep(phase).await;
                        let tokens = peer.refresh(&name(flight), async || unreachable!("another leads")).await;
                        println!("back {}", now_ns() - ended_ns(&tokens));
                    });
                }
                // All of them have looked once.
                tokio::time::sleep(2 * SPREAD).await;
                println!("joined");
            }
            other => panic!("what is {other}?"),
        }
    }
}

/// The leading process.
struct Leader {
    pod: RefreshCoordinator,
    /// Flights that are held until they are released.
    held: Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>>,
    next: u64,
}

impl Leader {
    /// Starts so many flights and waits until the provider has been asked by all.
    async fn start(&mut self, flights: u64) -> (u64, u64) {
        let (from, to) = (self.next, self.next + flights);
        self.next = to;
        let before = self.pod.metrics().led;
        for flight in from..to {
            let (release, released) = oneshot::channel();
            self.held.lock().expect("not poisoned").insert(flight, release);
            let pod = self.pod.clone();
            tokio::spawn(async move {
                let call = async move |_| {
                    released.await.expect("released");
                    Ok(stamped_answer())
                };
                pod.refresh(Refresh::new(name(flight)), call).await.expect("tokens");
            });
        }
        while self.pod.metrics().led < before + flights {
            tokio::task::yield_now().await;
        }
        (from, to)
    }

    fn release(&self, flight: u64) {
        let release = self.held.lock().expect("not poisoned").remove(&flight).expect("held");
        release.send(()).expect("the flight waits");
    }
}

/// One process tells the other by a script that does nothing but PUBLISH.
struct Hop {
    connection: MultiplexedConnection,
    publish: Script,
}

impl Hop {
    async fn sent(&mut self, child: &mut Child) -> f64 {
        let message = format!("{:020}{}", now_ns(), "x".repeat(2_200));
        let mut call = self.publish.prepare_invoke();
        call.key(CHANNEL).arg(message);
        call.invoke_async::<()>(&mut self.connection).await.expect("published");
        hear_number(child, "hop").await
    }
}

/// Joins and raw hops in turn, in us, while so many flights wait, each after so much rest.
async fn in_turn(
    leader: &mut Leader,
    child: &mut Child,
    hop: &mut Hop,
    waiting: u64,
    samples: u64,
    rest: Option<Duration>,
) -> (Vec<f64>, Vec<f64>) {
    let pause = async || {
        if let Some(rest) = rest {
            tokio::time::sleep(rest).await;
        }
    };
    let (mut joins, mut hops) = (Vec::new(), Vec::new());
    let (first, to) = leader.start(waiting).await;
    child.tell(&format!("join {first} {to}")).await;
    assert_eq!(child.hear().await, "joined");
    for flight in first..first + samples {
        pause().await;
        hops.push(hop.sent(child).await);
        pause().await;
        leader.release(flight);
        joins.push(hear_number(child, "back").await);

        let (from, to) = leader.start(1).await;
        child.tell(&format!("join {from} {to}")).await;
        assert_eq!(child.hear().await, "joined");
    }
    for flight in first + samples..leader.next {
        leader.release(flight);
        hear_number(child, "back").await;
    }
    // The first ones warm up.
    (joins.split_off(20), hops.split_off(20))
}

async fn hear_number(child: &mut Child, word: &str) -> f64 {
    loop {
        let line = child.hear().await;
        if let Some(number) = line.strip_prefix(word) {
            return us(number.trim().parse().expect("a number"));
        }
        assert_eq!(line, "joined");
    }
}

/// Waiters by hand, in us: they wait, then the result comes.
async fn by_hand(redis: &RedisServer, child: &mut Child, leader: &mut Leader, how: &str) -> Vec<f64> {
    let (from, to) = (leader.next, leader.next + AT_ONCE);
    leader.next = to;
    // Those that only poll wait for one that leads by rslock.
    let hand = Peer::connect(if how == SINGLE_FLIGHT { how } else { RSLOCK }, redis.url()).await;
    let mut leads = Vec::new();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    for flight in from..to {
        let (hand, gate) = (hand.clone(), Arc::clone(&gate));
        leads.push(tokio::spawn(async move {
            let call = async move || {
                gate.acquire().await.expect("not closed").forget();
                answer_json(now_ns())
            };
            hand.refresh(&name(flight), call).await;
        }));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    child.tell(&format!("by-hand {from} {to} {how}")).await;
    assert_eq!(child.hear().await, "joined");
    let mut waits = Vec::new();
    // One after the other, so that they do not wait for each other.
    for _ in 0..AT_ONCE {
        gate.add_permits(1);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for _ in 0..AT_ONCE {
        waits.push(hear_number(child, "back").await);
    }
    for lead in leads {
        lead.await.expect("no panic");
    }
    waits
}

fn main() {
    let runtime = runtime();
    if let Some((_, arguments)) = child::role() {
        runtime.block_on(joiner(&arguments[0], &arguments[1]));
    } else if is_wanted() {
        runtime.block_on(runtime.spawn(run())).expect("no panic");
    }
}

async fn run() {
    let mut report = Report::open(
        "join_over_redis",
        "How long after the provider answered in one process is a caller in another process back?",
    );
    let redis = RedisServer::start().await;
    let config = config(&wide().namespace);
    // Else its first lead waits for a lease, which is longer than callers wait.
    redis.in_use(&config.namespace).await;
    report.setting(told(&config));
    let samples = if is_quick() { 200 } else { 2_000 };
    report.setting(format!(
        "two processes, 1.5 KB answers; {samples} samples, one at a time, each in turn with one raw hop of as many bytes"
    ));
    let mut child = Child::start("joiner", &[redis.url(), &config.namespace]);
    assert_eq!(child.hear().await, "ready");
    let pod = connect(&redis, &config).await;
    let mut leader = Leader { pod, held: Arc::default(), next: 0 };
    let publish = Script::new("redis.call('PUBLISH', KEYS[1], ARGV[1])");
    let mut hop = Hop { connection: redis.connect().await, publish };

    let mut curves = vec![
        ("coordinator p50".to_owned(), Vec::new()),
        ("coordinator p99".to_owned(), Vec::new()),
        ("raw hop p50".to_owned(), Vec::new()),
        ("raw hop p99".to_owned(), Vec::new()),
    ];
    let (mut best, mut bare) = (0.0, 0.0);
    for waiting in [1, 100, if is_quick() { 1_000 } else { 10_000 }] {
        let (joins, hops) = in_turn(&mut leader, &mut child, &mut hop, waiting, samples, None).await;
        for (percent, bound) in [(50.0, Some(1.3)), (99.0, Some(2.0)), (99.9, None)] {
            let (join, hop) = (percentile(&joins, percent), percentile(&hops, percent));
            let row = Row::new(format!("{waiting} flights waiting: p{percent}"), join, "us").beside("the raw hop", hop);
            report.row(match bound {
                Some(bound) => row.ratio_at_most(bound),
                None => row,
            });
            if percent < 99.5 {
                let curve = usize::from(percent > 50.0);
                curves[curve].1.push((waiting as f64, join));
                curves[2 + curve].1.push((waiting as f64, hop));
            }
        }
        if waiting == 1 {
            (best, bare) = (percentile(&joins, 50.0), percentile(&hops, 50.0));
        }
    }
    let (joins, hops) = in_turn(&mut leader, &mut child, &mut hop, 1, samples / 4, Some(REST)).await;
    let row = Row::new(format!("1 flights waiting, after {REST:?} of rest: p50"), percentile(&joins, 50.0), "us");
    report.row(row.beside("the raw hop", percentile(&hops, 50.0)));
    report.limit(format!(
        "of the {best:.0} us with 1 flight waiting the raw hop, which decides nothing and seals nothing, is {bare:.0}. Stamped \
         once inside (p50): 21 us from the answer until complete is sent, sealed; 33 us of Redis until it publishes \
         (redis_cost: complete where one pod waits); 16 us to open it and to wake the caller"
    ));
    report.plot(&Plot {
        name: "join_over_redis",
        title: "From the provider's answer to a caller in another process",
        x: "flights that wait meanwhile",
        y: "microseconds",
        curves,
    });

    let turns = if is_quick() { 1 } else { 8 };
    for (how, peer, is_polled_fast) in [
        (RSLOCK, "rslock with a result key", false),
        ("50", "50 ms poll", false),
        ("100", "100 ms poll", false),
        (SINGLE_FLIGHT, "single flight by hand", true),
    ] {
        let mut waits = Vec::new();
        for _ in 0..turns {
            waits.extend(by_hand(&redis, &mut child, &mut leader, how).await);
        }
        let row = Row::new(format!("{peer}, one waiter for each token: p50"), percentile(&waits, 50.0), "us");
        let row = row.beside("the coordinator", best);
        report.row(if is_polled_fast { row } else { row.ratio_at_least(100.0) });
        report.row(Row::new(format!("{peer}, one waiter for each token: p99"), percentile(&waits, 99.0), "us"));
    }
    report.setting(format!("{} tokens, {AT_ONCE} at a time, one waiter each; {}", turns * AT_ONCE, peers::told()));
}
