//! Storms behind Sentinel, on a Cluster, over mutual TLS and over a Unix socket: their pods coordinate there, what that cost is counted at the servers
//! that decide, and nothing is left behind.

#[path = "../../tests/support/redis.rs"]
mod redis;
mod support {
    pub(crate) mod storm;
}

use std::time::Duration;

use redis::topology::{Cluster, Group};
use serde_json::Value;
use support::storm::storm;

/// A storm of processes there, judged by what it says of itself.
async fn passes(redis: &[&str]) -> Value {
    let small =
        ["--pods", "3", "--callers", "5", "--tokens", "40", "--at-once", "10", "--mode", "with", "--lease", "2s"];
    let arguments: Vec<String> = small.iter().chain(redis).map(|&argument| argument.to_owned()).collect();
    let stormed = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        storm(&arguments)
    });
    let (code, storm) = stormed.await.expect("no panic");
    assert_eq!(code, 0, "{storm:#}");
    let with = &storm["with"];
    assert_eq!((&with["presentations"], &with["callers_in_error"]), (&40.into(), &0.into()), "{storm:#}");
    // Two of the leader and one of each other pod, and what was late.
    let counted = with["redis"]["commands_per_refresh"].as_f64().expect("it is counted");
    assert!((2.0..8.0).contains(&counted), "{storm:#}");
    storm
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storm_behind_sentinels_is_counted_at_the_master() {
    let group = Group::start(Duration::from_secs(30)).await;

    passes(&["--redis", &group.url()]).await;

    assert_eq!(group.servers[0].keys("rc:*").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storm_on_a_cluster_is_counted_at_all_masters() {
    let cluster = Cluster::start().await;

    passes(&["--redis", &cluster.url()]).await;

    for node in &cluster.masters {
        assert_eq!(node.keys("rc:*").await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storm_over_a_unix_socket_passes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("redis.sock");
    let redis = redis::RedisServer::start_own(&["--unixsocket", path.to_str().expect("UTF-8")]).await;

    passes(&["--redis", &format!("redis+unix://{}", path.display())]).await;

    assert_eq!(redis.keys("rc:*").await, Vec::<String>::new());
}

#[cfg(feature = "tls")]
#[path = "../../tests/support/pki.rs"]
mod pki;

#[cfg(feature = "tls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storm_over_mutual_tls_with_the_documented_rights_passes() {
    let pki = pki::Pki::new();
    let pair = pki.issue("redis", &["localhost"]);
    pki.issue("client", &["storm"]);
    std::fs::write(pki.path("password"), "of-a-test\n").expect("written");
    let (redis, port) = redis::RedisServer::start_tls(&pki.redis_arguments(0, &pair, "yes")).await;
    let page = include_str!("../../docs/redis.md");
    let user = page.lines().find(|line| line.starts_with("ACL SETUSER refreshd ")).expect("the line of one server");
    let user = user.replace("SECRET", "of-a-test");
    assert_eq!(redis.cli(&user.split(' ').collect::<Vec<_>>()).await, "OK", "{user}");
    let path = |name: &str| pki.path(name).to_str().expect("UTF-8").to_owned();
    let (url, ca, password) = (format!("rediss://localhost:{port}"), path("ca.pem"), path("password"));
    let (certificate, key) = (path("client.pem"), path("client.key"));

    passes(&[
        "--redis",
        &url,
        "--redis-username",
        "refreshd",
        "--redis-password-file",
        &password,
        "--redis-ca-file",
        &ca,
        "--redis-cert-file",
        &certificate,
        "--redis-key-file",
        &key,
    ])
    .await;
}
