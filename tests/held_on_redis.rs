//! New tokens are held in Redis until somebody has used them: sessions that go on for long leave no more there than short ones.

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use refresh_coordinator::{Attempt, Config, Refresh};
use support::fleet::{Fleet, quick};
use support::redis::RedisServer;
use support::rotating::{Rotating, new_token};
use tokio::sync::Notify;

/// An answer is fresh for nobody who comes later, and the record of a flight is soon gone.
fn never_fresh() -> Config {
    let second = Duration::from_secs(1);
    let quick = quick().with_lease(second).with_store_timeout(second);
    quick.with_keep_outcome(Duration::ZERO).with_refresh_timeout(second).with_wait_timeout(second)
}

/// How many keys of each name there are, without those that every fleet has, when what passes by itself has passed.
async fn keys(redis: &RedisServer, config: &Config) -> BTreeMap<String, usize> {
    redis.wait(config.wait_timeout + Duration::from_millis(200)).await;
    let tag = format!("rc:{{{}}}:", config.namespace);
    let mut count = BTreeMap::new();
    for key in redis.keys(&format!("{tag}*")).await {
        let name = key[tag.len()..].split(':').next().expect("a name").to_owned();
        if ["held", "flight", "lock", "attempts", "held_until"].contains(&name.as_str()) {
            *count.entry(name).or_default() += 1;
        }
    }
    count
}

/// Bytes of what is kept of the namespace.
async fn bytes(redis: &RedisServer, config: &Config) -> u64 {
    let mut bytes = 0;
    for key in redis.keys(&format!("rc:{{{}}}:*", config.namespace)).await {
        bytes += redis.cli(&["MEMORY", "USAGE", &key]).await.parse::<u64>().unwrap_or(0);
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tabs_at_three_pods_without_a_shared_store_go_on_for_twenty_rotations() {
    let fleet = Fleet::on_redis(3, &never_fresh()).await;
    let provider = Rotating::new(300);
    let (mut quick, mut lags) = ("f.1".to_owned(), "f.1".to_owned());
    for round in 0..20 {
        let pod = |number: usize| &fleet.pods[(round + number) % 3];
        quick = new_token(&provider.refresh(pod(0), &quick).await);
        if round % 2 == 0 {
            // Its answer is lost: it comes again with what it has.
            assert_eq!(new_token(&provider.refresh(pod(1), &lags).await), quick);
        }
        lags = new_token(&provider.refresh(pod(2), &lags).await);
        assert_eq!(lags, quick);
    }

    assert_eq!((provider.twice(), provider.presented().len()), (vec![], 20));
    let served: u64 = fleet.pods.iter().map(|pod| pod.metrics().held_served).sum();
    assert_eq!(served, 30);
}

/// Its access tokens are over when it comes, so each time the newer token is presented.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_rotations_always_one_token_late_leave_redis_as_twenty_do() {
    let config = never_fresh();
    let fleet = Fleet::on_redis(3, &config).await;
    let (provider, redis) = (Rotating::new(0), fleet.redis());
    let (mut before, mut newest) = ("f.1".to_owned(), new_token(&provider.refresh(&fleet.pods[0], "f.1").await));
    let mut rotate = async |from: usize, to: usize| {
        for round in from..to {
            let next = new_token(&provider.refresh(&fleet.pods[round % 3], &before).await);
            before = std::mem::replace(&mut newest, next);
        }
        (keys(redis, &config).await, bytes(redis, &config).await)
    };

    let (early, early_bytes) = rotate(0, 20).await;
    let (late, late_bytes) = rotate(20, 200).await;

    println!("after 20 rotations {early:?}, {early_bytes} bytes; after 200 {late:?}, {late_bytes} bytes");
    assert_eq!(late, early, "keys");
    assert!(
        late_bytes < early_bytes + early_bytes / 4,
        "{early_bytes} bytes after 20 rotations, {late_bytes} after 200"
    );
    assert_eq!((provider.twice(), provider.presented().len()), (vec![], 201));
    let metrics: Vec<_> = fleet.pods.iter().map(|pod| pod.metrics()).collect();
    let sum = |counter: fn(&refresh_coordinator::Metrics) -> u64| metrics.iter().map(counter).sum::<u64>();
    assert_eq!((sum(|m| m.walks_led), sum(|m| m.walks_over), sum(|m| m.led)), (200, 0, 201));
    let charged = redis.keys(&format!("rc:{{{}}}:attempts:*", config.namespace)).await;
    let counts = redis.cli(&["HVALS", &charged[0]]).await;
    assert!(counts.lines().any(|count| count == "201"), "one charge for each presentation: {counts}");
}

/// `printf f.2 | sha256sum`
const F2: &str = "fcbe92a3cc185c49085e21ad70e4fc3c237a5d695a0f9e7469c5e0a5b12991ed";

#[tokio::test]
async fn refresh_function_is_told_the_name_that_its_flight_has_in_redis() {
    let config = never_fresh();
    let fleet = Fleet::on_redis(1, &config).await;
    let provider = Rotating::new(0);
    assert_eq!(new_token(&provider.refresh(&fleet.pods[0], "f.1").await), "f.2");

    let (led, told) = (Arc::<Notify>::default(), Arc::<OnceLock<String>>::default());
    let (leads, tells) = (Arc::clone(&led), Arc::clone(&told));
    let late = Refresh::new("f.1").session("f").client("app", "pw").token_from_attempt();
    let refresh = fleet.pods[0].refresh(late, async move |attempt: Attempt| {
        tells.set(attempt.flight_name().to_string()).expect("called once");
        leads.notified().await;
        Err(attempt.give_back("told enough"))
    });
    let (refreshed, ()) = tokio::join!(refresh, async {
        let lock = format!("rc:{{{}}}:lock:{F2}", config.namespace);
        fleet.redis().until(&["EXISTS", &lock], "1").await;
        led.notify_one();
    });

    assert_eq!(told.get().map(String::as_str), Some(F2), "not its caller's: {refreshed:?}");
}
