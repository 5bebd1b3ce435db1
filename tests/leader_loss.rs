//! Promises 2, 5 and 6: a leader that is killed, stopped or cut off leaves nobody hanging, and its success is not
//! lost.

mod support;

use std::collections::BTreeSet;
use std::future::Future;
use std::task::{Context, Waker};
use std::time::Duration;

use refresh_coordinator::{
    Config, ProviderFailure, Refresh, RefreshCoordinator, RefreshError, Refreshed, Refusal, Role, TokenResponse,
    Uncertain,
};
use support::fleet::{connect, connect_to, quick};
use support::mortal::MortalPod;
use support::provider::{Provider, rotated};
use support::redis::RedisServer;
use support::stopwatch::Stopwatch;
use support::wait::until;
use support::way::Way;
use tokio::task::{JoinHandle, JoinSet};

type Answer = Result<TokenResponse, ProviderFailure>;

fn lock_of(config: &Config, token_hash: &str) -> String {
    format!("rc:{{{}}}:lock:{token_hash}", config.namespace)
}

fn flight_of(config: &Config) -> String {
    format!("rc:{{{}}}:flight:{T}", config.namespace)
}

/// Until so many pods wait for the flight.
async fn until_waited_for(redis: &RedisServer, config: &Config, pods: usize) {
    redis
        .until_so(&["HLEN", &flight_of(config).replace("flight:", "waits:")], |waiting| waiting == pods.to_string())
        .await;
}

/// `printf t | sha256sum`
const T: &str = "e3b98a4da31a127d4bde6e43033f66ba274cab0eb7eb1c70ec41402bf6273dd8";

/// A leader that is stopped for longer than its lease, with another pod that has taken over and asks the provider.
struct TakenOver {
    redis: RedisServer,
    config: Config,
    stopped: MortalPod,
    slow: Provider,
    quick: Provider,
    first: JoinHandle<Result<Refreshed, RefreshError>>,
    second: JoinHandle<Result<Refreshed, RefreshError>>,
}

impl TakenOver {
    async fn new(slow_answer: fn(&str) -> Answer) -> Self {
        let (redis, config) = (RedisServer::start().await, quick());
        redis.in_use(&config.namespace).await;
        let mut stopped = MortalPod::connect(redis.url(), &config).await;
        let (slow, quick) = (Provider::held(), Provider::held());
        let call = slow.answering("t", slow_answer);
        let first = stopped.spawn(|pod| async move { pod.refresh(Refresh::new("t"), call).await });
        slow.asked(1).await;
        stopped.stop().await;
        redis.until(&["EXISTS", &lock_of(&config, T)], "0").await;

        let pod = connect(&redis, &config).await;
        let call = quick.answering("t", |_| Err(ProviderFailure::denied("invalid_grant")));
        let second = tokio::spawn(async move { pod.refresh(Refresh::new("t"), call).await });
        quick.asked(1).await;
        Self { redis, config, stopped, slow, quick, first, second }
    }
}

#[tokio::test]
async fn late_success_of_a_stopped_leader_lands_for_everybody() {
    let mut stage = TakenOver::new(|token| Ok(rotated(token))).await;

    stage.stopped.wake();
    stage.slow.release(1);
    let first = stage.first.await.expect("told").expect("tokens");
    stage.quick.release(1);
    let second = stage.second.await.expect("told").expect("the success that landed, instead of the refusal");

    assert_eq!(first.fence(), second.fence());
    assert_eq!(second.tokens().access_token(), "access-for-t");
    let third = connect(&stage.redis, &stage.config).await;
    let refreshed = third.refresh(Refresh::new("t"), stage.quick.refresh("t")).await.expect("tokens");
    assert_eq!((refreshed.role(), refreshed.fence()), (Role::Latecomer, first.fence()));
    assert_eq!((stage.slow.presented("t"), stage.quick.presented("t")), (1, 1));
}

#[tokio::test]
async fn refusal_after_a_lost_leader_is_told_as_lost() {
    let stage = TakenOver::new(|token| Ok(rotated(token))).await;

    stage.quick.release(1);
    let second = stage.second.await.expect("told");

    assert!(matches!(second, Err(RefreshError::Lost { .. })), "{second:?}");
}

