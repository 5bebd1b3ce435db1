//! Limits on what callers may send, how slowly, and how many at once.

use std::time::Duration;

use crate::daemon::{Daemon, refresh, rest};
use crate::provider::{Gate, Provider, json};

const HEAD: &str = "POST /token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n";

async fn provider() -> Provider {
    Provider::start(async |_| json(200, r#"{"access_token":"a"}"#)).await
}

#[tokio::test]
async fn body_over_the_limit_is_answered_with_413() {
    let provider = provider().await;
    let daemon = Daemon::start(&provider, &["--max-body", "1KiB", "--max-token", "1KiB"]).await;
    let body = "x".repeat(1025);

    let announced =
        daemon.write(format!("{HEAD}content-length: 1025\r\nexpect: 100-continue\r\n\r\n").as_bytes()).await;
    let sent = daemon.write(format!("{HEAD}content-length: 1025\r\n\r\n{body}").as_bytes()).await;
    let chunked = daemon.write(format!("{HEAD}transfer-encoding: chunked\r\n\r\n401\r\n{body}\r\n").as_bytes()).await;

    for stream in [announced, sent, chunked] {
        let answer = rest(stream).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("no-store") && answer.contains(r#"{"error":"invalid_request""#), "{answer}");
    }
    assert!(provider.seen().is_empty());
}

#[tokio::test]
async fn headers_over_the_limit_are_answered_with_431() {
    let daemon = Daemon::start(&provider().await, &["--max-headers", "8KiB"]).await;

    let large = daemon.write(format!("{HEAD}x-large: {}\r\n\r\n", "x".repeat(9000)).as_bytes()).await;
    let many = daemon.write(format!("{HEAD}{}\r\n", "x: y\r\n".repeat(101)).as_bytes()).await;

    for stream in [large, many] {
        let answer = rest(stream).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

#[tokio::test]
async fn who_sends_too_slowly_is_cut_off() {
    let provider = provider().await;
    let daemon = Daemon::start(&provider, &["--read-timeout", "200ms"]).await;

    let silent = daemon.write(b"").await;
    let in_headers = daemon.write(b"POST /token HTTP/1.1\r\nhost:").await;
    let in_body = daemon.write(format!("{HEAD}content-length: 100\r\n\r\ngrant_type=").as_bytes()).await;

    assert_eq!(rest(silent).await, "");
    assert!(!rest(in_headers).await.contains("200 OK"));
    let answer = rest(in_body).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(provider.seen().is_empty());
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let gate = Gate::closed();
    let provider = Provider::behind(&gate, json(200, r#"{"access_token":"a"}"#)).await;
    let daemon = Daemon::start(&provider, &["--max-connections", "1"]).await;
    let body = refresh("r1");
    let request = format!("{HEAD}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let first = daemon.write(request.as_bytes()).await;
    provider.asked(1).await;

    let second = daemon.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    // That nothing happens has no event to wait for. Without the limit the answer is there within a millisecond.
    let early = tokio::time::timeout(Duration::from_millis(200), second.readable()).await;
    gate.open();

    assert!(early.is_err(), "answered while another connection had the only place");
    assert!(rest(first).await.starts_with("HTTP/1.1 200 "));
    assert!(rest(second).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn bytes_that_are_no_http_are_refused_and_not_echoed() {
    let daemon = Daemon::start(&provider().await, &["--log", "trace"]).await;

    let answer = rest(daemon.write(b"POST /token HTTP/1.1\r\nauthori\x01zation: hush\r\n\r\n").await).await;

    assert!(answer.starts_with("HTTP/1.1 400 ") && !answer.contains("hush"), "{answer}");
    daemon.signal(nix::sys::signal::Signal::SIGINT);
    let (_, log) = daemon.ended().await;
    assert!(!log.contains("hush"), "{log}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn request_that_comes_in_small_pieces_costs_in_proportion_to_its_size() {
    use tokio::io::AsyncWriteExt;

    let provider = provider().await;
    let daemon = Daemon::start(&provider, &[]).await;
    let chunked = |size: usize| {
        let body = refresh("r1");
        let chunks: String =
            body.chars().chain(std::iter::repeat_n('a', size)).map(|c| format!("1\r\n{c}\r\n")).collect();
        format!("{HEAD}connection: close\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n").into_bytes()
    };
    let headed = |size: usize| {
        let body = refresh("r2");
        let head = format!("{HEAD}connection: close\r\nx-large: {}\r\n", "x".repeat(size));
        format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let spent = async |request: Vec<u8>, piece: usize| {
        let start = daemon.cpu_time();
        let mut stream = daemon.write(b"").await;
        stream.set_nodelay(true).expect("a TCP socket");
        for piece in request.chunks(piece) {
            stream.write_all(piece).await.expect("written");
        }
        let answer = rest(stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        daemon.cpu_time() - start
    };

    // What comes while the daemon has no processor is read at once, and costs next to nothing: of the small ones the dearest counts,
    // of the large ones the cheapest.
    let mut pairs = Vec::new();
    for (what, piece, small, large) in
        [("chunks", 4096, chunked(6_000), chunked(60_000)), ("bytes of the head", 1, headed(3_000), headed(30_000))]
    {
        let (mut dearest, mut cheapest) = (Duration::from_millis(1), Duration::MAX);
        for _ in 0..8 {
            dearest = dearest.max(spent(small.clone(), piece).await);
        }
        for _ in 0..3 {
            cheapest = cheapest.min(spent(large.clone(), piece).await);
        }
        pairs.push((what, dearest, cheapest));
    }

    for (what, small, large) in pairs {
        // Ten times the size; ten times as much again where it were the square.
        assert!(large < 40 * small, "{what}: {small:?}, {large:?}");
    }
}

/// Else strangers could fill the log, and with it keep lines out of it that somebody waits for.
#[tokio::test]
async fn flood_of_requests_that_cannot_be_read_is_told_once_a_second() {
    let provider = Provider::start(|_| async { json(200, "{}") }).await;
    let daemon = Daemon::start(&provider, &[]).await;

    for _ in 0..100 {
        let answer = rest(daemon.write(b"no HTTP\r\n\r\n").await).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    daemon.signal(nix::sys::signal::Signal::SIGINT);
    let (_, log) = daemon.ended().await;

    let lines = log.lines().filter(|line| line.contains("a token request is refused")).count();
    assert!((1..20).contains(&lines), "{lines} lines: {log}");
}

/// What stands in front may have gone by the one, and refreshd would go by the other.
#[tokio::test]
async fn request_for_two_hosts_is_refused() {
    let provider = Provider::start(async |_| json(200, r#"{"access_token":"a"}"#)).await;
    let daemon = Daemon::start(&provider, &[]).await;
    let body = crate::daemon::refresh("r1");
    let form = crate::daemon::FORM;
    let head =
        format!("POST /token HTTP/1.1\r\nhost: a\r\nhost: b\r\ncontent-type: {form}\r\ncontent-length: {}", body.len());

    let answer = rest(daemon.write(format!("{head}\r\n\r\n{body}").as_bytes()).await).await;

    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("more than one Host"), "{answer}");
    assert!(provider.seen().is_empty());
}
