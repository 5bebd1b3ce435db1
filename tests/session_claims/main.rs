//! `AccessTokens::claim`: access tokens for several audiences of one session, all from the one refresh token in its row. What one claim
//! has written no other one undoes, and each is handed tokens for its own audience.
//!
//! The judge is a provider of single-use tokens, to which a token that comes twice costs the whole login, or one that keeps them.

mod each_store;
mod handles;
mod kept;
mod older_stores;
mod provider;
mod rows;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use refresh_coordinator::Config;
use refresh_coordinator::tokens::{AccessTokens, SessionTokens, TokenStore};

const S: Duration = Duration::from_secs(1);

fn config() -> Config {
    support::fleet::quick()
}

/// Seconds from the beginning of the test, for all handles of it.
#[derive(Clone)]
struct Clock {
    began: SystemTime,
    seconds: Arc<AtomicU64>,
}

impl Clock {
    fn stands() -> Self {
        Self { began: SystemTime::now(), seconds: Arc::default() }
    }

    fn goes_on(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    fn now(&self) -> SystemTime {
        self.began + Duration::from_secs(self.seconds.load(Ordering::SeqCst))
    }

    fn of<T: TokenStore>(&self, handle: AccessTokens<T>) -> AccessTokens<T> {
        let clock = self.clone();
        handle.clock(move || clock.now())
    }
}

/// A login whose own access token lives for 300 s from then on.
fn login(refresh_token: &str, at: SystemTime) -> SessionTokens {
    SessionTokens::new("login", refresh_token, at, 300 * S)
}

/// The handle of the claim that asks for this audience.
fn of<T: TokenStore>(handle: &AccessTokens<T>, audience: &str) -> AccessTokens<T> {
    handle.claim(audience, [("audience", audience)])
}

async fn token<T: TokenStore>(handle: &AccessTokens<T>, session: &str) -> String {
    handle.token(session).await.unwrap_or_else(|error| panic!("no token: {error:?}")).expose().to_owned()
}

async fn row(store: &impl TokenStore, session: &str) -> SessionTokens {
    store.load(session).await.expect("the store answers").expect("a session")
}

fn claims(row: &SessionTokens) -> Vec<&str> {
    row.claims().collect()
}
