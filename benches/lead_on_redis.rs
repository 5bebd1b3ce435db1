//! How long does a refresh take that nobody else asks for, over Redis, and how many a second are there: 1, 16, 64 and
//! 256 tasks, distinct tokens, a provider that answers at once?
//!
//! Two floors. For the latency: two round trips of a script that does nothing, with arguments of the same size, over as
//! many connections as a pod has. For the throughput: what Redis does with these two scripts when a client only sends
//! them, in pipelines. For that a run is recorded by MONITOR and played again on an empty database, where the same
//! commands in the same order do the same.

use std::time::Instant;

use redis::aio::MultiplexedConnection;
use refresh_coordinator_benches::leads::{LANES, bare, bare_script, coordinator, middle};
use refresh_coordinator_benches::pods::{connect, told, wide};
use refresh_coordinator_benches::redis_server::RedisServer;
use refresh_coordinator_benches::report::{Report, Row};
use refresh_coordinator_benches::stats::median;
use refresh_coordinator_benches::{is_quick, is_wanted, rounds, runtime};

use self::monitor::Sent;

#[path = "../tests/support/monitor/line.rs"]
mod monitor;

/// Every EVALSHA of a run, as it was sent.
async fn recorded(redis: &RedisServer, flights: usize) -> Vec<redis::Cmd> {
    let config = wide();
    // Else the first flights wait until the server has recovered, and begin twice.
    redis.in_use(&config.namespace).await;
    let mut lines = monitor::listen(redis.url()).await;
    let pod = connect(redis, &config).await;
    let monitor = tokio::spawn(async move {
        let mut commands = Vec::new();
        while let Some(line) = lines.next_line().await.expect("a line") {
            let Some(Sent { by, words, .. }) = Sent::read(&line) else { continue };
            if words == [b"ECHO".as_slice(), b"the-end"] {
                break;
            }
            // With four keys, of which the first is a lock, it is begin or complete.
            let is_verb = by != "lua"
                && words.len() > 10
                && words[0].eq_ignore_ascii_case(b"EVALSHA")
                && words[2] == b"4"
                && words[3].windows(6).any(|part| part == b":lock:");
            if is_verb {
                let mut command = redis::cmd("EVALSHA");
                for word in &words[1..] {
                    command.arg(word);
                }
                commands.push(command);
            }
        }
        commands
    });
    coordinator(&pod, 256, flights).await;
    redis.ask::<String>(&["ECHO", "the-end"]).await;
    let commands = monitor.await.expect("no panic");
    assert_eq!(commands.len(), 2 * flights / 256 * 256, "a begin and a complete for each");
    commands
}

/// Plays them again, in order, in pipelines of 256. How many flights a second.
async fn played(redis: &RedisServer, connection: &mut MultiplexedConnection, commands: &[redis::Cmd]) -> f64 {
    redis.ask::<()>(&["FLUSHALL"]).await;
    let pipelines: Vec<redis::Pipeline> = commands
        .chunks(256)
        .map(|chunk| {
            let mut pipeline = redis::pipe();
            for command in chunk {
                pipeline.add_command(command.clone());
            }
            pipeline
        })
        .collect();
    let began = Instant::now();
    // Two are under way at any time, so that Redis never waits for the client; on one connection they stay in order.
    let mut waiting = std::collections::VecDeque::new();
    for pipeline in pipelines {
        let mut connection = connection.clone();
        waiting.push_back(tokio::spawn(async move {
            let replies: Vec<Vec<redis::Value>> = pipeline.query_async(&mut connection).await.expect("replies");
            replies.iter().filter(|reply| word(reply) == "lead" || word(reply) == "landed").count()
        }));
        tokio::task::yield_now().await;
        if waiting.len() > 2 {
            let done = waiting.pop_front().expect("not empty").await.expect("no panic");
            assert!(done > 0, "nothing was led");
        }
    }
    for last in waiting {
        last.await.expect("no panic");
    }
    commands.len() as f64 / 2.0 / began.elapsed().as_secs_f64()
}

