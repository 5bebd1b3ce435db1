//! A lost message costs latency, never an outcome: where no push arrives, everybody still gets what the provider
//! said, and nothing is presented twice.

mod support;

use std::time::Duration;

use refresh_coordinator::{Config, Refresh, RefreshCoordinator, Refreshed, Role};
use support::fleet::{connect, connect_to, quick};
use support::mortal::MortalPod;
use support::provider::Provider;
use support::redis::RedisServer;
use support::stopwatch::Stopwatch;
use support::wait::until;
use tokio::task::{JoinHandle, JoinSet};

/// A server with a user for the pods: the test takes and gives its rights.
async fn server() -> RedisServer {
    let redis = RedisServer::start_own(&[]).await;
    user(&redis, "pods").await;
    redis
}

async fn user(redis: &RedisServer, name: &str) {
    redis.cli(&["ACL", "SETUSER", name, "on", ">pw", "~rc:*", "&rc:*", "+@all"]).await;
}

async fn connect_as(redis: &RedisServer, name: &str, config: &Config) -> RefreshCoordinator {
    let url = redis.url().replace("redis://", &format!("redis://{name}:pw@"));
    connect_to(&url, config).await
}

fn asks(pod: &RefreshCoordinator, token: &str, provider: &Provider) -> JoinHandle<Refreshed> {
    let (pod, refresh, call) = (pod.clone(), Refresh::new(token), provider.refresh(token));
    tokio::spawn(async move { pod.refresh(refresh, call).await.expect("tokens") })
}

/// Waits until the pod knows that its subscription has ended.
async fn cut_off(pod: &RefreshCoordinator, gaps: u64) {
    until("the subscription's end is noticed", async || pod.metrics().subscription_gaps == gaps).await;
}

async fn subscribers(redis: &RedisServer, pod: &RefreshCoordinator, config: &Config) -> String {
    redis.cli(&["PUBSUB", "NUMSUB", &format!("rc:{{{}}}:pod:{}", config.namespace, pod.pod())]).await
}

