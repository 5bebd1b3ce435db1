//! Connections that die, that Redis refuses, or that lead to a server that leads no more: a pod finds out by itself, makes
//! them anew with the credentials as they are then, and goes on.

mod support;

use std::time::Duration;

use refresh_coordinator::{Config, Refresh, RefreshCoordinator, RefreshError, Refreshed, Secret};
use support::fleet::{connect, connect_to, quick};
use support::provider::Provider;
use support::proxy::Proxy;
use support::redis::RedisServer;
use support::stopwatch::Stopwatch;
use support::wait::until;
use tokio::task::JoinHandle;

/// Nothing is due by itself while a test runs, and one silent try is easily told from a whole call.
fn patient() -> Config {
    let minutes = Duration::from_secs(120);
    quick().with_lease(minutes).with_keep_outcome(minutes).with_store_timeout(Duration::from_secs(9))
}

/// What a single try waits for its answer.
fn patience(config: &Config) -> Duration {
    config.store_timeout / 3
}

async fn refresh(pod: &RefreshCoordinator, token: &str) -> Result<Refreshed, RefreshError> {
    pod.refresh(Refresh::new(token), Provider::open().refresh(token)).await
}

fn asks(pod: &RefreshCoordinator, token: &str, provider: &Provider) -> JoinHandle<Refreshed> {
    let (pod, refresh, call) = (pod.clone(), Refresh::new(token), provider.refresh(token));
    tokio::spawn(async move { pod.refresh(refresh, call).await.expect("tokens") })
}

/// Asks until it is answered with tokens.
async fn served(pod: &RefreshCoordinator, token: &str) {
    until("it is served", async || match refresh(pod, token).await {
        Ok(_) => true,
        Err(error) => {
            assert!(error.is_transient(), "nobody's session ends: {error}");
            false
        }
    })
    .await;
}

fn channel(pod: &RefreshCoordinator) -> String {
    format!("rc:{{{}}}:pod:{}", pod.config().namespace, pod.pod())
}

async fn subscribes(redis: &RedisServer, pod: &RefreshCoordinator) {
    redis.until_so(&["PUBSUB", "NUMSUB", &channel(pod)], |reply| reply.ends_with("\n1")).await;
}

