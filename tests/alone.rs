//! A pod whose policy is to go on without Redis (`on_store_outage = local`), seen by a caller that keeps its fences.

mod support;

use std::time::Duration;

use refresh_coordinator::{
    Config, OnStoreOutage, ProviderFailure, Refresh, RefreshCoordinator, RefreshError, Refreshed, Refusal, Role,
    TokenResponse, Uncertain,
};
use support::fleet::{connect, quick};
use support::provider::{Provider, rotated};
use support::redis::RedisServer;
use support::wait::until;

fn brief_lease() -> Config {
    let second = Duration::from_secs(1);
    quick().with_lease(second).with_store_timeout(second)
}

/// Goes on after two seconds: `store_timeout` and a lease.
fn going_on_alone() -> Config {
    brief_lease().with_on_store_outage(OnStoreOutage::Local)
}

/// Asks until it is answered with tokens, by Redis' leave or without it.
async fn refreshed(pod: &RefreshCoordinator, provider: &Provider, token: &str) -> Refreshed {
    let mut refreshed = None;
    until("a refresh is answered with tokens", async || {
        match pod.refresh(Refresh::new(token), provider.refresh(token)).await {
            Ok(tokens) => refreshed = Some(tokens),
            Err(RefreshError::StoreOutage { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
        refreshed.is_some()
    })
    .await;
    refreshed.expect("it is answered")
}

#[tokio::test]
async fn fence_that_was_given_alone_is_not_given_again_by_a_redis_that_is_back() {
    let redis = RedisServer::start_own(&[]).await;
    // A probe is on its way when the first lease is over: 750 to 1450 ms after the outage began.
    let config =
        brief_lease().with_store_timeout(Duration::from_millis(700)).with_on_store_outage(OnStoreOutage::Local);
    let pod = connect(&redis, &config).await;
    let (held, open) = (Provider::held(), Provider::open());
    redis.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]).await;
    pod.check_store().await.expect_err("redis is silent");

    let meanwhile = async {
        held.asked(1).await;
        redis.cli(&["CLIENT", "UNPAUSE"]).await;
        // Those that come before the end of the outage are led alone, too.
        let mut given_alone = 1;
        let next = loop {
            let next = refreshed(&pod, &open, &format!("next-{given_alone}")).await;
            if pod.metrics().led_alone == given_alone {
                break next;
            }
            given_alone += 1;
        };
        held.release(1);
        (given_alone, next)
    };
    let (alone, (given_alone, next)) = tokio::join!(refreshed(&pod, &held, "alone"), meanwhile);

    assert!(
        next.fence() > alone.fence() + (given_alone - 1),
        "{} after {}, of {given_alone}",
        next.fence(),
        alone.fence()
    );
}

/// Tests start runtimes, applications that embed the library do, too: an outcome outlives the one that its flight ran on.
#[test]
fn what_was_obtained_alone_lands_though_its_runtime_has_ended() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (config, provider, of_the_test) = (going_on_alone(), Provider::open(), runtime());
    let redis = of_the_test.block_on(RedisServer::start_own(&[]));
    let of_the_flight = runtime();
    let pod = of_the_flight.block_on(async { connect(&redis, &config).await });
    of_the_test.block_on(redis.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]));
    of_the_flight.block_on(refreshed(&pod, &provider, "alone"));
    assert_eq!(pod.metrics().led_alone, 1, "it went on");
    drop(of_the_flight);

    of_the_test.block_on(async {
        redis.cli(&["CLIENT", "UNPAUSE"]).await;
        // Closing waits for what Redis is to be told.
        pod.close(Duration::from_secs(10)).await;

        let other = connect(&redis, &config).await;
        let told = other.refresh(Refresh::new("alone"), provider.refresh("alone")).await.expect("it is fresh");
        assert_eq!((told.role(), provider.presented("alone")), (Role::Latecomer, 1));
    });
}

/// Whatever a pod was told of a token while Redis was there: to present it once more would be a reuse, or what the
/// policy `never` forbids.
#[tokio::test]
async fn what_was_told_of_a_token_by_the_fleet_holds_also_without_redis() {
    let redis = RedisServer::start_own(&[]).await;
    let config = going_on_alone().with_keep_failure(Duration::ZERO).with_uncertain(Uncertain::Never);
    let (pod, other) = (connect(&redis, &config).await, connect(&redis, &config).await);
    let provider = Provider::open();
    let asks = async |pod: &RefreshCoordinator, token: &str| {
        let call = provider.answering(token, |token| match token.contains("uncertain") {
            true => Err(ProviderFailure::unknown("half an answer")),
            false => Ok(rotated(token)),
        });
        pod.refresh(Refresh::new(token), call).await
    };
    let tokens = ["rotated", "rotated elsewhere", "uncertain", "uncertain elsewhere"];
    for token in tokens {
        if token.ends_with("elsewhere") {
            _ = asks(&other, token).await;
        }
        _ = asks(&pod, token).await;
        assert_eq!(provider.presented(token), 1, "{token}");
    }
    redis.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]).await;
    refreshed(&pod, &provider, "of nobody").await;
    assert_eq!(pod.metrics().led_alone, 1, "it goes on");

    for token in tokens {
        let refused = asks(&pod, token).await.expect_err("the outcome is in redis");
        assert!(matches!(refused, RefreshError::StoreOutage { .. }), "{token}: {refused:?}");
        assert_eq!(provider.presented(token), 1, "{token}");
    }
}

