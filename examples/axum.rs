//! An application with axum: logged-in sessions, an API behind them that wants an access token, and no login lost over replicas.
//!
//! ```sh
//! cargo run --example axum --features axum,reqwest -- http://idp.internal redis://coordination redis://sessions
//! ```
//!
//! The provider's endpoints are `/token` and `/revoke` below the first argument. For `https://` an application gives reqwest a feature of
//! TLS, which this build has not.
//!
//! `tests/adapters.rs` runs three replicas of it against a provider that revokes whatever comes twice.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use refresh_coordinator::adapters::axum::{FreshToken, fresh_tokens, routes, serve_and_close};
use refresh_coordinator::adapters::reqwest::{client_builder, present, revoke};
use refresh_coordinator::tokens::{AccessTokens, RedisTokens};
use refresh_coordinator::{Config, RefreshCoordinator};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// What an application adds: these lines, one layer, and an argument of the handlers that need a token.
pub async fn access_tokens(
    provider: &str,
    redis: &str,
    sessions: &str,
    config: Config,
) -> Result<AccessTokens<RedisTokens>, Error> {
    let coordinator = RefreshCoordinator::connect(redis, config).await?;
    let store = RedisTokens::new(sessions, "app:tokens:", Duration::from_secs(30 * 24 * 60 * 60))?;
    let (http, token_url, revocation_url) =
        (client_builder().build()?, format!("{provider}/token"), format!("{provider}/revoke"));
    let revoking = http.clone();
    Ok(coordinator
        .access_tokens(store, move |attempt, refresh| present(http.clone(), token_url.clone(), attempt, refresh))
        .revoking(move |refresh| revoke(revoking.clone(), revocation_url.clone(), refresh))
        .client("my-app", "its-secret"))
}

/// Its routes.
pub fn app(access_tokens: AccessTokens<RedisTokens>) -> Router {
    let coordinator = access_tokens.coordinator().clone();
    let logs_out = access_tokens.clone();
    Router::new()
        .route("/orders", get(orders))
        .layer(fresh_tokens(access_tokens, session))
        .route("/logout", get(async move |request: axum::extract::Request| logout(&logs_out, request).await))
        .merge(routes(coordinator))
}

/// What is asked of an API with the token goes here.
async fn orders(token: FreshToken) -> String {
    token.expose().to_owned()
}

async fn logout(access_tokens: &AccessTokens<RedisTokens>, request: axum::extract::Request) -> &'static str {
    let (parts, _) = request.into_parts();
    let Some(session) = session(&parts) else { return "no session" };
    match access_tokens.end_session(&session).await {
        Ok(_) => "logged out",
        Err(_) => "the session store is away: try again",
    }
}

/// The session, by a cookie that nobody can guess: where it is not in the store, there is no session.
fn session(parts: &http::request::Parts) -> Option<String> {
    let cookies = parts.headers.get("cookie")?.to_str().ok()?;
    cookies.split("; ").find_map(|cookie| cookie.strip_prefix("session=")).map(str::to_owned)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, provider, redis, sessions] = &arguments[..] else { return Err("usage: PROVIDER REDIS SESSIONS".into()) };
    let access_tokens = access_tokens(provider, redis, sessions, Config::default()).await?;
    let coordinator = access_tokens.coordinator().clone();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    let (app, grace) = (app(access_tokens), Duration::from_secs(25));
    serve_and_close(coordinator, grace, end(), |told| axum::serve(listener, app).with_graceful_shutdown(told)).await?;
    Ok(())
}

/// SIGTERM, as platforms send it, or Ctrl-C.
async fn end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).expect("a signal handler");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await.expect("a signal handler");
}
