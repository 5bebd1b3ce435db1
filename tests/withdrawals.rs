//! What flights leave in Redis is withdrawn, and costs a Redis that refuses that next to nothing.

mod support;

use std::time::Duration;

use refresh_coordinator::{Refresh, RefreshCoordinator, RefreshError};
use support::fleet::{connect, quick};
use support::provider::Provider;
use support::redis::RedisServer;
use support::wait::until;
use tokio::task::JoinSet;

const REFRESHES: usize = 100;

/// How many scripts Redis was asked to run and did not.
async fn refused(redis: &RedisServer) -> usize {
    let stats = redis.cli(&["INFO", "commandstats"]).await;
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:")).unwrap_or_default();
    let refused = calls.split(',').find_map(|field| field.strip_prefix("rejected_calls="));
    refused.map_or(0, |count| count.trim().parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn withdrawals_that_redis_refuses_cost_it_a_few_commands_a_second() {
    let redis = RedisServer::start_own(&[]).await;
    let config = quick().with_lease(Duration::from_secs(10));
    let (pod, provider) = (connect(&redis, &config).await, Provider::open());
    // Begins that are not answered: what is refused at once did not run, and leaves nothing to withdraw.
    redis.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]).await;
    let mut callers = JoinSet::new();
    for number in 0..REFRESHES {
        let (pod, token) = (pod.clone(), format!("t-{number}"));
        let call = provider.refresh(&token);
        callers.spawn(async move { pod.refresh(Refresh::new(token), call).await });
    }
    for told in callers.join_all().await {
        assert!(matches!(told, Err(RefreshError::StoreOutage { .. })), "{told:?}");
    }

    // Only what touches a flight is refused. What waited in Redis is refused before that answers.
    let (others, fence) =
        (format!("~rc:{{{}}}:[^f]*", config.namespace), format!("~rc:{{{}}}:fence", config.namespace));
    redis.cli(&["ACL", "SETUSER", "default", "resetkeys", &others, &fence]).await;
    redis.cli(&["CLIENT", "UNPAUSE"]).await;
    // It answers, and the pod knows that it lacks a right.
    until("redis is back", async || {
        pod.check_store().await.is_err_and(|error| format!("{error:?}").contains("lacks rights"))
    })
    .await;
    let before = refused(&redis).await;
    redis.wait(Duration::from_secs(3)).await;
    let meanwhile = refused(&redis).await - before;
    redis.cli(&["ACL", "SETUSER", "default", "allkeys"]).await;

    // What is denied is asked once more over a new connection.
    assert!((1..=20).contains(&meanwhile), "{meanwhile} commands in three seconds");
    // Each is marked as abandoned: its begin may still arrive.
    let flights = format!("rc:{{{}}}:flight:*", config.namespace);
    redis.until_so(&["KEYS", &flights], |keys| keys.lines().count() == REFRESHES).await;
    assert_eq!((provider.total(), pod.metrics().not_withdrawn), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempt_of_a_flight_that_joined_is_withdrawn_where_a_begin_had_no_answer() {
    let redis = RedisServer::start_own(&[]).await;
    let config = quick()
        .with_lease(Duration::from_secs(2))
        .with_retry_lost_after(Some(Duration::from_secs(10)))
        .with_store_timeout(Duration::from_millis(300));
    let (leading, joining) = (connect(&redis, &config).await, connect(&redis, &config).await);
    let provider = Provider::held();
    let refresh = |pod: &RefreshCoordinator| {
        let (pod, call) = (pod.clone(), provider.refresh("t"));
        tokio::spawn(async move { pod.refresh(Refresh::new("t"), call).await })
    };
    let led = refresh(&leading);
    provider.asked(1).await;
    let joined = refresh(&joining);
    until("it has joined", async || joining.metrics().joined_fleet == 1).await;

    // Both ask meanwhile: the one renews, the other looks whether its leader is lost.
    redis.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]).await;
    redis.wait(config.lease + 3 * config.store_timeout).await;
    redis.cli(&["CLIENT", "UNPAUSE"]).await;
    until("both are answered again", async || {
        leading.check_store().await.is_ok() && joining.check_store().await.is_ok()
    })
    .await;
    provider.release(1);

    for refreshed in [led, joined] {
        refreshed.await.expect("no panic").expect("tokens");
    }
    assert_eq!(provider.total(), 1);
    // What of both may still arrive finds its attempt abandoned.
    let flights = redis.keys(&format!("rc:{{{}}}:flight:*", config.namespace)).await;
    redis
        .until_so(&["HKEYS", &flights[0]], |fields| {
            fields.lines().filter(|field| field.contains("abandoned:")).count() == 2
        })
        .await;
}
