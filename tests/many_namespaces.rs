//! Many namespaces of one process over the connections of one: how many there are, and that each is told what lands in it.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use refresh_coordinator::{Config, ConnectError, Fleet, RedisTarget, Refresh, RefreshCoordinator};
use support::fleet::quick;
use support::provider::Provider;
use support::redis::RedisServer;
use support::redis::topology::{Cluster, Group, is_promoted};
use support::wait::until;
use tokio::task::JoinSet;

const NAMESPACES: usize = 50;

fn names() -> Vec<String> {
    let prefix = quick().namespace;
    (0..NAMESPACES).map(|number| format!("{prefix}-{number}")).collect()
}

fn config() -> Config {
    // No look by a lease finds what a push should have told.
    let minutes = Duration::from_secs(120);
    let store_timeout = Duration::from_secs(9);
    quick()
        .with_lease(minutes)
        .with_refresh_timeout(minutes)
        .with_wait_timeout(minutes)
        .with_keep_outcome(minutes)
        .with_store_timeout(store_timeout)
}

async fn fleet(url: &str) -> Fleet {
    Fleet::connect(RedisTarget::new(url), config()).await.expect("a target")
}

async fn open(fleet: &Fleet, names: &[String]) -> Vec<RefreshCoordinator> {
    let mut opening = JoinSet::new();
    for name in names {
        let (fleet, name) = (fleet.clone(), name.clone());
        opening.spawn(async move { fleet.namespace(&name).await.expect("redis is there") });
    }
    let mut pods = opening.join_all().await;
    pods.sort_by_key(|pod| names.iter().position(|name| *name == pod.config().namespace));
    pods
}

/// The connections of fleets to a server, and how many channels each is subscribed to.
async fn connections(redis: &RedisServer, field: &str) -> Vec<usize> {
    let clients = redis.cli(&["CLIENT", "LIST"]).await;
    let fleets = clients.lines().filter(|client| client.contains("name=refresh-coordinator:fleet:"));
    let count = |client: &str| client.split(field).nth(1)?.split(' ').next()?.parse().ok();
    fleets.map(|client| count(client).unwrap_or(0)).collect()
}

