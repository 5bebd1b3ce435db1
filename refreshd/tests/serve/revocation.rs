//! Logout at the daemon (RFC 7009): it ends the session for the whole fleet before the provider is asked.

use std::collections::HashMap;
use std::sync::Arc;

use crate::daemon::{Daemon, refresh, refreshd};
use crate::provider::{Gate, Provider, Seen, json};
use crate::redis::RedisServer;
use crate::within;

const ENDED: &str = r#"{"error":"invalid_grant","error_description":"the session was ended: log in again"}"#;

fn parameters(seen: &Seen) -> HashMap<String, String> {
    form_urlencoded::parse(seen.body.as_bytes()).into_owned().collect()
}

/// Rotates `r1` to `r2` and so on once the gate is open, revokes at once, and says what it revoked.
async fn provider(gate: &Gate) -> Provider {
    let gate = gate.clone();
    Provider::start(move |seen| {
        let gate = gate.clone();
        async move {
            let asked = parameters(&seen);
            if seen.target == "/oauth2/revoke" {
                return json(200, &format!("\"{}\"", asked["token"]));
            }
            gate.passed().await;
            let next = asked["refresh_token"][1..].parse::<u32>().expect("a number") + 1;
            json(200, &format!(r#"{{"access_token":"a{next}","expires_in":300,"refresh_token":"r{next}"}}"#))
        }
    })
    .await
}

fn revocation_url(provider: &Provider) -> String {
    provider.url().replace("/token", "/revoke")
}

async fn daemon(provider: &Provider, redis: &RedisServer, namespace: &str) -> Arc<Daemon> {
    redis.in_use(namespace).await;
    let url = revocation_url(provider);
    let flags = ["--redis", redis.url(), "--namespace", namespace, "--revocation-upstream", &url];
    Arc::new(Daemon::start(provider, &flags).await)
}

fn confidential(token: &str) -> String {
    format!("{}&client_secret=p%26w", refresh(token))
}

fn logout(token: &str) -> String {
    format!("token={token}&token_type_hint=refresh_token&client_id=app&client_secret=p%26w")
}

/// The tokens that the provider was asked to revoke, in this order.
fn revoked(provider: &Provider) -> Vec<String> {
    let revocations = provider.seen().into_iter().filter(|seen| seen.target == "/oauth2/revoke");
    revocations.map(|seen| parameters(&seen)["token"].clone()).collect()
}

async fn told(answer: reqwest::Response) -> (u16, String) {
    (answer.status().as_u16(), within(answer.text()).await.expect("text"))
}

async fn metric(daemon: &Daemon, name: &str) -> usize {
    let (_, metrics) = daemon.get("/metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect("it is told");
    line.parse().expect("a number")
}

async fn until(is_so: impl AsyncFn() -> bool) {
    within(async {
        while !is_so().await {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn logout_in_mid_flight_brings_no_daemon_tokens_and_the_successor_is_revoked_as_its_client() {
    let (redis, gate) = (RedisServer::start().await, Gate::closed());
    let provider = provider(&gate).await;
    let (a, b) = (daemon(&provider, &redis, "mid-flight").await, daemon(&provider, &redis, "mid-flight").await);
    let caller = |daemon: &Arc<Daemon>| {
        let daemon = Arc::clone(daemon);
        tokio::spawn(async move { told(daemon.post(&confidential("r1")).await).await })
    };
    let leader = caller(&a);
    provider.asked(1).await;
    let joiner = caller(&b);
    until(async || metric(&b, "refreshd_joined_fleet_total").await == 1).await;

    let answer = told(b.post_to("/revoke", &logout("r1")).await).await;

    assert_eq!(answer, (200, r#""r1""#.to_owned()), "the provider's own");
    gate.open();
    for caller in [leader, joiner, caller(&a), caller(&b)] {
        assert_eq!(within(caller).await.expect("no panic"), (400, ENDED.to_owned()));
    }
    until(async || revoked(&provider) == ["r1", "r2"]).await;
    let seen = provider.seen();
    let presented = seen.iter().filter(|seen| seen.target == "/oauth2/token").count();
    assert_eq!(presented, 1, "{seen:?}");
    let successor = seen.iter().map(parameters).find(|asked| asked.get("token").is_some_and(|token| token == "r2"));
    let successor = successor.expect("revoked");
    assert_eq!((&successor["client_id"][..], &successor["client_secret"][..]), ("app", "p&w"));
    assert_eq!(successor["token_type_hint"], "refresh_token");
}

#[tokio::test]
async fn logout_with_an_old_token_revokes_the_newest_first_and_that_is_over_too() {
    let (redis, gate) = (RedisServer::start().await, Gate::closed());
    gate.open();
    let provider = provider(&gate).await;
    let (a, b) = (daemon(&provider, &redis, "old-token").await, daemon(&provider, &redis, "old-token").await);
    for token in ["r1", "r2"] {
        assert_eq!(a.post(&confidential(token)).await.status(), 200);
    }

    // At the provider's own path.
    let answer = told(b.post_to("/oauth2/revoke", &logout("r2")).await).await;

    assert_eq!((answer, revoked(&provider)), ((200, r#""r2""#.to_owned()), vec!["r3".to_owned(), "r2".to_owned()]));
    for token in ["r2", "r3"] {
        assert_eq!(told(a.post(&confidential(token)).await).await, (400, ENDED.to_owned()), "{token}");
    }
    let again = told(a.post_to("/revoke", &logout("r2")).await).await;
    assert_eq!(again, (200, r#""r2""#.to_owned()), "once more is no error");
}

#[tokio::test]
async fn access_token_is_passed_on_and_ends_nothing() {
    let (redis, gate) = (RedisServer::start().await, Gate::closed());
    gate.open();
    let provider = provider(&gate).await;
    let daemon = daemon(&provider, &redis, "access-token").await;
    let body = "token=r1&token_type_hint=access_token&client_id=app&client_secret=p%26w";

    let answer = told(daemon.post_to("/revoke", body).await).await;

    assert_eq!((answer.0, provider.seen()[0].body.as_str()), (200, body));
    assert_eq!(metric(&daemon, "refreshd_sessions_ended_total").await, 0);
    assert_eq!(daemon.post(&confidential("r1")).await.status(), 200);
    assert_eq!(told(daemon.post_to("/revoke", "token=a&token=b").await).await.0, 400, "it is open which one");
    assert_eq!(within(daemon.get("/revoke")).await.0, 405);
}

#[tokio::test]
async fn logout_while_redis_is_away_reaches_the_provider_and_is_to_come_again() {
    let gate = Gate::closed();
    let provider = provider(&gate).await;
    let (url, revocation) = (provider.url(), revocation_url(&provider));
    // Nobody listens there.
    let flags = ["--redis", "redis://127.0.0.1:1", "--upstream", &url, "--revocation-upstream", &revocation];
    let daemon = Daemon::spawn(refreshd(
        &[&["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--store-timeout", "200ms"][..], &flags]
            .concat(),
    ))
    .await;

    let answer = daemon.post_to("/revoke", &logout("r1")).await;

    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].is_empty()), (503, false));
    assert_eq!(revoked(&provider), ["r1"]);
}

#[tokio::test]
async fn successor_is_revoked_while_logouts_of_strangers_have_all_of_their_share() {
    const STRANGERS: usize = 30;
    let (redis, gate, revoking) = (RedisServer::start().await, Gate::closed(), Gate::closed());
    let held = (gate.clone(), revoking.clone());
    let provider = Provider::start(move |seen| {
        let (gate, revoking) = held.clone();
        async move {
            let asked = parameters(&seen);
            if asked.get("token").is_some_and(|token| token.starts_with("made-up")) {
                revoking.passed().await;
            }
            if seen.target == "/oauth2/token" {
                gate.passed().await;
            }
            json(200, r#"{"access_token":"a2","expires_in":300,"refresh_token":"r2"}"#)
        }
    })
    .await;
    redis.in_use("strangers-share").await;
    let url = revocation_url(&provider);
    let flags = ["--redis", redis.url(), "--namespace", "strangers-share", "--revocation-upstream", &url];
    let daemon = Arc::new(Daemon::start(&provider, &[&flags[..], &["--max-passed-on", "4"]].concat()).await);
    let post = |path: &'static str, body: String| {
        let daemon = Arc::clone(&daemon);
        tokio::spawn(async move { daemon.post_to(path, &body).await.status().as_u16() })
    };
    let leader = post("/token", confidential("r1"));
    provider.asked(1).await;
    assert_eq!(daemon.post_to("/revoke", &logout("r1")).await.status(), 200);
    let strangers: Vec<_> =
        (0..STRANGERS).map(|number| post("/revoke", logout(&format!("made-up-{number}")))).collect();
    provider.asked(2 + 3).await;

    gate.open();

    until(async || metric(&daemon, "refreshd_revoked_total").await == 1).await;
    assert!(revoked(&provider).contains(&"r2".to_owned()));
    within(leader).await.expect("no panic");
    revoking.open();
    for stranger in strangers {
        assert!([200, 503].contains(&within(stranger).await.expect("no panic")));
    }
}

#[tokio::test]
async fn without_the_flag_no_revocation_is_taken() {
    let gate = Gate::closed();
    let provider = provider(&gate).await;
    let daemon = Daemon::start(&provider, &[]).await;

    for path in ["/revoke", "/oauth2/revoke"] {
        assert_eq!(daemon.post_to(path, &logout("r1")).await.status(), 404, "{path}");
    }
    assert!(provider.seen().is_empty());
}

/// The fleet hands the session to nobody any more, but the provider has not heard of it yet.
#[tokio::test]
async fn drain_waits_for_a_logout_whose_caller_has_gone() {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("logout-at-the-end").await;
    let (gate, revoked) = (Gate::closed(), Arc::new(std::sync::Mutex::new(Vec::new())));
    let provider = {
        let (gate, revoked) = (gate.clone(), Arc::clone(&revoked));
        Provider::start(move |seen| {
            let (gate, revoked) = (gate.clone(), Arc::clone(&revoked));
            async move {
                gate.passed().await;
                revoked.lock().expect("no panic").push(parameters(&seen)["token"].clone());
                json(200, "")
            }
        })
        .await
    };
    let url = revocation_url(&provider);
    let namespace = ["--redis", redis.url(), "--namespace", "logout-at-the-end"];
    let more = ["--revocation-upstream", &url, "--drain-delay", "0s"];
    let daemon = Daemon::start(&provider, &[&namespace[..], &more].concat()).await;
    let body = logout("r1");
    let head = "POST /revoke HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let caller = daemon.write(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
    provider.asked(1).await;
    drop(caller);

    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    daemon.logged("draining").await;
    let is_over = tokio::time::timeout(std::time::Duration::from_millis(1500), daemon.logged("drained")).await;
    assert!(is_over.is_err(), "the provider was asked, and has not answered");
    gate.open();

    assert_eq!(daemon.ended().await.0, Some(0));
    assert_eq!(*revoked.lock().expect("no panic"), ["r1"]);
}
