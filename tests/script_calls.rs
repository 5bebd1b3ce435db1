//! What a refresh costs inside Redis, which has one thread for the whole fleet: the calls its scripts make, and what a
//! tracked session weighs.
//!
//! Counts, not times: they do not depend on the machine. Each call costs about as much as a small command of its own.
//! A change that makes them fewer lowers the bound; a change that needs more raises it and says why.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use refresh_coordinator::{Config, Refresh, RefreshCoordinator, TokenResponse};
use support::fleet::{connect, connect_to, quick};
use support::provider::Provider;
use support::redis::RedisServer;
use support::wait::until;
use support::way::Way;

/// A server that nobody else uses, and pods that neither renew nor look while a test runs.
async fn fleet(pods: usize) -> (RedisServer, Vec<RefreshCoordinator>, Config) {
    let redis = RedisServer::start_own(&[]).await;
    let config = quick().with_lease(Duration::from_secs(40));
    let mut fleet = Vec::new();
    for _ in 0..pods {
        fleet.push(connect(&redis, &config).await);
    }
    // So that scripts are loaded and the fence is there.
    refresh(&fleet[0], "warm-up").await;
    (redis, fleet, config)
}

async fn refresh(pod: &RefreshCoordinator, token: &str) {
    let call = async |_| Ok(TokenResponse::from_json(r#"{"access_token":"a","refresh_token":"r"}"#).expect("tokens"));
    pod.refresh(Refresh::new(token), call).await.expect("tokens");
}

/// How often each command ran since the counts began, by name; those that clients sent are `evalsha`.
async fn counted(redis: &RedisServer) -> BTreeMap<String, u64> {
    let info = redis.cli(&["INFO", "commandstats"]).await;
    let lines = info.lines().filter_map(|line| line.trim().strip_prefix("cmdstat_")?.split_once(":calls="));
    let counts = lines.map(|(name, rest)| {
        let calls = rest.split(',').next().expect("a number").parse().expect("a number");
        (name.to_owned(), calls)
    });
    // An INFO that is still under way is not counted yet: these are the scripts' own.
    counts.filter(|(name, _)| name != "config|resetstat").collect()
}

#[track_caller]
fn assert_calls(counts: &BTreeMap<String, u64>, commands: u64, inside: u64) {
    assert_eq!(counts.get("evalsha"), Some(&commands), "{counts:?}");
    let made: u64 = counts.iter().filter(|(name, _)| *name != "evalsha").map(|(_, calls)| calls).sum();
    assert!(made <= inside, "{made} calls inside, at most {inside} were enough: {counts:?}");
}

/// The least of three: a pod that has begun to lead asks over a new connection which server it is, when it comes to that.
fn least(counts: Vec<BTreeMap<String, u64>>) -> BTreeMap<String, u64> {
    assert_eq!(counts.len(), 3);
    counts.into_iter().min_by_key(|counts| counts.values().sum::<u64>()).expect("three")
}

#[tokio::test]
async fn led_refresh_makes_few_calls() {
    let (redis, pods, _) = fleet(1).await;
    let mut counts = Vec::new();
    for token in ["t1", "t2", "t3"] {
        redis.cli(&["CONFIG", "RESETSTAT"]).await;
        refresh(&pods[0], token).await;
        counts.push(counted(&redis).await);
    }

    // With the one that sees that the server is the same, and four that note who got tokens: one BITFIELD for three bits costs more
    // than a SETBIT for each. Two read two fields of the record and see that nobody waits: one that reads all of it costs more than
    // both. One asks for the lock alone, which is all that a pod needs that joins. Where other permits are out, one more sees when the
    // last of them ends.
    let counts = least(counts);
    assert_calls(&counts, 2, 27);
    assert_eq!((counts.get("pubsub|numsub"), counts.get("info")), (Some(&1), None), "its own pod listens there");
}

#[tokio::test]
async fn pod_that_joins_makes_few_calls() {
    let (redis, pods, _) = fleet(2).await;
    let refreshes = |pod: &RefreshCoordinator, provider: &Provider, token: &str| {
        let (pod, call, token) = (pod.clone(), provider.refresh(token), token.to_owned());
        tokio::spawn(async move { drop(pod.refresh(Refresh::new(token), call).await.expect("tokens")) })
    };
    let (mut begun, mut landed) = (Vec::new(), Vec::new());
    for (before, token) in ["t1", "t2", "t3"].into_iter().enumerate() {
        let provider = Provider::held();
        let leads = refreshes(&pods[0], &provider, token);
        provider.asked(1).await;
        redis.cli(&["CONFIG", "RESETSTAT"]).await;

        let joins = refreshes(&pods[1], &provider, token);
        until("the pod has joined", async || pods[1].metrics().joined_fleet > before as u64).await;
        begun.push(counted(&redis).await);
        redis.cli(&["CONFIG", "RESETSTAT"]).await;
        provider.release(1);
        leads.await.expect("no panic");
        joins.await.expect("no panic");
        landed.push(counted(&redis).await);
    }

    // Each is small. The first pod that joins gives the hash of those that wait its end, too.
    assert_calls(&least(begun), 1, 7);
    // Who waits is read once and deleted once; one PUBLISH is what each waiting pod adds.
    assert_calls(&least(landed), 1, 16);
}

#[tokio::test]
async fn scripts_that_redis_has_lost_are_loaded_once_for_all_flights_of_a_pod() {
    let (redis, pods, _) = fleet(2).await;
    redis.cli(&["SCRIPT", "FLUSH"]).await;
    redis.cli(&["CONFIG", "RESETSTAT"]).await;

    let refreshes = (0..100).map(|number| {
        let pod = pods[number % 2].clone();
        tokio::spawn(async move { refresh(&pod, &format!("t{number}")).await })
    });
    for done in refreshes.collect::<Vec<_>>() {
        done.await.expect("no panic");
    }

    // `begin` and `complete`, for each of the two pods.
    let counts = counted(&redis).await;
    assert!(counts["script|load"] <= 4, "{counts:?}");
}

#[tokio::test]
async fn latecomer_makes_few_calls() {
    let (redis, pods, _) = fleet(2).await;
    refresh(&pods[0], "t").await;
    redis.cli(&["CONFIG", "RESETSTAT"]).await;

    refresh(&pods[1], "t").await;

    // One sees that a record is there, so that few of its fields are read: a whole one costs more than both.
    assert_calls(&counted(&redis).await, 1, 4);
}

#[tokio::test]
async fn tracked_session_is_light() {
    let (redis, pods, config) = fleet(1).await;
    refresh(&pods[0], "t").await;

    for key in redis.keys(&format!("rc:{{{}}}:attempts:*", config.namespace)).await {
        let bytes: u64 = redis.cli(&["MEMORY", "USAGE", &key]).await.parse().expect("a number");
        assert!(bytes <= 300, "{bytes} bytes for {key}");
    }
}

/// What a proxy passes on it may carry to another server, which would then be taken for the one before.
#[tokio::test]
async fn pod_behind_a_proxy_leaves_it_to_the_server_to_say_which_one_it_is() {
    let (redis, config) = (RedisServer::start_own(&[]).await, quick());
    let channels = ["PUBSUB", "CHANNELS", &format!("rc:{{{}}}:server:*", config.namespace)];
    redis.in_use(&config.namespace).await;
    let way = Way::to(redis.url()).await;
    let behind = connect_to(&way.url(), &config).await;
    refresh(&behind, "t").await;

    assert_eq!(redis.cli(&channels).await, "");

    let beside = connect(&redis, &config).await;
    refresh(&beside, "u").await;
    assert!(redis.cli(&channels).await.starts_with("rc:"));
}
