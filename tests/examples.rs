//! The examples, each as an application runs it, over two processes' worth of coordinators: a provider that revokes the family of
//! a token that comes twice, over HTTP, and a real Redis. That of axum is in `adapters.rs`.

#[path = "support/http_provider.rs"]
mod http_provider;
#[path = "../examples/oauth2.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not run")]
mod oauth2_client;
#[path = "../examples/proactive.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not run")]
mod proactive;
mod support;
#[path = "../examples/tenants.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not run")]
mod tenants;
#[path = "../examples/tower.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not run")]
mod tower_client;

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use http::{Request, Response};
use refresh_coordinator::tokens::SessionTokens;
use refresh_coordinator::{Config, Verdict};
use support::fleet::connect_to;
use support::redis::RedisServer;
use support::strict::StrictProvider;
use support::wait::until;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_client::{NoToken, Session, WithToken};

const S: Duration = Duration::from_secs(1);

/// Where another crate of a build chose reqwest without a provider of cryptography, a client asks for one.
fn choose_cryptography() {
    #[cfg(feature = "tls")]
    let _ = rustls::crypto::ring::default_provider().install_default();
}

async fn provider() -> (StrictProvider, String) {
    choose_cryptography();
    let judge = StrictProvider::open();
    let url = http_provider::serve(judge.clone()).await;
    (judge, url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_refresh_once_each_and_share_nothing_though_their_tokens_are_equal() {
    let redis = RedisServer::start_own(&[]).await;
    let names = ["acme", "tiny"];
    let mut providers = Vec::new();
    for name in names {
        redis.in_use(name).await;
        providers.push(provider().await);
    }
    let urls = || {
        let pairs = names.iter().zip(&providers);
        pairs.map(|(name, (_, url))| ((*name).to_owned(), format!("{url}/token"))).collect::<HashMap<_, _>>()
    };
    let config = Config::default().with_lease(S);
    let mut processes = Vec::new();
    for _ in 0..2 {
        let process = tenants::Tenants::new(redis.url(), config.clone(), urls()).await.expect("possible settings");
        processes.push(std::sync::Arc::new(process));
    }

    let mut callers = Vec::new();
    for caller in 0..40 {
        let process = std::sync::Arc::clone(&processes[caller % 2]);
        callers.push(tokio::spawn(async move { process.refresh(names[caller / 2 % 2], "t.1").await }));
    }
    for caller in callers {
        let refreshed = caller.await.expect("no panic").expect("a tenant").expect("tokens");
        assert_eq!(refreshed.tokens().refresh_token(), Some("t.2"));
    }

    for (judge, _) in &providers {
        assert_eq!((judge.presentations(), judge.revoked()), (1, Vec::new()));
    }
    assert!(processes[0].refresh("unknown", "t.1").await.is_err());
    for process in processes {
        process.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oauth2_client_loses_no_session_over_rotations_and_a_wrong_secret_ends_none() {
    let (judge, url) = provider().await;
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("default").await;
    let sessions = oauth2_client::Sessions::default();
    sessions.lock().expect("no panic").insert("s".to_owned(), "f.1".to_owned());
    let mut apps = Vec::new();
    for _ in 0..2 {
        let config = Config::default().with_lease(S);
        let coordinator = connect_to(redis.url(), &config).await;
        apps.push(oauth2_client::App::new(&format!("{url}/token"), coordinator, sessions.clone()).expect("a URL"));
    }

    let callers: Vec<_> = (0..50)
        .map(|caller| {
            let app = apps[caller % 2].clone();
            tokio::spawn(async move { app.access_token("s").await })
        })
        .collect();
    for caller in callers {
        let token = caller.await.expect("no panic").expect("a token");
        assert!(token.expect("the session lives").starts_with("of f."));
    }

    // Who came late read the new token, and presented that.
    assert_eq!((judge.presented_at_most(), judge.revoked()), (1, Vec::new()));
    let newest = format!("f.{}", judge.presentations() + 1);
    assert_eq!(sessions.lock().expect("no panic")["s"], newest);
    judge.refuse_with("invalid_client");
    apps[0].access_token("s").await.expect_err("the secret is wrong");
    assert_eq!(sessions.lock().expect("no panic")["s"], newest, "it is as good as before");
    judge.refuse_with("invalid_grant");
    sessions.lock().expect("no panic").insert("another".to_owned(), "g.1".to_owned());
    assert_eq!(apps[1].access_token("another").await.expect("an answer"), None);
    assert_eq!(apps[1].access_token("no session").await.expect("an answer"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_in_use_is_refreshed_before_a_caller_has_to_wait_and_once_over_two_replicas() {
    let (judge, url) = provider().await;
    let (redis, sessions) = (RedisServer::start_own(&[]).await, RedisServer::start_own(&[]).await);
    redis.in_use("default").await;
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let config = Config::default().with_lease(S);
        let replica = proactive::access_tokens(&url, redis.url(), sessions.url(), config).await;
        replicas.push(replica.expect("redis is there"));
    }
    // 65 of its 300 seconds are left. A caller refreshes at 60, the task at some moment from 120 to 100.
    let soon_over = SessionTokens::new("the old one", "f.1", SystemTime::now() - 235 * S, 300 * S);
    replicas[0].store().put("s", &soon_over).await.expect("redis writes");

    for replica in &replicas {
        assert_eq!(replica.token("s").await.expect("it is valid").expose(), "the old one");
    }
    judge.answered(1).await;
    for replica in &replicas {
        until("the new one is served", async || replica.token("s").await.is_ok_and(|token| token.expose() == "of f.2"))
            .await;
        replica.coordinator().close(10 * S).await;
    }

    assert_eq!((judge.presentations(), judge.revoked()), (1, Vec::new()));
}

/// Requests of an application go out through two replicas while its access token is over: to an API that answers what it was sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tower_layer_puts_one_new_token_on_all_requests_and_sends_none_without() {
    let (judge, url) = provider().await;
    let (redis, sessions) = (RedisServer::start_own(&[]).await, RedisServer::start_own(&[]).await);
    redis.in_use("default").await;
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let config = Config::default().with_lease(S);
        let replica = WithToken::new(&url, redis.url(), sessions.url(), config).await;
        replicas.push(replica.expect("redis is there"));
    }
    let over = SessionTokens::new("the old one", "f.1", SystemTime::now() - 400 * S, 300 * S);
    replicas[0].tokens().store().put("s", &over).await.expect("redis writes");
    let api = service_fn(|request: Request<&'static str>| async move {
        let sent = request.headers()["authorization"].to_str().expect("ASCII").to_owned();
        assert!(request.extensions().get::<Session>().is_none(), "it is nobody else's business");
        Ok::<_, Infallible>(Response::new(format!("{sent} {}", request.into_body())))
    });
    let ask = |replica: usize, request: Request<&'static str>| {
        let mut api = replicas[replica].layer(api);
        tokio::spawn(async move { api.ready().await?.call(request).await })
    };
    let of =
        |session: &str| Request::builder().extension(Session(session.to_owned())).body("orders").expect("a request");

    let asked: Vec<_> = (0..50).map(|caller| ask(caller % 2, of("s"))).collect();
    for answer in asked {
        let answer = answer.await.expect("no panic").expect("an answer");
        assert_eq!(answer.body(), "Bearer of f.2 orders");
    }
    assert_eq!((judge.presentations(), judge.revoked()), (1, Vec::new()));

    let refused = ask(1, of("nobody")).await.expect("no panic").expect_err("no session");
    let no_token = refused.downcast_ref::<NoToken>().expect("it says why");
    assert_eq!(no_token.verdict, Verdict::SessionOver);
    ask(0, Request::new("orders")).await.expect("no panic").expect_err("nobody's request");
    for replica in &replicas {
        replica.tokens().coordinator().close(10 * S).await;
    }
}
