//! Makes a fleet of auth pods present each OAuth 2.0 refresh token **once**, and hands the answer to everybody who asked.
//!
//! A provider that rotates refresh tokens takes the second presentation of one for theft, revokes the whole family, and
//! the user is logged out. Two tabs, two pods and one expired access token are enough for that.
//!
//! Build one [`RefreshCoordinator`] per process and share its clones: [`connect`](RefreshCoordinator::connect) for a
//! fleet, which agrees through Redis (7.0 or newer), [`in_memory`](RefreshCoordinator::in_memory) for a single process.
//! Callers hand it a [`Refresh`] and a function that asks the provider; in the whole fleet, that runs once.
//!
//! ```
//! use refresh_coordinator::{Config, Refresh, RefreshCoordinator, TokenResponse};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // For a fleet: RefreshCoordinator::connect("redis://redis.internal", Config::default()).await?
//! let coordinator = RefreshCoordinator::in_memory(Config::default())?;
//! let ask = || {
//!     coordinator.refresh(Refresh::new("the-refresh-token").client("my-app", "its-secret"), |_attempt| async {
//!         let body = r#"{"access_token":"a2","token_type":"Bearer","expires_in":300,"refresh_token":"r2"}"#;
//!         Ok(TokenResponse::from_json(body).expect("a token response"))
//!     })
//! };
//!
//! let (one, other) = tokio::join!(ask(), ask());
//!
//! assert_eq!(one?.tokens().access_token(), "a2");
//! assert_eq!(other?.tokens().access_token(), "a2");
//! assert_eq!(coordinator.metrics().led, 1);
//! # Ok(()) }
//! ```
//!
//! # What to know
//!
//! * An application with sessions asks [`AccessTokens`](tokens::AccessTokens) for valid access tokens, and refreshes nothing
//!   itself.
//! * Callers share an answer if token, client, credential, parameters and DPoP key are all equal. See
//!   [`Refresh`].
//! * A caller that goes away does not stop a refresh: that may have rotated the token already.
//! * Write to a session store only over the token that was presented, or one of [`passed`](Refreshed::passed). A late writer
//!   then cannot put old tokens over new ones. Comparing fences is not enough.
//! * A [`RefreshError`] knows whether the session is over ([`is_session_over`](RefreshError::is_session_over)), and else
//!   when to come again ([`retry_after`](RefreshError::retry_after)). Nobody's session is dropped for an outage.
//! * The refresh function says what became of the token when it brings none: [`ProviderFailure`].
//! * Every setting is a field of [`Config`], with its default and its reason. All pods of a namespace should have the
//!   same.
//! * [`close`](RefreshCoordinator::close) it before the process ends: otherwise other pods wait for a lease or
//!   longer for what was under way.
//!
//! # The way of a refresh
//!
//! 1. **flight**: callers in this pod share one flight per token and claim; the first one runs it in a task of its own.
//! 2. **store**: one atomic step where all pods agree: landed, rejected, queued, lead or join.
//! 3. **leader**: calls the provider and renews its lease meanwhile.
//! 4. **complete**: keeps the outcome, frees the lease, tells the waiting pods.
//! 5. **joiner**: its pod is told the outcome; if the leader is lost, back to 2.
//! 6. **flight**: every waiter in this pod gets the same outcome.
//!
//! # Where to read on
//!
//! * [How it works][docs/how-it-works.md]: the protocol, drawn and told.
//! * [`guide::guarantees`]: what holds, what cannot hold, and which setting moves the line.
//! * [`guide::applications`]: an application over several replicas, from the first line to operating it.
//! * [`guide::redis_cli`]: who leads, who waits, and what refuses a session, with redis-cli alone.
//! * [`guide::differences`]: for those who come from the in-process coordinator that this one began as.
//! * [The repository][README.md] has `refreshd`, a daemon that pods in any language can point their token URL at.
//!
//! # Features
//!
//! * `http`: the module `exchange`, a token request in and a token response out, over the types of the `http` crate. What
//!   a coordinating token endpoint or client is made of.
//! * `signatures`: that module believes DPoP proofs and client assertions once it has verified them. Needs a C compiler, for
//!   `ring`.
//! * `reqwest`, `oauth2`, `axum`: the module `adapters`, for applications that are made with these.
//! * `postgres`: sessions' tokens in PostgreSQL, by `sqlx`. See [`tokens`].
//! * `metrics`: all that [`Metrics`] counts reaches the recorder of the `metrics` crate, too, as `refresh_coordinator_<name>_total`,
//!   with histograms of how long callers waited, and the provider and Redis took.
//! * `tls`: Redis over TLS (`rediss://`), by rustls with ring: see [`RedisTarget`].
//!
#![doc = concat!("[docs/how-it-works.md]: ", env!("CARGO_PKG_REPOSITORY"), "/blob/HEAD/docs/how-it-works.md")]
#![doc = concat!("[README.md]: ", env!("CARGO_PKG_REPOSITORY"), "/blob/HEAD/README.md")]

