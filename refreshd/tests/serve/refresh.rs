//! Refreshes: one presentation, and the provider's own bytes for everybody.

use http::Response;

use crate::daemon::{Daemon, refresh, rest};
use crate::provider::{Gate, Provider, json};
use crate::within;

const TOKENS: &str = "{ \"access_token\":\"a\\u0032\",\r\n\"refresh_token\" : \"r2\",\"expires_in\":3600 }\n";

#[tokio::test]
async fn concurrent_callers_get_the_same_bytes_from_one_presentation() {
    let provider = Provider::start(async |_| {
        let answer = Response::builder()
            .header("content-type", "application/json;charset=UTF-8")
            .header("cache-control", "no-store, private")
            .header("pragma", "no-cache")
            .header("dpop-nonce", "n1")
            .header("set-cookie", "c=1");
        Some(answer.body(TOKENS.as_bytes().to_vec()).expect("a response"))
    })
    .await;
    let daemon = Daemon::start(&provider, &[]).await;

    let answers = futures_util::future::join_all((0..50).map(|_| async { daemon.post(&refresh("r1")).await })).await;

    assert_eq!(provider.seen().len(), 1);
    for answer in answers {
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/json;charset=UTF-8");
        assert_eq!(answer.headers()["cache-control"], "no-store, private");
        assert_eq!(answer.headers()["pragma"], "no-cache");
        assert_eq!(answer.headers()["dpop-nonce"], "n1");
        assert!(!answer.headers().contains_key("set-cookie"));
        assert_eq!(within(answer.text()).await.expect("text"), TOKENS);
    }
}

#[tokio::test]
async fn concurrent_callers_get_the_same_error_from_one_presentation() {
    let gate = Gate::closed();
    let provider =
        Provider::behind(&gate, json(400, "{\"error\":\"invalid_grant\",\"error_description\":\"of theirs\"}\n")).await;
    let daemon = Daemon::start(&provider, &[]).await;

    let callers = futures_util::future::join_all((0..20).map(|_| async { daemon.post(&refresh("r1")).await }));
    let (answers, ()) = tokio::join!(callers, async {
        provider.asked(1).await;
        gate.open();
    });

    assert_eq!(provider.seen().len(), 1);
    for answer in answers {
        assert_eq!(answer.status(), 400);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let body = within(answer.text()).await.expect("text");
        assert_eq!(body, "{\"error\":\"invalid_grant\",\"error_description\":\"of theirs\"}\n");
    }
}

#[tokio::test]
async fn refresh_goes_on_when_its_only_caller_leaves() {
    let gate = Gate::closed();
    let provider = Provider::behind(&gate, json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &[]).await;
    let body = refresh("r1");
    let head = "POST /token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded";
    let caller = daemon.write(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
    provider.asked(1).await;

    drop(caller);
    let next = daemon.post(&body);
    let (answer, ()) = tokio::join!(next, async { gate.open() });

    assert_eq!(within(answer.text()).await.expect("text"), TOKENS);
    assert_eq!(provider.seen().len(), 1);
}

#[tokio::test]
async fn upstreams_own_path_is_served_too() {
    let provider = Provider::start(async |_| json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &[]).await;
    let body = refresh("r1");

    let request = format!(
        "POST /oauth2/token HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = rest(daemon.write(request.as_bytes()).await).await;

    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(TOKENS), "{answer}");
    assert_eq!(provider.seen()[0].target, "/oauth2/token");
}

#[tokio::test]
async fn what_leaves_open_which_token_is_presented_is_refused_without_asking() {
    let provider = Provider::start(async |_| json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &[]).await;

    for token in ["r1&refresh_token=r2", "r1&grant_type=password"] {
        let answer = daemon.post(&refresh(token)).await;

        assert_eq!(answer.status(), 400);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert!(within(answer.text()).await.expect("text").starts_with(r#"{"error":"invalid_request""#));
    }
    assert!(provider.seen().is_empty());
}

#[tokio::test]
async fn health_and_metrics_tell_how_it_goes() {
    let provider = Provider::start(async |_| json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &[]).await;
    daemon.post(&refresh("secr3t")).await;

    assert_eq!(daemon.get("/healthz").await, (200, "alive\n".to_owned()));
    assert_eq!(daemon.get("/readyz").await, (200, "ready\n".to_owned()));
    assert_eq!(daemon.get("/elsewhere").await.0, 404);
    assert_eq!(daemon.get("/token").await.0, 405);
    let (status, metrics) = daemon.get("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "# HELP refreshd_led_total Flights this pod led, nearly all by a call of a refresh function.",
        "# TYPE refreshd_led_total counter",
        "refreshd_requests_total{served=\"led\",status=\"2xx\"} 1",
        "refreshd_request_seconds_bucket{served=\"led\",status=\"2xx\",le=\"+Inf\"} 1",
        "refreshd_build_info{version=\"",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(!metrics.contains("secr3t"));
}
