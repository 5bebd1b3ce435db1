//! A pod that was cut off from its Redis is told to end: it does so as soon as nobody waits for it, and what it still holds has
//! landed.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::daemon::{Daemon, refresh};
use crate::provider::{Gate, Provider, json};
use crate::redis::RedisServer;
use crate::stopwatch::Stopwatch;

const TOKENS: &str = r#"{"access_token":"a2","token_type":"Bearer","expires_in":300,"refresh_token":"r2"}"#;
/// `printf %s r1 | sha256sum`
const R1: &str = "82f3e9c695dc6b8d1b11818d5701919e286de8d47f7c3eb3100c485f79e57828";

/// How long the end takes, without a delay before it.
async fn ended(daemon: Daemon) -> Duration {
    let start = Stopwatch::start();
    daemon.signal(Signal::SIGINT);
    let (code, log) = daemon.ended().await;
    assert_eq!(code, Some(0), "{log}");
    start.elapsed()
}

/// Redis is found to be out of reach, and everybody is told so.
async fn refused(daemon: &Daemon) {
    for caller in 0..20 {
        assert_eq!(daemon.post(&refresh(&format!("other-{caller}"))).await.status(), 503);
    }
}

#[tokio::test]
async fn pod_ends_within_a_second_after_an_outage() {
    let (redis, gate) = (RedisServer::start_own(&[]).await, Gate::closed());
    redis.in_use("default").await;
    let provider = Provider::behind(&gate, json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &["--redis", redis.url()]).await;
    let r1 = refresh("r1");
    let (answer, ()) = tokio::join!(daemon.post(&r1), async {
        provider.asked(1).await;
        redis.signal("-STOP");
        refused(&daemon).await;
        gate.open();
    });
    assert_eq!(answer.status(), 200);
    redis.signal("-CONT");

    let took = ended(daemon).await;

    assert_eq!(redis.cli(&["HGET", &format!("rc:{{default}}:flight:{R1}"), "class"]).await, "success");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn pod_that_holds_no_outcome_ends_within_a_second_in_an_outage() {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("default").await;
    let provider = Provider::start(|_| async { json(200, TOKENS) }).await;
    // The default: it waits for so long for what it has asked Redis.
    let daemon = Daemon::start(&provider, &["--redis", redis.url(), "--store-timeout", "1s"]).await;
    assert_eq!(daemon.post(&refresh("r1")).await.status(), 200);
    redis.signal("-STOP");
    refused(&daemon).await;

    let took = ended(daemon).await;

    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn pod_that_holds_an_outcome_that_redis_has_not_waits_for_it_until_the_drain_is_over() {
    let (redis, gate) = (RedisServer::start_own(&[]).await, Gate::closed());
    redis.in_use("default").await;
    let provider = Provider::behind(&gate, json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &["--redis", redis.url(), "--drain", "1h"]).await;
    let r1 = refresh("r1");
    let (answer, ()) = tokio::join!(daemon.post(&r1), async {
        provider.asked(1).await;
        redis.signal("-STOP");
        refused(&daemon).await;
        gate.open();
    });
    assert_eq!(answer.status(), 200);

    daemon.signal(Signal::SIGINT);
    daemon.logged_times("the outcome could not be shared yet", 2).await;
    redis.signal("-CONT");
    let (code, log) = daemon.ended().await;

    assert_eq!(code, Some(0), "{log}");
    assert_eq!(redis.cli(&["HGET", &format!("rc:{{default}}:flight:{R1}"), "class"]).await, "success");
}

/// Under this policy a lead that nobody knows of costs its session.
#[tokio::test]
async fn pod_that_may_have_been_given_a_lead_stays_to_withdraw_it_where_a_lost_leader_ends_a_session() {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("default").await;
    let provider = Provider::start(|_| async { json(200, TOKENS) }).await;
    let daemon = Daemon::start(&provider, &["--redis", redis.url(), "--uncertain", "never", "--drain", "1h"]).await;
    redis.signal("-STOP");
    refused(&daemon).await;

    daemon.signal(Signal::SIGINT);
    daemon.logged("draining").await;
    redis.signal("-CONT");
    let (code, log) = daemon.ended().await;

    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("could not be withdrawn"), "{log}");
    assert_eq!(redis.keys("rc:{default}:lock:*").await, Vec::<String>::new());
}

/// While it stays for a call that is under way, Redis may come back.
#[tokio::test]
async fn pod_that_stays_for_a_call_withdraws_what_it_may_have_been_given() {
    let (redis, gate) = (RedisServer::start_own(&[]).await, Gate::closed());
    redis.in_use("default").await;
    let provider = Provider::behind(&gate, json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &["--redis", redis.url(), "--drain", "1h"]).await;
    let r1 = refresh("r1");
    let (answer, ()) = tokio::join!(daemon.post(&r1), async {
        provider.asked(1).await;
        redis.signal("-STOP");
        refused(&daemon).await;
        daemon.signal(Signal::SIGINT);
        daemon.logged("draining").await;
        redis.signal("-CONT");
        daemon.logged("redis answers again").await;
        gate.open();
    });
    let (code, log) = daemon.ended().await;

    assert_eq!((answer.status().as_u16(), code), (200, Some(0)), "{log}");
    assert!(!log.contains("could not be withdrawn"), "{log}");
    assert_eq!(redis.keys("rc:{default}:lock:*").await, Vec::<String>::new());
}

/// The policy of the fleet, not of the pod, says what a lost leader costs.
#[tokio::test]
async fn pod_beside_one_that_never_presents_again_stays_to_withdraw() {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("default").await;
    let provider = Provider::start(|_| async { json(200, TOKENS) }).await;
    let strict =
        Daemon::start(&provider, &["--redis", redis.url(), "--uncertain", "never", "--drain-delay", "0s"]).await;
    assert_eq!(strict.post(&refresh("r1")).await.status(), 200);
    let daemon = Daemon::start(&provider, &["--redis", redis.url(), "--drain", "1h"]).await;
    assert_eq!(daemon.post(&refresh("r2")).await.status(), 200);
    redis.signal("-STOP");
    refused(&daemon).await;

    daemon.signal(Signal::SIGINT);
    daemon.logged("draining").await;
    redis.signal("-CONT");
    let (code, log) = daemon.ended().await;

    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("could not be withdrawn"), "{log}");
    assert_eq!(redis.keys("rc:{default}:lock:*").await, Vec::<String>::new());
}
