//! Connections to the provider: how long things may take on them, when they are used again, and when they are closed.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::daemon::{Daemon, refresh, refreshd};
use crate::provider::{Provider, json};
use crate::within;

const ANSWER: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n{\"access_token\":\"a\"}";

const R1: &str = "grant_type=refresh_token&client_id=app&refresh_token=r1";

/// A daemon in front of a provider that the test plays byte by byte.
async fn in_front_of_bytes(scheme: &str, arguments: &[&str]) -> (Daemon, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("{scheme}://{}/token", listener.local_addr().expect("it is bound"));
    let common =
        ["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--upstream", &url, "--no-check-upstream"];
    (Daemon::spawn(refreshd(&[&common, arguments].concat())).await, listener)
}

async fn accepted(listener: &TcpListener) -> TcpStream {
    within(listener.accept()).await.expect("a connection").0
}

/// Reads one request, which ends with its body. Whether there was one.
async fn asked(stream: &mut TcpStream, end: &str) -> bool {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        if within(stream.read_buf(&mut read)).await.expect("it can be read") == 0 {
            return false;
        }
    }
    true
}

async fn counted(daemon: &Daemon, name: &str) -> bool {
    daemon.get("/metrics").await.1.contains(&format!("\nrefresh_coordinator_{name}_total 1\n"))
}

#[tokio::test]
async fn idle_connection_is_closed_in_time() {
    let (daemon, listener) = in_front_of_bytes("http", &["--upstream-idle", "300ms"]).await;
    let provider = async {
        let mut stream = accepted(&listener).await;
        assert!(asked(&mut stream, "r1").await);
        within(stream.write_all(ANSWER.as_bytes())).await.expect("written");
        assert!(!asked(&mut stream, "r2").await, "closed, and nothing is asked on it");
    };

    let (answer, ()) = tokio::join!(daemon.post(R1), provider);

    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn connection_that_the_provider_closed_costs_nobody_an_answer() {
    let (daemon, listener) = in_front_of_bytes("http", &[]).await;

    // Each answer is the last one on its connection, and does not say so.
    for token in ["r1", "r2", "r3"] {
        let provider = async {
            let mut stream = accepted(&listener).await;
            assert!(asked(&mut stream, token).await);
            within(stream.write_all(ANSWER.as_bytes())).await.expect("written");
        };
        let body = refresh(token);
        let (answer, ()) = tokio::join!(daemon.post(&body), provider);
        assert_eq!(answer.status(), 200, "{token}");
    }

    assert!(daemon.get("/metrics").await.1.contains("\nrefresh_coordinator_unknown_total 0\n"));
}

#[tokio::test]
async fn silent_provider_is_waited_for_as_long_as_it_was_said() {
    let (daemon, listener) =
        in_front_of_bytes("http", &["--upstream-timeout", "300ms", "--connect-timeout", "200ms"]).await;
    let provider = async {
        let mut stream = accepted(&listener).await;
        assert!(asked(&mut stream, "r1").await);
        assert!(!asked(&mut stream, "r1").await, "the connection ends with the request");
    };

    let (answer, ()) = tokio::join!(daemon.post(R1), provider);

    assert_eq!(answer.status(), 503);
    assert!(within(answer.text()).await.expect("text").contains("was asked"));
    assert!(counted(&daemon, "unknown").await);
    let line = daemon.logged("a refresh brought no tokens").await;
    assert!(line.contains("no answer within 300ms"), "{line}");
}

#[tokio::test]
async fn provider_that_does_not_come_to_an_end_with_tls_is_sent_nothing() {
    let ca = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), ca.cert.pem()).expect("written");
    let ca = file.path().to_str().expect("UTF-8");
    let (daemon, listener) = in_front_of_bytes("https", &["--connect-timeout", "200ms", "--ca-file", ca]).await;
    let provider = async {
        let mut stream = accepted(&listener).await;
        assert!(!asked(&mut stream, "r1").await);
    };

    let (answer, ()) = tokio::join!(daemon.post(R1), provider);

    assert_eq!(answer.status(), 503);
    assert!(within(answer.text()).await.expect("text").contains("cannot be reached"));
    assert!(counted(&daemon, "not_sent").await);
    let line = daemon.logged("a refresh brought no tokens").await;
    assert!(line.contains("not connected within 200ms"), "{line}");
}

#[tokio::test]
async fn answer_is_taken_however_it_is_framed() {
    let (daemon, listener) = in_front_of_bytes("http", &[]).await;
    const HEAD: &str = "HTTP/1.1 200 OK\r\n";
    let framings: [&[&str]; 4] = [
        &[HEAD, "content-length: 4\r\n\r\nto", "ld"],
        &[HEAD, "transfer-encoding: chunked\r\n\r\n3\r\ntol\r\n", "1\r\nd\r\n0\r\n", "x-trailer: 1\r\n\r\n"],
        &["HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", HEAD, "connection: close\r\n\r\n", "to", "ld"],
        &["HTTP/1.0 200 OK\r\n\r\nto", "ld"],
    ];

    for parts in framings {
        let provider = async {
            let mut stream = accepted(&listener).await;
            stream.set_nodelay(true).expect("a TCP socket");
            assert!(asked(&mut stream, "=password").await);
            for part in parts {
                within(stream.write_all(part.as_bytes())).await.expect("written");
                // So that they arrive one by one, as far as that can be had.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let (answer, ()) = tokio::join!(daemon.post("grant_type=password"), provider);

        assert_eq!(answer.status(), 200, "{parts:?}");
        assert_eq!(within(answer.text()).await.expect("text"), "told", "{parts:?}");
    }
}

#[tokio::test]
async fn answer_that_is_cut_off_is_no_answer() {
    let (daemon, listener) = in_front_of_bytes("http", &[]).await;
    let provider = async {
        let mut stream = accepted(&listener).await;
        assert!(asked(&mut stream, "=password").await);
        within(stream.write_all(&ANSWER.as_bytes()[..ANSWER.len() - 1])).await.expect("written");
    };

    let (answer, ()) = tokio::join!(daemon.post("grant_type=password"), provider);

    assert_eq!(answer.status(), 502);
}

#[tokio::test]
async fn answer_over_a_mebibyte_is_given_up() {
    let provider = Provider::start(async |seen| {
        let more = usize::from(seen.body.contains("more"));
        json(200, &"x".repeat(1024 * 1024 + more))
    })
    .await;
    let daemon = Daemon::start(&provider, &[]).await;

    let (largest, larger) = (daemon.post("grant_type=password").await, daemon.post("grant_type=more").await);

    assert_eq!((largest.status().as_u16(), larger.status().as_u16()), (200, 502));
    assert_eq!(within(largest.bytes()).await.expect("bytes").len(), 1024 * 1024);
    assert_eq!(provider.seen().len(), 2);
}