/// In every namespace one process leads, another joins, and is told by a push: nobody looks.
async fn joiners_are_told(leaders: &[RefreshCoordinator], joiners: &[RefreshCoordinator], token: &str) {
    let (provider, mut callers) = (Provider::held(), JoinSet::new());
    let named = |pod: &RefreshCoordinator| format!("{token}-{}", pod.config().namespace);
    let before: Vec<_> = joiners.iter().map(RefreshCoordinator::metrics).collect();
    let mut come = |pod: &RefreshCoordinator| {
        let (pod, token) = (pod.clone(), named(pod));
        let call = provider.refresh(&token);
        callers.spawn(async move {
            let refreshed = pod.refresh(Refresh::new(token.as_str()), call).await.expect("tokens");
            assert_eq!(refreshed.tokens().access_token(), format!("access-for-{token}"));
        });
    };
    leaders.iter().for_each(&mut come);
    provider.asked(leaders.len()).await;
    joiners.iter().for_each(&mut come);
    for (pod, before) in joiners.iter().zip(&before) {
        until("it is joined", async || pod.metrics().joined_fleet == before.joined_fleet + 1).await;
    }

    provider.release(leaders.len());
    while let Some(answered) = callers.join_next().await {
        answered.expect("no panic");
    }

    for (pod, before) in joiners.iter().zip(&before) {
        let (told, name) = (pod.metrics().pushes - before.pushes, &pod.config().namespace);
        assert_eq!((told, provider.presented(&named(pod))), (1, 1), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_namespaces_use_the_connections_of_one_and_each_is_told() {
    let redis = RedisServer::start_own(&[]).await;
    let names = names();
    for name in &names {
        redis.in_use(name).await;
    }
    let (a, b) = (fleet(redis.url()).await, fleet(redis.url()).await);
    let one = open(&a, &names[..1]).await;
    redis.until_so(&["CLIENT", "LIST"], |list| list.matches("name=refresh-coordinator:fleet:").count() == 5).await;

    let (leaders, joiners) = (open(&a, &names).await, open(&b, &names).await);

    assert_eq!(one[0].pod(), leaders[0].pod(), "a namespace is opened once");
    redis.until_so(&["CLIENT", "LIST"], |list| list.matches("name=refresh-coordinator:fleet:").count() == 10).await;
    let mut subscribed = connections(&redis, " sub=").await;
    subscribed.sort_unstable();
    assert_eq!(subscribed, [0, 0, 0, 0, 0, 0, 0, 0, 3 * NAMESPACES, 3 * NAMESPACES]);
    joiners_are_told(&leaders, &joiners, "first").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_namespace_listens_again_when_the_shared_subscription_is_killed() {
    let redis = RedisServer::start_own(&[]).await;
    let names = names();
    for name in &names {
        redis.in_use(name).await;
    }
    let (a, b) = (fleet(redis.url()).await, fleet(redis.url()).await);
    let (leaders, joiners) = (open(&a, &names).await, open(&b, &names).await);

    redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    for pod in leaders.iter().chain(&joiners) {
        until("it has noticed", async || pod.metrics().subscription_gaps == 1).await;
        let channel = format!("rc:{{{}}}:pod:{}", pod.config().namespace, pod.pod());
        redis.until_so(&["PUBSUB", "NUMSUB", &channel], |reply| reply.ends_with("\n1")).await;
    }

    redis.until_so(&["CLIENT", "LIST"], |list| list.matches("name=refresh-coordinator:fleet:").count() == 10).await;
    let again = connections(&redis, " sub=").await.into_iter().filter(|channels| *channels > 0).collect::<Vec<_>>();
    assert_eq!(again, [3 * NAMESPACES; 2]);
    joiners_are_told(&leaders, &joiners, "again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_spread_over_the_nodes_of_a_cluster_and_stay_told_when_a_slot_moves() {
    let cluster = Cluster::start().await;
    let names = names();
    let mut owners = Vec::new();
    for name in &names {
        let owner = cluster.owner(name).await;
        owner.in_use(name).await;
        owners.push(owner);
    }
    assert_eq!(owners.iter().map(|owner| owner.port()).collect::<BTreeSet<_>>().len(), 3, "all nodes serve some");
    let (a, b) = (fleet(&cluster.url()).await, fleet(&cluster.url()).await);

    let (leaders, joiners) = (open(&a, &names).await, open(&b, &names).await);

    for node in &cluster.masters {
        let five = |list: &str| list.matches("name=refresh-coordinator:fleet:").count() == 10;
        node.until_so(&["CLIENT", "LIST"], five).await;
        let served = owners.iter().filter(|owner| owner.port() == node.port()).count();
        let heard = connections(node, " ssub=").await.into_iter().filter(|channels| *channels > 0).collect::<Vec<_>>();
        assert_eq!(heard, [3 * served; 2]);
    }
    joiners_are_told(&leaders, &joiners, "first").await;

    // The node that takes the slot over knows nothing of the namespace's last server: it gives leads after a lease.
    let to = cluster.masters.iter().find(|node| node.port() != owners[0].port()).expect("another");
    cluster.move_slot(&names[0], to).await;
    for pod in [&leaders[0], &joiners[0]] {
        let channel = format!("rc:{{{}}}:pod:{}", pod.config().namespace, pod.pod());
        to.until_so(&["PUBSUB", "SHARDNUMSUB", &channel], |reply| reply.ends_with("\n1")).await;
    }

    joiners_are_told(&leaders[1..], &joiners[1..], "again").await;
    let others = leaders[1..].iter().chain(&joiners[1..]);
    assert_eq!(
        others.map(|pod| pod.metrics().subscription_gaps).sum::<u64>(),
        0,
        "only the one that moved listens anew"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_are_listened_to_once_and_a_switch_moves_every_namespace() {
    let group = Group::start(Duration::from_secs(30)).await;
    let names = &names()[..8];
    for name in names {
        group.servers[0].in_use(name).await;
    }
    let fleet = fleet(&group.url()).await;
    let pods = open(&fleet, names).await;
    for sentinel in &group.sentinels {
        // Sentinels listen to each other, too, and have a channel for that.
        let listening = |clients: &str| clients.lines().filter(|client| client.contains(" sub=2 ")).count();
        sentinel.until_so(&["CLIENT", "LIST"], |clients| listening(clients) == 1).await;
    }
    // Whoever listens for all may be closed.
    pods[0].close(Duration::from_secs(5)).await;

    group.sentinels[0].cli(&["SENTINEL", "FAILOVER", Group::MASTER]).await;
    is_promoted(&group.servers[1]).await;

    for pod in &pods[1..] {
        let channel = format!("rc:{{{}}}:pod:{}", pod.config().namespace, pod.pod());
        group.servers[1].until_so(&["PUBSUB", "NUMSUB", &channel], |reply| reply.ends_with("\n1")).await;
    }
    let five = |list: &str| list.matches("name=refresh-coordinator:fleet:").count() == 5;
    group.servers[1].until_so(&["CLIENT", "LIST"], five).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespace_that_is_closed_is_heard_no_more_and_opened_anew() {
    let redis = RedisServer::start_own(&[]).await;
    let names = &names()[..2];
    let fleet = fleet(redis.url()).await;
    let pods = open(&fleet, names).await;

    pods[0].close(Duration::from_secs(5)).await;

    let channel = |pod: &RefreshCoordinator| format!("rc:{{{}}}:pod:{}", pod.config().namespace, pod.pod());
    let heard = |channel: String, count: usize| {
        let (redis, end) = (&redis, format!("\n{count}"));
        async move { redis.until_so(&["PUBSUB", "NUMSUB", &channel], |reply| reply.ends_with(&end)).await }
    };
    heard(channel(&pods[0]), 0).await;
    heard(channel(&pods[1]), 1).await;
    let again = fleet.namespace(&names[0]).await.expect("redis is there");
    assert_ne!(again.pod(), pods[0].pod());
    heard(channel(&again), 1).await;
    assert_eq!(pods[1].metrics().subscription_gaps, 0, "nothing has happened to the others");
    drop((again, pods));
    fleet.close(Duration::from_secs(5)).await;
    redis.until_so(&["PUBSUB", "CHANNELS"], str::is_empty).await;
}

#[tokio::test]
async fn namespace_that_cannot_be_is_refused_and_leaves_nothing() {
    let redis = RedisServer::start_own(&[]).await;
    let fleet = fleet(redis.url()).await;

    let name = fleet.namespace("no name").await.expect_err("a blank");
    let timeout = config().with_store_timeout(config().store_timeout * 2);
    let timeout = fleet.namespace_with(timeout).await.expect_err("another timeout");

    assert!(matches!(name, ConnectError::Config(_)), "{name:?}");
    assert!(timeout.to_string().contains("as in its fleet"), "{timeout}");
    assert_eq!(format!("{fleet:?}"), "Fleet { namespaces: 0, .. }");
}
