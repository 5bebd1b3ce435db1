//! Promises 1, 2 and 6 where the Redis that decides is not the one that decided before: what is under way is presented once,
//! what was acknowledged is handed on, and nobody is refused who could wait.

mod support;

use std::time::Duration;

use refresh_coordinator::{Config, Refresh, RefreshCoordinator, RefreshError, Refreshed, Role, Uncertain};
use support::endpoint::Endpoint;
use support::fleet::{connect_to, quick};
use support::provider::Provider;
use support::redis::RedisServer;
use support::stopwatch::Stopwatch;
use tokio::task::JoinSet;

/// What a busy machine adds to a bound.
const BUSY: Duration = Duration::from_secs(2);

/// A primary with a replica, and two pods, each with an endpoint of its own.
struct Servers {
    config: Config,
    primary: RedisServer,
    replica: RedisServer,
    ways: Vec<Endpoint>,
    a: RefreshCoordinator,
    b: RefreshCoordinator,
}

impl Servers {
    async fn start(lease: Duration) -> Self {
        let config = quick().with_lease(lease);
        let primary = RedisServer::start_own(&[]).await;
        primary.in_use(&config.namespace).await;
        let replica = primary.start_replica().await;
        let ways = vec![Endpoint::to(primary.url()).await, Endpoint::to(primary.url()).await];
        let (a, b) = (connect_to(&ways[0].url(), &config).await, connect_to(&ways[1].url(), &config).await);
        Self { config, primary, replica, ways, a, b }
    }

    /// New connections of both pods lead there.
    fn lead_to(&self, server: &RedisServer) {
        self.ways.iter().for_each(|way| way.lead_to(server.url()));
    }

    /// Connections that stand end.
    fn cut(&self) {
        self.ways.iter().for_each(Endpoint::cut);
    }

    /// Flights of pod a, which ask the provider when this returns.
    async fn led_by_a(&self, provider: &Provider, tokens: &[String]) -> Callers {
        let before = provider.total();
        let mut callers = Callers::default();
        tokens.iter().for_each(|token| callers.come(&self.a, provider, token));
        provider.asked(before + tokens.len()).await;
        callers
    }
}

fn tokens(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name}{number}")).collect()
}

/// Callers that wait, with the token each came with.
#[derive(Default)]
struct Callers(JoinSet<(String, Result<Refreshed, RefreshError>)>);

impl Callers {
    fn come(&mut self, pod: &RefreshCoordinator, provider: &Provider, token: &str) {
        let (pod, call, token) = (pod.clone(), provider.refresh(token), token.to_owned());
        self.0.spawn(async move {
            let refreshed = pod.refresh(Refresh::new(token.as_str()), call).await;
            (token, refreshed)
        });
    }

    /// All have the success of their token.
    async fn succeed(self) {
        for (token, refreshed) in self.0.join_all().await {
            let refreshed = refreshed.unwrap_or_else(|error| panic!("{token}: {error}"));
            assert_eq!(refreshed.tokens().access_token(), format!("access-for-{token}"));
        }
    }
}

fn each_was_presented_once(provider: &Provider, tokens: &[String]) {
    for token in tokens {
        assert_eq!(provider.presented(token), 1, "{token}");
    }
}

/// A primary is killed whose replica had neither the leads under way nor the successes that were acknowledged last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_primary_whose_replica_lacks_what_is_under_way_and_what_has_landed() {
    let servers = Servers::start(Duration::from_secs(3)).await;
    let (held, open) = (Provider::held(), Provider::open());
    let (flying, landed) = (tokens("flying", 20), tokens("landed", 20));
    servers.primary.detach(&servers.replica).await;
    let mut callers = servers.led_by_a(&held, &flying).await;
    servers.led_by_a(&open, &landed).await.succeed().await;
    let Servers { config, primary, replica, ways, b, a: _a } = servers;

    drop(primary);
    ways.iter().for_each(|way| way.lead_to(replica.url()));
    let late = connect_to(replica.url(), &config).await;
    for token in &flying {
        callers.come(&b, &held, token);
        callers.come(&late, &held, token);
    }
    for token in &landed {
        callers.come(&b, &open, token);
        callers.come(&late, &open, token);
    }
    // Until whoever is let in too early has presented.
    replica.wait(2 * config.lease).await;
    each_was_presented_once(&held, &flying);
    held.release(1000);

    callers.succeed().await;
    each_was_presented_once(&held, &flying);
    each_was_presented_once(&open, &landed);
}

