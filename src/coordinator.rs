//! The coordinator: built, asked, looked at, closed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::warn;
use uuid::Uuid;

use crate::admission::circuit::CircuitState;
use crate::config::{Config, OnStoreOutage};
use crate::config_error::ConfigError;
use crate::error::{ConnectError, RefreshError};
use crate::flight::ending::Refreshed;
use crate::leader::Attempt;
use crate::metrics::{Counters, Metrics};
use crate::outcome::ProviderFailure;
use crate::request::Refresh;
use crate::store::Store;
use crate::store::local::LocalFallback;
use crate::store::memory::MemoryStore;
use crate::store::redis::{RedisStore, url};
use crate::token_response::TokenResponse;

mod caller;
mod give_back;
mod inner;

#[cfg(test)]
mod origin;
mod way;

use self::caller::RefreshFuture;
use self::inner::Inner;

/// Presents each refresh token once, however many callers ask, and hands the answer to all of them.
///
/// One per process is enough, shared by clones. Coordinators of one namespace in one Redis share their flights.
///
/// # Examples
///
/// ```
/// use refresh_coordinator::{Config, Refresh, RefreshCoordinator, TokenResponse};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let coordinator = RefreshCoordinator::in_memory(Config::default())?;
///
/// let refreshed = coordinator
///     .refresh(Refresh::new("old-token").client("my-app", "secret"), |_attempt| async {
///         // Ask the provider here. This runs once, however many callers ask at the same time.
///         let body = r#"{"access_token":"a","token_type":"Bearer","refresh_token":"new-token"}"#;
///         Ok(TokenResponse::from_json(body).expect("a token response"))
///     })
///     .await?;
///
/// assert_eq!(refreshed.tokens().refresh_token(), Some("new-token"));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RefreshCoordinator {
    inner: Arc<Inner>,
}

impl RefreshCoordinator {
    /// A coordinator for one process, which needs nothing else.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the setting that is impossible or contradicts another.
    pub fn in_memory(config: Config) -> Result<Self, ConfigError> {
        Self::in_memory_shared(&MemoryStore::new(), config)
    }

    /// A coordinator that shares flights with all others on the same store, as pods share them over Redis. For
    /// tests, and for processes that need several configurations.
    ///
    /// # Errors
    ///
    /// As [`in_memory`](Self::in_memory).
    pub fn in_memory_shared(store: &MemoryStore, config: Config) -> Result<Self, ConfigError> {
        config.validate()?;
        let config = Arc::new(config);
        let store = Store::Memory(store.pod(Arc::clone(&config)));
        Ok(Self { inner: Arc::new(Inner::new(config, new_pod(), store, Arc::default())) })
    }

    /// A coordinator that shares flights with all pods of its namespace in this Redis (7.0 or newer, 64-bit), given as
    /// `redis://[user:password@]host[:port][/db]`.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when a setting is wrong, Redis is out of reach or too old, the user lacks a right (the ACL
    /// rule is named), or the namespace is used with another protocol, pepper or upstream.
    ///
    /// # Cancellation
    ///
    /// Nothing is left behind but the namespace's `meta`.
    pub async fn connect(redis: &str, config: Config) -> Result<Self, ConnectError> {
        Self::connect_with_redis_client(url::opened(redis)?, config).await
    }

    /// As [`connect`](Self::connect), with a client of the redis crate that is configured already: TLS certificates
    /// (with a TLS feature of that crate switched on), a Unix socket, a name and password from elsewhere. Only its
    /// settings are used. The redis crate's types are part of the public API here and nowhere else.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Cancellation
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_with_redis_client(client: redis::Client, config: Config) -> Result<Self, ConnectError> {
        config.validate()?;
        let config = Arc::new(config);
        let counters = Arc::<Counters>::default();
        let pod = new_pod();
        let store = RedisStore::connect(client, &pod, Arc::clone(&config), Arc::clone(&counters)).await?;
        let store = match config.on_store_outage {
            OnStoreOutage::Reject => Store::Redis(store),
            OnStoreOutage::Local => Store::Local(LocalFallback::new(store, &config, &counters)),
        };
        Ok(Self { inner: Arc::new(Inner::new(config, pod, store, counters)) })
    }

