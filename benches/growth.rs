//! What does a refresh cost when the fleet has grown: from 1,000 to 1,000,000 tracked sessions, and from 1 to 64 pods?
//!
//! Sessions are what Redis holds of others while somebody refreshes: copies of the key of a session that really
//! refreshed, each under a name of its own. Pods are coordinators with connections of their own; every one of them leads
//! in turn, and for the second curve all of them but one wait for each flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use refresh_coordinator::{Refresh, RefreshCoordinator};
use refresh_coordinator_benches::plot::Plot;
use refresh_coordinator_benches::pods::{answer, connect, token, told, wide};
use refresh_coordinator_benches::redis_server::RedisServer;
use refresh_coordinator_benches::report::{Report, Row};
use refresh_coordinator_benches::stats::median;
use refresh_coordinator_benches::{is_quick, is_wanted, rounds, runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

static NEXT: AtomicU64 = AtomicU64::new(0);

fn next_token() -> String {
    token("growth", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Adds copies of a session until there are so many. They live as long as it does.
async fn fill(redis: &RedisServer, namespace: &str, from: usize, to: usize) {
    let mut connection = redis.connect().await;
    let keys: Vec<String> = redis.ask(&["KEYS", &format!("rc:{{{namespace}}}:attempts:*")]).await;
    let (key, dump) = {
        let key = keys.first().expect("somebody refreshed");
        let dump: Vec<u8> = redis::cmd("DUMP").arg(key).query_async(&mut connection).await.expect("a dump");
        (key.clone(), dump)
    };
    let prefix = &key[..key.len() - 64];
    for first in (from..to).step_by(2_000) {
        let mut pipeline = redis::pipe();
        for number in first..(first + 2_000).min(to) {
            pipeline.cmd("RESTORE").arg(format!("{prefix}{number:064x}")).arg(600_000).arg(&dump).ignore();
        }
        pipeline.query_async::<()>(&mut connection).await.expect("restored");
    }
}

/// Redis' microseconds and wall microseconds for each refresh, the pods in turn.
async fn led(redis: &RedisServer, pods: &[RefreshCoordinator], times: usize) -> (f64, f64) {
    redis.reset_stats().await;
    let began = Instant::now();
    for turn in 0..times {
        let tokens = answer();
        let pod = &pods[turn % pods.len()];
        pod.refresh(Refresh::new(next_token()), async move |_| Ok(tokens)).await.expect("tokens");
    }
    let wall = began.elapsed().as_nanos() as f64 / 1e3 / times as f64;
    (redis.stats().await.of("evalsha").usec as f64 / times as f64, wall)
}

/// What Redis takes for the smallest of all locks: how the server itself grows. Microseconds each.
async fn bare_locks(redis: &RedisServer, times: usize) -> f64 {
    let mut connection = redis.connect().await;
    redis.reset_stats().await;
    for _ in 0..times {
        let mut set = redis::cmd("SET");
        set.arg(next_token()).arg("owner").arg("NX").arg("PX").arg(10_000);
        set.query_async::<()>(&mut connection).await.expect("a lock");
    }
    redis.stats().await.of("set").usec as f64 / times as f64
}

/// All pods ask for the same token: Redis' microseconds for each flight, and commands.
async fn shared(redis: &RedisServer, pods: &[RefreshCoordinator], times: usize) -> (f64, f64) {
    redis.reset_stats().await;
    for turn in 0..times {
        let token = next_token();
        let gate = Arc::new(Semaphore::new(0));
        let before: u64 = pods.iter().map(|pod| pod.metrics().joined_fleet).sum();
        let mut callers = JoinSet::new();
        for number in 0..pods.len() {
            let (pod, token, gate) = (pods[(turn + number) % pods.len()].clone(), token.clone(), Arc::clone(&gate));
            callers.spawn(async move {
                let call = async move |_| {
                    gate.acquire().await.expect("not closed").forget();
                    Ok(answer())
                };
                pod.refresh(Refresh::new(token), call).await.expect("tokens");
            });
        }
        while pods.iter().map(|pod| pod.metrics().joined_fleet).sum::<u64>() < before + pods.len() as u64 - 1 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(1);
        callers.join_all().await;
    }
    let evalsha = redis.stats().await.of("evalsha");
    (evalsha.usec as f64 / times as f64, evalsha.calls as f64 / times as f64)
}

fn main() {
    if is_wanted() {
        let runtime = runtime();
        runtime.block_on(runtime.spawn(run())).expect("no panic");
    }
}

async fn run() {
    let mut report = Report::open(
        "growth",
        "What does a refresh cost when the fleet has grown: from 1,000 to 1,000,000 tracked sessions, from 1 to 64 pods?",
    );
    let config = wide();
    report.setting(told(&config));
    let rounds = rounds(5);
    let times = if is_quick() { 400 } else { 2_000 };
    report.setting(format!("1.5 KB answers; median of {rounds} rounds of {times} refreshes, one at a time"));

    // Two servers, so that the small one is measured in the same minute as the large one.
    let (small, large) = (RedisServer::start().await, RedisServer::start().await);
    let (small_pod, large_pod) = (connect(&small, &config).await, connect(&large, &config).await);
    led(&small, std::slice::from_ref(&small_pod), 500).await;
    led(&large, std::slice::from_ref(&large_pod), 500).await;
    fill(&small, &config.namespace, 0, 1_000).await;
    let (mut of_redis, mut of_wall) = (Vec::new(), Vec::new());
    let mut filled = 0;
    let most = if is_quick() { 100_000 } else { 1_000_000 };
    for sessions in [1_000, 10_000, 100_000, 1_000_000].into_iter().filter(|sessions| *sessions <= most) {
        fill(&large, &config.namespace, filled, sessions).await;
        filled = sessions;
        // What was just filled is cold in every cache, which is not what is asked.
        led(&large, std::slice::from_ref(&large_pod), 2 * times).await;
        let (mut costs, mut walls, mut bases) = (Vec::new(), Vec::new(), Vec::new());
        let (mut locks, mut base_locks) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            led(&small, std::slice::from_ref(&small_pod), times / 4).await;
            bases.push(led(&small, std::slice::from_ref(&small_pod), times).await.0);
            led(&large, std::slice::from_ref(&large_pod), times / 4).await;
            let (cost, wall) = led(&large, std::slice::from_ref(&large_pod), times).await;
            costs.push(cost);
            walls.push(wall);
            base_locks.push(bare_locks(&small, times).await);
            locks.push(bare_locks(&large, times).await);
        }
        of_redis.push((sessions as f64, median(&costs)));
        of_wall.push((sessions as f64, median(&walls)));
        let row = Row::new(format!("{sessions} sessions: Redis time for a led refresh"), median(&costs), "us");
        report.row(row.beside("with 1,000 sessions", median(&bases)).ratio_at_most(1.15));
        let row = Row::new(format!("{sessions} sessions: Redis time for a bare SET NX PX"), median(&locks), "us");
        report.row(row.beside("with 1,000 sessions", median(&base_locks)));
        report.row(Row::new(format!("{sessions} sessions: from call to answer"), median(&walls), "us"));
    }
    report.limit("beside each stands a bare SET NX PX on the same servers: by so much the server itself has grown");
    drop((large_pod, large));
    report.plot(&Plot {
        name: "growth_sessions",
        title: "A led refresh while so many sessions are tracked",
        x: "tracked sessions",
        y: "microseconds",
        curves: vec![("Redis time".to_owned(), of_redis), ("from call to answer".to_owned(), of_wall)],
    });

    let mut pods = vec![small_pod];
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    let mut first = 0.0;
    for count in [1usize, 4, 16, 64] {
        while pods.len() < count {
            pods.push(connect(&small, &config).await);
        }
        let (mut costs, mut bases, mut shares, mut commands) = (Vec::new(), Vec::new(), Vec::new(), 0.0);
        for _ in 0..rounds {
            bases.push(led(&small, &pods[..1], times).await.0);
            costs.push(led(&small, &pods, times).await.0);
            let (share, sent) = shared(&small, &pods, (times / 4 / count).max(10)).await;
            shares.push(share);
            commands = sent;
        }
        let (cost, share) = (median(&costs), median(&shares));
        if count == 1 {
            first = share;
        }
        alone.push((count as f64, cost));
        together.push((count as f64, share / count as f64));
        let row = Row::new(format!("{count} pods, each leads its own: Redis time for a led refresh"), cost, "us");
        report.row(row.beside("one pod", median(&bases)).ratio_at_most(1.15));
        let row = Row::new(format!("{count} pods on one token: Redis time for each pod"), share / count as f64, "us");
        report.row(row.beside("one pod", first));
        let row = Row::new(format!("{count} pods on one token: commands"), commands, "commands");
        report.row(row.at_most(count as f64 + 1.0));
    }
    report.plot(&Plot {
        name: "growth_pods",
        title: "Redis time while so many pods refresh",
        x: "pods",
        y: "microseconds",
        curves: vec![
            ("each leads its own, per refresh".to_owned(), alone),
            ("all share one, per pod".to_owned(), together),
        ],
    });
}