/// One pod leads, another joins, and is told by push.
async fn a_push_arrives(leader: &RefreshCoordinator, joiner: &RefreshCoordinator, token: &str) {
    let provider = Provider::held();
    let (joined, pushes) = (joiner.metrics().joined_fleet, joiner.metrics().pushes);
    let leads = asks(leader, token, &provider);
    provider.asked(1).await;
    let joins = asks(joiner, token, &provider);
    until("it is joined", async || joiner.metrics().joined_fleet > joined).await;

    provider.release(1);

    leads.await.expect("no panic");
    assert_eq!(joins.await.expect("no panic").role(), Role::JoinedFleet);
    assert!(joiner.metrics().pushes > pushes, "{:?}", joiner.metrics());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_gets_the_outcome_with_the_channel_forbidden() {
    let redis = server().await;
    let config = quick();
    let mut pods = Vec::new();
    for _ in 0..4 {
        pods.push(connect_as(&redis, "pods", &config).await);
    }
    redis.cli(&["ACL", "SETUSER", "pods", "resetchannels"]).await;
    for pod in &pods {
        cut_off(pod, 1).await;
    }
    let pushed: Vec<u64> = pods.iter().map(|pod| pod.metrics().pushes).collect();

    let provider = Provider::held();
    let mut callers = JoinSet::new();
    for token in 0..10 {
        for pod in &pods {
            for _ in 0..5 {
                let caller = asks(pod, &format!("t{token}"), &provider);
                callers.spawn(async move { caller.await.expect("no panic") });
            }
        }
    }
    until("all pods wait", async || pods.iter().map(|pod| pod.metrics().joined_fleet).sum::<u64>() == 30).await;
    provider.release(100);
    let answers = callers.join_all().await;

    assert_eq!(answers.len(), 200);
    assert_eq!(provider.total(), 10, "nothing was presented twice");
    assert!((0..10).all(|token| provider.presented(&format!("t{token}")) == 1));
    let pushes: Vec<u64> = pods.iter().map(|pod| pod.metrics().pushes).collect();
    assert_eq!(pushes, pushed, "no push arrived: it was looking that found the outcomes");
    assert!(pods.iter().all(|pod| pod.metrics().subscription_gaps == 1), "the subscription stood all the time");

    // Now the rights are given back.
    redis.cli(&["ACL", "SETUSER", "pods", "&rc:*"]).await;
    for pod in &pods {
        until("the subscription stands again", async || subscribers(&redis, pod, &config).await.ends_with("\n1")).await;
    }
    for (leader, joiner) in [(0, 1), (2, 3), (1, 0), (3, 2)] {
        a_push_arrives(&pods[leader], &pods[joiner], &format!("again-{leader}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channel_forbidden_in_mid_flight_costs_no_outcome() {
    let redis = server().await;
    let config = quick();
    let pods = [connect_as(&redis, "pods", &config).await, connect_as(&redis, "pods", &config).await];
    let provider = Provider::held();
    let leads = asks(&pods[0], "t", &provider);
    provider.asked(1).await;
    let joins = asks(&pods[1], "t", &provider);
    until("it is joined", async || pods[1].metrics().joined_fleet == 1).await;

    redis.cli(&["ACL", "SETUSER", "pods", "resetchannels"]).await;
    cut_off(&pods[1], 1).await;
    provider.release(10);

    let (led, joined) = (leads.await.expect("no panic"), joins.await.expect("no panic"));
    assert_eq!((led.role(), joined.role()), (Role::Led, Role::JoinedFleet));
    // Not the bytes: the look may come a second after the lost push, and tells what is left of the lifetime then.
    assert_eq!(joined.tokens().access_token(), led.tokens().access_token());
    assert_eq!(joined.tokens().refresh_token(), led.tokens().refresh_token());
    assert_eq!(provider.total(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_subscriptions_cost_no_outcome() {
    let redis = RedisServer::start_own(&[]).await;
    // No look is due while this test runs: what is found is found because the subscription stands again.
    let config = quick().with_lease(Duration::from_secs(40));
    let mut pods = Vec::new();
    for _ in 0..3 {
        pods.push(connect(&redis, &config).await);
    }
    let provider = Provider::held();
    let mut callers = Vec::new();
    for token in 0..10 {
        callers.extend(pods.iter().map(|pod| asks(pod, &format!("t{token}"), &provider)));
    }
    until("all pods wait", async || pods.iter().map(|pod| pod.metrics().joined_fleet).sum::<u64>() == 20).await;

    for kill in 1..=3 {
        let killed = redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        assert_eq!(killed, "3", "each pod's subscription");
        for pod in &pods {
            cut_off(pod, kill).await;
            until("it stands again", async || subscribers(&redis, pod, &config).await.ends_with("\n1")).await;
        }
    }
    provider.release(10);
    for caller in callers {
        caller.await.expect("no panic");
    }

    assert_eq!(provider.total(), 10);
    a_push_arrives(&pods[0], &pods[1], "again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_that_land_while_the_subscription_is_down_are_found() {
    let redis = server().await;
    let config = quick().with_lease(Duration::from_secs(5));
    let leader = connect(&redis, &config).await;
    let joiner = connect_as(&redis, "pods", &config).await;
    let provider = Provider::held();
    let leads = asks(&leader, "t", &provider);
    provider.asked(1).await;
    let joins = asks(&joiner, "t", &provider);
    until("it is joined", async || joiner.metrics().joined_fleet == 1).await;
    redis.cli(&["ACL", "SETUSER", "pods", "resetchannels"]).await;
    cut_off(&joiner, 1).await;

    // Published to nobody.
    provider.release(1);
    leads.await.expect("no panic");
    let landed = Stopwatch::start();
    joins.await.expect("no panic");

    // Every second while there is no subscription, which is sooner than once per lease.
    assert!(landed.elapsed() < Duration::from_secs(4), "found after {:?}", landed.elapsed());
    assert_eq!(provider.total(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_that_is_lost_silently_costs_a_lease_at_most() {
    let redis = server().await;
    user(&redis, "mute").await;
    let config = quick();
    // The one may not publish any more, the other's subscription stands and hears nothing.
    let leader = connect_as(&redis, "mute", &config).await;
    let joiner = connect_as(&redis, "pods", &config).await;
    redis.cli(&["ACL", "SETUSER", "mute", "resetchannels"]).await;
    cut_off(&leader, 1).await;
    let pushes = joiner.metrics().pushes;
    let provider = Provider::held();
    let leads = asks(&leader, "t", &provider);
    provider.asked(1).await;
    let joins = asks(&joiner, "t", &provider);
    until("it is joined", async || joiner.metrics().joined_fleet == 1).await;

    provider.release(1);
    leads.await.expect("no panic");
    let landed = Stopwatch::start();
    let joined = joins.await.expect("no panic");

    // A lease, its jitter, and what a busy machine takes.
    assert!(landed.elapsed() < 3 * config.lease, "found after {:?}", landed.elapsed());
    assert_eq!(joined.role(), Role::JoinedFleet);
    assert_eq!(provider.total(), 1);
    let metrics = joiner.metrics();
    assert_eq!((metrics.pushes, metrics.subscription_gaps), (pushes, 0), "nobody told it, and it noticed no gap");
    assert!(metrics.looks >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joiner_takes_over_from_a_dead_leader_without_a_push() {
    let redis = server().await;
    let config = quick();
    let joiner = connect_as(&redis, "pods", &config).await;
    let leader = MortalPod::connect(redis.url(), &config).await;
    redis.cli(&["ACL", "SETUSER", "pods", "resetchannels"]).await;
    cut_off(&joiner, 1).await;
    let provider = Provider::held();
    let call = provider.refresh("t");
    leader.spawn(|pod| async move { pod.refresh(Refresh::new("t"), call).await });
    provider.asked(1).await;
    let joins = asks(&joiner, "t", &provider);
    until("it is joined", async || joiner.metrics().joined_fleet == 1).await;

    leader.die();
    provider.asked(2).await;
    provider.release(2);

    assert_eq!(joins.await.expect("no panic").role(), Role::Led);
    assert_eq!(joiner.metrics().taken_over, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcome_that_is_fresh_for_nobody_is_found_by_whoever_waited_for_it() {
    let redis = server().await;
    user(&redis, "mute").await;
    let config = quick().with_keep_outcome(Duration::ZERO);
    let leader = connect_as(&redis, "mute", &config).await;
    let joiner = connect_as(&redis, "pods", &config).await;
    redis.cli(&["ACL", "SETUSER", "mute", "resetchannels"]).await;
    cut_off(&leader, 1).await;
    let provider = Provider::held();
    let leads = asks(&leader, "t", &provider);
    provider.asked(1).await;
    let joins = asks(&joiner, "t", &provider);
    until("it is joined", async || joiner.metrics().joined_fleet == 1).await;

    provider.release(10);

    let (led, joined) = (leads.await.expect("no panic"), joins.await.expect("no panic"));
    assert_eq!((joined.role(), joined.fence()), (Role::JoinedFleet, led.fence()));
    assert_eq!(provider.total(), 1);
}

/// A user with the right to publish is no pod: what it makes up must not count as a fence that Redis gave.
#[tokio::test]
async fn made_up_push_closes_nothing() {
    let (redis, config) = (server().await, quick());
    let (leader, joiner) = (connect_as(&redis, "pods", &config).await, connect_as(&redis, "pods", &config).await);
    let hash = "ab".repeat(32);
    let message = format!("landed {hash} {hash} {} 00000000-0000-4000-8000-000000000001 0\nx", u64::MAX);

    for pod in [&leader, &joiner] {
        let channel = format!("rc:{{{}}}:pod:{}", config.namespace, pod.pod());
        assert_eq!(redis.cli(&["PUBLISH", &channel, &message]).await, "1", "the pod listens");
    }

    // A pod hears in the order in which Redis was told: who is told of an outcome has heard the made-up push before.
    a_push_arrives(&joiner, &leader, "at the leader").await;
    a_push_arrives(&leader, &joiner, "at the joiner").await;
    a_push_arrives(&leader, &joiner, "after both").await;
}