async fn through(proxy: &Proxy, redis: &RedisServer, config: &Config) -> RefreshCoordinator {
    redis.in_use(&config.namespace).await;
    connect_to(&proxy.url(redis), config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_a_nat_has_forgotten_cost_one_try_and_are_all_made_anew() {
    let (redis, config) = (RedisServer::start_own(&[]).await, patient());
    let proxy = Proxy::to(&redis).await;
    let pod = through(&proxy, &redis, &config).await;
    refresh(&pod, "before").await.expect("tokens");
    proxy.forget();

    let first = Stopwatch::start();
    refresh(&pod, "first").await.expect("tokens, over a new connection");
    let first = first.elapsed();
    let others = Stopwatch::start();
    for other in 0..8 {
        refresh(&pod, &format!("other-{other}")).await.expect("tokens");
    }
    let others = others.elapsed();

    assert!(first < 2 * patience(&config), "{first:?}");
    assert!(others < patience(&config), "the other lanes were dead, too, and were kept: {others:?}");
    until("the subscription is made again", async || pod.metrics().subscription_gaps == 1).await;
    subscribes(&redis, &pod).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_behind_with_their_work_are_kept_and_nothing_is_sent_twice() {
    let (redis, config) = (RedisServer::start_own(&[]).await, patient());
    let proxy = Proxy::to(&redis).await;
    let pod = through(&proxy, &redis, &config).await;
    refresh(&pod, "before").await.expect("tokens");
    let scripts = scripts_run(&redis).await;
    proxy.deliver_only(0);
    let provider = Provider::open();

    // Two for each lane: the second is answered when the first has been.
    let mut behind = Vec::new();
    for round in 1..=2 {
        behind.extend((0..4).map(|token| asks(&pod, &format!("behind-{round}-{token}"), &provider)));
        until("all are sent", async || scripts_run(&redis).await == scripts + 4 * round).await;
    }
    redis.wait(patience(&config) * 2 / 3).await;
    proxy.deliver_only(1);
    redis.wait(patience(&config) / 2).await;
    proxy.deliver();
    for asked in behind {
        asked.await.expect("no panic");
    }

    assert_eq!(scripts_run(&redis).await, scripts + 16, "a command was sent twice");
}

/// How many scripts the server has run.
async fn scripts_run(redis: &RedisServer) -> u64 {
    let stats = redis.cli(&["INFO", "commandstats"]).await;
    let calls = stats.split("cmdstat_evalsha:calls=").nth(1).and_then(|calls| calls.split(',').next());
    calls.map_or(0, |calls| calls.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_connections_of_an_idle_pod_are_found_before_a_flight_needs_them() {
    let redis = RedisServer::start_own(&[]).await;
    let config = quick().with_lease(Duration::from_secs(4)).with_store_timeout(Duration::from_secs(3));
    let proxy = Proxy::to(&redis).await;
    let pod = through(&proxy, &redis, &config).await;
    proxy.forget();

    until("the subscription is made again", async || pod.metrics().subscription_gaps == 1).await;
    subscribes(&redis, &pod).await;
    let took = Stopwatch::start();
    for token in 0..8 {
        refresh(&pod, &format!("t{token}")).await.expect("tokens");
    }

    assert!(took.elapsed() < patience(&config), "{:?}", took.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_without_the_right_to_ping_keeps_its_connections() {
    let redis = RedisServer::start_own(&[]).await;
    redis.cli(&["ACL", "SETUSER", "pods", "on", ">pw", "~rc:*", "&rc:*", "+@all", "-ping"]).await;
    let config = quick().with_lease(Duration::from_secs(1)).with_store_timeout(Duration::from_millis(500));
    let url = redis.url().replace("redis://", "redis://pods:pw@");
    let pod = connect_to(&url, &config).await;
    let connections = || async { redis.cli(&["CLIENT", "LIST"]).await.matches(&format!(":{}", pod.pod())).count() };
    assert_eq!(connections().await, 5);

    // Every lane was asked twice at least, and the subscription has proven itself.
    let refused = |stats: &str| {
        let refused = stats.split("cmdstat_ping:").nth(1).and_then(|ping| ping.split("rejected_calls=").nth(1));
        refused.and_then(|count| count.split(',').next()?.parse().ok()).unwrap_or(0)
    };
    redis.until_so(&["INFO", "commandstats"], |stats| refused(stats) >= 8).await;

    assert_eq!((pod.metrics().subscription_gaps, connections().await), (0, 5));
    assert!(redis.cli(&["INFO", "commandstats"]).await.contains("cmdstat_publish:"), "it does not prove itself");
}

/// A user of its own for the pods, and a file that names it.
struct Credentials<'a> {
    redis: &'a RedisServer,
    file: tempfile::NamedTempFile,
}

impl<'a> Credentials<'a> {
    async fn new(redis: &'a RedisServer, user: &str, password: &str) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let credentials = Self { redis, file };
        credentials.renew(user, password).await;
        credentials
    }

    async fn renew(&self, user: &str, password: &str) {
        let password_rule = format!(">{password}");
        let rules = ["ACL", "SETUSER", user, "on", "resetpass", &password_rule, "~rc:*", "&rc:*", "+@all"];
        self.redis.cli(&rules).await;
        let url = self.redis.url().replace("redis://", &format!("redis://{user}:{password}@"));
        std::fs::write(self.file.path(), url).expect("written");
    }

    async fn connect(&self, config: &Config) -> RefreshCoordinator {
        let path = self.file.path().to_owned();
        let url = move || {
            let url = std::fs::read_to_string(&path).map(Secret::from);
            async { url }
        };
        RefreshCoordinator::connect_with_url(url, config.clone()).await.expect("redis is there")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewed_password_is_read_when_connections_are_made_anew() {
    let redis = RedisServer::start_own(&[]).await;
    let credentials = Credentials::new(&redis, "pods", "one").await;
    let config = patient();
    redis.in_use(&config.namespace).await;
    let pod = credentials.connect(&config).await;
    refresh(&pod, "before").await.expect("tokens");

    credentials.renew("pods", "two").await;
    redis.cli(&["CLIENT", "KILL", "USER", "pods"]).await;

    refresh(&pod, "after").await.expect("tokens, with the new password");
    subscribes(&redis, &pod).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_that_loses_its_rights_is_followed_by_the_one_that_the_file_names() {
    let redis = RedisServer::start_own(&[]).await;
    let config = patient().with_store_timeout(Duration::from_millis(500));
    let credentials = Credentials::new(&redis, "old", "one").await;
    redis.in_use(&config.namespace).await;
    let pod = credentials.connect(&config).await;
    refresh(&pod, "before").await.expect("tokens");
    // Of connections that were just made nobody expects that their credentials are old.
    redis.wait(config.store_timeout).await;

    credentials.renew("new", "two").await;
    redis.cli(&["ACL", "SETUSER", "old", "-@all"]).await;

    refresh(&pod, "after").await.expect("tokens, as the new user");
    until("all connections are the new user's", async || {
        let clients = redis.cli(&["CLIENT", "LIST"]).await;
        let mut ours = clients.lines().filter(|client| client.contains(&format!(":{} ", pod.pod())));
        ours.clone().any(|client| client.contains(" flags=P ")) && ours.all(|client| client.contains(" user=new "))
    })
    .await;
    subscribes(&redis, &pod).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_right_is_an_answer_and_no_outage() {
    let redis = RedisServer::start_own(&[]).await;
    let config = patient();
    let credentials = Credentials::new(&redis, "pods", "one").await;
    redis.in_use(&config.namespace).await;
    let pod = credentials.connect(&config).await;
    redis.cli(&["ACL", "SETUSER", "pods", "-evalsha"]).await;

    let took = Stopwatch::start();
    let refused = refresh(&pod, "t").await.expect_err("no right");

    assert!(refused.is_transient() && refused.to_string().contains("evalsha"), "{refused}");
    assert!(took.elapsed() < patience(&config), "asked again and again: {:?}", took.elapsed());
    redis.cli(&["ACL", "SETUSER", "pods", "+evalsha"]).await;
    refresh(&pod, "t").await.expect("tokens");
}

/// What a server says of itself as a replica.
async fn replicates(replica: &RedisServer, primary: &RedisServer) {
    let port = primary.url().trim_end_matches('/').rsplit(':').next().expect("a port").to_owned();
    replica.cli(&["REPLICAOF", "127.0.0.1", &port]).await;
    replica.until_so(&["INFO", "replication"], |info| info.contains("master_link_status:up")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn demoted_primary_is_left_for_where_the_address_leads_now() {
    let (old, new) = (RedisServer::start_own(&[]).await, RedisServer::start_own(&[]).await);
    let config = quick().with_store_timeout(Duration::from_millis(500));
    let proxy = Proxy::to(&old).await;
    let pod = through(&proxy, &old, &config).await;
    replicates(&new, &old).await;
    refresh(&pod, "before").await.expect("tokens");

    // Connections to the old one stay, and are told that it may only be read.
    new.cli(&["REPLICAOF", "NO", "ONE"]).await;
    replicates(&old, &new).await;
    proxy.lead_to(&new);

    served(&pod, "after").await;
    subscribes(&new, &pod).await;
    old.until(&["PUBSUB", "NUMSUB", &channel(&pod)], &format!("{}\n0", channel(&pod))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_may_only_be_read_for_a_while_is_an_outage_until_it_may_be_written() {
    let (redis, other) = (RedisServer::start_own(&[]).await, RedisServer::start_own(&[]).await);
    let config = quick().with_store_timeout(Duration::from_millis(500));
    let pod = connect(&redis, &config).await;
    replicates(&other, &redis).await;
    other.cli(&["REPLICAOF", "NO", "ONE"]).await;
    replicates(&redis, &other).await;

    let refused = refresh(&pod, "t").await.expect_err("it may only be read");
    assert!(refused.is_transient() && refused.to_string().contains("read only replica"), "{refused}");
    let gaps = pod.metrics().subscription_gaps;
    redis.cli(&["REPLICAOF", "NO", "ONE"]).await;

    served(&pod, "t").await;
    assert!(gaps <= 2, "the subscription was made again at every refusal: {gaps}");
    subscribes(&redis, &pod).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscription_to_a_server_that_is_not_asked_any_more_is_made_again() {
    let (old, new) = (RedisServer::start_own(&[]).await, RedisServer::start_own(&[]).await);
    let proxy = Proxy::to(&old).await;
    let pod = through(&proxy, &old, &quick()).await;

    // The lanes follow the address. The subscription lives, where nobody publishes any more.
    proxy.lead_to(&new);
    old.cli(&["CLIENT", "KILL", "TYPE", "normal"]).await;

    subscribes(&new, &pod).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_flights_without_a_subscription_look_every_second_however_often_something_is_due() {
    let redis = RedisServer::start_own(&[]).await;
    redis.cli(&["ACL", "SETUSER", "pods", "on", ">pw", "~rc:*", "&rc:*", "+@all"]).await;
    let config = quick()
        .with_max_concurrent_refreshes(1)
        .with_budget_wait(Some(Duration::from_secs(12)))
        .with_lease(Duration::from_secs(10))
        // What queues is looked after that often.
        .with_store_timeout(Duration::from_millis(500));
    let leader = connect(&redis, &config).await;
    let url = redis.url().replace("redis://", "redis://pods:pw@");
    let pod = connect_to(&url, &config).await;
    redis.cli(&["ACL", "SETUSER", "pods", "resetchannels"]).await;
    until("it has no subscription", async || pod.metrics().subscription_gaps == 1).await;
    let provider = Provider::held();
    let leads = asks(&leader, "t1", &provider);
    provider.asked(1).await;
    let queues = asks(&pod, "t2", &provider);
    until("it queues", async || pod.metrics().queued == 1).await;

    provider.release(2);
    leads.await.expect("no panic");
    let free = Stopwatch::start();
    queues.await.expect("no panic");

    assert!(free.elapsed() < Duration::from_secs(4), "{:?} beside a free permit", free.elapsed());
}

#[test]
fn pod_outlives_the_runtime_that_it_was_connected_on() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let first = runtime();
    let second = runtime();
    let config = patient();
    let redis = second.block_on(RedisServer::start_own(&[]));
    let (leader, joiner) = first.block_on(async { (connect(&redis, &config).await, connect(&redis, &config).await) });
    drop(first);

    second.block_on(async {
        for pod in [&leader, &joiner] {
            refresh(pod, pod.pod()).await.expect("tokens");
            subscribes(&redis, pod).await;
        }
        let provider = Provider::held();
        let leads = asks(&leader, "t", &provider);
        provider.asked(1).await;
        let joins = asks(&joiner, "t", &provider);
        until("it is joined", async || joiner.metrics().joined_fleet == 1).await;
        let pushes = joiner.metrics().pushes;
        provider.release(1);
        leads.await.expect("no panic");
        joins.await.expect("no panic");

        assert!(joiner.metrics().pushes > pushes, "it was not told");
        assert_eq!(joiner.metrics().task_panics, 0);
    });
}

/// As where a name is not resolved any more, or a firewall drops what is new: what stands is answered as before, and no lead counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_look_where_the_endpoint_leads_wait_together_where_nothing_is_heard_of_it() {
    let (redis, silent) = (RedisServer::start_own(&[]).await, RedisServer::start_own(&[]).await);
    let proxy = Proxy::to(&redis).await;
    let second = Duration::from_secs(1);
    let config = quick().with_lease(3 * second).with_store_timeout(second).with_max_concurrent_refreshes(100);
    let pod = connect_to(&proxy.url(&redis), &config).await;
    served(&pod, "before").await;
    silent.signal("-STOP");
    proxy.lead_to(&silent);
    redis.wait(config.lease / 3).await;
    refresh(&pod, "first").await.expect_err("no lead counts");

    let took = Stopwatch::start();
    let refreshes = (0..30).map(|number| {
        let pod = pod.clone();
        tokio::spawn(async move { refresh(&pod, &format!("t{number}")).await.expect_err("no lead counts") })
    });
    let refreshes: Vec<_> = refreshes.collect();
    redis.wait(Duration::from_millis(300)).await;
    pod.check_store().await.expect_err("it is not ready");
    let checked = took.elapsed();
    for refresh in refreshes {
        assert!(refresh.await.expect("no panic").is_transient());
    }

    // The one that is under way, and one more for all that came meanwhile; each takes a third of a lease at most.
    assert!(checked < 3 * second, "readiness took {checked:?}");
    assert!(took.elapsed() < 8 * second, "{:?}", took.elapsed());
    silent.signal("-CONT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_that_holds_what_it_should_not_is_named_until_it_is_right_again_or_gone() {
    let redis = RedisServer::start_own(&[]).await;
    let config = patient();
    let pod = connect(&redis, &config).await;
    refresh(&pod, "before").await.expect("tokens");
    pod.check_store().await.expect("ready");
    let key = |name: &str| format!("rc:{{{}}}:{name}", config.namespace);
    let (circuit, queue) = (key("circuit"), key("queue"));
    // printf %s t | sha256sum
    let flight = key("flight:e3b98a4da31a127d4bde6e43033f66ba274cab0eb7eb1c70ec41402bf6273dd8");

    let broken: [(&str, &[&str], &[&str]); 3] = [
        (&circuit, &["SET", &circuit, "text"], &["DEL", &circuit]),
        (&queue, &["SET", &queue, "text"], &["DEL", &queue]),
        (&flight, &["RPUSH", &flight, "a"], &["DEL", &flight]),
    ];
    for (key, breaks, heals) in broken {
        redis.cli(breaks).await;

        let took = Stopwatch::start();
        let refused = refresh(&pod, "t").await.expect_err("it cannot be known");
        assert!(refused.is_transient() && refused.to_string().contains(key), "{refused}");
        assert!(took.elapsed() < patience(&config), "asked again and again: {:?}", took.elapsed());
        let unready = pod.check_store().await.expect_err("it is not ready");
        assert!(unready.to_string().contains(key), "{unready}");

        redis.cli(heals).await;
        pod.check_store().await.expect("ready again");
    }
    refresh(&pod, "t").await.expect("tokens");
}
