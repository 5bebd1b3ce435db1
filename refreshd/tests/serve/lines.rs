//! Lines of the log for who is on call: which pod it is, which flight failed, and that a client is held.

use serde_json::Value;

use crate::daemon::{Daemon, FORM, client, refresh};
use crate::provider::{Provider, json};
use crate::within;

fn read(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// SHA-256, as logs name a flight and a session.
fn name(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn failures_line_names_its_flight_and_the_pod_that_said_at_start_which_one_it_is() {
    let provider = Provider::start(|_| async { json(400, r#"{"error":"invalid_grant"}"#) }).await;
    let daemon = Daemon::start(&provider, &["--namespace", "bank"]).await;

    assert_eq!(daemon.post(&refresh("hush")).await.status(), 400);

    let started = read(&daemon.logged(r#""message":"listening""#).await);
    let failed = read(&daemon.logged("a refresh brought no tokens").await);
    assert_eq!(started["pod"].as_str().map(str::len), Some(32), "{started}");
    assert_eq!((&failed["pod"], &failed["namespace"]), (&started["pod"], &"bank".into()), "{failed}");
    assert_eq!(failed["flight"], name("hush"), "{failed}");
    assert!(failed["failure"].as_str().is_some_and(|why| why.contains("invalid_grant")), "{failed}");
}

/// A caller with an old token presents the new one: what failed is the new one's flight.
#[tokio::test]
async fn failures_line_of_a_caller_with_an_old_token_names_the_flight_of_the_token_that_was_presented() {
    let provider = Provider::start(|seen| async move {
        if seen.body.contains("refresh_token=r1") {
            return json(200, r#"{"access_token":"a","expires_in":1,"refresh_token":"r2"}"#);
        }
        json(400, r#"{"error":"invalid_grant"}"#)
    })
    .await;
    let daemon = Daemon::start(&provider, &["--keep-outcome", "0s"]).await;
    let old = refresh("r1") + "&client_id=app&client_secret=pw";

    // Handed out as long as the access token is good.
    within(async { while daemon.post(&old).await.status() == 200 {} }).await;

    let failed = read(&daemon.logged("a refresh brought no tokens").await);
    assert_eq!(failed["flight"], name("r2"), "{failed}");
    assert_eq!(provider.seen().len(), 2);
}

#[tokio::test]
async fn client_that_the_provider_holds_off_is_told_once_with_until_when() {
    let provider = Provider::start(|_| async {
        let mut answer = json(429, r#"{"error":"slow_down"}"#);
        let headers = answer.as_mut().expect("an answer").headers_mut();
        headers.insert("retry-after", http::HeaderValue::from_static("60"));
        answer
    })
    .await;
    let flags = ["--namespace", "bank", "--keep-failure", "0s", "--session-header", "x-session"];
    let daemon = Daemon::start(&provider, &flags).await;
    let ask = async |token: &str, session: &str| {
        let request = client().post(daemon.url("/token")).header("content-type", FORM).header("x-session", session);
        within(request.body(refresh(token)).send()).await.expect("an answer").status().as_u16()
    };

    let answers = [ask("r1", "ann").await, ask("r1", "ann").await, ask("r2", "ann").await, ask("r2", "ann").await];

    assert_eq!(answers, [429; 4]);
    assert_eq!(provider.seen().len(), 1, "the others are refused here");
    let held = read(&daemon.logged("a client is held").await);
    assert_eq!(
        (&held["level"], &held["reason"], &held["namespace"]),
        (&"WARN".into(), &"limited".into(), &"bank".into())
    );
    assert_eq!((&held["flight"], &held["session"]), (&name("r2").into(), &name("ann").into()), "{held}");
    assert_eq!(held["setting"], "Retry-After of the provider", "{held}");
    assert!(held["until"].as_str().is_some_and(|until| until.ends_with('Z')), "{held}");
    let started = read(&daemon.logged(r#""message":"listening""#).await);
    assert_eq!(held["pod"], started["pod"]);
    let refused = read(&daemon.logged(r#""message":"refused""#).await);
    assert_eq!((&refused["session"], &refused["namespace"]), (&name("ann").into(), &"bank".into()), "{refused}");

    daemon.signal(nix::sys::signal::Signal::SIGINT);
    let (_, log) = daemon.ended().await;
    assert_eq!(log.matches("a client is held").count(), 1, "{log}");
}

#[tokio::test]
async fn session_that_refreshes_too_often_is_told_with_its_setting() {
    let provider = Provider::start(|_| async { json(400, r#"{"error":"invalid_request"}"#) }).await;
    let flags = ["--max-refresh-attempts", "1", "--keep-failure", "0s", "--session-header", "x-session"];
    let daemon = Daemon::start(&provider, &flags).await;
    let ask = async |token: &str| {
        let request = client().post(daemon.url("/token")).header("content-type", FORM).header("x-session", "ann");
        within(request.body(refresh(token)).send()).await.expect("an answer").status().as_u16()
    };

    let answers = [ask("r1").await, ask("r2").await, ask("r3").await];

    assert_eq!(answers, [400, 429, 429]);
    let held = read(&daemon.logged("a client is held").await);
    assert_eq!((&held["reason"], &held["setting"]), (&"cooling_down".into(), &"max_refresh_attempts".into()), "{held}");
    assert_eq!(held["session"], name("ann"), "{held}");
}

#[tokio::test]
async fn spans_follow_a_request_to_the_provider_under_the_trace_that_it_names() {
    let provider = Provider::start(|_| async { json(400, r#"{"error":"invalid_grant"}"#) }).await;
    let daemon =
        Daemon::start(&provider, &["--log", "info,refreshd::spans=debug,refresh_coordinator::spans=debug"]).await;
    let (id, body) = ("4bf92f3577b34da6a3ce929d0e0e4736", refresh("hush"));
    let traceparent = format!("00-{id}-00f067aa0ba902b7-01");

    let request = client().post(daemon.url("/token")).header("content-type", FORM);
    let request = request.header("traceparent", &traceparent).header("tracestate", "a=b").body(body);
    assert_eq!(within(request.send()).await.expect("an answer").status(), 400);

    let line = daemon.logged("a refresh brought no tokens").await;
    assert!(!line.contains("hush"), "{line}");
    let spans = read(&line)["spans"].clone();
    let names: Vec<_> = spans.as_array().expect("a list").iter().map(|span| span["name"].clone()).collect();
    assert_eq!(names, ["token_request", "refresh", "flight", "provider_call"], "{spans}");
    assert_eq!((&spans[0]["trace_id"], &spans[1]["flight"]), (&id.into(), &name("hush").into()), "{spans}");
    let seen = &provider.seen()[0].headers;
    assert!(seen["traceparent"] == traceparent && seen["tracestate"] == "a=b", "they go on as they came: {seen:?}");
}