/// Plays them again one after the other: what the scripts themselves take, sent by a client that does nothing else. In
/// us for each flight.
async fn played_alone(redis: &RedisServer, connection: &mut MultiplexedConnection, commands: &[redis::Cmd]) -> f64 {
    redis.ask::<()>(&["FLUSHALL"]).await;
    let began = Instant::now();
    for command in commands {
        command.query_async::<redis::Value>(connection).await.expect("a reply");
    }
    began.elapsed().as_nanos() as f64 / 1e3 / (commands.len() as f64 / 2.0)
}

fn word(reply: &[redis::Value]) -> String {
    match reply.first() {
        Some(redis::Value::BulkString(word)) => String::from_utf8_lossy(word).into_owned(),
        _ => String::new(),
    }
}

fn main() {
    if is_wanted() {
        let runtime = runtime();
        runtime.block_on(runtime.spawn(run())).expect("no panic");
    }
}

async fn run() {
    let mut report = Report::open(
        "lead_on_redis",
        "How long does a refresh take that nobody else asks for, over Redis, and how many a second are there?",
    );
    let config = wide();
    report.setting(told(&config));
    let rounds = rounds(7);
    report.setting(format!("distinct tokens, 1.5 KB answers, {LANES} lanes; median of {rounds} rounds, in turn"));

    let redis = RedisServer::start().await;
    let pod = connect(&redis, &config).await;
    let mut lanes = Vec::new();
    for _ in 0..LANES {
        lanes.push(redis.connect().await);
    }
    let script = bare_script(&mut lanes[0].clone()).await;

    let many = if is_quick() { 4_096 } else { 16_384 };
    let (mut at_256, mut alone) = (0.0, 0.0);
    for tasks in [1, 16, 64, 256] {
        let flights = if tasks == 1 { many / 8 } else { many };
        let (mut ours, mut floors) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let our = coordinator(&pod, tasks, flights).await;
            let floor = bare(&lanes, &script, tasks, flights).await;
            if round > 0 {
                ours.push(our);
                floors.push(floor);
            }
        }
        let floor = "two bare EVALSHA";
        let p50 = middle(&ours, |round| round.p50);
        if tasks == 1 {
            alone = p50;
        }
        let row = Row::new(format!("{tasks} tasks: p50"), p50, "us");
        let row = row.beside(floor, middle(&floors, |round| round.p50));
        report.row(if tasks == 1 { row.ratio_at_most(1.25) } else { row });
        let row = Row::new(format!("{tasks} tasks: p99"), middle(&ours, |round| round.p99), "us");
        report.row(row.beside(floor, middle(&floors, |round| round.p99)));
        let per_second = middle(&ours, |round| round.per_second);
        let row = Row::new(format!("{tasks} tasks: refreshes"), per_second, "per s");
        report.row(row.beside(floor, middle(&floors, |round| round.per_second)));
        at_256 = per_second;
    }

    let other = RedisServer::start().await;
    let commands = recorded(&other, many).await;
    let mut connection = other.connect().await;
    let commands_alone = &commands[..commands.len() / 8];
    let mut scripts_alone = Vec::new();
    for _ in 0..rounds {
        scripts_alone.push(played_alone(&other, &mut connection, commands_alone).await);
    }
    report.limit(format!(
        "the same scripts, sent one after the other by a client that does nothing else, take {:.0} us of the {alone:.0}: the \
         rest is identity, sealing and the hops between tasks",
        median(&scripts_alone)
    ));
    let row = Row::new("1 tasks: p50", alone, "us");
    report.row(row.beside("the same scripts, sent by a client that does nothing else", median(&scripts_alone)));
    let mut speeds = Vec::new();
    let mut ours = Vec::new();
    for round in 0..=rounds {
        let speed = played(&other, &mut connection, &commands).await;
        let our = coordinator(&pod, 256, many).await.per_second;
        if round > 0 {
            speeds.push(speed);
            ours.push(our);
        }
    }
    report.note(format!("the 256 tasks again, in turn with the pipelines; they had {at_256:.0} per s before"));
    report.row(
        Row::new("256 tasks: refreshes", median(&ours), "per s")
            .beside("the same scripts pipelined", median(&speeds))
            .ratio_at_least(0.85),
    );
}
