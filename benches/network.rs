//! How many round trips to Redis does a caller wait for, where Redis is 0.1, 1 and 5 ms away: a caller that leads, one that
//! waits on another pod, one that comes late, and one that comes with a token that was rotated twice since?
//!
//! Two pods in this process, each with its own connections over a relay that holds everything back (`distance`). What stands
//! beside are the round trips themselves, over the same relay: scripts that do nothing, a message that is published.
//! Figures are in round trips, as these are what a caller pays for in a data centre; what a pod and Redis work is in them, too,
//! and weighs the more the nearer Redis is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use refresh_coordinator::{Refresh, RefreshCoordinator, TokenResponse};
use refresh_coordinator_benches::clock::now_ns;
use refresh_coordinator_benches::distance::redis_at;
use refresh_coordinator_benches::leads::{bare, bare_script, coordinator};
use refresh_coordinator_benches::pods::{answer, answer_json, ended_ns, stamped_answer, token, told, wide};
use refresh_coordinator_benches::redis_server::RedisServer;
use refresh_coordinator_benches::report::{Report, Row};
use refresh_coordinator_benches::stats::median;
use refresh_coordinator_benches::{is_quick, is_wanted, rounds, runtime};
use tokio::sync::Semaphore;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Two pods, and what a plain client has, all of them equally far from Redis.
struct Fleet {
    pods: [RefreshCoordinator; 2],
    connection: MultiplexedConnection,
    client: redis::Client,
}

impl Fleet {
    async fn new(redis: &RedisServer, round_trip: Duration) -> Self {
        let config = wide();
        redis.in_use(&config.namespace).await;
        let url = redis_at(redis.url(), round_trip);
        let pod = || RefreshCoordinator::connect(url.as_str(), config.clone());
        let pods = [pod().await.expect("redis is there"), pod().await.expect("redis is there")];
        let client = redis::Client::open(url.as_str()).expect("a URL");
        let connection = client.get_multiplexed_async_connection().await.expect("redis is there");
        Self { pods, connection, client }
    }

    /// From the answer of the provider to one pod until a caller of the other pod has it.
    async fn joined(&self, round_trip: Duration) -> f64 {
        let token = new_token();
        let [ours, other] = &self.pods;
        let (gate, leads) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let leading = tokio::spawn({
            let (pod, token, gate, leads) = (ours.clone(), token.clone(), Arc::clone(&gate), Arc::clone(&leads));
            async move {
                let call = async move |_| {
                    leads.add_permits(1);
                    gate.acquire().await.expect("not closed").forget();
                    Ok(stamped_answer())
                };
                pod.refresh(Refresh::new(token), call).await.expect("tokens")
            }
        });
        leads.acquire().await.expect("not closed").forget();
        let joining = tokio::spawn({
            let (pod, refresh) = (other.clone(), Refresh::new(token));
            async move {
                let tokens = pod.refresh(refresh, async |_| unreachable!("another leads")).await.expect("tokens");
                (now_ns() - ended_ns(tokens.tokens())) as f64 / 1e3
            }
        });
        // By then the other waits.
        tokio::time::sleep(3 * round_trip + Duration::from_millis(3)).await;
        gate.add_permits(1);
        leading.await.expect("no panic");
        joining.await.expect("no panic")
    }

    /// Of a token that another pod has led to its end.
    async fn late(&self) -> f64 {
        let token = new_token();
        lead(&self.pods[0], Refresh::new(token.clone()), answer()).await;
        asked(self.pods[1].refresh(Refresh::new(token), async |_| unreachable!("it has landed"))).await
    }

    /// With the first token of a login that has been refreshed twice since, and nobody has used the last answer.
    async fn walked(&self) -> f64 {
        let tokens = [new_token(), new_token(), new_token()];
        let refresh = |index: usize| {
            Refresh::new(tokens[index].clone()).client("app", "secret").session("s").token_from_attempt()
        };
        for index in 0..2 {
            let json = answer_json(0).replace("\"rotated\"", &format!("\"{}\"", tokens[index + 1]));
            lead(&self.pods[0], refresh(index), TokenResponse::from_json(json).expect("a token response")).await;
        }
        asked(self.pods[1].refresh(refresh(0), async |_| unreachable!("it is held"))).await
    }

