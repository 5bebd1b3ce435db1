//! What callers make refreshd take of the machine's memory goes back when they have gone.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::daemon::{Daemon, FORM, refresh};
use crate::left_out::left_out;
use crate::provider::{Provider, json};
use crate::within_time;

const CALLERS: usize = 4000;
/// Of the 128 KiB that a body may have.
const SENT: usize = 120 * 1024;
/// In MiB, as is all that follows.
const PRESSURE: u64 = 256;
/// What may be left of some 500 to 1000. Pages that rest for less than a second are still there, and so are tables that have grown.
const MOST_LEFT: u64 = 48;

fn resident(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn memory_of_four_thousand_half_sent_bodies_is_given_back_within_ten_seconds() {
    let (_, files) = getrlimit(Resource::RLIMIT_NOFILE).expect("Linux tells it");
    if files < 10_000 {
        return left_out("memory after a flood: fewer than 10,000 files may be open (ulimit -Hn)");
    }
    setrlimit(Resource::RLIMIT_NOFILE, files, files).expect("it may be raised so far");
    let provider = Provider::start(async |_| json(200, r#"{"access_token":"a","expires_in":3600}"#)).await;
    let pressure = PRESSURE.to_string();
    let daemon = Daemon::start(&provider, &["--memory-pressure", &pressure, "--max-connections", "8000"]).await;
    assert_eq!(daemon.post(&refresh("r1")).await.status(), 200);
    let before = resident(&daemon);

    let head = format!("POST /token HTTP/1.1\r\nhost: x\r\ncontent-type: {FORM}\r\ncontent-length: 131072\r\n\r\n");
    let half = (head + "grant_type=refresh_token&refresh_token=" + &"x".repeat(SENT)).into_bytes();
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        callers.push(daemon.write(&half).await);
    }
    let sent = (CALLERS * SENT / (1024 * 1024)) as u64;
    within_time(Duration::from_secs(120), until(|| resident(&daemon) > sent)).await;
    // It looks at its memory from time to time.
    let refused = async {
        let mut tokens = 0..;
        while daemon.post(&refresh(&format!("during-{:?}", tokens.next()))).await.status() != 503 {}
    };
    within_time(Duration::from_secs(60), refused).await;
    drop(callers);
    let gone = || async { daemon.get("/metrics").await.1.contains("\nrefreshd_connections 1\n") };
    within_time(Duration::from_secs(120), async { while !gone().await {} }).await;

    let start = Instant::now();
    within_time(Duration::from_secs(10), until(|| resident(&daemon) <= before + MOST_LEFT)).await;
    println!("{before} MiB before, {} MiB {:?} after the last caller had gone", resident(&daemon), start.elapsed());
    assert_eq!(daemon.post(&refresh("r3")).await.status(), 200, "and no longer");
}
