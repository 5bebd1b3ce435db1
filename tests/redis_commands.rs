//! What the fleet costs Redis: a led refresh is two commands, a pod that joins sends one, a caller none. Beside that, a pod that
//! leads or keeps something asks the endpoint every third of a lease which server it leads to, over a connection of its own.
//!
//! Counted by MONITOR: what clients send, by pod, without what scripts call inside. Scripts are loaded and
//! connections made before the count begins.

mod support;

use std::collections::HashMap;
use std::time::Duration;

use refresh_coordinator::{Config, Refresh, RefreshCoordinator};
use support::fleet::{connect, quick};
use support::monitor::{Monitor, Sent};
use support::provider::Provider;
use support::redis::RedisServer;
use support::wait::until;
use tokio::task::JoinSet;

/// A fleet after its first refresh; every command that it sends is heard.
struct Heard {
    redis: RedisServer,
    pods: Vec<RefreshCoordinator>,
    namespace: String,
    monitor: Monitor,
    /// Where the count begins.
    start: usize,
}

impl Heard {
    async fn fleet(pods: usize, config: Config) -> Self {
        let redis = RedisServer::start().await;
        let monitor = Monitor::start(&redis).await;
        let mut fleet = Vec::new();
        for _ in 0..pods {
            fleet.push(connect(&redis, &config).await);
        }
        let provider = Provider::open();
        fleet[0].refresh(Refresh::new("warm-up"), provider.refresh("warm-up")).await.expect("tokens");
        let lookers = config.lease < Duration::from_secs(10);
        if lookers && pods > 1 {
            // So that look.lua is loaded too.
            let provider = Provider::held();
            let leads = spawned(&fleet[0], "warm-up-2", &provider);
            provider.asked(1).await;
            let joins = spawned(&fleet[1], "warm-up-2", &provider);
            until("a pod has looked", async || fleet[1].metrics().looks > 0).await;
            provider.release(1);
            leads.await.expect("no panic");
            joins.await.expect("no panic");
        }
        monitor.caught_up(&redis).await;
        let start = monitor.mark();
        Self { redis, pods: fleet, namespace: config.namespace, monitor, start }
    }

    /// What the pods have sent, each in its place of `pods`, without the signs of life of their connections.
    async fn sent(&self) -> Vec<Vec<Sent>> {
        self.monitor.caught_up(&self.redis).await;
        let mut by_pod = self.monitor.sent_since(self.start, &self.namespace);
        let is_sign_of_life = |sent: &Sent| ["ping", "publish"].contains(&&sent.name()[..]);
        by_pod.values_mut().for_each(|sent| sent.retain(|sent| !is_sign_of_life(sent)));
        self.pods.iter().map(|pod| by_pod.remove(pod.pod()).unwrap_or_default()).collect()
    }

    /// What each pod sent for its flights.
    async fn names(&self) -> Vec<Vec<String>> {
        let told = |sent: &Vec<Sent>| {
            let names = sent.iter().map(Sent::name);
            names.filter(|name| !LOOKING.contains(&name.as_str())).collect()
        };
        self.sent().await.iter().map(told).collect()
    }

    async fn all_names(&self) -> Vec<Vec<String>> {
        self.sent().await.iter().map(|sent| sent.iter().map(Sent::name).collect()).collect()
    }
}

/// What a connection sends that is made to ask which server the endpoint leads to: at the first lead of a pod that was at rest,
/// and then every third of a lease.
const LOOKING: [&str; 3] = ["hello", "client", "info"];
/// What it sends before it asks.
const CONNECTING: [&str; 2] = ["hello", "client"];

/// Nobody renews or looks while a test runs.
fn patient() -> Config {
    quick().with_lease(Duration::from_secs(40))
}

fn spawned(pod: &RefreshCoordinator, token: &str, provider: &Provider) -> tokio::task::JoinHandle<()> {
    let (pod, refresh, call) = (pod.clone(), Refresh::new(token), provider.refresh(token));
    tokio::spawn(async move { drop(pod.refresh(refresh, call).await.expect("tokens")) })
}

fn counted(names: &[String]) -> HashMap<&str, usize> {
    names.iter().fold(HashMap::new(), |mut counts, name| {
        *counts.entry(name.as_str()).or_default() += 1;
        counts
    })
}

