//! Connections to the provider: how long things may take on them, when they are used again, and when they are closed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::daemon::{Daemon, refresh, refreshd};
use crate::provider::{Gate, Provider, json};
use crate::within;

const ANSWER: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n{\"access_token\":\"a\"}";

const R1: &str = "grant_type=refresh_token&client_id=app&refresh_token=r1";

/// A daemon in front of a provider that the test plays byte by byte.
pub(crate) async fn in_front_of_bytes(scheme: &str, arguments: &[&str]) -> (Daemon, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("{scheme}://{}/token", listener.local_addr().expect("it is bound"));
    let common =
        ["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--upstream", &url, "--no-check-upstream"];
    (Daemon::spawn(refreshd(&[&common, arguments].concat())).await, listener)
}

pub(crate) async fn accepted(listener: &TcpListener) -> TcpStream {
    within(listener.accept()).await.expect("a connection").0
}

/// Reads one request, which ends with its body. Whether there was one.
pub(crate) async fn asked(stream: &mut TcpStream, end: &str) -> bool {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        // What was not read before the end makes a reset of it.
        if within(stream.read_buf(&mut read)).await.unwrap_or(0) == 0 {
            return false;
        }
    }
    true
}

async fn counted(daemon: &Daemon, name: &str) -> bool {
    daemon.get("/metrics").await.1.contains(&format!("\nrefreshd_{name}_total 1\n"))
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

    assert!(daemon.get("/metrics").await.1.contains("\nrefreshd_unknown_total 0\n"));
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
    let many: String = (0..60).map(|number| format!("x-{number}: 1\r\n")).collect();
    let long = format!("x-long: {}\r\n", "1".repeat(100_000));
    let framings: [&[&str]; 13] = [
        &[HEAD, "content-length: 4\r\n\r\nto", "ld"],
        &[HEAD, "transfer-encoding: chunked\r\n\r\n3\r\ntol\r\n", "1\r\nd\r\n0\r\n", "x-trailer: 1\r\n\r\n"],
        &["HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", HEAD, "connection: close\r\n\r\n", "to", "ld"],
        &["HTTP/1.0 200 OK\r\n\r\nto", "ld"],
        &["HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ntold\r\n0\r\n\r\n"],
        &["HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 4\r\n\r\ntold"],
        &["HTT", "P/1.", "0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ntold\r\n0\r\nx-trailer: 1\r\n\r\n"],
        &[HEAD, "content-length: 4, 4\r\n\r\ntold"],
        &["\r\n", HEAD, "transfer-encoding: Chunked\r\n\r\n4;sig=x\r\ntold\r\n0\r\n\r\n"],
        &["HTTP/1.1 200\ncontent-length: 4\ncontent-length: 4\n\ntold"],
        &["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 102 Processing\r\n\r\n", HEAD, "content-length: 4\r\n\r\ntold"],
        &[HEAD, &many, "content-length: 4\r\n\r\ntold"],
        &[HEAD, &long, "content-length: 4\r\n\r\ntold"],
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
        // What the daemon answers now it answers having heard that this connection is closed.
        daemon.get("/healthz").await;
    }
}

