//! How the pods of a history come to Redis: in clear over TCP, unless `REDIS_WAY` says `mtls` or `socket`.
//!
//! `mtls` is a user with exactly the rights of the documentation, over mutual TLS.

use crate::store::redis::access::RedisTarget;
use crate::test_redis::RedisServer;

/// The way to a server, which lasts as long as this.
pub(in crate::store) enum Way {
    Clear,
    /// Whatever the server's own URL is: it is found by this one.
    Url(String),
    #[cfg(feature = "tls")]
    Mtls(u16, Box<crate::test_pki::Pki>),
    Socket(tempfile::TempDir),
}

#[cfg(feature = "tls")]
const PASSWORD: &str = "of-a-test";

impl Way {
    /// A server of the test's own, and the way to it that this run is about.
    pub(in crate::store) async fn start() -> (RedisServer, Self) {
        match std::env::var("REDIS_WAY").as_deref() {
            Err(_) => (RedisServer::start_own(&[]).await, Self::Clear),
            Ok("socket") => Self::start_socket().await,
            #[cfg(feature = "tls")]
            Ok("mtls") => Self::start_mtls().await,
            Ok(other) => panic!("REDIS_WAY is {other}: mtls (with the feature tls) or socket"),
        }
    }

    async fn start_socket() -> (RedisServer, Self) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("redis.sock");
        let redis = RedisServer::start_own(&["--unixsocket", path.to_str().expect("UTF-8")]).await;
        (redis, Self::Socket(folder))
    }

    #[cfg(feature = "tls")]
    async fn start_mtls() -> (RedisServer, Self) {
        let pki = crate::test_pki::Pki::new();
        let pair = pki.issue("redis", &["127.0.0.1"]);
        pki.issue("pod", &["pod"]);
        let (redis, port) = RedisServer::start_tls(&pki.redis_arguments(0, &pair, "yes")).await;
        let words = crate::store::redis::rights::documented_user(crate::store::redis::pubsub::PubSub::Plain)
            .replace("SECRET", PASSWORD);
        assert_eq!(redis.cli(&words.split(' ').collect::<Vec<_>>()).await, "OK", "{words}");
        (redis, Self::Mtls(port, Box::new(pki)))
    }

    /// What a pod is told of it. `url` is that of the server in clear.
    pub(in crate::store) fn target(&self, url: &str) -> RedisTarget {
        match self {
            Self::Clear => RedisTarget::new(url),
            Self::Url(url) => RedisTarget::new(url.as_str()),
            #[cfg(feature = "tls")]
            Self::Mtls(port, pki) => RedisTarget::new(format!("rediss://127.0.0.1:{port}"))
                .username("refreshd")
                .password(PASSWORD)
                .ca_file(pki.ca())
                .client_certificate(pki.path("pod.pem"), pki.path("pod.key")),
            Self::Socket(folder) => {
                RedisTarget::new(format!("redis+unix://{}", folder.path().join("redis.sock").display()))
            }
        }
    }
}
