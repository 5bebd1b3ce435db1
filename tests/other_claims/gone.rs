//! A flight goes away when its turn has come, before it leads: the next goes on, and nothing is presented for the one that is gone.

use std::time::Duration;

use refresh_coordinator::{Config, RefreshCoordinator, RefreshError, Refreshed};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::caller::Caller;
use crate::on_both_stores;
use crate::provider::Provider;
use crate::support;
use crate::support::endpoint::Endpoint;
use crate::support::fleet::{connect, quick};
use crate::support::mortal::MortalPod;
use crate::support::redis::RedisServer;
use crate::support::wait::until;

const S: Duration = Duration::from_secs(1);

fn never_fresh() -> Config {
    quick().with_keep_outcome(Duration::ZERO)
}

fn asks(caller: &Caller, pod: &RefreshCoordinator) -> JoinHandle<Result<Refreshed, RefreshError>> {
    let (caller, pod) = (caller.clone(), pod.clone());
    tokio::spawn(async move { caller.asks(&pod).await })
}

/// The one key of this name.
async fn key_of(redis: &RedisServer, config: &Config, name: &str) -> String {
    let pattern = format!("rc:{{{}}}:{name}:*", config.namespace);
    until(name, async || !redis.keys(&pattern).await.is_empty()).await;
    let keys = redis.keys(&pattern).await;
    let [key] = &keys[..] else { panic!("one login: {keys:?}") };
    key.clone()
}

/// Now, in ms of the clock by which turns are kept.
async fn clock(redis: &RedisServer) -> u64 {
    let time = redis.cli(&["TIME"]).await;
    let (seconds, micros) = time.split_once('\n').expect("two numbers");
    seconds.parse::<u64>().expect("seconds") * 1000 + micros.parse::<u64>().expect("micros") / 1000
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turn_of_a_pod_that_is_killed_is_kept_for_store_timeout_and_the_next_flight_goes_on() {
    let config = never_fresh().with_refresh_timeout(60 * S).with_wait_timeout(60 * S);
    let (redis, provider) = (RedisServer::start_own(&[]).await, Provider::prompt());
    let (first, third) = (connect(&redis, &config).await, connect(&redis, &config).await);
    let way = Endpoint::to(redis.url()).await;
    let second = MortalPod::connect(&way.url(), &config).await;
    let mut callers = Caller::three(&provider, "f.1");
    for caller in &mut callers {
        caller.goes_on(&first).await;
    }
    let before = provider.presented().len();
    provider.hold();
    let leads = asks(&callers[0], &first);
    provider.asked(before + 1).await;
    let comes = callers[1].clone();
    let _killed = second.spawn(|pod| async move { comes.asks(&pod).await });
    let order = key_of(&redis, &config, "order").await;
    redis.until(&["ZCARD", &order], "1").await;
    let waits = asks(&callers[2], &third);
    redis.until(&["ZCARD", &order], "2").await;

    // It is called, does not hear of it, and dies.
    way.hold();
    provider.release();
    callers[0].keeps(&leads.await.expect("no panic"));
    let (called, since) =
        (redis.cli(&["HGET", &key_of(&redis, &config, "family").await, "called"]).await, Instant::now());
    second.die();
    callers[2].keeps(&waits.await.expect("no panic"));

    let (kept_until, waited) = (called.rsplit(' ').next().expect("until when").parse::<u64>(), since.elapsed());
    assert!(clock(&redis).await >= kept_until.expect("a turn"), "it is kept for a pod that may live");
    assert!(waited < 4 * config.store_timeout, "{waited:?}");
    callers[1].goes_on(&first).await;
    assert_eq!((provider.twice(), provider.lost()), (vec![], vec![]));
    let tokens: Vec<_> = provider.presented()[before..].iter().map(|presented| presented.token.clone()).collect();
    assert_eq!(tokens, ["f.4", "f.5", "f.6"]);
}

/// A turn is kept for half a minute, and one flight may ask the provider.
fn one_at_a_time() -> Config {
    let span = 60 * S;
    let quick = never_fresh().with_refresh_timeout(span).with_wait_timeout(span);
    quick.with_lease(30 * S).with_store_timeout(30 * S).with_max_concurrent_refreshes(1)
}

on_both_stores! {
    async fn turn_of_a_caller_that_goes_away_before_it_leads_is_the_next_ones_at_once(fleet: [3], one_at_a_time()) {
        let provider = Provider::prompt();
        let mut callers = Caller::three(&provider, "f.1");
        for caller in &mut callers {
            caller.goes_on(&fleet.pods[0]).await;
        }
        let before = provider.presented().len();
        provider.hold();
        let other = asks(&Caller::new(&provider, "mail", "g.1"), &fleet.pods[0]);
        provider.asked(before + 1).await;
        let goes_away = asks(&callers[1], &fleet.pods[1]);
        until("it is its turn, and no permit is free", async || fleet.pods[1].metrics().queued == 1).await;
        let waits = asks(&callers[2], &fleet.pods[2]);
        until("the next waits for its turn", async || fleet.pods[2].metrics().joined_fleet == 1).await;

        goes_away.abort();

        let turn = until("it is its turn", async || fleet.pods[2].metrics().queued == 1);
        tokio::time::timeout(15 * S, turn).await.expect("a turn that is given back is kept for nobody");
        provider.release();
        other.await.expect("no panic").expect("tokens");
        callers[2].keeps(&waits.await.expect("no panic"));
        callers[1].goes_on(&fleet.pods[0]).await;
        assert_eq!((provider.twice(), provider.presented().len()), (vec![], before + 3));
    }
}
