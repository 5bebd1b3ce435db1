//! Redis over mutual TLS, as a user with the rights of the documentation and no more: flags, log, metrics.

use crate::daemon::{Daemon, refresh, refreshd};
use crate::pki::Pki;
use crate::provider::{Provider, json};
use crate::redis::RedisServer;
use crate::within;

const PASSWORD: &str = "hush-of-redis";

async fn server() -> (RedisServer, u16, Pki) {
    let pki = Pki::new();
    let pair = pki.issue("redis", &["localhost"]);
    pki.issue("client", &["refreshd"]);
    std::fs::write(pki.path("password"), format!("{PASSWORD}\n")).expect("written");
    let (redis, port) = RedisServer::start_tls(&pki.redis_arguments(0, &pair, "yes")).await;
    let page = include_str!("../../../docs/redis.md");
    let user =
        page.lines().find(|line| line.starts_with("ACL SETUSER refreshd ")).expect("the line of a single server");
    let user = user.replace("SECRET", PASSWORD);
    assert_eq!(redis.cli(&user.split(' ').collect::<Vec<_>>()).await, "OK", "{user}");
    redis.in_use("default").await;
    (redis, port, pki)
}

#[tokio::test]
async fn daemons_share_a_refresh_over_mutual_tls_with_the_documented_rights() {
    let (redis, port, pki) = server().await;
    let provider = Provider::start(async |_| json(200, r#"{"access_token":"a","refresh_token":"r2"}"#)).await;
    let path = |name: &str| pki.path(name).to_str().expect("UTF-8").to_owned();
    let (url, ca) = (format!("rediss://localhost:{port}"), path("ca.pem"));
    let (certificate, key, password) = (path("client.pem"), path("client.key"), path("password"));
    let flags = [
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
    ];

    let (one, other) = (Daemon::start(&provider, &flags).await, Daemon::start(&provider, &flags).await);
    let (first, second) = (one.post(&refresh("r1")).await, other.post(&refresh("r1")).await);

    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    assert_eq!(provider.seen().len(), 1);
    let trusted = one.logged("redis is verified by these certificates, and no others").await;
    assert!(trusted.contains("\"certificates\":1"), "{trusted}");
    let (_, metrics) = one.get("/metrics").await;
    for whose in ["ca", "client", "server"] {
        let line = format!("refreshd_redis_certificate_end_timestamp_seconds{{of=\"{whose}\"}} ");
        let value = metrics.lines().find_map(|row| row.strip_prefix(line.as_str())).expect(whose);
        assert!(value.parse::<f64>().expect("a number") > 1.7e9, "{value}");
    }
    let clients = redis.cli(&["CLIENT", "LIST"]).await;
    assert_eq!(clients.matches("user=refreshd").count(), 10, "{clients}");
}

#[tokio::test]
async fn each_wrong_way_to_a_redis_with_tls_is_one_line() {
    let (_redis, port, pki) = server().await;
    let path = |name: &str| pki.path(name).to_str().expect("UTF-8").to_owned();
    let (ca, certificate, password) = (path("ca.pem"), path("client.pem"), path("password"));
    let (tls, clear) = (format!("rediss://localhost:{port}"), format!("redis://localhost:{port}"));
    let missing = path("missing.pem");
    let common = ["serve", "--upstream", "http://127.0.0.1:9/token", "--no-check-upstream", "--listen", "127.0.0.1:0"];

    let cases: &[(&[&str], &[&str])] = &[
        (&["--redis", &tls, "--redis-ca-file", &ca], &["--redis: ", "CertificateRequired"]),
        (&["--redis", &tls, "--redis-ca-file", &certificate], &["--redis: ", "UnknownIssuer"]),
        (&["--redis", &tls, "--redis-ca-file", &missing], &["missing.pem: No such file", "--redis-ca-file"]),
        (&["--redis", &clear, "--redis-ca-file", &ca], &["certificates are given, and it has no TLS"]),
        (&["--redis", &tls, "--redis-cert-file", &certificate], &["--redis-key-file"]),
        (&["--redis-ca-file", &ca], &["--redis-ca-file is given without --redis"]),
        (&["--redis", &tls, "--redis-password-file", &missing], &["--redis-password-file", "No such file"]),
        (
            &["--redis", "rediss://u:hush-of-redis@localhost", "--redis-password-file", &password],
            &["--redis holds a password", "--redis-password-file"],
        ),
        (&["--redis", "unix:///run/r.sock?pass=hush-of-redis"], &["--redis holds a password", "REFRESHD_REDIS"]),
    ];
    for (arguments, parts) in cases {
        let output = within(refreshd(&[&common, *arguments].concat()).output()).await.expect("refreshd runs");
        let log = String::from_utf8(output.stderr).expect("UTF-8");
        // By which certificates Redis is verified may stand before it.
        let lines: Vec<_> = log.lines().filter(|line| !line.contains(" INFO ")).collect();
        let [line] = lines.as_slice() else { panic!("{arguments:?}: {log}") };

        assert_eq!(output.status.code(), Some(2), "{log}");
        assert!(
            line.starts_with("refreshd: ") && parts.iter().all(|part| line.contains(part)),
            "{arguments:?}: {line}"
        );
        assert!(!log.contains(PASSWORD), "{log}");
    }
    // It may be one that is starting: it is waited for, and the line says what it may be.
    let waits = Daemon::spawn(refreshd(&[&common[..], &["--log-format", "json", "--redis", &clear]].concat())).await;
    let line = waits.logged("is this a TLS port?").await;
    assert!(line.contains("starts without redis") && line.contains(&tls), "{line}");

    let mut both = refreshd(&[&common[..], &["--redis", &tls, "--redis-password-file", &password]].concat());
    let output = within(both.env("REFRESHD_REDIS_PASSWORD", PASSWORD).output()).await.expect("refreshd runs");
    assert!(String::from_utf8_lossy(&output.stderr).contains("are both given: keep one of them"));
}
