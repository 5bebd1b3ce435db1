#![doc = include_str!("../README.md")]
//!
//! # The way of a refresh
//!
//! 1. **flight**: callers in this pod share one flight per token; the first one runs it in a task of its own.
//! 2. **store**: one atomic step where all pods agree: landed, rejected, queued, lead or join.
//! 3. **leader**: calls the provider and renews its lease meanwhile.
//! 4. **complete**: keeps the outcome, frees the lease, tells the waiting pods.
//! 5. **joiner**: its pod is told the outcome; if the leader is lost, back to 2.
//! 6. **flight**: every waiter in this pod gets the same outcome.

mod coordinator;
mod flight;
mod store;
mod admission;
mod leader;
mod joiner;
#[cfg(feature = "http")]
pub mod exchange;

pub mod guide;

mod secret;
mod request;
mod identity;
mod token_response;
mod outcome;
mod config;
mod retention;
mod seal;
mod error;
mod metrics;
mod pressure;

/// A real Redis for the tests beside the code, the same as for those in `tests/`.
#[cfg(test)]
#[path = "../tests/support/redis.rs"]
mod test_redis;

pub use admission::circuit::{CircuitState, TripReason};
pub use config::{Allowed, Breaker, Config, ConfigError, MemoryPressure, OnStoreOutage, Uncertain};
pub use coordinator::RefreshCoordinator;
pub use error::{ConnectError, RefreshError, Refusal};
pub use flight::ending::{Refreshed, Role};
pub use leader::Attempt;
pub use metrics::Metrics;
pub use outcome::ProviderFailure;
pub use request::{InvalidRefresh, Refresh};
pub use secret::Secret;
pub use store::memory::MemoryStore;
pub use token_response::{InvalidTokenResponse, ProviderResponse, TokenResponse};