#[tokio::test]
async fn length_counts_where_the_transfer_is_said_to_be_uncoded() {
    let (daemon, listener) = in_front_of_bytes("http", &[]).await;
    let provider = async {
        let mut stream = accepted(&listener).await;
        assert!(asked(&mut stream, "r1").await);
        let answer = ANSWER.replacen("\r\n\r\n", "\r\ntransfer-encoding: Identity\r\n\r\n", 1);
        within(stream.write_all(answer.as_bytes())).await.expect("written");
        // It is this end that closes: nothing else is asked on it.
        assert!(!asked(&mut stream, "r2").await);
    };

    let (answer, ()) = tokio::join!(daemon.post(R1), provider);

    assert_eq!(answer.status(), 200);
    assert_eq!(within(answer.text()).await.expect("text"), r#"{"access_token":"a"}"#);
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

#[tokio::test]
async fn largest_answer_is_a_setting() {
    let provider = Provider::start(async |_| json(200, &"x".repeat(1025))).await;
    let daemon = Daemon::start(&provider, &["--max-answer", "1KiB"]).await;

    assert_eq!(daemon.post("grant_type=password").await.status(), 502);
}

#[tokio::test]
async fn refreshes_do_not_wait_for_what_is_passed_on() {
    let gate = Gate::closed();
    let provider = Provider::start({
        let gate = gate.clone();
        move |seen| {
            let gate = gate.clone();
            async move {
                if seen.body.contains("password") {
                    gate.passed().await;
                }
                json(200, r#"{"access_token":"a"}"#)
            }
        }
    })
    .await;
    let daemon = Daemon::start(&provider, &["--max-passed-on", "1", "--connect-timeout", "300ms"]).await;

    let first = daemon.post("grant_type=password");
    let others = async {
        provider.asked(1).await;
        let refreshed = daemon.post(&refresh("r1")).await;
        let passed_on = daemon.post("grant_type=password").await;
        gate.open();
        (refreshed.status().as_u16(), passed_on.status().as_u16())
    };
    let (first, others) = tokio::join!(first, others);

    assert_eq!((first.status().as_u16(), others), (200, (200, 503)));
    assert_eq!(provider.seen().len(), 2);
}

#[tokio::test]
async fn answer_to_one_request_is_never_given_to_the_next() {
    let stray = ANSWER;
    let with = |head: &str| format!("{head}\r\n\r\n{stray}");
    let surplus = [
        with("HTTP/1.1 204 No Content\r\ncontent-length: 20"),
        with("HTTP/1.1 304 Not Modified"),
        with("HTTP/1.1 200 OK\r\ncontent-length: 0"),
        with("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0"),
        with("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0"),
        with("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-trailer: 1"),
        format!("HTTP/1.1 103 Early Hints\r\n\r\n{stray}HTTP/1.1 100 Continue\r\n\r\n"),
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nhello".to_owned(),
    ];
    for (first, late) in surplus.iter().map(|all| (&all[..], "")).chain([(ANSWER, ANSWER)]) {
        let (daemon, listener) = in_front_of_bytes("http", &[]).await;
        let answering = async {
            let mut stream = accepted(&listener).await;
            assert!(asked(&mut stream, "=one").await);
            within(stream.write_all(first.as_bytes())).await.expect("written");
            stream
        };
        let (answer, mut old) = tokio::join!(daemon.post("grant_type=one"), answering);
        drop(answer);
        // While the connection is idle. What the daemon answers after that it answers having heard of it.
        within(old.write_all(late.as_bytes())).await.expect("written");
        daemon.get("/healthz").await;

        let answering = async {
            let mut new = accepted(&listener).await;
            assert!(asked(&mut new, "=two").await);
            within(new.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo")).await.expect("written");
            assert!(!asked(&mut old, "=two").await, "asked on the old one");
        };
        let (answer, ()) = tokio::join!(daemon.post("grant_type=two"), answering);
        assert_eq!(within(answer.text()).await.expect("text"), "two", "{first:?} {late:?}");
    }
}

#[tokio::test]
async fn answer_that_comes_before_the_request_is_written_is_taken_and_the_connection_left() {
    let (daemon, listener) = in_front_of_bytes("http", &["--max-body", "16MiB"]).await;
    let large = format!("grant_type=password&x={}", "x".repeat(15 * 1024 * 1024));
    let provider = async {
        let mut stream = accepted(&listener).await;
        within(stream.read(&mut [0; 1024])).await.expect("a part");
        within(stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")).await.expect("written");
        let mut rest = Vec::new();
        _ = within(stream.read_to_end(&mut rest)).await;
        assert!(rest.len() < large.len(), "the rest is not sent");
    };

    let (answer, ()) = tokio::join!(daemon.post(&large), provider);

    assert_eq!(answer.status(), 413);
}

#[tokio::test]
async fn connection_of_a_caller_who_went_away_is_not_used_again_before_its_answer() {
    let (daemon, listener) = in_front_of_bytes("http", &[]).await;
    let head =
        "POST /token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 19";
    let caller = daemon.write(format!("{head}\r\n\r\ngrant_type=password").as_bytes()).await;
    let mut stream = accepted(&listener).await;
    assert!(asked(&mut stream, "=password").await);

    drop(caller);
    // What the daemon answers now it answers having heard of that.
    daemon.get("/healthz").await;
    let answering = async {
        let mut other = accepted(&listener).await;
        assert!(asked(&mut other, "=two").await);
        within(other.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo")).await.expect("written");
    };
    let (answer, ()) = tokio::join!(daemon.post("grant_type=two"), answering);

    assert_eq!(within(answer.text()).await.expect("text"), "two");
    within(stream.write_all(ANSWER.as_bytes())).await.expect("it is still open");
}

#[tokio::test]
async fn provider_that_closes_connections_as_requests_come_sees_none_twice() {
    // Five that met a closed connection, one after the other, are not to keep the rest away.
    let (daemon, listener) = in_front_of_bytes("http", &["--breaker-max-failures=1000000"]).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let serving = tokio::spawn({
        let seen = Arc::clone(&seen);
        async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let mut stream = accepted(&listener).await;
                let seen = Arc::clone(&seen);
                connections.spawn(async move {
                    let mut read = Vec::new();
                    for turn in 0.. {
                        while !read.ends_with(b"z") {
                            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                                return;
                            }
                        }
                        let token = read.rsplit(|byte| *byte == b'=').next().expect("a token").to_vec();
                        seen.lock().expect("no panic").push(token);
                        read.clear();
                        let answered = stream.write_all(ANSWER.as_bytes()).await;
                        if answered.is_err() || turn == 2 {
                            // Sooner or later after the answer.
                            let turns = seen.lock().expect("no panic").len() % 20;
                            for _ in 0..turns {
                                tokio::task::yield_now().await;
                            }
                            return;
                        }
                    }
                });
            }
        }
    });
    let asking = |caller: usize| {
        let daemon = &daemon;
        async move {
            for turn in 0..100 {
                let answer = daemon.post(&refresh(&format!("t{caller}x{turn}z"))).await;
                assert!([200, 503].contains(&answer.status().as_u16()), "{answer:?}");
            }
        }
    };

    tokio::join!(asking(0), asking(1), asking(2), asking(3));

    serving.abort();
    let mut seen = seen.lock().expect("no panic").clone();
    let all = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!((all, seen.len() > 200), (seen.len(), true));
}
