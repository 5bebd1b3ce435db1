//! Several daemons that share nothing but a real Redis: a leader that is stopped or killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::Signal;

use crate::daemon::{Daemon, refresh};
use crate::provider::{Answer, Gate, Provider, json};
use crate::redis::RedisServer;
use crate::within;

/// `printf %s r1 | sha256sum`
const R1: &str = "82f3e9c695dc6b8d1b11818d5701919e286de8d47f7c3eb3100c485f79e57828";

const TOKENS: &str = r#"{"access_token":"a2","token_type":"Bearer","expires_in":300,"refresh_token":"r2"}"#;
const REUSED: &str = r#"{"error":"invalid_grant","error_description":"reused"}"#;

/// A provider that gives the first answer when the gate is open, and to all later presentations the other one at once.
async fn slow_provider(gate: &Gate, first: Answer, later: Answer) -> Provider {
    let (gate, times) = (gate.clone(), Arc::new(AtomicUsize::new(0)));
    Provider::start(move |_| {
        let (gate, times) = (gate.clone(), Arc::clone(&times));
        let (first, later) = (first.clone(), later.clone());
        async move {
            if times.fetch_add(1, Ordering::SeqCst) > 0 {
                return later;
            }
            gate.passed().await;
            first
        }
    })
    .await
}

async fn daemon(provider: &Provider, redis: &RedisServer, more: &[&str]) -> Daemon {
    let common = ["--redis", redis.url(), "--lease", "1s", "--retry-lost-after", "0s"];
    Daemon::start(provider, &[&common, more].concat()).await
}

/// A daemon that leads and is stopped past its lease, while another takes over and is refused.
struct Stopped {
    redis: RedisServer,
    leader: Arc<Daemon>,
    other: Daemon,
    provider: Provider,
    gate: Gate,
    first: tokio::task::JoinHandle<reqwest::Response>,
}

impl Stopped {
    async fn new(status: u16, body: &'static str) -> Self {
        let (redis, gate) = (RedisServer::start_own(&[]).await, Gate::closed());
        let provider = slow_provider(&gate, json(status, body), json(400, REUSED)).await;
        let leader = Arc::new(daemon(&provider, &redis, &[]).await);
        let other = daemon(&provider, &redis, &[]).await;
        let first = tokio::spawn({
            let leader = Arc::clone(&leader);
            async move { leader.post(&refresh("r1")).await }
        });
        provider.asked(1).await;
        leader.signal(Signal::SIGSTOP);
        redis.until(&["EXISTS", &format!("rc:{{default}}:lock:{R1}")], "0").await;

        let refused = other.post(&refresh("r1")).await;

        assert_eq!(refused.status(), 400);
        assert_eq!(refused.text().await.expect("text"), REUSED);
        Self { redis, leader, other, provider, gate, first }
    }
}

#[tokio::test]
async fn success_of_a_stopped_leader_lands_when_it_is_continued() {
    let stopped = Stopped::new(200, TOKENS).await;

    stopped.leader.signal(Signal::SIGCONT);
    stopped.gate.open();
    let first = within(stopped.first).await.expect("answered");
    let next = stopped.other.post(&refresh("r1")).await;

    for answer in [first, next] {
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.text().await.expect("text"), TOKENS);
    }
    assert_eq!(stopped.provider.seen().len(), 2);
}

#[tokio::test]
async fn failure_of_a_stopped_leader_changes_no_key_when_it_is_continued() {
    let stopped = Stopped::new(502, "oops").await;
    let before = stopped.redis.dump("default").await;

    stopped.leader.signal(Signal::SIGCONT);
    // Its renewal is overdue and comes first; it must find that another has the flight.
    stopped.leader.logged("the lease was lost").await;
    stopped.gate.open();
    let first = within(stopped.first).await.expect("answered");

    // What stands is what its callers are given.
    assert_eq!(first.status(), 400);
    assert_eq!(stopped.redis.dump("default").await, before);
}

#[tokio::test]
async fn killed_leader_is_taken_over_and_its_waiters_are_answered() {
    let (redis, gate) = (RedisServer::start().await, Gate::closed());
    let provider = slow_provider(&gate, json(200, TOKENS), json(200, TOKENS)).await;
    let namespace = ["--namespace", "killed-leader"];
    let leader = Arc::new(daemon(&provider, &redis, &namespace).await);
    let other = daemon(&provider, &redis, &namespace).await;
    let dying = tokio::spawn({
        let leader = Arc::clone(&leader);
        async move {
            // Its connection breaks: there is nobody to answer.
            let request = crate::daemon::client().post(leader.url("/token"));
            request.header("content-type", crate::daemon::FORM).body(refresh("r1")).send().await
        }
    });
    provider.asked(1).await;
    leader.signal(Signal::SIGKILL);

    let answer = other.post(&refresh("r1")).await;

    assert!(within(dying).await.expect("ended").is_err());
    assert_eq!((answer.status().as_u16(), answer.text().await.expect("text").as_str()), (200, TOKENS));
    assert_eq!(provider.seen().len(), 2);
}
