//! Callers that take places and bring nothing: those who come in good faith are served beside them.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::daemon::{Daemon, refresh, refreshd, rest};
use crate::provider::{Provider, json};
use crate::within;

const HEAD: &str = "POST /token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n";

async fn provider() -> Provider {
    Provider::start(async |_| json(200, r#"{"access_token":"a"}"#)).await
}

/// Waits until it is: what came a moment ago may be on its way to the counters.
async fn until_counted(daemon: &Daemon, line: &str) {
    within(async { while !daemon.get("/metrics").await.1.lines().any(|counted| counted == line) {} }).await;
}

#[tokio::test]
async fn who_holds_places_and_sends_nothing_whole_makes_way() {
    let floods: [&[u8]; 3] = [b"", b"POST /token HTTP/1.1\r\nhost:", b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"];
    for (number, flood) in floods.into_iter().enumerate() {
        let provider = provider().await;
        // Without making way, everybody would wait for it to be over.
        let daemon = Daemon::start(&provider, &["--max-connections", "4", "--read-timeout", "10m"]).await;
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(daemon.write(flood).await);
        }

        let answer = daemon.post(&refresh("r1")).await;

        assert_eq!(answer.status(), 200, "flood {number}");
    }
}

#[tokio::test]
async fn half_a_body_makes_way_and_a_refresh_that_is_under_way_does_not() {
    let gate = crate::provider::Gate::closed();
    let provider = Provider::behind(&gate, json(200, r#"{"access_token":"a"}"#)).await;
    let daemon = Daemon::start(&provider, &["--max-connections", "2", "--read-timeout", "10m"]).await;
    let led = daemon.write_refresh(refresh("r1")).await;
    provider.asked(1).await;
    let half = daemon.write(format!("{HEAD}content-length: 100\r\n\r\ngrant_type=").as_bytes()).await;

    let (status, _) = daemon.get("/healthz").await;

    assert_eq!(status, 200);
    assert_eq!(rest(half).await, "");
    gate.open();
    let mut led = BufReader::new(led).lines();
    let status = within(led.next_line()).await.expect("readable").expect("an answer");
    assert!(status.starts_with("HTTP/1.1 200 "), "{status}");
    until_counted(&daemon, "refreshd_connections_cut_total 1").await;
}

#[tokio::test]
async fn address_with_too_many_connections_gets_no_more() {
    let daemon = Daemon::start(&provider().await, &["--max-connections-per-peer", "2"]).await;
    let _held = [daemon.write(b"").await, daemon.write(b"").await];

    assert_eq!(rest(daemon.write(b"").await).await, "");
}

#[tokio::test]
async fn caller_that_never_reads_is_cut() {
    let daemon = Daemon::start(&provider().await, &["--write-timeout", "200ms"]).await;
    let mut stream = daemon.write(b"").await;
    let requests = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);

    // Refreshd reads no more where nobody takes its answers, so this ends only when the connection does.
    within(async { while stream.write_all(&requests).await.is_ok() {} }).await;

    // That of who asks.
    until_counted(&daemon, "refreshd_connections 1").await;
}

#[tokio::test]
async fn old_connection_is_closed_after_its_next_answer() {
    let daemon = Daemon::start(&provider().await, &["--max-connection-age", "1s"]).await;
    let mut stream = daemon.write(b"").await;
    let mut answers = String::new();

    within(async {
        while !answers.contains("connection: close") {
            stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it is open");
            let mut some = [0; 512];
            let read = stream.read(&mut some).await.expect("it is open");
            assert!(read > 0, "closed without a word");
            answers += std::str::from_utf8(&some[..read]).expect("ASCII");
        }
    })
    .await;

    assert_eq!(rest(stream).await, "");
}

#[tokio::test]
async fn half_a_request_does_not_hold_the_drain() {
    let daemon =
        Daemon::start(&provider().await, &["--drain-delay", "0s", "--drain", "10m", "--read-timeout", "10m"]).await;
    let _half = daemon.write(format!("{HEAD}content-length: 100\r\n\r\ngrant_type=").as_bytes()).await;
    let _silent = daemon.write(b"").await;
    until_counted(&daemon, "refreshd_connections 3").await;

    daemon.signal(Signal::SIGTERM);

    let (code, log) = daemon.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("drained"), "{log}");
}

#[tokio::test]
async fn admin_port_has_health_and_metrics_and_the_other_one_tokens_alone() {
    let provider = provider().await;
    let daemon = Daemon::start(&provider, &["--admin", "127.0.0.1:0", "--drain-delay", "10m", "--drain", "20m"]).await;
    let line: serde_json::Value = serde_json::from_str(&daemon.logged("listening").await).expect("logs are JSON");
    let admin = line["admin"].as_str().expect("it is told").to_owned();
    let asked = async |method: &str, path: &str| {
        let mut stream = within(TcpStream::connect(&admin)).await.expect("it listens");
        let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        within(stream.write_all(request.as_bytes())).await.expect("written");
        rest(stream).await[9..12].to_owned()
    };

    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!((&asked("GET", path).await[..], daemon.get(path).await.0), ("200", 404), "{path}");
    }
    assert_eq!((&asked("POST", "/token").await[..], daemon.post(&refresh("r1")).await.status().as_u16()), ("404", 200));
    let mut ready = refreshd(&["ready", "--admin", &admin]);
    assert!(within(ready.status()).await.expect("refreshd runs").success());

    daemon.signal(Signal::SIGTERM);
    daemon.logged("draining").await;
    assert_eq!(asked("GET", "/readyz").await, "503");
    assert_eq!(daemon.post(&refresh("r2")).await.status(), 200);
}

#[tokio::test]
async fn log_that_nobody_reads_holds_no_answer() {
    let provider = provider().await;
    let mut command = refreshd(&["serve", "--listen", "127.0.0.1:0", "--upstream", &provider.url(), "--only-refresh"]);
    let mut child = command.args(["--log", "refreshd=debug", "--log-format", "json"]).spawn().expect("refreshd starts");
    let mut log = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let line = within(log.next_line()).await.expect("readable").expect("a line");
    let mut line: serde_json::Value = serde_json::from_str(&line).expect("logs are JSON");
    while line["message"] != "listening" {
        let next = within(log.next_line()).await.expect("readable").expect("a line");
        line = serde_json::from_str(&next).expect("logs are JSON");
    }
    let address = line["address"].as_str().expect("it is told");
    let mut stream = within(TcpStream::connect(address)).await.expect("it listens");
    let request = format!("{HEAD}content-length: 2\r\n\r\na=");

    // More lines than the pipe takes and than wait in the daemon; each answer is waited for.
    for _ in 0..150 {
        within(stream.write_all(request.repeat(100).as_bytes())).await.expect("written");
        let (mut answers, mut seen) = (0, Vec::new());
        while answers < 100 {
            seen.clear();
            let mut some = [0; 65536];
            let read = within(stream.read(&mut some)).await.expect("readable");
            assert!(read > 0, "closed");
            seen.extend_from_slice(&some[..read]);
            answers += seen.windows(9).filter(|bytes| bytes == b"HTTP/1.1 ").count();
        }
    }

    let metrics = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    within(stream.write_all(metrics)).await.expect("written");
    let metrics = rest(stream).await;
    let left_out =
        metrics.lines().find_map(|line| line.strip_prefix("refreshd_log_lines_left_out_total ")).expect("told");
    assert_ne!(left_out, "0");
    child.kill().await.expect("it is ours");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn files_are_raised_as_far_as_they_go_and_places_are_kept_to_them() {
    let limited = |soft: &str, hard: &str| {
        let mut command = tokio::process::Command::from(crate::environment::without_settings("sh"));
        let script = format!("ulimit -Sn {soft}; ulimit -Hn {hard}; exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_refreshd"), "serve", "--listen", "127.0.0.1:0"]);
        command.args(["--log-format", "json", "--no-check-upstream", "--upstream", "http://127.0.0.1:9/token"]);
        command.stderr(std::process::Stdio::piped()).kill_on_drop(true);
        command
    };

    let enough = Daemon::spawn(limited("256", "20000")).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", enough.pid())).expect("it runs");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("told");
    assert_eq!(files.split_whitespace().nth(3), Some("20000"), "{files}");

    let few = Daemon::spawn(limited("200", "428")).await;
    let line = few.logged("too few files").await;
    assert!(line.contains(r#""places":100"#), "{line}");
    // They suffice for what they are.
    tokio::time::timeout(Duration::from_secs(30), few.get("/healthz")).await.expect("answered");
}