    /// Refreshes a token: by `call`, or by the flight of the same request that is under way in the fleet already.
    ///
    /// `call` runs at most once per flight in the fleet, in a task of its own. An application that must
    /// persist the rotated token before any caller hears of it does so inside `call`.
    ///
    /// # Errors
    ///
    /// [`RefreshError`] tells whether asking again may help and when.
    ///
    /// # Panics
    ///
    /// When it is polled outside a tokio runtime with timers.
    ///
    /// # Cancellation
    ///
    /// The refresh goes on for everybody else, and its outcome is there for the caller that asks again. A future that was
    /// never polled starts nothing.
    pub fn refresh<C, F>(
        &self,
        refresh: Refresh,
        call: C,
    ) -> impl Future<Output = Result<Refreshed, RefreshError>> + use<'_, C, F>
    where
        C: FnOnce(Attempt) -> F + Send + 'static,
        F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
    {
        RefreshFuture::new(&self.inner, refresh, call)
    }

    /// The settings this coordinator was built with.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// What was counted since it was built.
    pub fn metrics(&self) -> Metrics {
        self.inner.counters.snapshot()
    }

    /// How many flights are under way in this pod, led or joined.
    pub fn in_flight(&self) -> usize {
        self.inner.flights.len()
    }

    /// This pod's id, as it stands in Redis: random, new with every coordinator.
    pub fn pod(&self) -> &str {
        &self.inner.pod
    }

    /// The circuit breaker of the namespace, as it stands for the whole fleet.
    ///
    /// # Errors
    ///
    /// [`RefreshError::StoreOutage`] when the store does not answer.
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn circuit_state(&self) -> Result<CircuitState, RefreshError> {
        self.inner.store.circuit_state().await.map_err(|error| self.inner.outage(error))
    }

    /// Whether a refresh could be begun now: the store answers, or this pod goes on without it
    /// ([`OnStoreOutage::Local`](crate::OnStoreOutage::Local)). In memory always.
    ///
    /// # Errors
    ///
    /// [`RefreshError::StoreOutage`].
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn check_store(&self) -> Result<(), RefreshError> {
        self.inner.store.check().await.map_err(|error| self.inner.outage(error))
    }

    /// Closes the coordinator.
    ///
    /// 1. It admits nothing new, and refuses what queues.
    /// 2. It waits up to `deadline` for refreshes under way, for outcomes that Redis was not told of yet, and for attempts
    ///    that are to be given back.
    /// 3. It gives up the rest. A call that was never polled is taken back; one that was polled is completed as unknown,
    ///    for which the store has up to three more `store_timeout`.
    ///
    /// Closing twice is fine.
    ///
    /// # Cancellation
    ///
    /// Nothing new is admitted from the first poll on; what is under way goes on.
    pub async fn close(&self, deadline: Duration) {
        let inner = &self.inner;
        inner.is_closing.store(true, Ordering::SeqCst);
        inner.closing.cancel();
        inner.tasks.close();
        let under_way = async {
            inner.tasks.wait().await;
            inner.store.drained().await;
        };
        if tokio::time::timeout(deadline, under_way).await.is_err() {
            let tasks = inner.tasks.len();
            warn!(
                flights = inner.flights.len(),
                tasks, "closing with refreshes under way, or what redis is to be told"
            );
            inner.overdue.cancel();
            // What is given up still has to be completed: one try at the store.
            _ = tokio::time::timeout(3 * inner.config.store_timeout, inner.tasks.wait()).await;
        }
        // Also for a flight that slipped in: it must not wait for messages that nobody reads any more.
        inner.overdue.cancel();
        inner.store.close();
    }
}

/// Random per start: a pod that comes back must not take itself for the one it was.
fn new_pod() -> String {
    Uuid::new_v4().simple().to_string()
}

impl fmt::Debug for RefreshCoordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshCoordinator")
            .field("namespace", &self.inner.config.namespace)
            .field("pod", &self.inner.pod)
            .field("flights", &self.inner.flights.len())
            .finish_non_exhaustive()
    }
}
