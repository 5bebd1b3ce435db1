//! Valid access tokens for sessions: what an application asks for, instead of refreshing itself.
//!
//! [`AccessTokens`] reads the session's tokens from the application's own store, refreshes them over the fleet when the access
//! token is about to end, and writes the new ones before anybody hears of them. The three easy ways to lose a login are not
//! there: a write after `.await` that a closed tab drops, a late writer that puts old tokens over new ones, and a logout that a
//! refresh undoes.
//!
//! ```
//! use refresh_coordinator::tokens::{MemoryTokens, SessionTokens};
//! use refresh_coordinator::{Config, RefreshCoordinator, TokenResponse};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let coordinator = RefreshCoordinator::in_memory(Config::default())?;
//! let store = MemoryTokens::new();
//! let access_tokens = coordinator
//!     .access_tokens(store.clone(), |attempt, _refresh| async move {
//!         // Ask the provider here, with this token. Of the adapters, `reqwest::present` does so.
//!         assert_eq!(attempt.token(), "r1");
//!         let body = r#"{"access_token":"a2","expires_in":300,"refresh_token":"r2"}"#;
//!         Ok(TokenResponse::from_json(body).expect("a token response"))
//!     })
//!     .client("my-app", "its-secret");
//!
//! // At login:
//! let login = TokenResponse::from_json(r#"{"access_token":"a1","expires_in":0,"refresh_token":"r1"}"#)?;
//! store.put("session-4711", access_tokens.of_login(&login).expect("a refresh token"));
//!
//! // Wherever an access token is needed:
//! let token = access_tokens.token("session-4711").await?;
//! assert_eq!(token.expose(), "a2");
//! # Ok(()) }
//! ```
//!
//! # The store holds tokens
//!
//! The coordinator's Redis never holds a token in clear. A [`TokenStore`] does: it is the session store that an application has
//! anyway, and is to be kept as safe as one. The shipped ones name sessions by a hash, so that a session's id cannot be read off
//! them, and keep tokens as they are.
//!
//! Shipped are [`MemoryTokens`], [`RedisTokens`] and, with the feature `postgres`, `PostgresTokens`. Any other is three calls,
//! of which `swap` is the one that matters; in SQL:
//!
//! ```sql
//! -- $2: the refresh tokens of the walk, $3..$5 what SessionTokens has: refresh_token, to_text, writes
//! UPDATE session_tokens SET refresh_token = $3, tokens = $4
//! WHERE session = $1 AND refresh_token = ANY($2) AND coalesce((tokens::json->>'writes')::bigint, 0) + 1 = $5
//! -- one row: Written. Else read the session: Newer with what it holds, or Gone.
//! ```
//!
//! `writes` counts how often a session was written, and is compared so that two writers at once lose nothing of each other. It stands
//! in the text: a column of its own would be left as it was by pods of a release that does not know of it.

mod access;
mod access_token;
mod brought;
mod claim;
mod ending;
mod error;
mod grant;
mod held;
mod keep_fresh;
mod lead;
mod refreshing;
mod session_tokens;
mod settings;
mod store;
mod stores;
mod unwritten;
mod used;
mod writing;
mod written;

pub use access::AccessTokens;
pub use access_token::AccessToken;
pub use error::TokenError;
pub use session_tokens::SessionTokens;
pub use store::{Swap, TokenStore};
pub use stores::memory::MemoryTokens;
#[cfg(feature = "postgres")]
pub use stores::postgres::PostgresTokens;
pub use stores::redis::{RedisTokens, RedisTokensError};
pub use written::UnreadableTokens;
