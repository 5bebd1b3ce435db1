//! Redis over TLS: verified always, by files that are read again at every connect.

mod support;
#[path = "support/pki.rs"]
mod pki;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use pki::Pki;
use refresh_coordinator::{ConnectError, RedisTarget, Refresh, RefreshCoordinator};
use support::fleet::quick;
use support::provider::Provider;
use support::redis::RedisServer;
use support::wait::until;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A server that speaks TLS at one port and clear text at another.
struct Secured {
    redis: RedisServer,
    port: u16,
    pki: Pki,
}

impl Secured {
    /// `asks`: whether it asks for certificates, `yes` or `no`.
    async fn start(names: &[&str], asks: &str) -> Self {
        let pki = Pki::new();
        let pair = pki.issue("redis", names);
        Self::start_with(pki, &pair, asks).await
    }

    async fn start_with(pki: Pki, pair: &(PathBuf, PathBuf), asks: &str) -> Self {
        let (redis, port) = RedisServer::start_tls(&pki.redis_arguments(0, pair, asks)).await;
        Self { redis, port, pki }
    }

    fn url(&self, host: &str) -> String {
        format!("rediss://{host}:{}", self.port)
    }

    fn target(&self, host: &str) -> RedisTarget {
        RedisTarget::new(self.url(host)).ca_file(self.pki.ca())
    }

    async fn connect(&self, target: RedisTarget) -> Result<RefreshCoordinator, ConnectError> {
        let config = quick();
        self.redis.in_use(&config.namespace).await;
        RefreshCoordinator::connect_with(target, config).await
    }

    /// The one line that an operator reads when a pod does not start.
    async fn refused(&self, target: RedisTarget) -> String {
        match self.connect(target).await {
            Ok(_) => panic!("it was accepted"),
            Err(error) => {
                let line = error.to_string();
                assert!(!line.contains('\n'), "{line}");
                line
            }
        }
    }
}

