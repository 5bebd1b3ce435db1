//! `wait_replicas`: a lead that the replicas do not have is given back before its token is presented.

mod support;

use std::time::Duration;

use refresh_coordinator::{Config, ConnectError, Refresh, RefreshCoordinator};
use support::fleet::{connect_to, quick};
use support::provider::Provider;
use support::redis::RedisServer;
use support::wait::until;
use tokio::task::JoinSet;

fn config() -> Config {
    quick().with_wait_replicas(1).with_store_timeout(Duration::from_secs(2)).with_lease(Duration::from_secs(10))
}

async fn pair(config: &Config) -> (RedisServer, RedisServer) {
    let primary = RedisServer::start_own(&[]).await;
    let replica = primary.start_replica().await;
    primary.until_so(&["INFO", "replication"], |info| info.contains("state=online")).await;
    primary.in_use(&config.namespace).await;
    (primary, replica)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lead_that_a_paused_replica_does_not_have_is_given_back_and_nothing_is_presented() {
    let config = config();
    let (primary, replica) = pair(&config).await;
    let pod = connect_to(primary.url(), &config).await;
    let provider = Provider::open();
    pod.refresh(Refresh::new("before"), provider.refresh("before")).await.expect("the replica has it");
    replica.signal("-STOP");

    let refused = pod.refresh(Refresh::new("t"), provider.refresh("t")).await.expect_err("the replica hangs");

    assert!(refused.is_transient(), "{refused}");
    assert_eq!((provider.presented("t"), pod.metrics().leads_unreplicated), (0, 1));
    assert!(pod.check_store().await.is_err(), "it is not ready");
    // The lead is given back at once, and not when its lease ends: no lock stands.
    until("it is given back", async || primary.keys(&format!("rc:{{{}}}:lock:*", config.namespace)).await.is_empty())
        .await;
    replica.signal("-CONT");
    until("the replica acknowledges", async || pod.check_store().await.is_ok()).await;
    pod.refresh(Refresh::new("t"), provider.refresh("t")).await.expect("the replica has it");
    assert_eq!(provider.presented("t"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcome_that_a_paused_replica_does_not_have_is_told_all_the_same() {
    let config = config();
    let (primary, replica) = pair(&config).await;
    let pod = connect_to(primary.url(), &config).await;
    let provider = Provider::held();
    let (asking, call) = (pod.clone(), provider.refresh("t"));
    let answered = tokio::spawn(async move { asking.refresh(Refresh::new("t"), call).await });
    provider.asked(1).await;

    replica.signal("-STOP");
    provider.release(1);

    answered.await.expect("no panic").expect("the provider has answered");
    until("it is noticed", async || pod.metrics().outcomes_unreplicated == 1).await;
    replica.signal("-CONT");
    assert_eq!(provider.presented("t"), 1);
}

/// What a promoted replica knows: every lead under which a token was presented.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promoted_replica_knows_every_lead_that_was_used() {
    let config = config();
    let (primary, replica) = pair(&config).await;
    let pod = connect_to(primary.url(), &config).await;
    let (provider, mut callers) = (Provider::held(), JoinSet::new());
    for number in 0..50 {
        let (pod, token) = (pod.clone(), format!("t{number}"));
        let call = provider.refresh(&token);
        callers.spawn(async move { pod.refresh(Refresh::new(token.as_str()), call).await.expect("tokens") });
    }
    provider.asked(50).await;

    // No word of it is passed on any more.
    primary.kill();
    replica.cli(&["REPLICAOF", "NO", "ONE"]).await;

    assert_eq!(replica.keys(&format!("rc:{{{}}}:lock:*", config.namespace)).await.len(), 50);
    callers.abort_all();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_question_to_the_replicas_answers_for_all_flights_that_wait_and_a_lone_refresh_asks_twice() {
    let config = config();
    let (primary, _replica) = pair(&config).await;
    let pod = connect_to(primary.url(), &config).await;
    let asked = async || {
        let stats = primary.cli(&["INFO", "commandstats"]).await;
        let count =
            stats.split("cmdstat_wait:calls=").nth(1).and_then(|rest| rest.split(',').next()?.parse::<usize>().ok());
        count.unwrap_or(0)
    };
    let (provider, before) = (Provider::open(), asked().await);
    pod.refresh(Refresh::new("lone"), provider.refresh("lone")).await.expect("tokens");
    until("the outcome is waited for, too", async || asked().await == before + 2).await;

    let (before, mut callers) = (asked().await, JoinSet::new());
    for number in 0..200 {
        let (pod, token) = (pod.clone(), format!("t{number}"));
        let call = provider.refresh(&token);
        callers.spawn(async move { pod.refresh(Refresh::new(token.as_str()), call).await.expect("tokens") });
    }
    callers.join_all().await;

    let questions = asked().await - before;
    println!("200 refreshes at once: {questions} questions to the replicas");
    assert!(questions < 200, "{questions}");
    let clients = primary.cli(&["CLIENT", "LIST"]).await;
    assert_eq!(clients.matches(&format!("name=refresh-coordinator:{}:", config.namespace)).count(), 6, "{clients}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn right_to_wait_is_asked_for_where_it_is_used_only() {
    let redis = RedisServer::start_own(&[]).await;
    redis.cli(&["ACL", "SETUSER", "pods", "on", ">pw", "~rc:*", "&rc:*", "+@all", "-wait"]).await;
    let url = redis.url().replace("redis://", "redis://pods:pw@");

    let refused = RefreshCoordinator::connect(&url, config()).await.expect_err("it may not wait");
    let without = RefreshCoordinator::connect(&url, quick()).await;

    assert!(matches!(&refused, ConnectError::Right { rule, .. } if rule == "+wait"), "{refused}");
    without.expect("nothing is waited for");
}