/// The namespace is forgotten beside a pod that has led nothing, and a pod starts just after.
async fn forgotten(forget: impl AsyncFnOnce(&Servers) -> Option<RedisServer>) {
    let servers = Servers::start(Duration::from_secs(3)).await;
    let held = Provider::held();
    let flying = tokens("flying", 5);
    let mut callers = servers.led_by_a(&held, &flying).await;

    let other = forget(&servers).await;
    let decides = other.as_ref().unwrap_or(&servers.primary);
    for token in &flying {
        callers.come(&servers.b, &held, token);
    }
    let late = connect_to(decides.url(), &servers.config).await;
    for token in &flying {
        callers.come(&late, &held, token);
    }
    decides.wait(2 * servers.config.lease).await;
    each_was_presented_once(&held, &flying);
    held.release(1000);

    callers.succeed().await;
    each_was_presented_once(&held, &flying);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_that_starts_empty_beside_a_pod_that_led_nothing() {
    forgotten(async |servers| {
        let empty = RedisServer::start_own(&[]).await;
        servers.lead_to(&empty);
        servers.cut();
        Some(empty)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushall_that_no_connection_notices() {
    forgotten(async |servers| {
        servers.primary.cli(&["FLUSHALL"]).await;
        None
    })
    .await;
}

/// The endpoint leads to the promoted replica; the primary goes on answering over connections that stand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoint_that_leads_to_the_promoted_replica_while_the_primary_lives() {
    let servers = Servers::start(Duration::from_secs(3)).await;
    let (lease, namespace) = (servers.config.lease, &servers.config.namespace);
    let (held, open) = (Provider::held(), Provider::open());
    let (landed, flying, unknown) = (tokens("landed", 5), tokens("flying", 5), tokens("unknown", 5));
    servers.led_by_a(&open, &landed).await.succeed().await;
    let mut callers = servers.led_by_a(&held, &flying).await;
    servers.primary.detach(&servers.replica).await;
    let putting_back = servers.led_by_a(&held, &unknown).await;
    let locks = format!("rc:{{{namespace}}}:lock:*");
    assert_eq!((servers.primary.keys(&locks).await.len(), servers.replica.keys(&locks).await.len()), (10, 5));

    servers.lead_to(&servers.replica);
    let switched = Stopwatch::start();
    let late = connect_to(servers.replica.url(), &servers.config).await;
    let pods = [(&servers.b, "pod b"), (&late, "late pod")];
    let fresh = tokens("fresh", 4);
    let mut newcomers = Callers::default();
    for (number, token) in fresh.iter().enumerate() {
        newcomers.come(pods[number % 2].0, &open, token);
    }
    for (pod, name) in pods {
        for token in &landed {
            let asked = Stopwatch::start();
            let refreshed = pod.refresh(Refresh::new(token.as_str()), open.refresh(token)).await.expect("its outcome");
            assert_eq!(refreshed.role(), Role::Latecomer);
            within(&format!("{name} is handed what has landed"), asked.elapsed(), Duration::from_secs(1));
        }
        for token in flying.iter().chain(&unknown) {
            callers.come(pod, &held, token);
        }
    }
    while servers.replica.keys(&locks).await.len() < 10 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(switched.elapsed() < lease + BUSY, "the leaders do not move over");
    }
    within("leaders have moved over", switched.elapsed(), lease / 3);
    held.release(1000);
    let released = Stopwatch::start();
    callers.succeed().await;
    putting_back.succeed().await;
    within("joiners have their outcomes", released.elapsed(), Duration::from_secs(1));
    newcomers.succeed().await;
    within("new leads", switched.elapsed(), lease);

    for (provider, tokens) in [(&open, landed), (&held, flying), (&held, unknown), (&open, fresh)] {
        each_was_presented_once(provider, &tokens);
    }
    for (pod, name) in [(&servers.a, "pod a"), (&servers.b, "pod b"), (&late, "late pod")] {
        let metrics = pod.metrics();
        assert_eq!((metrics.store_outages, metrics.timed_out), (0, 0), "{name}");
    }
}

/// A lead that waited for longer than its lease would be taken for one whose token was presented.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoint_that_hangs_for_new_connections_is_waited_for_once_by_all() {
    let redis = RedisServer::start_own(&[]).await;
    let endpoint = Endpoint::to(redis.url()).await;
    let config = quick().with_store_timeout(Duration::from_secs(1)).with_uncertain(Uncertain::Never);
    redis.in_use(&config.namespace).await;
    let (pod, other) = (connect_to(&endpoint.url(), &config).await, connect_to(redis.url(), &config).await);
    let provider = Provider::open();
    // What the endpoint led to when the pod connected counts for a third of a lease.
    redis.wait(config.lease / 2).await;
    endpoint.hang();

    let began = Stopwatch::start();
    let tokens = tokens("t", 20);
    let mut callers = Callers::default();
    tokens.iter().for_each(|token| callers.come(&pod, &provider, token));
    let told = callers.0.join_all().await;

    within("all are answered", began.elapsed(), 2 * config.store_timeout);
    assert!(told.iter().all(|(_, told)| matches!(told, Err(RefreshError::StoreOutage { .. }))), "{told:?}");
    // None of them was presented, and none counts as lost.
    for token in &tokens {
        other.refresh(Refresh::new(token.as_str()), provider.refresh(token)).await.expect("tokens");
    }
    each_was_presented_once(&provider, &tokens);
}

/// What the log of the test shows, and holds on a machine that is busy.
fn within(what: &str, took: Duration, bound: Duration) {
    println!("{what} after {} ms, of {} ms", took.as_millis(), bound.as_millis());
    assert!(took < bound + BUSY, "{what} only after {took:?}");
}
