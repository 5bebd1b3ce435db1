//! Access tokens that are renewed before they end, so that no caller waits for the provider.
//!
//! ```sh
//! cargo run --example proactive --features reqwest -- https://idp.example redis://coordination redis://sessions
//! ```
//!
//! `tests/examples.rs` runs it against a provider that revokes whatever comes twice.

use std::time::Duration;

use refresh_coordinator::adapters::reqwest::{client_builder, present};
use refresh_coordinator::tokens::{AccessTokens, RedisTokens};
use refresh_coordinator::{Config, RefreshCoordinator};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The same on each replica: whichever is first refreshes a session, the others find it fresh.
pub async fn access_tokens(
    provider: &str,
    redis: &str,
    sessions: &str,
    config: Config,
) -> Result<AccessTokens<RedisTokens>, Error> {
    let coordinator = RefreshCoordinator::connect(redis, config).await?;
    let store = RedisTokens::new(sessions, "app:tokens:", Duration::from_secs(30 * 24 * 60 * 60))?;
    let (http, url) = (client_builder().build()?, format!("{provider}/token"));
    let tokens = coordinator
        .access_tokens(store, move |attempt, refresh| present(http.clone(), url.clone(), attempt, refresh))
        .client("my-app", "its-secret")
        // A caller would refresh a minute before the end, and the task a minute or less before that.
        .refresh_before(Duration::from_secs(60));
    // Last: it starts the task, which ends when the coordinator is closed.
    Ok(tokens.keep_fresh())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, provider, redis, sessions] = &arguments[..] else { return Err("usage: PROVIDER REDIS SESSIONS".into()) };
    let tokens = access_tokens(provider, redis, sessions, Config::default()).await?;
    for line in std::io::stdin().lines() {
        match tokens.token(line?.trim()).await {
            Ok(token) => println!("a token until {:?}", token.expires_at()),
            Err(error) => println!("{error}"),
        }
    }
    tokens.coordinator().close(Duration::from_secs(20)).await;
    Ok(())
}
