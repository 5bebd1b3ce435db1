//! `/status`: what the person on call sees of a pod and its fleet.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::daemon::{Daemon, client, refresh};
use crate::provider::{Gate, Provider, json};
use crate::redis::RedisServer;
use crate::within;

const TOKEN: &str = "hush-9mLqYx0Qw2";
const TOKENS: &str = r#"{"access_token":"hush-a","refresh_token":"hush-r"}"#;

async fn asked(url: String) -> (u16, http::HeaderMap, String) {
    let answer = within(client().get(url).send()).await.expect("an answer");
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, headers, within(answer.text()).await.expect("text"))
}

/// The one provider of a status, asked for until it is so.
async fn provider_of(admin: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (status, headers, body) = asked(format!("{admin}/status.json")).await;
        assert!(!body.contains("hush"), "{body}");
        assert_eq!((status, &headers["content-type"]), (200, &http::HeaderValue::from_static("application/json")));
        let told: Value = serde_json::from_str(&body).expect("JSON");
        let provider = told["providers"][0].clone();
        if is_so(&provider) {
            return provider;
        }
        assert!(Instant::now() < deadline, "{body}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn status_tells_flights_with_their_roles_permits_queue_and_living_pods() {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("default").await;
    let gate = Gate::closed();
    let provider = Provider::behind(&gate, json(200, TOKENS)).await;
    let flags = ["--redis", redis.url(), "--admin", "127.0.0.1:0", "--max-concurrent-refreshes", "1"];
    let (leads, joins) = (Daemon::start(&provider, &flags).await, Daemon::start(&provider, &flags).await);
    let _leader = leads.write_refresh(refresh(TOKEN)).await;
    provider.asked(1).await;
    let _queued = leads.write_refresh(refresh("hush-queues")).await;
    let _joiner = joins.write_refresh(refresh(TOKEN)).await;
    redis.until_queued("rc:{default}:queue", 1).await;
    let (of_leader, of_joiner) = (leads.admin().await, joins.admin().await);

    let here = provider_of(&of_leader, |told| told["flights"]["count"] == 2 && told["queue"]["flights"] == 1).await;
    let there = provider_of(&of_joiner, |told| told["flights"]["first"][0]["role"] == "joined").await;
    let (status, headers, page) = asked(format!("{of_leader}/status")).await;

    let roles: Vec<_> = here["flights"]["first"].as_array().expect("a list").iter().map(|it| &it["role"]).collect();
    assert_eq!(roles, ["leading", "queued"], "the oldest first: {here}");
    let flight = here["flights"]["first"][0]["name"].as_str().expect("a name");
    assert_eq!(redis.cli(&["EXISTS", &format!("rc:{{default}}:lock:{flight}")]).await, "1", "{here}");
    assert_eq!(there["flights"]["first"][0]["name"], flight, "all pods call it so: {there}");
    assert_eq!((&here["permits"]["out"], &here["permits"]["limit"]), (&1.into(), &1.into()), "{here}");
    assert!(here["queue"]["oldest_ms"].as_u64().is_some_and(|age| age < 60_000), "{here}");
    assert_eq!((&here["circuit"]["state"], &here["store"]["kind"]), (&"closed".into(), &"redis".into()), "{here}");
    assert!(here["store"]["is_reached"] == true && here["namespace"] == "default", "{here}");
    let pods = here["pods"]["first"].as_array().expect("a list");
    assert!(pods.len() == 2 && pods.contains(&here["pod"]) && pods.contains(&there["pod"]), "{here}");
    assert_eq!((status, &headers["content-type"]), (200, &http::HeaderValue::from_static("text/html; charset=utf-8")));
    let policy = headers["content-security-policy"].to_str().expect("ASCII");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    for part in [flight, "1 of 1 are out", "1 wait, the oldest for ", "queued", "redis, reached"] {
        assert!(page.contains(part), "no {part}: {page}");
    }
    assert!(!page.contains("hush"), "{page}");
}

#[tokio::test]
async fn refusals_of_the_last_minutes_are_told_by_reason_and_no_pods_where_there_is_no_redis() {
    let provider = Provider::start(|_| async { json(500, "{}") }).await;
    let flags = ["--admin", "127.0.0.1:0", "--breaker-max-failures", "1", "--breaker-open-duration", "1m"];
    let daemon = Daemon::start(&provider, &flags).await;
    let admin = daemon.admin().await;
    assert_eq!(provider_of(&admin, |_| true).await["refused"]["by_reason"], serde_json::json!({}));

    // Now nothing listens there: the first flight finds that out, the second is refused.
    drop(provider);
    for number in 0..2 {
        daemon.post(&refresh(&format!("hush-{number}"))).await;
    }

    let told = provider_of(&admin, |told| told["refused"]["by_reason"] != serde_json::json!({})).await;
    assert_eq!(told["refused"]["by_reason"], serde_json::json!({ "not_reaching": 1 }), "{told}");
    assert_eq!((&told["store"]["kind"], &told["pods"]), (&"embedded".into(), &Value::Null), "{told}");
}

#[tokio::test]
async fn redis_that_does_not_answer_is_told_in_bounded_time() {
    let redis = RedisServer::start_own(&[]).await;
    let provider = Provider::start(|_| async { json(200, TOKENS) }).await;
    let flags = ["--redis", redis.url(), "--admin", "127.0.0.1:0", "--store-timeout", "15s", "--lease", "60s"];
    let daemon = Daemon::start(&provider, &flags).await;
    let admin = daemon.admin().await;
    provider_of(&admin, |told| told["store"]["is_reached"] == true).await;
    let pid = nix::unistd::Pid::from_raw(redis.pid().expect("its own").try_into().expect("a pid"));
    kill(pid, Signal::SIGSTOP).expect("it is ours");

    let told = provider_of(&admin, |told| told["store"]["is_reached"] == false).await;
    let asked_at = Instant::now();
    let (status, _, page) = asked(format!("{admin}/status")).await;
    let took = asked_at.elapsed();
    kill(pid, Signal::SIGCONT).expect("it is ours");

    assert_eq!(told["store"]["reason"], "no answer within 1 s", "{told}");
    assert!(told["circuit"].is_null() && told["permits"]["out"].is_null() && told["pods"].is_null(), "{told}");
    assert!(status == 200 && page.contains("not reached"), "{page}");
    assert!(took < Duration::from_secs(10), "the store may take longer, the page may not: {took:?}");
    provider_of(&admin, |told| told["store"]["is_reached"] == true).await;
}

#[tokio::test]
async fn status_is_served_at_the_admin_port_alone_and_only_read() {
    let provider = Provider::start(|_| async { json(200, TOKENS) }).await;
    let (with, without) =
        (Daemon::start(&provider, &["--admin", "127.0.0.1:0"]).await, Daemon::start(&provider, &[]).await);
    let admin = with.admin().await;

    for path in ["/status", "/status.json"] {
        assert_eq!((with.get(path).await.0, without.get(path).await.0), (404, 404), "{path}");
        let posted = within(client().post(format!("{admin}{path}")).send()).await.expect("an answer");
        assert_eq!(
            (posted.status().as_u16(), &posted.headers()["allow"]),
            (405, &http::HeaderValue::from_static("GET, HEAD"))
        );
    }
    assert_eq!(without.get("/metrics").await.0, 200);
}
