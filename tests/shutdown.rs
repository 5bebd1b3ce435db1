//! A server that is told to end: whoever waits gets an answer, what was refreshed is written, and only then is the coordinator closed.

#[path = "../examples/axum.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not run")]
mod example;
#[path = "support/http_provider.rs"]
mod http_provider;
mod support;

use std::io;
use std::time::{Duration, SystemTime};

use refresh_coordinator::adapters::axum::serve_and_close;
use refresh_coordinator::adapters::reqwest::client_builder;
use refresh_coordinator::tokens::{SessionTokens, TokenStore};
use refresh_coordinator::{Config, Refresh, RefreshCoordinator, RefreshError, Refusal};
use reqwest::StatusCode;
use support::provider::rotated;
use support::redis::RedisServer;
use support::strict::StrictProvider;
use support::wait::until;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

const S: Duration = Duration::from_secs(1);

fn is_closing<T>(answer: &Result<T, RefreshError>) -> bool {
    matches!(answer, Err(RefreshError::Refused(Refusal::Closing { .. })))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caller_in_mid_flight_gets_its_token_which_is_written_and_then_the_coordinator_is_closed() {
    // Where another crate of a build chose reqwest without a provider of cryptography, a client asks for one.
    #[cfg(feature = "tls")]
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (redis, sessions) = (RedisServer::start_own(&[]).await, RedisServer::start_own(&[]).await);
    let judge = StrictProvider::held();
    let provider = http_provider::serve(judge.clone()).await;
    redis.in_use("default").await;
    let patient = Config::default().with_store_timeout(5 * S);
    let tokens = example::access_tokens(&provider, redis.url(), sessions.url(), patient);
    let tokens = tokens.await.expect("redis is there");
    let over = |token: &str| SessionTokens::new("an old one", token, SystemTime::now() - 400 * S, 300 * S);
    tokens.store().put("s", &over("f.1")).await.expect("redis writes");
    tokens.store().put("late", &over("g.1")).await.expect("redis writes");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    let (tell, told) = oneshot::channel();
    let (app, coordinator) = (example::app(tokens.clone()), tokens.coordinator().clone());
    let server = tokio::spawn(async move {
        let told = async { told.await.expect("it is told") };
        serve_and_close(coordinator, 60 * S, told, |told| axum::serve(listener, app).with_graceful_shutdown(told)).await
    });
    let http = client_builder().build().expect("a client");
    let tab = tokio::spawn(http.get(format!("http://{address}/orders")).header("cookie", "session=s").send());
    judge.asked(1).await;

    tell.send(()).expect("it serves");
    until("nobody is let in any more", async || TcpStream::connect(address).await.is_err()).await;
    // A handler that is still at work may refresh: the coordinator is open for as long as requests are.
    let late = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.token("late").await.map(|token| token.expose().to_owned()) }
    });
    judge.asked(2).await;
    judge.release(2);

    let answer = tab.await.expect("no panic").expect("an answer");
    assert_eq!((answer.status(), answer.text().await.expect("a body")), (StatusCode::OK, "of f.2".to_owned()));
    assert_eq!(late.await.expect("no panic").expect("a token"), "of g.2");
    server.await.expect("no panic").expect("no error");
    let written = tokens.store().load("s").await.expect("redis answers").expect("the session lives");
    assert_eq!(written.refresh_token().expose(), "f.2");
    let after = tokens.coordinator().refresh(Refresh::new("h.1"), |_| async { Ok(rotated("h.1")) }).await;
    assert!(is_closing(&after), "{after:?}");
    assert_eq!((judge.presentations(), judge.revoked()), (2, Vec::new()));
}

/// A server with a request that never ends.
async fn never_ends(told: impl Future<Output = ()>) -> io::Result<()> {
    told.await;
    std::future::pending().await
}

#[tokio::test(start_paused = true)]
async fn request_that_never_ends_costs_the_grace_and_no_refresh() {
    let coordinator = RefreshCoordinator::in_memory(Config::default()).expect("the defaults");
    let ask = |token: &'static str, takes: Duration| {
        let coordinator = coordinator.clone();
        let call = move |_| async move {
            sleep(takes).await;
            Ok(rotated(token))
        };
        tokio::spawn(async move { coordinator.refresh(Refresh::new(token), call).await })
    };
    let server = tokio::spawn({
        let coordinator = coordinator.clone();
        async move { serve_and_close(coordinator, 16 * S, sleep(S), never_ends).await }
    });
    let began = Instant::now();
    sleep(8 * S).await;
    let under_way = ask("r1", 8 * S);
    sleep(2 * S).await;

    // After half of the 16 seconds it is closed, and what is under way goes on.
    let refused = ask("r2", S).await.expect("no panic");
    assert!(is_closing(&refused), "{refused:?}");
    under_way.await.expect("no panic").expect("tokens");
    assert_eq!(began.elapsed(), 16 * S);
    server.await.expect("no panic").expect("no error");
    assert_eq!(began.elapsed(), 17 * S);
}

#[tokio::test(start_paused = true)]
async fn server_that_fails_before_it_is_told_closes_the_coordinator_and_tells_its_error() {
    let coordinator = RefreshCoordinator::in_memory(Config::default()).expect("the defaults");
    let never = std::future::pending();

    let failed =
        serve_and_close(coordinator.clone(), S, never, async |_| Err(io::Error::other("no more sockets"))).await;

    assert_eq!(failed.expect_err("it failed").to_string(), "no more sockets");
    let after = coordinator.refresh(Refresh::new("r1"), |_| async { Ok(rotated("r1")) }).await;
    assert!(is_closing(&after), "{after:?}");
}