#[tokio::test]
async fn led_refresh_costs_two_commands() {
    let heard = Heard::fleet(1, patient()).await;
    let provider = Provider::open();

    for token in ["a", "b", "c"] {
        heard.pods[0].refresh(Refresh::new(token), provider.refresh(token)).await.expect("tokens");
    }

    let each = ["evalsha begin", "evalsha complete"];
    assert_eq!(heard.names().await, [[each; 3].concat()]);
}

#[tokio::test]
async fn failed_refresh_costs_two_commands() {
    let heard = Heard::fleet(1, patient()).await;
    let provider = Provider::open();

    let call = provider.answering("t", |_| Err(refresh_coordinator::ProviderFailure::denied("invalid_grant")));
    heard.pods[0].refresh(Refresh::new("t"), call).await.expect_err("denied");

    assert_eq!(heard.names().await, [["evalsha begin", "evalsha complete"]]);
}

#[tokio::test]
async fn pod_that_joins_sends_one_command() {
    let heard = Heard::fleet(3, patient()).await;
    let provider = Provider::held();
    let leads = spawned(&heard.pods[0], "t", &provider);
    provider.asked(1).await;

    let joins = [spawned(&heard.pods[1], "t", &provider), spawned(&heard.pods[2], "t", &provider)];
    until("both have joined", async || heard.pods[1..].iter().all(|pod| pod.metrics().joined_fleet == 1)).await;
    provider.release(1);
    leads.await.expect("no panic");
    for join in joins {
        join.await.expect("no panic");
    }

    assert_eq!(
        heard.names().await,
        [vec!["evalsha begin", "evalsha complete"], vec!["evalsha begin"], vec!["evalsha begin"]]
    );
}

#[tokio::test]
async fn latecomer_sends_one_command() {
    let heard = Heard::fleet(2, patient()).await;
    let provider = Provider::open();
    heard.pods[0].refresh(Refresh::new("t"), provider.refresh("t")).await.expect("tokens");

    heard.pods[1].refresh(Refresh::new("t"), provider.refresh("t")).await.expect("tokens");

    assert_eq!(heard.names().await[1], ["evalsha begin"]);
    assert_eq!(provider.total(), 1);
}

#[tokio::test]
async fn callers_cost_nothing() {
    let heard = Heard::fleet(2, patient()).await;
    let provider = Provider::held();
    let mut callers = JoinSet::new();
    for pod in &heard.pods {
        for _ in 0..100 {
            let (pod, call) = (pod.clone(), provider.refresh("t"));
            callers.spawn(async move { pod.refresh(Refresh::new("t"), call).await.expect("tokens") });
        }
    }
    provider.asked(1).await;
    until("all are waiting", async || {
        heard.pods.iter().all(|pod| pod.metrics().joined_here == 99)
            && heard.pods.iter().any(|pod| pod.metrics().joined_fleet == 1)
    })
    .await;

    provider.release(1);
    callers.join_all().await;

    let sent: usize = heard.names().await.iter().map(Vec::len).sum();
    assert_eq!(sent, 3, "two begin, one completes");
}

#[tokio::test]
async fn storm_of_eight_pods_on_one_token_is_nine_commands() {
    let heard = Heard::fleet(8, patient()).await;
    let provider = Provider::held();
    let mut callers = JoinSet::new();
    for pod in &heard.pods {
        for _ in 0..10 {
            let (pod, call) = (pod.clone(), provider.refresh("t"));
            callers.spawn(async move { pod.refresh(Refresh::new("t"), call).await.expect("tokens") });
        }
    }
    until("seven pods have joined", async || heard.pods.iter().map(|pod| pod.metrics().joined_fleet).sum::<u64>() == 7)
        .await;

    provider.release(1);
    callers.join_all().await;

    let names = heard.names().await.concat();
    assert_eq!(counted(&names), HashMap::from([("evalsha begin", 8), ("evalsha complete", 1)]));
    assert_eq!(provider.total(), 1);
}

