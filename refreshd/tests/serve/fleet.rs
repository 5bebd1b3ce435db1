//! Several daemons that share nothing but a real Redis: a leader that is stopped or killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use tokio_rustls::TlsAcceptor;

use crate::certified::certified;
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
    redis.in_use("default").await;
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

/// Ten at a time, by default, in ten seconds: nobody is refused for it.
#[tokio::test]
async fn hundred_users_at_once_are_all_served_by_a_provider_that_takes_a_second() {
    let provider = Provider::start(async |seen: crate::provider::Seen| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let token = seen.body.rsplit('=').next().unwrap_or_default().to_owned();
        json(200, &format!(r#"{{"access_token":"for {token}","refresh_token":"next","expires_in":300}}"#))
    })
    .await;
    let redis = RedisServer::start().await;
    let namespace = format!("hundred-{}", uuid::Uuid::new_v4());
    redis.in_use(&namespace).await;
    let arguments = ["--redis", redis.url(), "--namespace", &namespace];
    let start = || Daemon::start(&provider, &arguments);
    let pods = [start().await, start().await, start().await];

    let users = join_all((0..100).map(|user| {
        let pod = &pods[user % pods.len()];
        async move {
            let answer = pod.post(&refresh(&format!("u{user}"))).await;
            (answer.status().as_u16(), within(answer.text()).await.expect("text"))
        }
    }))
    .await;

    for (user, (status, body)) in users.iter().enumerate() {
        assert_eq!((*status, body.contains(&format!("\"for u{user}\""))), (200, true), "user {user}: {body}");
    }
    assert_eq!(provider.seen().len(), 100);
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

/// Tokens in an answer of this length.
fn long_tokens(length: usize) -> String {
    let ends = r#"{"access_token":"","refresh_token":"r2"}"#.len();
    format!(r#"{{"access_token":"{}","refresh_token":"r2"}}"#, "a".repeat(length - ends))
}

#[tokio::test]
async fn large_answer_reaches_other_pods_as_far_as_it_is_shared() {
    let redis = RedisServer::start_own(&[]).await;
    for (length, of_other_pod) in [(68_099, 200), (300_000, 503)] {
        let gate = Gate::closed();
        let tokens = long_tokens(length);
        let provider = slow_provider(&gate, json(200, &tokens), json(400, REUSED)).await;
        let namespace = format!("of-{length}");
        let more = ["--namespace", &namespace];
        let (leader, other) = (daemon(&provider, &redis, &more).await, daemon(&provider, &redis, &more).await);
        let body = refresh("r1");

        let joining = async {
            provider.asked(1).await;
            let (joined, ()) = tokio::join!(other.post(&body), async { gate.open() });
            joined
        };
        let (led, joined) = tokio::join!(leader.post(&body), joining);
        let late = other.post(&body).await;

        assert_eq!(within(led.text()).await.expect("text"), tokens);
        for answer in [joined, late] {
            assert_eq!(answer.status(), of_other_pod, "{length}");
            match of_other_pod {
                200 => assert!(within(answer.text()).await.expect("text").contains(r#""refresh_token":"r2""#)),
                _ => assert_eq!(answer.headers()["retry-after"], "1"),
            }
        }
        assert_eq!(provider.seen().len(), 1, "{length}: presented once");
    }
}

/// It is stopped while it connects, for longer than its lease: what it would have written is written by the other.
#[tokio::test]
async fn daemon_that_was_stopped_while_it_connected_sends_nothing_once_another_has_presented() {
    let (redis, handshake) = (RedisServer::start().await, Gate::closed());
    let (ca, tls) = certified("localhost");
    let tls = TlsAcceptor::from(Arc::new(tls));
    let provider = Provider::start_tls_behind(&handshake, tls, async |_| json(200, TOKENS)).await;
    let trusting = ["--namespace", "stopped-connecting", "--no-check-upstream", "--ca-file"];
    let trusting = [&trusting[..], &[ca.path().to_str().expect("UTF-8")]].concat();
    let leader = Arc::new(daemon(&provider, &redis, &trusting).await);
    let other = daemon(&provider, &redis, &trusting).await;
    let first = tokio::spawn({
        let leader = Arc::clone(&leader);
        async move { leader.post(&refresh("r1")).await }
    });
    provider.connected(1).await;
    leader.signal(Signal::SIGSTOP);
    handshake.open();
    redis.until(&["EXISTS", &format!("rc:{{stopped-connecting}}:lock:{R1}")], "0").await;
    let second = other.post(&refresh("r1")).await;

    leader.signal(Signal::SIGCONT);

    for answer in [within(first).await.expect("answered"), second] {
        assert_eq!((answer.status().as_u16(), answer.text().await.expect("text").as_str()), (200, TOKENS));
    }
    assert_eq!(provider.seen().len(), 1);
}
