//! The coordinator: built, asked, looked at, closed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use crate::admission::circuit::CircuitState;
use crate::config::{Config, OnStoreOutage};
use crate::config_error::ConfigError;
use crate::error::{ConnectError, RefreshError};
use crate::metrics::{Counters, Metrics};
use crate::secret::Secret;
use crate::store::Store;
use crate::store::local::LocalFallback;
use crate::store::memory::MemoryStore;
use crate::store::redis::RedisStore;
use crate::store::redis::access::RedisTarget;
use crate::store::redis::nodes::Nodes;

mod caller;
pub(crate) mod end_session;
pub(crate) mod fleet;
mod held_log;
mod inner;
mod overview;
mod pending_withdrawals;
mod refresh;
mod revocation;
mod refusal_log;
mod spans;
mod walk;
mod way;
mod withdrawal;

#[cfg(test)]
#[path = "../tests/origin/replay.rs"]
mod origin;
#[cfg(test)]
mod suspended;

use self::inner::Inner;

/// Presents each refresh token once, however many callers ask, and hands the answer to all of them.
///
/// One per process is enough, shared by clones; for many namespaces there is [`Fleet`](crate::Fleet). Coordinators of one
/// namespace in one Redis share their flights.
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
        let counters = Arc::<Counters>::default();
        let store = Store::Memory(store.pod(Arc::clone(&config)).counted_by(&counters));
        Ok(Self { inner: Arc::new(Inner::new(config, new_pod(), store, counters)) })
    }

    /// A coordinator that shares flights with all pods of its namespace in this Redis (7.0 or newer, 64-bit), given as
    /// `redis://[user:password@]host[:port][/db]`, `redis+unix:///path`,
    /// `redis+sentinel://[user:password@]host[:port],host[:port]/MASTER[/db]` or
    /// `redis+cluster://[user:password@]host[:port],host[:port]`; with TLS `rediss` for `redis`, and the feature `tls`.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when a setting is wrong, Redis is out of reach (unless
    /// [`start_without_redis`](Config::start_without_redis)), too old or of another kind, the user lacks rights (the
    /// ACL rules are named), or a living pod of the namespace goes by another protocol, pepper, provider or
    /// `refresh_tokens`.
    ///
    /// # Cancellation
    ///
    /// Nothing is left behind but this pod's entry in the namespace's register of living pods, which ends by itself after
    /// 3 min and `lease`.
    pub async fn connect(redis: &str, config: Config) -> Result<Self, ConnectError> {
        Self::connect_with(RedisTarget::new(redis), config).await
    }

    /// As [`connect`](Self::connect), with more said of how Redis is entered than a URL can: certificates, and a password from
    /// a file that is read again at every connect.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect); [`ConnectError::Tls`] names the file that is wrong.
    ///
    /// # Cancellation
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Examples
    ///
    /// That of [`RedisTarget`].
    pub async fn connect_with(redis: RedisTarget, config: Config) -> Result<Self, ConnectError> {
        config.validate()?;
        let config = Arc::new(config);
        let counters = Arc::<Counters>::default();
        let pod = new_pod();
        let store = RedisStore::connect(redis, &pod, Arc::clone(&config), Arc::clone(&counters)).await?;
        Ok(Self::of(store, pod, config, counters))
    }

    /// Over connections that other namespaces of this process share.
    async fn over(nodes: Arc<Nodes>, config: Config) -> Result<Self, ConnectError> {
        let config = Arc::new(config);
        let counters = Arc::<Counters>::default();
        let pod = new_pod();
        let store = RedisStore::open(nodes, &pod, Arc::clone(&config), Arc::clone(&counters)).await?;
        Ok(Self::of(store, pod, config, counters))
    }

    fn of(store: RedisStore, pod: String, config: Arc<Config>, counters: Arc<Counters>) -> Self {
        let store = match config.on_store_outage {
            OnStoreOutage::Reject => Store::Redis(store),
            OnStoreOutage::Local => Store::Local(LocalFallback::new(store, &config, &counters)),
        };
        Self { inner: Arc::new(Inner::new(config, pod, store, counters)) }
    }

    /// As [`connect`](Self::connect), with the URL asked for at every connect: for a password that is renewed and an
    /// endpoint that moves while this process runs. Connections are made anew when Redis refuses the user, leads no
    /// longer, or is silent.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect); [`ConnectError::Url`] where the URL is not told within `store_timeout`. Later it is
    /// asked for again, for as long as Redis is out of reach.
    ///
    /// # Cancellation
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use refresh_coordinator::{Config, RefreshCoordinator, Secret};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let url = || async { std::fs::read_to_string("/run/secrets/redis-url").map(Secret::from) };
    /// let coordinator = RefreshCoordinator::connect_with_url(url, Config::default()).await?;
    /// # Ok(()) }
    /// ```
    pub async fn connect_with_url<U, F>(url: U, config: Config) -> Result<Self, ConnectError>
    where
        U: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = std::io::Result<Secret>> + Send + 'static,
    {
        Self::connect_with(RedisTarget::asking(url), config).await
    }

    /// As [`connect`](Self::connect), with a client of the redis crate that is configured already: TLS certificates
    /// (with a TLS feature of that crate switched on), a Unix socket, a name and password from elsewhere. Only its
    /// settings are used. The redis crate's types are part of the public API here and where errors and targets are made of them.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Cancellation
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_with_redis_client(client: redis::Client, config: Config) -> Result<Self, ConnectError> {
        Self::connect_with(client.into(), config).await
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

    /// When the certificates of the way to Redis end: `ca` (the one of the file that ends last), `client`, and `server` (the one
    /// that was shown last). Certificates of the system are not listed. Empty without TLS.
    pub fn redis_certificate_ends(&self) -> Vec<(&'static str, SystemTime)> {
        self.inner.store.certificate_ends()
    }

    /// The state of the namespace's circuit breaker in the whole fleet. If it is open for one client alone, that client's state.
    ///
    /// # Errors
    ///
    /// [`RefreshError::StoreOutage`] when the store does not answer.
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn circuit_state(&self) -> Result<CircuitState, RefreshError> {
        self.inner.store.circuit_state().await.map_err(|error| self.inner.count_outage(error))
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
        self.inner.store.check().await.map_err(|error| self.inner.count_outage(error))
    }

    /// Cancelled when it is being closed.
    pub(crate) fn closing(&self) -> CancellationToken {
        self.inner.closing.clone()
    }

    /// Cancelled when a close has waited long enough.
    pub(crate) fn overdue(&self) -> CancellationToken {
        self.inner.overdue.clone()
    }

    /// Closes the coordinator.
    ///
    /// 1. It admits nothing new, and refuses what queues.
    /// 2. It waits up to `deadline` for refreshes under way, for outcomes that Redis was not told of yet, for new tokens that a
    ///    session store has not taken ([`access_tokens`](Self::access_tokens)), and for attempts that are to be withdrawn.
    /// 3. It gives up the rest. A call that was never polled is cancelled; one that was polled is completed as unknown,
    ///    for which the store has up to three more `store_timeout`.
    /// 4. It takes its entry out of the register of living pods, which may take a `store_timeout`, too.
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
        withdrawal::keep_working(inner);
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
        inner.store.leave().await;
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