#[tokio::test]
async fn late_success_replaces_the_refusal_that_who_took_over_was_given() {
    let mut stage = TakenOver::new(|token| Ok(rotated(token))).await;
    stage.quick.release(1);
    stage.second.await.expect("told").expect_err("the provider refused");

    stage.stopped.wake();
    stage.slow.release(1);
    let first = stage.first.await.expect("told").expect("tokens");

    let third = connect(&stage.redis, &stage.config).await;
    let refreshed = third.refresh(Refresh::new("t"), stage.quick.refresh("t")).await.expect("tokens");
    assert_eq!((refreshed.role(), refreshed.fence()), (Role::Latecomer, first.fence()));
}

#[tokio::test]
async fn late_failure_of_a_stopped_leader_changes_nothing_and_its_callers_wait_for_who_took_over() {
    let mut stage = TakenOver::new(|_| Err(ProviderFailure::unknown("reset"))).await;
    let before = stage.redis.dump(&stage.config.namespace).await;

    stage.stopped.wake();
    stage.slow.release(1);
    // It has joined: all that is new is that its pod waits.
    until_waited_for(&stage.redis, &stage.config, 1).await;
    let after = stage.redis.dump(&stage.config.namespace).await;
    stage.quick.release(1);

    let without_waits =
        |dump: &str| dump.lines().filter(|line| !line.contains(":waits:")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(without_waits(&after), without_waits(&before));
    let first = stage.first.await.expect("told");
    assert!(matches!(first, Err(RefreshError::Lost { .. })), "{first:?}");
}

#[tokio::test]
async fn all_who_wait_for_a_killed_leader_get_an_outcome_from_one_takeover() {
    let (redis, config) = (RedisServer::start().await, quick());
    redis.in_use(&config.namespace).await;
    let killed = MortalPod::connect(redis.url(), &config).await;
    let dying = Provider::held();
    let call = dying.refresh("t");
    killed.spawn(|pod| async move { pod.refresh(Refresh::new("t"), call).await });
    dying.asked(1).await;
    let provider = Provider::open();
    let mut callers = JoinSet::new();
    let mut pods = Vec::new();
    for _ in 0..10 {
        let (pod, call) = (connect(&redis, &config).await, provider.refresh("t"));
        pods.push(pod.clone());
        callers.spawn(async move { pod.refresh(Refresh::new("t"), call).await });
    }
    until_waited_for(&redis, &config, pods.len()).await;

    let lost = redis.cli(&["HGET", &flight_of(&config), "owner"]).await;
    killed.die();

    let answers = callers.join_all().await;
    let fences: BTreeSet<u64> = answers.into_iter().map(|answer| answer.expect("tokens").fence()).collect();
    assert_eq!(fences.len(), 1, "{fences:?}");
    let lost_fence: u64 = lost.split('/').nth(1).and_then(|fence| fence.parse().ok()).expect("<pod>/<fence>/<lease>");
    assert!(*fences.first().expect("one") > lost_fence, "{fences:?} after {lost}");
    assert_eq!(provider.presented("t"), 1);
    assert_eq!(pods.iter().map(|pod| pod.metrics().taken_over).sum::<u64>(), 1);
}

#[tokio::test]
async fn lost_token_is_not_presented_before_retry_lost_after() {
    let redis = RedisServer::start().await;
    let config = quick().with_retry_lost_after(Some(Duration::from_secs(6)));
    redis.in_use(&config.namespace).await;
    let killed = MortalPod::connect(redis.url(), &config).await;
    let dying = Provider::held();
    let call = dying.refresh("t");
    killed.spawn(|pod| async move { pod.refresh(Refresh::new("t"), call).await });
    dying.asked(1).await;
    killed.die();
    redis.until(&["EXISTS", &lock_of(&config, T)], "0").await;
    let provider = Provider::open();
    let pod = connect(&redis, &config).await;
    let caller = tokio::spawn({
        let call = provider.refresh("t");
        async move { pod.refresh(Refresh::new("t"), call).await }
    });
    let flight = flight_of(&config);
    redis.until(&["HGET", &flight, "state"], "lost").await;
    let started: u64 = redis.cli(&["HGET", &flight, "started"]).await.parse().expect("ms");
    assert_eq!(provider.total(), 0);

    let refreshed = caller.await.expect("told").expect("tokens");

    let presented: u64 = redis.cli(&["HGET", &flight, "started"]).await.parse().expect("ms");
    assert!(presented - started >= 6000, "presented again after {} ms", presented - started);
    assert_eq!((refreshed.role(), provider.presented("t")), (Role::Led, 1));
}

#[tokio::test]
async fn leader_keeps_its_lease_for_as_long_as_the_call_runs() {
    let (redis, config) = (RedisServer::start().await, quick());
    let (pod, other) = (connect(&redis, &config).await, connect(&redis, &config).await);
    let provider = Provider::held();
    let leading = tokio::spawn({
        let call = provider.refresh("t");
        async move { pod.refresh(Refresh::new("t"), call).await }
    });
    provider.asked(1).await;
    let joining = tokio::spawn({
        let call = provider.refresh("t");
        async move { other.refresh(Refresh::new("t"), call).await }
    });
    // Two leases, by the clock that decides.
    redis.wait(2 * config.lease).await;
    provider.release(1);

    leading.await.expect("told").expect("tokens");
    let joined = joining.await.expect("told").expect("tokens");

    assert_eq!((joined.role(), provider.presented("t")), (Role::JoinedFleet, 1));
}

/// A pod whose way to Redis can be silenced, in a namespace where leads are given at once.
async fn connect_by_way(redis: &RedisServer, config: &Config) -> (Way, RefreshCoordinator) {
    redis.in_use(&config.namespace).await;
    let way = Way::to(redis.url()).await;
    let pod = connect_to(&way.url(), config).await;
    (way, pod)
}

/// So many that no connection is left on which one could still be given back.
const UNHEARD: usize = 64;

/// Redis hears the pod, and gives it leads of `<name>-<number>`; the pod does not hear Redis.
async fn led_unheard(pod: &RefreshCoordinator, way: &Way, provider: &Provider, name: &str) {
    way.set_heard(false);
    let mut callers = JoinSet::new();
    for number in 0..UNHEARD {
        let (pod, token) = (pod.clone(), format!("{name}-{number}"));
        let call = provider.refresh(&token);
        callers.spawn(async move { pod.refresh(Refresh::new(token), call).await });
    }
    for refused in callers.join_all().await {
        assert!(matches!(refused, Err(RefreshError::StoreOutage { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn leads_that_their_pod_never_heard_of_are_given_back_as_soon_as_redis_is_heard_again() {
    let redis = RedisServer::start().await;
    let config = quick().with_lease(Duration::from_secs(8)).with_store_timeout(Duration::from_millis(500));
    let (provider, locks) = (Provider::open(), format!("rc:{{{}}}:lock:*", config.namespace));
    let mut waits = Vec::new();
    // The machine may stand still meanwhile, but not each time.
    for round in 0..3 {
        let (way, pod) = connect_by_way(&redis, &config).await;
        led_unheard(&pod, &way, &provider, &round.to_string()).await;
        // So that giving them back has failed once.
        redis.wait(2 * config.store_timeout).await;
        assert!(!redis.keys(&locks).await.is_empty(), "they were led all the same");

        way.set_heard(true);

        let heard = Stopwatch::start();
        redis.until_so(&["KEYS", &locks], str::is_empty).await;
        waits.push(heard.elapsed());
    }

    waits.sort_unstable();
    assert!(waits[0] < Duration::from_millis(500), "{waits:?}: others may act on lost leaders meanwhile");
}

/// What a Redis that hangs was sent it runs when it goes on, however late that is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leads_that_their_pod_never_heard_of_are_given_back_also_after_a_long_outage() {
    let redis = RedisServer::start().await;
    let span = Duration::from_secs(2);
    let config = quick().with_lease(span).with_store_timeout(span).with_uncertain(Uncertain::Never);
    let (way, pod) = connect_by_way(&redis, &config).await;
    let provider = Provider::open();
    led_unheard(&pod, &way, &provider, "t").await;
    // Their leases end; long after that, Redis is heard again.
    redis.wait(3 * config.lease).await;
    let led = "local led = {}
        for _, key in ipairs(redis.call('KEYS', ARGV[1])) do led[#led + 1] = redis.call('HGET', key, 'state') or nil end
        return #led";
    let led = ["EVAL", led, "0", &format!("rc:{{{}}}:flight:*", config.namespace)];
    assert_ne!(redis.cli(&led).await, "0", "they were led all the same");

    way.set_heard(true);

    redis.until(&led, "0").await;
    for number in 0..UNHEARD {
        let token = format!("t-{number}");
        let told = pod.refresh(Refresh::new(token.as_str()), provider.refresh(&token)).await;
        assert_eq!(told.expect("what was never sent is not uncertain").role(), Role::Led);
    }
}

/// Its outcome says that the token is as it was, and cannot be told while Redis is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lead_that_left_the_token_as_it_was_is_given_back_also_after_an_outage() {
    let redis = RedisServer::start_own(&[]).await;
    let config = quick().with_store_timeout(Duration::from_millis(500)).with_uncertain(Uncertain::Never);
    let (pod, other) = (connect(&redis, &config).await, connect(&redis, &config).await);
    let not_sent = |_: &str| Err(ProviderFailure::not_sent("dns"));
    let kept = |_: &str| Ok(TokenResponse::from_json(r#"{"access_token":"a","expires_in":1}"#).expect("tokens"));
    for answer in [not_sent as fn(&str) -> Answer, kept] {
        let provider = Provider::held();
        let call = provider.answering("t", answer);
        let leading = tokio::spawn({
            let pod = pod.clone();
            async move { pod.refresh(Refresh::new("t"), call).await }
        });
        provider.asked(1).await;
        redis.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]).await;
        provider.release(2);
        let told = leading.await.expect("no panic");
        assert_eq!(told.is_ok(), answer("t").is_ok(), "{told:?}");
        // Until it is not tried any more.
        until("the flight is over", async || pod.in_flight() == 0).await;

        redis.cli(&["CLIENT", "UNPAUSE"]).await;

        redis.until(&["HEXISTS", &flight_of(&config), "state"], "0").await;
        let call = provider.answering("t", |_| Err(ProviderFailure::not_sent("dns")));
        let told = other.refresh(Refresh::new("t"), call).await;
        assert!(matches!(told, Err(RefreshError::Provider { .. })), "it is led again: {told:?}");
        // What that has left is over.
        redis.until(&["EXISTS", &flight_of(&config)], "0").await;
    }
}

/// It had joined, does not hear that it leads next, and what it tries after that is not even sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takeover_that_its_pod_never_heard_of_is_given_back() {
    let redis = RedisServer::start_own(&[]).await;
    let span = Duration::from_secs(4);
    let lease = Duration::from_secs(30);
    let config =
        quick().with_refresh_timeout(span).with_wait_timeout(span).with_budget_wait(Some(span)).with_lease(lease);
    let flight = flight_of(&config);
    let (way, joiner) = connect_by_way(&redis, &config).await;
    let leader = MortalPod::connect(redis.url(), &config).await;
    let provider = Provider::held();
    let call = provider.refresh("t");
    leader.spawn(|pod| async move { pod.refresh(Refresh::new("t"), call).await });
    provider.asked(1).await;
    let call = provider.refresh("t");
    let joining = tokio::spawn(async move { joiner.refresh(Refresh::new("t"), call).await });
    until_waited_for(&redis, &config, 1).await;
    let lost = redis.cli(&["HGET", &flight, "owner"]).await;
    leader.die();
    redis.cli(&["DEL", &lock_of(&config, T)]).await;

    // It asks again because its inbox was gone, and is answered when it does not hear any more.
    redis.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]).await;
    redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    redis.until_so(&["INFO", "clients"], |clients| !clients.contains("blocked_clients:0")).await;
    way.set_heard(false);
    redis.cli(&["CLIENT", "UNPAUSE"]).await;

    redis.until_so(&["HGET", &flight, "owner"], |owner| owner != lost).await;
    joining.await.expect("no panic").expect_err("it hears nothing");
    way.set_heard(true);
    redis.until(&["HGET", &flight, "state"], "lost").await;
    assert_eq!(provider.total(), 1);
}

/// Its pod closes, and is in no hurry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lead_that_cannot_be_given_back_at_once_is_given_back_before_its_pod_is_closed() {
    let redis = RedisServer::start_own(&[]).await;
    let span = Duration::from_secs(2);
    let config = quick().with_lease(span).with_store_timeout(span).with_uncertain(Uncertain::Never);
    let (way, pod) = connect_by_way(&redis, &config).await;
    let provider = Provider::open();
    way.set_heard(false);
    let (asking, call) = (pod.clone(), provider.refresh("t"));
    let asking = tokio::spawn(async move { asking.refresh(Refresh::new("t"), call).await });
    redis.until(&["HGET", &flight_of(&config), "state"], "leading").await;
    let mut closing = Box::pin(pod.close(Duration::from_secs(60)));
    assert!(closing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    redis.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]).await;

    way.set_heard(true);

    let refused = asking.await.expect("no panic");
    assert!(matches!(refused, Err(RefreshError::Refused(Refusal::Closing { .. }))), "{refused:?}");
    // So that it has failed twice.
    redis.wait(2 * span + span / 2).await;
    redis.cli(&["CLIENT", "UNPAUSE"]).await;
    closing.await;
    assert_eq!(redis.cli(&["HEXISTS", &flight_of(&config), "state"]).await, "0");
    assert_eq!(provider.total(), 0);
}