async fn serves(pod: &RefreshCoordinator, token: &str) {
    until("it is served", async || {
        let provider = Provider::open();
        match pod.refresh(Refresh::new(token), provider.refresh(token)).await {
            Ok(_) => true,
            Err(error) => {
                assert!(error.is_transient(), "nobody's session ends: {error}");
                false
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_of_the_ca_file_is_trusted_by_its_name_and_by_its_address() {
    let server = Secured::start(&["localhost", "127.0.0.1"], "no").await;

    for host in ["localhost", "127.0.0.1"] {
        let pod = server.connect(server.target(host)).await.unwrap_or_else(|error| panic!("{host}: {error}"));
        serves(&pod, "t").await;
        let ends = pod.redis_certificate_ends();
        let names: Vec<_> = ends.iter().map(|(whose, _)| *whose).collect();
        assert_eq!(names, ["ca", "server"]);
        let left = ends[1].1.duration_since(SystemTime::now()).expect("it is valid");
        assert!((88 * DAY..91 * DAY).contains(&left), "{left:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_of_another_ca_name_or_time_is_refused() {
    let server = Secured::start(&["redis.internal"], "no").await;
    let other = Pki::new();
    let pki = Pki::new();
    let pair = pki.issue_until("redis", &["127.0.0.1"], SystemTime::now() - DAY);
    let over = Secured::start_with(pki, &pair, "no").await;

    let misnamed = server.refused(server.target("localhost")).await;
    let unknown = server.refused(RedisTarget::new(server.url("localhost")).ca_file(other.ca())).await;
    let late = over.refused(over.target("127.0.0.1")).await;

    assert!(misnamed.contains("certificate not valid for name \"localhost\""), "{misnamed}");
    assert!(unknown.contains("invalid peer certificate: UnknownIssuer"), "{unknown}");
    assert!(late.contains("invalid peer certificate") && late.contains("xpired"), "{late}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn self_signed_certificate_of_the_server_is_trusted_where_it_is_named() {
    let pki = Pki::new();
    let pair = pki.self_signed("redis", &["127.0.0.1"]);
    let other = pki.self_signed("other", &["127.0.0.1"]);
    let server = Secured::start_with(pki, &pair, "no").await;

    let pod = server.connect(RedisTarget::new(server.url("127.0.0.1")).ca_file(&pair.0)).await;
    let refused = server.refused(RedisTarget::new(server.url("127.0.0.1")).ca_file(&other.0)).await;

    serves(&pod.unwrap_or_else(|error| panic!("{error}")), "t").await;
    assert!(refused.contains("invalid peer certificate"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_asks_for_a_certificate_is_shown_the_one_that_was_given() {
    let server = Secured::start(&["127.0.0.1"], "yes").await;
    let stranger = Pki::new();
    let (ours, theirs) = (server.pki.issue("pod", &["pod"]), stranger.issue("pod", &["pod"]));
    let with =
        |(certificate, key): &(PathBuf, PathBuf)| server.target("127.0.0.1").client_certificate(certificate, key);

    let pod = server.connect(with(&ours)).await.unwrap_or_else(|error| panic!("{error}"));
    let without = server.refused(server.target("127.0.0.1")).await;
    let of_another = server.refused(with(&theirs)).await;
    let mixed = server.refused(with(&(ours.0.clone(), theirs.1.clone()))).await;

    serves(&pod, "t").await;
    let names: Vec<_> = pod.redis_certificate_ends().iter().map(|(whose, _)| *whose).collect();
    assert_eq!(names, ["ca", "client", "server"]);
    assert!(without.contains("CertificateRequired"), "{without}");
    assert!(of_another.contains("UnknownCA"), "{of_another}");
    assert!(mixed.contains("is none of the certificate") && mixed.contains("pod.key"), "{mixed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn port_with_tls_and_port_without_are_told_apart() {
    let server = Secured::start(&["127.0.0.1"], "no").await;
    let (tls, clear) = (server.url("127.0.0.1"), server.redis.url().trim_end_matches('/').to_owned());

    let no_tls = server.refused(RedisTarget::new(tls.replace("rediss", "redis"))).await;
    let with_tls = server.refused(RedisTarget::new(clear.replace("redis", "rediss")).ca_file(server.pki.ca())).await;
    let useless = server.refused(RedisTarget::new(clear.clone()).ca_file(server.pki.ca())).await;

    assert!(no_tls.ends_with(&format!("is this a TLS port? then the URL is {tls}")), "{no_tls}");
    assert!(with_tls.ends_with(&format!("this is no TLS port: the URL is {clear}")), "{with_tls}");
    assert!(useless.contains("certificates are given, and it has no TLS"), "{useless}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn file_that_holds_no_certificate_is_named() {
    let server = Secured::start(&["127.0.0.1"], "no").await;
    let file = server.pki.path("no.pem");
    std::fs::write(&file, "hello").expect("written");

    let target = RedisTarget::new(server.url("127.0.0.1")).ca_file(&file);
    let error = server.connect(target).await.expect_err("refused");

    assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
    assert!(error.to_string().contains("no.pem: no certificate in it"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_password_are_renewed_while_a_pod_runs() {
    let server = Secured::start(&["127.0.0.1"], "yes").await;
    let redis = &server.redis;
    let mine = tempfile::tempdir().expect("a folder");
    let at = |name: &str| mine.path().join(name);
    let take = |pki: &Pki| {
        pki.issue("pod", &["pod"]);
        for name in ["ca.pem", "pod.pem", "pod.key"] {
            std::fs::copy(pki.path(name), at(name)).expect("copied");
        }
    };
    take(&server.pki);
    std::fs::write(at("password"), "first\n").expect("written");
    redis.cli(&["ACL", "SETUSER", "pod", "on", ">first", "~*", "&*", "+@all"]).await;
    let target = RedisTarget::new(server.url("127.0.0.1"))
        .username("pod")
        .password_file(at("password"))
        .ca_file(at("ca.pem"))
        .client_certificate(at("pod.pem"), at("pod.key"));
    let pod = server.connect(target).await.unwrap_or_else(|error| panic!("{error}"));
    serves(&pod, "before").await;
    let ends = pod.redis_certificate_ends();

    let next = Pki::new();
    let pair = next.issue_until("redis", &["127.0.0.1"], SystemTime::now() + 200 * DAY);
    take(&next);
    std::fs::write(at("password"), "second\n").expect("written");
    redis.cli(&["ACL", "SETUSER", "pod", ">second", "<first"]).await;
    let path = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    let (certificate, key, ca) = (path(&pair.0), path(&pair.1), path(&next.ca()));
    let set = ["tls-cert-file", &certificate, "tls-key-file", &key, "tls-ca-cert-file", &ca];
    assert_eq!(redis.cli(&[&["CONFIG", "SET"], &set[..]].concat()).await, "OK");
    // What rights were tried over is closed soon.
    let named = format!("name=refresh-coordinator:{}:", pod.config().namespace);
    redis.until_so(&["CLIENT", "LIST"], |clients| clients.matches(&named).count() == 5).await;
    let killed = redis.cli(&["CLIENT", "KILL", "USER", "pod"]).await;

    assert_eq!(killed, "5");
    serves(&pod, "after").await;
    let later = pod.redis_certificate_ends();
    assert!(later[2].1 > ends[2].1 + 100 * DAY, "{later:?} {ends:?}");
    until("the subscription is made again", async || pod.metrics().subscription_gaps == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_over_tls_ends_with_its_pod() {
    let server = Secured::start(&["127.0.0.1"], "no").await;
    let config = quick().with_lease(Duration::from_secs(1)).with_store_timeout(Duration::from_secs(1));
    server.redis.in_use(&config.namespace).await;
    let pod = RefreshCoordinator::connect_with(server.target("127.0.0.1"), config.clone()).await;
    let pod = pod.unwrap_or_else(|error| panic!("{error}"));
    let name = format!("name=refresh-coordinator:{}:", config.namespace);
    let open = || async { server.redis.cli(&["CLIENT", "LIST"]).await.matches(&name).count() };
    until("five are open", async || open().await == 5).await;

    pod.close(Duration::ZERO).await;
    drop(pod);

    until("they are closed", async || open().await == 0).await;
}
