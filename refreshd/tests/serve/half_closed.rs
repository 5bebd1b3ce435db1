//! Callers that close their half of the connection when their request is sent (`shutdown(SHUT_WR)`): some wait for the answer, and those
//! that have gone look the same.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::daemon::{Daemon, FORM, refresh, rest};
use crate::provider::{Gate, Provider, json};
use crate::within;

const TOKENS: &str = r#"{"access_token":"a","refresh_token":"r2"}"#;

fn post(path: &str, version: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/{version}\r\nhost: x\r\ncontent-type: {FORM}\r\ncontent-length: {length}\r\n\r\n{body}")
}

async fn half_closed(daemon: &Daemon, request: &str) -> TcpStream {
    let mut stream = daemon.write(request.as_bytes()).await;
    within(stream.shutdown()).await.expect("its half is closed");
    stream
}

#[tokio::test]
async fn caller_that_closes_its_half_behind_its_request_is_answered() {
    let gate = Gate::closed();
    let provider = Provider::behind(&gate, json(200, TOKENS)).await;
    let url = provider.url().replace("/token", "/revoke");
    let daemon = Daemon::start(&provider, &["--revocation-upstream", &url]).await;

    for request in [
        post("/token", "1.1", &refresh("r1")),
        post("/token", "1.0", &refresh("r2")),
        post("/token", "1.1", "grant_type=client_credentials"),
        post("/revoke", "1.1", "client_id=app&token=r3"),
        "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        "GET /readyz HTTP/1.0\r\n\r\n".to_owned(),
        "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
    ] {
        let asked = provider.seen().len();
        let caller = half_closed(&daemon, &request).await;
        if request.starts_with("POST") {
            provider.asked(asked + 1).await;
            // Time for it to be taken for gone.
            tokio::time::sleep(Duration::from_millis(100)).await;
            gate.open();
        }

        let answer = rest(caller).await;

        gate.close();
        assert!(answer.starts_with("HTTP/1.1 200 ") || answer.starts_with("HTTP/1.0 200 "), "{request}: {answer:?}");
    }
}

/// Each of them is read and answered after the one before it.
#[tokio::test]
async fn caller_that_closes_its_half_behind_several_requests_has_all_answers() {
    let gate = Gate::closed();
    gate.open();
    let provider = Provider::behind(&gate, json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &[]).await;
    let requests: Vec<_> = (0..5).map(|number| post("/token", "1.1", &refresh(&format!("r{number}")))).collect();

    let answers = rest(half_closed(&daemon, &requests.concat()).await).await;

    assert_eq!((answers.matches("HTTP/1.1 200 ").count(), provider.seen().len()), (5, 5), "{answers}");
}

/// Half a request is none: nobody waits for it.
#[tokio::test]
async fn caller_that_closes_its_half_within_its_request_is_not_waited_for() {
    let provider = Provider::start(async |_| json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &["--read-timeout", "10m"]).await;
    let whole = post("/token", "1.1", &refresh("r1"));

    for bytes in ["", "POST /tok", &whole[..whole.len() - 1]] {
        let answer = rest(half_closed(&daemon, bytes).await).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    assert!(provider.seen().is_empty());
}

#[tokio::test]
async fn tab_that_was_closed_while_its_refresh_queued_is_noticed_and_its_token_not_presented() {
    let gate = Gate::closed();
    let provider = Provider::behind(&gate, json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &["--max-concurrent-refreshes", "1"]).await;
    let led = daemon.write_refresh(refresh("r1")).await;
    provider.asked(1).await;
    let queued = daemon.write_refresh(refresh("r2")).await;
    let queues = async || daemon.get("/metrics").await.1.contains("refreshd_queue_flights 1");
    within(async { while !queues().await {} }).await;

    drop(queued);
    let is_gone = async || daemon.get("/metrics").await.1.contains("refreshd_gone_total 1");
    within(async { while !is_gone().await {} }).await;
    gate.open();
    drop(led);
    let next = daemon.post(&refresh("r3")).await;

    assert_eq!(next.status(), 200);
    let presented: Vec<_> = provider.seen().into_iter().map(|seen| seen.body).collect();
    assert!(!presented.iter().any(|body| body.contains("r2")), "{presented:?}");
}

/// Nobody waits for the 2 s that it is given.
#[tokio::test]
async fn caller_that_may_have_gone_makes_way_at_once() {
    let gate = Gate::closed();
    let provider = Provider::behind(&gate, json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &["--max-connections", "2"]).await;
    let mut held = Vec::new();
    for token in ["r1", "r2"] {
        held.push(half_closed(&daemon, &post("/token", "1.1", &refresh(token))).await);
    }
    provider.asked(2).await;
    let began = std::time::Instant::now();

    assert_eq!(daemon.get("/healthz").await.0, 200);

    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
}

#[tokio::test]
async fn caller_that_may_have_gone_does_not_hold_the_drain() {
    let gate = Gate::closed();
    let provider = Provider::behind(&gate, json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &["--drain-delay", "0s", "--drain", "10m"]).await;
    let _gone = half_closed(&daemon, &post("/token", "1.1", "grant_type=client_credentials")).await;
    provider.asked(1).await;

    daemon.signal(Signal::SIGTERM);

    let (code, log) = daemon.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("drained"), "{log}");
}
