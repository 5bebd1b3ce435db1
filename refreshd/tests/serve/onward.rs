//! What goes to the provider, and how: as it came, once, over connections that are kept.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::Response;

use crate::daemon::{Daemon, FORM, client, refresh, refreshd, rest};
use crate::provider::{Provider, json};
use crate::within;

const TOKENS: &str = r#"{"access_token":"a"}"#;

#[tokio::test]
async fn what_is_no_refresh_is_passed_on_once_as_it_is() {
    let provider = Provider::start(async |_| {
        let answer = Response::builder().status(418).header("x-more", "1").header("set-cookie", "c=1");
        Some(answer.body(b"tea\n".to_vec()).expect("a response"))
    })
    .await;
    let daemon = Daemon::start(&provider, &[]).await;
    let body = "grant_type=authorization_code&code=c%2b1&grant_type=x";

    let request = client()
        .post(daemon.url("/token?p=1"))
        .header("content-type", FORM)
        .header("authorization", "Basic YTpi")
        .header("accept-encoding", "gzip")
        .header("x-request-id", "7")
        .body(body);
    let answer = within(request.send()).await.expect("an answer");

    assert_eq!((answer.status().as_u16(), &answer.headers()["x-more"]), (418, &"1".parse().unwrap()));
    assert_eq!(
        (&answer.headers()["set-cookie"], &answer.headers()["cache-control"]),
        (&"c=1".parse().unwrap(), &"no-store".parse().unwrap())
    );
    assert_eq!(within(answer.text()).await.expect("text"), "tea\n");
    let seen = &provider.seen()[..];
    assert_eq!((seen.len(), seen[0].target.as_str(), seen[0].body.as_str()), (1, "/oauth2/token?p=1", body));
    assert_eq!(
        (&seen[0].headers["authorization"], &seen[0].headers["x-request-id"]),
        (&"Basic YTpi".parse().unwrap(), &"7".parse().unwrap())
    );
    assert_eq!(seen[0].headers["host"], format!("localhost:{}", provider.address.port()));
    assert_eq!(seen[0].headers["accept-encoding"], "identity");
}

#[tokio::test]
async fn query_of_a_caller_never_overrides_that_of_the_upstream() {
    let provider = Provider::start(async |_| json(200, TOKENS)).await;
    let upstream = format!("{}?api-version=1&tenant=t", provider.url());
    let mut command = refreshd(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    let daemon = Daemon::spawn({
        command.env("REFRESHD_UPSTREAM", upstream);
        command
    })
    .await;
    let asked = ["/token", "/token?api-version=2", "/token?p=1&Tenant=x&%74enant=y&api%2Dversion=2&q"];

    for target in asked {
        let request = client().post(daemon.url(target)).header("content-type", FORM).body("grant_type=password");
        assert_eq!(within(request.send()).await.expect("an answer").status(), 200);
    }

    let own = "/oauth2/token?api-version=1&tenant=t";
    let seen: Vec<_> = provider.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(seen, [own, own, &format!("{own}&p=1&q")]);
}

#[tokio::test]
async fn query_that_is_too_long_for_the_providers_url_is_answered_at_once_and_says_nothing_of_the_provider() {
    let provider = Provider::start(async |_| json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &["--max-headers", "128KiB", "--no-check-upstream"]).await;
    // One more than there is room for.
    let query = "q".repeat(usize::from(u16::MAX) - "/oauth2/token?".len());

    let ask = async |query: &str, token: &str| {
        let body = refresh(token);
        let head = format!("POST /token?{query} HTTP/1.1\r\nhost: x\r\ncontent-type: {FORM}\r\nconnection: close\r\n");
        rest(daemon.write(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await).await
    };

    for number in 0..6 {
        let answer = ask(&query, &format!("r{number}")).await;
        assert!(answer.starts_with("HTTP/1.1 414 ") && answer.contains("invalid_request"), "{answer}");
    }
    let answer = ask(&query[1..], "r").await;

    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(provider.seen().len(), 1);
    assert!(daemon.get("/metrics").await.1.contains("\nrefreshd_not_sent_total 0\n"));
}

#[tokio::test]
async fn only_refresh_keeps_everything_else_from_the_provider() {
    let provider = Provider::start(async |_| json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &["--only-refresh"]).await;

    let answer = daemon.post("grant_type=client_credentials").await;

    assert_eq!(answer.status(), 400);
    assert!(within(answer.text()).await.expect("text").contains("unsupported_grant_type"));
    assert!(provider.seen().is_empty());
}

#[tokio::test]
async fn session_header_is_not_passed_on() {
    let provider = Provider::start(async |_| json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &["--session-header", "X-Session"]).await;

    let request = client().post(daemon.url("/token")).header("content-type", FORM).header("x-session", "s");
    let answer = within(request.body(refresh("r1")).send()).await.expect("an answer");

    assert_eq!(answer.status(), 200);
    assert!(!provider.seen()[0].headers.contains_key("x-session"));
}

#[tokio::test]
async fn connections_to_the_provider_are_kept() {
    let provider = Provider::start(async |_| json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &[]).await;

    for token in ["r1", "r2", "r3"] {
        assert_eq!(daemon.post(&refresh(token)).await.status(), 200);
    }

    assert!(provider.seen().iter().all(|seen| seen.connection == provider.seen()[0].connection));
}

#[tokio::test]
async fn redirects_are_followed_by_nobody() {
    for status in [301, 302, 307, 308] {
        let provider = Provider::start(move |_| async move {
            let answer = Response::builder().status(status).header("location", "https://idp.example/hush?code=hush");
            Some(answer.body(b"hush".to_vec()).expect("a response"))
        })
        .await;
        let daemon = Daemon::start(&provider, &["--keep-failure=0s"]).await;

        // Neither does the caller: it would present its token once more, and past refreshd.
        let answer = daemon.post(&refresh("r1")).await;

        assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"1".parse().unwrap()));
        assert!(!answer.headers().contains_key("location"), "{status}");
        let body = within(answer.text()).await.expect("text");
        assert!(body.contains("temporarily_unavailable") && !body.contains("hush"), "{body}");
        let line = daemon.logged("--upstream").await;
        assert!(line.contains("https://idp.example\"") && !line.contains("hush"), "{line}");
        assert_eq!(provider.seen().len(), 1);

        // The token is as it was, and what is no refresh is the provider's alone.
        assert_eq!(daemon.post(&refresh("r1")).await.status(), 503);
        assert_eq!(daemon.post("grant_type=password").await.status(), status);
        assert_eq!(provider.seen().len(), 3);
    }
}