#[tokio::test]
async fn pod_subscribes_once_in_its_life() {
    let heard = Heard::fleet(2, patient()).await;
    let provider = Provider::held();
    let mut flights = Vec::new();
    for token in 0..20 {
        flights.push(spawned(&heard.pods[0], &format!("t{token}"), &provider));
    }
    provider.asked(20).await;
    for token in 0..20 {
        flights.push(spawned(&heard.pods[1], &format!("t{token}"), &provider));
    }
    until("all have joined", async || heard.pods[1].metrics().joined_fleet == 20).await;
    provider.release(20);
    for flight in flights {
        flight.await.expect("no panic");
    }

    heard.monitor.caught_up(&heard.redis).await;
    let ever = heard.monitor.sent_since(0, &heard.namespace);

    for (pod, sent) in ever {
        // At start, over a connection that is closed again, it was tried whether its channel may be listened to; to both it
        // listens once.
        let both = sent.iter().filter(|sent| sent.words.len() > 2);
        let subscriptions: Vec<_> = both.map(Sent::name).filter(|name| name.contains("subscribe")).collect();
        assert_eq!(subscriptions, ["subscribe"], "pod {pod}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pod_looks_once_per_lease_for_all_its_flights() {
    const FLIGHTS: usize = 20;
    // Long enough for a machine that stands still: a lock that ends has everybody ask once more.
    let lease = Duration::from_secs(2);
    let heard = Heard::fleet(3, quick().with_lease(lease).with_store_timeout(lease)).await;
    let provider = Provider::held();
    let began = std::time::Instant::now();
    let mut flights = Vec::new();
    for token in 0..FLIGHTS {
        flights.push(spawned(&heard.pods[0], &format!("t{token}"), &provider));
    }
    provider.asked(FLIGHTS).await;

    // One after the other over most of a lease, so that a look of each flight's own would show.
    for token in 0..FLIGHTS {
        for pod in &heard.pods[1..] {
            flights.push(spawned(pod, &format!("t{token}"), &provider));
        }
        heard.redis.wait(lease / 25).await;
    }
    heard.redis.wait(2 * lease).await;
    provider.release(FLIGHTS);
    for flight in flights {
        flight.await.expect("no panic");
    }

    let leases = began.elapsed().as_secs_f64() / lease.as_secs_f64();
    let names = heard.all_names().await;
    for joiner in &names[1..] {
        let counts = counted(joiner);
        let looks = counts.get("evalsha look").copied().unwrap_or_default();
        assert!(looks >= 1, "a dead leader would not be noticed: {counts:?}");
        // A leader that renews every third has two thirds of its lease left, or more.
        assert!(looks as f64 <= 1.5 * leases, "{looks} looks in {leases} leases: {counts:?}");
        assert_eq!(counts.get("evalsha begin"), Some(&FLIGHTS), "{counts:?}");
        assert_eq!(joiner.len(), FLIGHTS + looks, "nothing else: {counts:?}");
    }
    let counts = counted(&names[0]);
    let renewals = counts.get("evalsha renew").copied().unwrap_or_default();
    assert_eq!(counts.get("evalsha begin"), Some(&FLIGHTS), "{counts:?}");
    assert_eq!(counts.get("evalsha complete"), Some(&FLIGHTS), "{counts:?}");
    // Which server the endpoint leads to: one short connection every third of a lease, however many flights the pod leads, and one
    // each as they begin and as they end.
    let located = counts.get("info").copied().unwrap_or_default();
    assert!(located >= 1, "a demoted primary would not be noticed: {counts:?}");
    assert!(located as f64 <= 3.0 * leases + 2.0, "{located} connections in {leases} leases: {counts:?}");
    let connecting: usize = names[0].iter().filter(|name| CONNECTING.contains(&&name[..])).count();
    // One may be on its way to ask when the count ends.
    assert!(connecting <= CONNECTING.len() * (located + 1), "{counts:?}");
    assert_eq!(names[0].len(), 2 * FLIGHTS + renewals + located + connecting, "nothing else: {counts:?}");
    // Every third of the lease, for each flight.
    assert!(renewals as f64 <= 3.0 * leases * FLIGHTS as f64, "{renewals} renewals in {leases} leases");
    assert_eq!(provider.total(), FLIGHTS);
}