    /// A message to another connection, which is subscribed.
    async fn hops(&self, count: usize) -> Vec<f64> {
        use tokio_stream::StreamExt as _;
        let mut subscription = self.client.get_async_pubsub().await.expect("redis is there");
        subscription.subscribe("hop").await.expect("subscribed");
        let mut messages = subscription.on_message();
        let mut waits = Vec::new();
        for _ in 0..count {
            let sent = Instant::now();
            let mut publish = redis::cmd("PUBLISH");
            publish.arg("hop").arg("x".repeat(2_400));
            let mut connection = self.connection.clone();
            let publishing = tokio::spawn(async move { publish.query_async::<u64>(&mut connection).await });
            messages.next().await.expect("a message");
            waits.push(sent.elapsed().as_nanos() as f64 / 1e3);
            publishing.await.expect("no panic").expect("published");
        }
        waits
    }
}

fn new_token() -> String {
    token("network", NEXT.fetch_add(1, Ordering::Relaxed))
}

async fn lead(pod: &RefreshCoordinator, refresh: Refresh, tokens: TokenResponse) {
    pod.refresh(refresh, async move |_| Ok(tokens)).await.expect("tokens");
}

/// How long it takes to be answered, in us.
async fn asked<T, E: std::fmt::Debug>(asking: impl Future<Output = Result<T, E>>) -> f64 {
    let began = Instant::now();
    asking.await.expect("tokens");
    began.elapsed().as_nanos() as f64 / 1e3
}

fn main() {
    if is_wanted() {
        let runtime = runtime();
        runtime.block_on(runtime.spawn(run())).expect("no panic");
    }
}

async fn run() {
    let mut report =
        Report::open("network", "How many round trips to Redis does a caller wait for, where Redis is far away?");
    report.setting(told(&wide()));
    let (rounds, each) = (rounds(7), if is_quick() { 10 } else { 40 });
    report.setting(format!(
        "a relay holds back what is sent, half of the round trip each way; median of {rounds} x {each}, in turn; answers of 1.5 KB"
    ));
    let redis = RedisServer::start().await;
    for (name, round_trip) in [("0.1 ms", 100), ("1 ms", 1_000), ("5 ms", 5_000)] {
        distance(&mut report, &redis, name, Duration::from_micros(round_trip), (rounds, each)).await;
    }
    report.note("pass-through asks Redis nothing: token_endpoint has refreshd beside a Redis that is 5 ms away");
}

async fn distance(
    report: &mut Report,
    redis: &RedisServer,
    name: &str,
    round_trip: Duration,
    (rounds, each): (usize, usize),
) {
    let fleet = Fleet::new(redis, round_trip).await;
    let script = bare_script(&mut fleet.connection.clone()).await;
    let lanes = [fleet.connection.clone()];
    let [mut led, mut joined, mut late, mut walked, mut two, mut hop] = <[Vec<f64>; 6]>::default();
    for _ in 0..rounds {
        led.push(coordinator(&fleet.pods[0], 1, each).await.p50);
        two.push(bare(&lanes, &script, 1, each).await.p50);
        hop.extend(fleet.hops(each).await);
        for _ in 0..each {
            joined.push(fleet.joined(round_trip).await);
            late.push(fleet.late().await);
            walked.push(fleet.walked().await);
        }
    }
    let trip = round_trip.as_secs_f64() * 1e6;
    let [led, joined, late, walked, two, hop] = [led, joined, late, walked, two, hop].map(|all| median(&all) / trip);
    let is_judged = round_trip == Duration::from_millis(1);
    let mut row = |what: &str, figure: f64, (beside, floor): (&str, f64), target: f64| {
        let row = Row::new(format!("{name} away, {what}"), figure, "round trips").beside(beside, floor);
        report.row(if is_judged { row.at_most(target) } else { row });
    };
    row("leading", led, ("two bare EVALSHA", two), 2.2);
    row("waiting on another pod, after the answer", joined, ("a bare message", hop), 1.4);
    row("coming late", late, ("one bare EVALSHA", two / 2.0), 1.2);
    row("coming with a token that was rotated twice", walked, ("one bare EVALSHA", two / 2.0), 1.4);
}
