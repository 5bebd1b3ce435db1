//! The users that docs/redis.md sets up, in use behind Sentinel and on a Cluster: with exactly these lines pods lead, join, are told,
//! close one namespace of several, and are refused nothing. On one server the stores' own promises are kept so
//! (`REDIS_WAY=mtls`).

mod support;

use std::time::{Duration, SystemTime};

use refresh_coordinator::tokens::{RedisTokens, SessionTokens, Swap, TokenStore};
use refresh_coordinator::{Config, Fleet, RedisTarget, Refresh};
use support::fleet::quick;
use support::provider::Provider;
use support::redis::RedisServer;
use support::redis::topology::{Cluster, Group, is_promoted};
use support::wait::until;

const PASSWORD: &str = "of-a-test";

/// The line of the page that makes a user.
fn line(begins: &str, has: &str) -> String {
    let page = include_str!("../docs/redis.md");
    let lines = page.lines().filter(|line| line.starts_with(begins) && line.contains(has));
    let [line] = lines.collect::<Vec<_>>()[..] else { panic!("one line that has {has}") };
    line.replace("SECRET", PASSWORD)
}

/// The lines of the page that make users of pods: on one server, on a cluster, at sentinels.
fn documented() -> [String; 3] {
    let servers = "ACL SETUSER refreshd ";
    [line(servers, "+publish"), line(servers, "+spublish"), line("ACL SETUSER pods ", "+sentinel|master")]
}

async fn is_set_up(server: &RedisServer, line: &str) {
    assert_eq!(server.cli(&line.split(' ').collect::<Vec<_>>()).await, "OK", "{line}");
}

/// Nobody was refused anything, by command, key or channel, but a name for its connections, which nobody needs.
async fn refuses_nothing(server: &RedisServer) {
    let log = server.cli(&["ACL", "LOG"]).await;
    let refused: Vec<_> = log.split("\nobject\n").skip(1).filter_map(|rest| rest.lines().next()).collect();
    let needed: Vec<_> = refused.iter().filter(|object| **object != "client|setname").collect();
    assert!(needed.is_empty(), "at {}: {log}", server.port());
}

fn config() -> Config {
    quick().with_store_timeout(Duration::from_secs(5)).with_lease(Duration::from_secs(5))
}

async fn fleet(url: &str) -> Fleet {
    let target = RedisTarget::new(url).username("refreshd").password(PASSWORD);
    Fleet::connect(target, config()).await.expect("a target")
}

/// One process leads, another joins and is told; in two namespaces, of which one is closed.
async fn is_used(url: &str, namespaces: [&str; 2]) -> [Fleet; 2] {
    let fleets = [fleet(url).await, fleet(url).await];
    for namespace in namespaces {
        let a = fleets[0].namespace(namespace).await.unwrap_or_else(|error| panic!("{error}"));
        let b = fleets[1].namespace(namespace).await.unwrap_or_else(|error| panic!("{error}"));
        let provider = Provider::held();
        let come = |pod: &refresh_coordinator::RefreshCoordinator| {
            let (pod, call) = (pod.clone(), provider.refresh("t"));
            tokio::spawn(async move { pod.refresh(Refresh::new("t"), call).await.expect("tokens") })
        };
        let led = come(&a);
        provider.asked(1).await;
        let joined = come(&b);
        until("it is joined", async || b.metrics().joined_fleet == 1).await;
        provider.release(1);
        led.await.expect("no panic");
        joined.await.expect("no panic");
        assert_eq!((provider.presented("t"), b.metrics().pushes), (1, 1), "{namespace}");
        a.check_store().await.expect("it is ready");
    }
    let closed = fleets[0].namespace(namespaces[0]).await.expect("it is open");
    closed.close(Duration::from_secs(5)).await;
    fleets
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documented_users_are_refused_nothing_behind_sentinels_nor_after_a_switch() {
    let group = Group::start(Duration::from_secs(30)).await;
    let ([servers, _, sentinels], namespaces) = (documented(), [quick().namespace, quick().namespace]);
    for server in &group.servers {
        is_set_up(server, &servers).await;
    }
    for sentinel in &group.sentinels {
        is_set_up(sentinel, &sentinels).await;
    }
    for namespace in &namespaces {
        group.servers[0].in_use(namespace).await;
    }
    let url = format!("{}?sentinel_username=pods&sentinel_password={PASSWORD}", group.url());

    let fleets = is_used(&url, [&namespaces[0], &namespaces[1]]).await;
    group.sentinels[0].cli(&["SENTINEL", "FAILOVER", Group::MASTER]).await;
    is_promoted(&group.servers[1]).await;
    let pod = fleets[1].namespace(&namespaces[1]).await.expect("it is open");
    let provider = Provider::open();
    until("it leads again", async || pod.refresh(Refresh::new("later"), provider.refresh("later")).await.is_ok()).await;

    let all = group.servers.iter().map(AsRef::as_ref).chain(&group.sentinels);
    for server in all {
        refuses_nothing(server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documented_user_is_refused_nothing_on_a_cluster_nor_after_a_slot_has_moved() {
    let cluster = Cluster::start().await;
    let ([_, nodes, _], namespaces) = (documented(), [quick().namespace, quick().namespace]);
    for node in &cluster.masters {
        is_set_up(node, &nodes).await;
    }
    for namespace in &namespaces {
        cluster.owner(namespace).await.in_use(namespace).await;
    }

    let fleets = is_used(&cluster.url(), [&namespaces[0], &namespaces[1]]).await;
    let owner = cluster.owner(&namespaces[1]).await;
    let to = cluster.masters.iter().find(|node| node.port() != owner.port()).expect("another");
    cluster.move_slot(&namespaces[1], to).await;
    let pod = fleets[1].namespace(&namespaces[1]).await.expect("it is open");
    let provider = Provider::open();
    until("it leads again", async || pod.refresh(Refresh::new("later"), provider.refresh("later")).await.is_ok()).await;

    for node in &cluster.masters {
        refuses_nothing(node).await;
    }
}

/// All that is done with a session, by the user that the page makes for an application.
async fn sessions_are_kept(url: &str) {
    let target = RedisTarget::new(url).username("sessions").password(PASSWORD);
    let store = RedisTokens::new(target, "app:tokens:", Duration::from_secs(60)).expect("a URL");
    store.check().await.unwrap_or_else(|error| panic!("{error}"));
    for session in ["a", "b", "c", "d", "e", "f"] {
        let begun = SessionTokens::new("a1", "r1", SystemTime::now(), Duration::from_secs(60));
        store.put(session, &begun).await.expect("it begins");
        let next = SessionTokens::new("a2", "r2", SystemTime::now(), Duration::from_secs(60)).in_place_of(&begun);
        let swapped = store.swap(session, &["r1".into()], &next).await.expect("it is written");
        assert!(matches!(swapped, Swap::Written), "{swapped:?}");
        assert!(store.load(session).await.expect("it is read").is_some());
        assert!(matches!(store.end(session, &["r2".into()]).await.expect("it is ended"), Swap::Written));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documented_user_of_an_application_is_refused_nothing() {
    let (redis, cluster) = (RedisServer::start_own(&[]).await, Cluster::start().await);
    let user = line("ACL SETUSER sessions ", "+hset");
    for server in cluster.masters.iter().map(AsRef::as_ref).chain([&redis]) {
        is_set_up(server, &user).await;
    }

    for url in [redis.url(), &cluster.url()] {
        sessions_are_kept(url).await;
    }

    for server in cluster.masters.iter().map(AsRef::as_ref).chain([&redis]) {
        refuses_nothing(server).await;
    }
}
