//! Hostile callers, one attack after the other, while callers in good faith refresh at a constant rate from another address: these
//! must not notice, and what the attack took must come back.
//!
//! `tests/hostile/run` runs it with a release build for two and a half minutes, and prints a table; in `cargo test` it is short.
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "shared with other test binaries")]
#[path = "../serve/daemon.rs"]
mod daemon;
#[path = "../../../tests/support/environment.rs"]
mod environment;
#[allow(dead_code, reason = "shared with other test binaries")]
#[path = "../serve/provider.rs"]
mod provider;
#[path = "../../../tests/support/redis.rs"]
mod redis;
#[path = "../support/within.rs"]
mod within;

mod attacks;
mod honest;
mod rest;
mod table;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpSocket, TcpStream};

use attacks::Attack;
use daemon::Daemon;
use honest::Run;
use provider::{Provider, json};
use redis::RedisServer;
use rest::Rest;
use table::Row;
use within::{within, within_time};

const ARGUMENTS: [&str; 6] = ["--max-connections", "64", "--upstream-idle", "300ms", "--log", "refreshd=debug"];

/// How long everything goes on.
struct Spans {
    quiet: Duration,
    attack: Duration,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn honest_callers_do_not_notice_hostile_ones() {
    let is_long = std::env::var_os("HOSTILE_LONG").is_some();
    let seconds = |short, long| Duration::from_secs_f64(if is_long { long } else { short });
    let spans = Spans { quiet: seconds(1.5, 5.0), attack: seconds(1.5, 8.0) };
    // Callers, attackers, refreshd, Redis and the provider share the processors here, and a call that meets them all busy waits for some
    // turns of the scheduler. A debug build takes ten times as long, and without fairness a call would wait for seconds.
    let floor = Duration::from_millis(if is_long { 20 } else { 500 });
    let chosen = std::env::var("HOSTILE_ATTACKS").unwrap_or_default();
    let is_chosen = |attack: &Attack| chosen.is_empty() || chosen.split(' ').any(|name| name == attack.name());
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("Linux tells it");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("it may be raised so far");
    let provider = Provider::start(async |_| json(200, r#"{"access_token":"a","expires_in":3600}"#)).await;
    let redis = RedisServer::start().await;
    let namespace = format!("hostile-{}", uuid::Uuid::new_v4());
    redis.in_use(&namespace).await;
    let arguments = ["--redis", redis.url(), "--namespace", &namespace];
    let daemon = Daemon::start(&provider, &[&arguments[..], &ARGUMENTS].concat()).await;
    // What is touched for the first time stays.
    Run::of(spans.quiet, daemon.address).await;

    let mut quiet = Arc::new(Run::of(spans.quiet, daemon.address).await);
    let mut rows = Vec::new();
    for attack in Attack::ALL.into_iter().filter(is_chosen) {
        rows.push(suffer(&daemon, attack, quiet, &spans).await);
        quiet = Arc::clone(&rows[rows.len() - 1].after);
    }

    table::print(&rows, floor);
    let wrong: Vec<_> = rows.iter().flat_map(|row| row.wrong(floor)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(!rows.is_empty(), "no attack has this name: {chosen}");
}

async fn suffer(daemon: &Daemon, attack: Attack, before: Arc<Run>, spans: &Spans) -> Row {
    let rest_before = Rest::reached(daemon).await;
    let begun = attack.begin(daemon).await;
    let during = Run::of(spans.attack, daemon.address).await;
    drop(begun);
    let (rest_after, back_after) = rest_before.again(daemon).await;
    let after = Arc::new(Run::of(spans.quiet, daemon.address).await);
    Row { attack, before, during, after, rest_before, rest_after, back_after }
}

/// A connection from this address of the machine itself.
async fn connect_from(
    source: Ipv4Addr,
    address: SocketAddr,
    receive_buffer: Option<u32>,
) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind((source, 0).into())?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
