//! Sessions whose access tokens are valid, for whatever counts what asking for one costs.

use std::time::{Duration, SystemTime};

use refresh_coordinator::tokens::{AccessTokens, MemoryTokens, SessionTokens};
use refresh_coordinator::{ProviderFailure, RefreshCoordinator};

use crate::pods::{token, wide};

/// A JWT of a usual size.
pub const ACCESS_TOKEN_BYTES: usize = 900;

/// For so long they are valid.
pub const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// So many sessions.
pub fn sessions(count: usize) -> Vec<String> {
    (0..count).map(|number| token("session", number as u64)).collect()
}

/// Their access token, which is long.
pub fn access_token() -> String {
    "x".repeat(ACCESS_TOKEN_BYTES)
}

/// These sessions in the memory of a process, and no provider.
pub fn access_tokens(sessions: &[String]) -> AccessTokens<MemoryTokens> {
    let store = MemoryTokens::new();
    for (number, session) in sessions.iter().enumerate() {
        let refresh_token = token("refresh", number as u64);
        store.put(session, SessionTokens::new(access_token(), refresh_token, SystemTime::now(), LIFETIME));
    }
    let pod = RefreshCoordinator::in_memory(wide()).expect("possible settings");
    pod.access_tokens(store, |_, _| async { Err(ProviderFailure::not_sent("nothing is to be refreshed")) })
}

/// Asks for so many, for one session after the other.
pub async fn ask(tokens: &AccessTokens<MemoryTokens>, sessions: &[String], times: usize) {
    for session in sessions.iter().cycle().take(times) {
        let token = tokens.token(session).await.expect("it is valid");
        assert_eq!(token.expose().len(), ACCESS_TOKEN_BYTES);
    }
}