mod coordinator;
mod flight;
mod store;
mod admission;
mod leader;
mod joiner;
#[cfg(feature = "http")]
pub mod exchange;
pub mod tokens;
#[cfg(any(feature = "reqwest", feature = "oauth2", feature = "axum"))]
pub mod adapters;

pub mod guide;

#[cfg(feature = "tls")]
pub mod tls;
mod secret;
mod moment;
mod own_lease;
mod authentication;
mod request;
mod identity;
mod token_response;
mod dialect;
mod outcome;
mod config_error;
mod provider_name;
mod chained;
mod written;
mod environment;
mod config;
mod presets;
mod retention;
mod seal;
mod error;
mod verdict;
mod metrics;
mod told;
mod pressure;

/// A real Redis for the tests beside the code, the same as for those in `tests/`.
#[cfg(test)]
#[path = "../tests/support/redis.rs"]
mod test_redis;

/// Certificates, for the tests beside the code.
#[cfg(all(test, feature = "tls"))]
#[path = "../tests/support/pki.rs"]
mod test_pki;

/// What tests beside the code log.
#[cfg(test)]
#[path = "../tests/support/logged.rs"]
mod test_log;

/// The way to a Redis, for the tests beside the code.
#[cfg(test)]
#[path = "../tests/support/endpoint.rs"]
mod test_endpoint;

/// Its example is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

pub use admission::circuit::CircuitState;
pub use admission::moved::TripReason;
pub use admission::overview::Overview;
pub use config::{Breaker, Config, MemoryPressure, OnStoreOutage, OtherClaims, RefreshTokens, Uncertain};
pub use config_error::{Allowed, ConfigError};
pub use coordinator::RefreshCoordinator;
pub use coordinator::end_session::EndedSession;
pub use coordinator::fleet::Fleet;
pub use dialect::Dialect;
pub use environment::EnvironmentError;
pub use error::{ConnectError, Differs, RefreshError, Refusal};
pub use flight::ending::Role;
pub use flight::refreshed::Refreshed;
pub use flight::stage::{FlightStage, LocalFlightSeen};
pub use leader::Attempt;
pub use metrics::Metrics;
pub use outcome::ProviderFailure;
pub use presets::{Fact, Preset, UnknownPreset};
pub use request::{InvalidRefresh, Refresh};
pub use secret::Secret;
pub use store::memory::MemoryStore;
pub use store::redis::access::RedisTarget;
pub use store::redis::operator::flights::{Flights, SeenFlight};
pub use store::redis::operator::namespace::{Forgotten, NamespaceSeen, PodSeen};
pub use store::redis::operator::release::{Hold, Leader, Released};
pub use store::redis::operator::{Operator, RedisName};
pub use store::redis::servers::RedisServers;
pub use token_response::{InvalidTokenResponse, ProviderResponse, TokenResponse};
pub use verdict::Verdict;
