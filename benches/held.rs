//! What does it cost Redis to hold an answer until somebody has used the new token: memory, instructions, calls, time?
//!
//! A public client's answer is there for `keep_outcome` and never held; a confidential client's is held. Sessions go from token to
//! token, as they do: what was held for the token before makes way in each refresh but the first. Memory by MEMORY USAGE over
//! all keys, instructions by callgrind.

use std::time::Duration;

use refresh_coordinator::{Config, Refresh, RefreshCoordinator, TokenResponse};
use refresh_coordinator_benches::callgrind;
use refresh_coordinator_benches::inside_redis::inside_redis;
use refresh_coordinator_benches::pods::{ANSWER_BYTES, answer_json, connect, token, told, wide};
use refresh_coordinator_benches::redis_server::RedisServer;
use refresh_coordinator_benches::report::{Report, Row, directory};
use refresh_coordinator_benches::stats::median;
use refresh_coordinator_benches::{is_quick, is_wanted, rounds, runtime};

/// Whose sessions they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Public,
    /// With a credential, and a function that presents the token that it is handed.
    Confidential,
}

/// So many sessions of a client, which are refreshed one after the other, and how often they were.
struct Sessions {
    client: Client,
    series: String,
    count: u64,
    refreshed: u64,
}

impl Sessions {
    fn new(client: Client, round: usize, count: u64) -> Self {
        Self { client, series: format!("{client:?}-{round}-"), count, refreshed: 0 }
    }

    fn token(&self, session: u64, generation: u64) -> String {
        token(&self.series, session * 1_000 + generation)
    }

    fn refresh(&self, session: u64, generation: u64) -> Refresh {
        let refresh = Refresh::new(self.token(session, generation));
        match self.client {
            Client::Public => refresh.public_client("app"),
            Client::Confidential => refresh.client("app", "secret").token_from_attempt(),
        }
    }

    /// Each session once more.
    async fn go_on(&mut self, pod: &RefreshCoordinator) {
        for session in 0..self.count {
            // As long as the answer of the other benches.
            let next = self.token(session, self.refreshed + 1);
            let json = answer_json(0).replace("\"rotated\"", &format!("\"{next}\""));
            let tokens = TokenResponse::from_json(json).expect("a token response");
            let refresh = self.refresh(session, self.refreshed);
            pod.refresh(refresh, async move |_| Ok(tokens)).await.expect("tokens");
        }
        self.refreshed += 1;
    }

    /// Each session comes again with the token before the last: nobody has used the newest one.
    async fn come_late(&self, pod: &RefreshCoordinator) {
        for session in 0..self.count {
            let refresh = self.refresh(session, self.refreshed - 1);
            pod.refresh(refresh, async |_| unreachable!("held")).await.expect("tokens");
        }
    }
}

fn main() {
    if !is_wanted() {
        return;
    }
    let mut report = Report::open(
        "held",
        "What does it cost Redis to hold an answer until somebody has used the new token: memory, instructions, calls, time?",
    );
    runtime().block_on(by_redis(&mut report));
    match callgrind::missing() {
        Some(what) => report.note(format!("instructions are not counted; missing: {what}")),
        None => instructions(&mut report),
    }
}