#[tokio::test]
async fn request_that_was_lost_on_its_way_is_not_sent_again() {
    // The second request comes on a connection that is reused: that is where HTTP clients try again by themselves.
    let asked = AtomicUsize::new(0);
    let provider = Provider::start(move |_| {
        let answer = if asked.fetch_add(1, Ordering::SeqCst) == 0 { json(200, TOKENS) } else { None };
        std::future::ready(answer)
    })
    .await;
    let daemon = Daemon::start(&provider, &[]).await;
    assert_eq!(daemon.post(&refresh("r1")).await.status(), 200);

    let answer = daemon.post(&refresh("r2")).await;

    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    let body = within(answer.text()).await.expect("text");
    assert!(body.contains("temporarily_unavailable") && body.contains("was asked"), "{body}");
    let (_, metrics) = daemon.get("/metrics").await;
    assert!(metrics.contains("\nrefreshd_unknown_total 1\n"), "{metrics}");
    let seen = provider.seen();
    assert_eq!(seen.iter().filter(|seen| seen.body == refresh("r2")).count(), 1);
    assert_eq!(seen[0].connection, seen[1].connection);
}

#[tokio::test]
async fn proxies_of_the_environment_are_not_used() {
    let provider = Provider::start(async |_| json(200, TOKENS)).await;
    let mut command = refreshd(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("REFRESHD_UPSTREAM", provider.url()).env("REFRESHD_LOG_FORMAT", "json");
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"] {
        command.env(name, "http://127.0.0.1:1");
    }
    let daemon = Daemon::spawn(command).await;

    assert_eq!(daemon.post(&refresh("r1")).await.status(), 200);
    let line = daemon.logged("--upstream-proxy").await;
    assert!(line.contains("http_proxy") && line.contains("ALL_PROXY") && !line.contains("127.0.0.1:1"), "{line}");
}

#[tokio::test]
async fn provider_that_went_away_is_transient() {
    let provider = Provider::start(async |_| json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &[]).await;
    drop(provider);

    for body in [refresh("r1"), "grant_type=password".to_owned()] {
        // The listener is closed as soon as its task is: until then connections are taken and dropped.
        let answer = daemon.post(&body).await;

        assert!([502, 503].contains(&answer.status().as_u16()), "{}", answer.status());
        assert!(within(answer.text()).await.expect("text").contains("temporarily_unavailable"));
    }
}