/// A caller of another claim is told less, and that is enough to leave the token alone.
#[tokio::test]
async fn token_that_is_known_to_be_in_another_hand_is_not_presented_without_redis() {
    let redis = RedisServer::start_own(&[]).await;
    let config = going_on_alone().with_retry_lost_after(None);
    let (pod, other) = (connect(&redis, &config).await, connect(&redis, &config).await);
    let (held, open) = (Provider::held(), Provider::open());
    other.refresh(Refresh::new("rotated"), open.refresh("rotated")).await.expect("tokens");
    let refused = pod.refresh(Refresh::new("rotated").alone(), open.refresh("rotated")).await;
    assert!(matches!(refused, Err(RefreshError::Refused(Refusal::AnotherClaim { .. }))), "{refused:?}");
    let leads = tokio::spawn({
        let (other, call) = (other.clone(), held.refresh("led"));
        async move { other.refresh(Refresh::new("led"), call).await }
    });
    held.asked(1).await;
    let joins = tokio::spawn({
        let (pod, call) = (pod.clone(), open.refresh("led"));
        async move { pod.refresh(Refresh::new("led").alone(), call).await }
    });
    until("it is joined", async || pod.metrics().joined_fleet == 1).await;
    redis.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]).await;
    refreshed(&pod, &open, "of nobody").await;

    for token in ["rotated", "led"] {
        let refused = pod.refresh(Refresh::new(token), open.refresh(token)).await;
        assert!(matches!(refused, Err(RefreshError::StoreOutage { .. })), "{token}: {refused:?}");
    }
    assert_eq!((open.presented("rotated"), open.presented("led")), (1, 0));
    leads.abort();
    joins.abort();
}

#[tokio::test]
async fn what_is_obtained_alone_replaces_what_had_ended_before() {
    let redis = RedisServer::start_own(&[]).await;
    let config = going_on_alone().with_keep_outcome(Duration::from_secs(3));
    let (pod, other) = (connect(&redis, &config).await, connect(&redis, &config).await);
    let provider = Provider::open();
    // A provider that does not rotate: the token is presented again and again. It does not say how long access tokens live,
    // so that `keep_outcome` decides how long the first answer is handed out.
    let answer = |number: u32| {
        provider.answering("t", move |_| {
            let body = format!(r#"{{"access_token":"{number}","refresh_token":"t"}}"#);
            Ok(TokenResponse::from_json(body).expect("a token response"))
        })
    };
    let first = pod.refresh(Refresh::new("t"), answer(1)).await.expect("tokens");
    redis.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]).await;
    pod.check_store().await.expect_err("redis is silent");
    let mut second = None;
    until("it is led alone", async || {
        second = pod.refresh(Refresh::new("t"), answer(2)).await.ok();
        second.is_some()
    })
    .await;
    redis.cli(&["CLIENT", "UNPAUSE"]).await;

    let second = second.expect("tokens");
    assert_eq!((first.tokens().access_token(), second.tokens().access_token()), ("1", "2"));
    // It closes when that has landed.
    pod.close(Duration::from_secs(30)).await;
    let told = refreshed(&other, &provider, "t").await;
    assert_eq!((told.role(), told.tokens().access_token()), (Role::Latecomer, "2"));
    assert_eq!(provider.presented("t"), 2);
}

#[tokio::test]
async fn pod_that_closes_lands_first_what_it_obtained_alone() {
    let redis = RedisServer::start_own(&[]).await;
    let config = going_on_alone();
    let (pod, other) = (connect(&redis, &config).await, connect(&redis, &config).await);
    let provider = Provider::open();
    redis.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]).await;
    refreshed(&pod, &provider, "t").await;

    let closing = tokio::spawn(async move { pod.close(Duration::from_secs(30)).await });
    redis.cli(&["CLIENT", "UNPAUSE"]).await;
    closing.await.expect("it closes");

    let told = refreshed(&other, &provider, "t").await;
    assert_eq!((told.role(), provider.presented("t")), (Role::Latecomer, 1));
}

#[tokio::test]
async fn nobody_is_refreshed_in_the_background_without_redis() {
    let redis = RedisServer::start_own(&[]).await;
    let (pod, provider) = (connect(&redis, &going_on_alone()).await, Provider::open());
    redis.cli(&["CLIENT", "PAUSE", "60000", "ALL"]).await;

    // A caller is led alone by now.
    refreshed(&pod, &provider, "a caller's").await;
    let unhurried = pod.refresh(Refresh::new("token").background(), provider.refresh("token")).await;

    assert!(matches!(unhurried, Err(RefreshError::StoreOutage { .. })), "{unhurried:?}");
    assert_eq!(provider.presented("token"), 0);
}
