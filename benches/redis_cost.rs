//! What does a led and what does a joined refresh cost Redis: microseconds of its one thread, commands, calls inside
//! the scripts; and how many bytes does it hold for a tracked session and for a kept outcome?
//!
//! All by Redis' own count (INFO commandstats, MEMORY USAGE). The floor is a bare `SET NX PX`, and beside it the lock
//! that everybody writes by hand: SET NX PX and a compare-and-delete script. A command that stands alone is sent after
//! the reply to the one before, so that nothing is batched.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redis::aio::MultiplexedConnection;
use refresh_coordinator::{Refresh, RefreshCoordinator};
use refresh_coordinator_benches::pods::{ANSWER_BYTES, answer, connect, token, told, wide};
use refresh_coordinator_benches::redis_server::{CommandStats, RedisServer};
use refresh_coordinator_benches::report::{Report, Row};
use refresh_coordinator_benches::stats::median;
use refresh_coordinator_benches::{is_quick, is_wanted, rounds, runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

static NEXT: AtomicU64 = AtomicU64::new(0);

fn next_token() -> String {
    token("redis-cost", NEXT.fetch_add(1, Ordering::Relaxed))
}

const COMPARE_AND_DELETE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";

/// What Redis does for the least that a led refresh could be in Lua: two scripts that are told as much, make the same
/// calls, and decide nothing.
struct Floor {
    begin: redis::Script,
    complete: redis::Script,
}

const CALLS_OF_BEGIN: &str = "\
local lock, flight, fence, attempts, permits, budget, queue, circuit = unpack(KEYS)
local owner, lead = unpack(ARGV)
redis.call('GET', lock)
redis.call('MGET', fence, fence, budget)
redis.call('TIME')
redis.call('EXISTS', flight, circuit, attempts, queue)
redis.call('PUBSUB', 'NUMSUB', fence)
redis.call('SET', lock, owner, 'NX', 'PX', '60000')
redis.call('SET', fence, '12345')
redis.call('ZADD', permits, '4102444800000', owner)
redis.call('SET', budget, '1', 'PXAT', '4102444800000')
redis.call('PEXPIREAT', permits, '4102444800000')
redis.call('HSET', attempts, 'attempts', '1', 'window_start', '4102444800000')
redis.call('PEXPIRE', attempts, '300000')
redis.call('HSET', flight, 'state', 'leading', 'owner', owner, 'lead', lead, 'started', '4102444800000')
redis.call('PEXPIRE', flight, '3660000')
return 'lead 12345 nothing'";

const CALLS_OF_COMPLETE: &str = "\
local lock, flight, fence, attempts, permits, budget, queue, circuit = unpack(KEYS)
local owner, lead, caller, sealed = unpack(ARGV)
redis.call('TIME')
redis.call('EXISTS', circuit, queue, flight)
redis.call('HLEN', flight)
redis.call('HMGET', flight, 'owner', 'started')
redis.call('ZREM', permits, owner)
redis.call('DECR', budget)
redis.call('DEL', lock, budget)
redis.call('HSET', flight, 'state', 'landed', 'class', 'success', 'token_state', 'rotated', 'landed_at', '4102444800000',
  'fresh_until', '4102444800000', 'fresh_ms', '30000', 'sealed', sealed)
redis.call('PEXPIRE', flight, '65000')
return 'landed'";

impl Floor {
    fn of_calls() -> Self {
        Self {
            begin: redis::Script::new(&format!("#!lua\n{CALLS_OF_BEGIN}")),
            complete: redis::Script::new(&format!("#!lua\n{CALLS_OF_COMPLETE}")),
        }
    }

    fn empty() -> Self {
        let nothing = |name| redis::Script::new(&format!("#!lua\nreturn {{'{name}'}}"));
        Self { begin: nothing("lead"), complete: nothing("landed") }
    }

    async fn run(&self, connection: &mut MultiplexedConnection, namespace: &str, times: usize) {
        let tag = format!("rc:{{{namespace}-floor}}:");
        let (pod, attempt) = ("9b2f1d0c4f1c4f0e9d3d7c2b1a0f9e8d", "00000000-0000-4000-8000-000000000001");
        let owner = format!("{pod}/12345/60000");
        let sealed = vec![b'x'; ANSWER_BYTES + 120];
        for _ in 0..times {
            // As long as the hashes, and as different.
            let name = format!("{:0>64}", next_token());
            let lead = format!("{attempt} {name} {name} 0000000000000000");
            let key = |kind: &str| format!("{tag}{kind}:{name}");
            let of_fleet = |kind: &str| format!("{tag}{kind}");
            let rules = [of_fleet("permits"), of_fleet("budget"), of_fleet("queue"), of_fleet("circuit")];

            let mut begin = self.begin.prepare_invoke();
            begin.key(key("lock")).key(key("flight")).key(of_fleet("fence")).key(key("attempts")).key(&rules);
            begin.arg(&owner).arg(&lead).arg(&[0u8; 160][..]);
            begin.invoke_async::<Vec<String>>(connection).await.expect("begun");

            let mut complete = self.complete.prepare_invoke();
            complete.key(key("lock")).key(key("flight")).key(of_fleet("fence")).key(key("attempts")).key(&rules);
            complete.arg(&owner).arg(&lead).arg("0000000000000000 ").arg(&sealed);
            complete.arg("success").arg("rotated").arg("healthy").arg("").arg(&[0u8; 184][..]);
            complete.invoke_async::<Vec<String>>(connection).await.expect("completed");
        }
    }
}

/// A lock by hand, taken and released.
async fn by_hand(connection: &mut MultiplexedConnection, unlock: &redis::Script, times: usize) {
    for _ in 0..times {
        let key = next_token();
        let mut set = redis::cmd("SET");
        set.arg(&key).arg("owner").arg("NX").arg("PX").arg(10_000);
        set.query_async::<()>(connection).await.expect("a lock");
        unlock.key(&key).arg("owner").invoke_async::<()>(connection).await.expect("unlocked");
    }
}

async fn led(pod: &RefreshCoordinator, times: usize) {
    for _ in 0..times {
        let tokens = answer();
        pod.refresh(Refresh::new(next_token()), async move |_| Ok(tokens)).await.expect("tokens");
    }
}

/// What Redis did while something ran.
async fn counted(redis: &RedisServer, work: impl Future<Output = ()>) -> CommandStats {
    redis.reset_stats().await;
    work.await;
    redis.stats().await
}

/// `begin` of pods that join, and `complete` where so many pods wait: usec each, and calls inside.
async fn joined(redis: &RedisServer, pods: &[RefreshCoordinator], times: usize) -> ((f64, f64), (f64, f64)) {
    let gate = Arc::new(Semaphore::new(0));
    let mut flights = JoinSet::new();
    let tokens: Vec<String> = (0..times).map(|_| next_token()).collect();
    let started = Arc::new(AtomicU64::new(0));
    for token in &tokens {
        let (pod, token, gate, started) = (pods[0].clone(), token.clone(), Arc::clone(&gate), Arc::clone(&started));
        flights.spawn(async move {
            let call = async move |_| {
                started.fetch_add(1, Ordering::Relaxed);
                gate.acquire().await.expect("not closed").forget();
                Ok(answer())
            };
            pod.refresh(Refresh::new(token), call).await.expect("tokens")
        });
    }
    while started.load(Ordering::Relaxed) < times as u64 {
        tokio::task::yield_now().await;
    }
    let begun = counted(redis, async {
        for token in &tokens {
            for pod in &pods[1..] {
                let before = pod.metrics().joined_fleet;
                let (joins, token) = (pod.clone(), token.clone());
                flights.spawn(async move {
                    joins.refresh(Refresh::new(token), async |_| unreachable!("led")).await.expect("tokens")
                });
                while pod.metrics().joined_fleet == before {
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    let begun = begun.await;
    let completed = counted(redis, async {
        gate.add_permits(times);
        while let Some(flight) = flights.join_next().await {
            flight.expect("no panic");
        }
    });
    let completed = completed.await;
    let each = |stats: &CommandStats| {
        let calls = stats.of("evalsha").calls as f64;
        (stats.of("evalsha").usec as f64 / calls, stats.inner_calls() as f64 / calls)
    };
    (each(&begun), each(&completed))
}

fn main() {
    if is_wanted() {
        runtime().block_on(run());
    }
}

async fn run() {
    let mut report = Report::open(
        "redis_cost",
        "What does a led and what does a joined refresh cost Redis: time of its one thread, commands, calls inside the \
         scripts, and memory?",
    );
    let config = wide().with_lease(std::time::Duration::from_secs(60));
    report.setting(told(&config));
    let times = if is_quick() { 500 } else { 2_000 };
    let rounds = rounds(9);
    report.setting(format!(
        "answers of {ANSWER_BYTES} bytes; median of {rounds} rounds of {times}, in turn, one at a time"
    ));

    let redis = RedisServer::start().await;
    let mut connection = redis.connect().await;
    let unlock = redis::Script::new(COMPARE_AND_DELETE);
    redis.in_use(&config.namespace).await;
    let pod = connect(&redis, &config).await;
    let other = connect(&redis, &config).await;
    led(&pod, times).await;
    by_hand(&mut connection, &unlock, times).await;
    let floors = [Floor::empty(), Floor::of_calls()];
    for floor in &floors {
        floor.run(&mut connection, &config.namespace, times).await;
    }

    let mut floor_times = [vec![], vec![]];
    let (mut set, mut hand, mut both, mut late, mut calls) = (vec![], vec![], vec![], vec![], String::new());
    let (mut inner, mut commands) = (0.0, 0.0);
    for _ in 0..rounds {
        let stats = counted(&redis, by_hand(&mut connection, &unlock, times)).await;
        let sets = stats.of("set");
        set.push(sets.usec as f64 / sets.calls as f64);
        hand.push((sets.usec + stats.of("evalsha").usec) as f64 / times as f64);

        let stats = counted(&redis, led(&pod, times)).await;
        both.push(stats.of("evalsha").usec as f64 / times as f64);
        commands = stats.of("evalsha").calls as f64 / times as f64;
        inner = stats.inner_calls() as f64 / times as f64;
        calls = stats.told_per(times as u64);

        for (floor, floor_times) in floors.iter().zip(&mut floor_times) {
            let stats = counted(&redis, floor.run(&mut connection, &config.namespace, times)).await;
            floor_times.push(stats.of("evalsha").usec as f64 / times as f64);
        }

        let first = NEXT.load(Ordering::Relaxed);
        led(&pod, times).await;
        let stats = counted(&redis, async {
            for number in first..first + times as u64 {
                let refresh = Refresh::new(token("redis-cost", number));
                other.refresh(refresh, async |_| unreachable!("kept")).await.expect("tokens");
            }
        });
        late.push(stats.await.of("evalsha").usec as f64 / times as f64);
    }
    let set = median(&set);
    report.row(Row::new("bare SET NX PX", set, "us"));
    report.row(Row::new("by hand: SET NX PX and compare-and-delete", median(&hand), "us").beside("SET NX PX", set));
    let row = Row::new("led refresh, begin and complete together", median(&both), "us").beside("SET NX PX", set);
    report.row(row.ratio_at_most(20.0));
    let [empty, same_calls] = floor_times.map(|times| median(&times));
    report.row(Row::new("two scripts that are told as much and do nothing", empty, "us").beside("SET NX PX", set));
    report.row(
        Row::new("the same that make the same calls and decide nothing", same_calls, "us").beside("SET NX PX", set),
    );
    report.limit(format!(
        "two scripts that are told as much, make the same calls and decide nothing take {:.1} times a SET NX PX: 20 times is \
         below the calls themselves, each of which keeps a promise; deciding is {:.1} us of the {:.1}",
        same_calls / set,
        median(&both) - same_calls,
        median(&both)
    ));
    let row = Row::new("led refresh, begin and complete together", median(&both), "us");
    report.row(row.beside("the same calls without deciding", same_calls));
    report.row(Row::new("led refresh: commands", commands, "commands").at_most(2.0));
    report.row(Row::new("led refresh: calls inside both scripts", inner, "calls"));
    report.note(format!("a led refresh calls inside: {calls}"));
    report.row(Row::new("latecomer, one begin", median(&late), "us").beside("SET NX PX", set));

    // Begin and complete apart: all begin before any completes, so that permits and flights are many.
    let ((begin, begin_calls), (complete, complete_calls)) = joined(&redis, std::slice::from_ref(&pod), 1_000).await;
    assert!(begin.is_nan() && begin_calls.is_nan(), "nobody joined");
    report.row(Row::new("complete alone, 1,000 flights under way", complete, "us").beside("SET NX PX", set));
    report.row(Row::new("complete alone: calls inside", complete_calls, "calls"));
    report.row(Row::new("begin alone: calls inside", inner - complete_calls, "calls"));
    let ((begin, begin_calls), (complete, _)) = joined(&redis, &[pod.clone(), other.clone()], 1_000).await;
    report.row(Row::new("begin of a pod that joins", begin, "us").beside("SET NX PX", set));
    report.row(Row::new("begin of a pod that joins: calls inside", begin_calls, "calls"));
    report.row(Row::new("complete where one pod waits", complete, "us").beside("SET NX PX", set));

    let tag = format!("rc:{{{}}}:", config.namespace);
    let session = redis.bytes_per_key(&format!("{tag}attempts:*")).await;
    report.row(Row::new("memory of a tracked session, MEMORY USAGE", session, "bytes").at_most(250.0));
    let outcome = redis.bytes_per_key(&format!("{tag}flight:*")).await;
    report.row(
        Row::new("memory of a kept outcome, MEMORY USAGE", outcome, "bytes").beside("the answer", ANSWER_BYTES as f64),
    );

    // The split without anything else under way: complete by a pod alone, one at a time.
    let (mut begins, mut completes) = (0, 0);
    for _ in 0..500 {
        redis.reset_stats().await;
        let (url, tokens) = (redis.connect().await, answer());
        let seen = Arc::new(AtomicU64::new(0));
        let sees = Arc::clone(&seen);
        let call = async move |_| {
            let info: String =
                redis::cmd("INFO").arg("commandstats").query_async(&mut url.clone()).await.expect("INFO");
            let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:")).expect("begun");
            let usec = line.split(',').find_map(|pair| pair.strip_prefix("usec=")).expect("usec");
            sees.store(usec.parse().expect("a number"), Ordering::Relaxed);
            Ok(tokens)
        };
        pod.refresh(Refresh::new(next_token()), call).await.expect("tokens");
        let begin = seen.load(Ordering::Relaxed);
        begins += begin;
        completes += redis.stats().await.of("evalsha").usec - begin;
    }
    report.note(format!(
        "share of begin in the time of a led refresh: {:.0} %",
        begins as f64 / (begins + completes) as f64 * 100.0
    ));
}