/// Time, calls and memory, by Redis' own count.
async fn by_redis(report: &mut Report) {
    let config = wide().with_lease(Duration::from_secs(60));
    report.setting(told(&config));
    let (count, rounds) = (if is_quick() { 200 } else { 1_000 }, rounds(9));
    report.setting(format!(
        "answers of {ANSWER_BYTES} bytes and a token; median of {rounds} rounds of {count} sessions, in turn, one at a time; \
         each refreshed once before"
    ));
    let clients = [Client::Public, Client::Confidential];
    let mut time = [vec![], vec![]];
    let (mut calls, mut memory) = ([0.0; 2], [0.0; 2]);
    let mut after = [0.0; 2];
    for round in 0..rounds {
        for (place, client) in clients.into_iter().enumerate() {
            // A server for each, so that no key of the other is counted.
            let redis = RedisServer::start().await;
            redis.in_use(&config.namespace).await;
            let pod = connect(&redis, &config).await;
            let mut sessions = Sessions::new(client, round, count);
            sessions.go_on(&pod).await;
            memory[place] = all_keys(&redis, &config).await / count as f64;
            redis.reset_stats().await;
            sessions.go_on(&pod).await;
            let stats = redis.stats().await;
            time[place].push(stats.of("evalsha").usec as f64 / count as f64);
            calls[place] = stats.inner_calls() as f64 / count as f64;
            if client == Client::Confidential {
                let tag = format!("rc:{{{}}}:", config.namespace);
                after = [redis.bytes_per_key(&format!("{tag}held:*")).await, given(&redis, &tag).await];
            }
        }
    }
    let public = median(&time[0]);
    report.row(Row::new("public client: Redis' time for a refresh", public, "us"));
    report.row(Row::new("held: Redis' time for a refresh", median(&time[1]), "us").beside("not held", public));
    report.row(Row::new("public client: calls inside both scripts", calls[0], "calls"));
    report.row(Row::new("held: calls inside both scripts", calls[1], "calls").beside("not held", calls[0]));
    report.row(Row::new("public client: memory for a session after its refresh", memory[0], "bytes"));
    report.row(
        Row::new("held: memory for a session after its refresh", memory[1], "bytes").beside("not held", memory[0]),
    );
    report.row(
        Row::new("the answer that is held, MEMORY USAGE", after[0], "bytes").beside("the answer", ANSWER_BYTES as f64),
    );
    report.row(Row::new("the record of the new token, MEMORY USAGE", after[1], "bytes"));
    report.note("what is held and the record of the new token stay for keep_until_used, all else for keep_outcome and wait_timeout");
}

/// Bytes of all keys of the namespace that are of one session.
async fn all_keys(redis: &RedisServer, config: &Config) -> f64 {
    let mut bytes = 0.0;
    for kind in ["flight", "attempts", "held"] {
        let pattern = format!("rc:{{{}}}:{kind}:*", config.namespace);
        let keys: Vec<String> = redis.ask(&["KEYS", &pattern]).await;
        if !keys.is_empty() {
            bytes += redis.bytes_per_key(&pattern).await * keys.len() as f64;
        }
    }
    bytes
}

/// Bytes of the record of a token that nobody has presented.
async fn given(redis: &RedisServer, tag: &str) -> f64 {
    let (mut bytes, mut count) = (0u64, 0u64);
    for key in redis.ask::<Vec<String>>(&["KEYS", &format!("{tag}flight:*")]).await {
        if redis.ask::<u8>(&["HEXISTS", &key, "state"]).await == 0 {
            bytes += redis.ask::<u64>(&["MEMORY", "USAGE", &key, "SAMPLES", "0"]).await;
            count += 1;
        }
    }
    bytes as f64 / count as f64
}

/// What a session does that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Refreshes,
    ComesLate,
}

fn instructions(report: &mut Report) {
    let count = if is_quick() { 20 } else { 200 };
    let [public, held] = [Client::Public, Client::Confidential].map(|client| each(client, Work::Refreshes, count));
    report.row(Row::new("public client: instructions inside Redis for a refresh", public, "instr"));
    report.row(Row::new("held: instructions inside Redis for a refresh", held, "instr").beside("not held", public));
    let late = each(Client::Confidential, Work::ComesLate, count);
    report.row(
        Row::new("held: instructions for a caller that is handed it", late, "instr")
            .beside("a refresh, not held", public),
    );
}

/// Instructions for one of so many, without what starting, connecting, preparing and ending take.
fn each(client: Client, work: Work, count: u64) -> f64 {
    let run = |times: u32| {
        let out = directory().join(format!("held-{client:?}-{work:?}-{times}.callgrind"));
        // The last run is not to be taken for this one.
        _ = std::fs::remove_file(&out);
        // What is fresh is not asked for further.
        let keep = if work == Work::ComesLate { Duration::ZERO } else { Duration::from_secs(60 * 60) };
        let counted = inside_redis(&out, keep, async |pod| {
            let mut sessions = Sessions::new(client, 0, count);
            sessions.go_on(pod).await;
            for _ in 0..times {
                match work {
                    Work::Refreshes => sessions.go_on(pod).await,
                    Work::ComesLate => sessions.come_late(pod).await,
                }
            }
        });
        counted.unwrap_or_else(|error| panic!("{client:?}, {work:?}: {error}"))
    };
    let (few, many) = (run(1), run(2));
    (many - few) as f64 / count as f64
}
