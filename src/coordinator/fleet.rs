//! Many namespaces of one process over one set of connections.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinSet;

use super::{RefreshCoordinator, new_pod};
use crate::config::Config;
use crate::config_error::{Allowed, ConfigError};
use crate::error::ConnectError;
use crate::store::redis::access::RedisTarget;
use crate::store::redis::nodes::Nodes;

/// So many namespaces are opened at once: each is some sixty commands and a connection of its own until it is checked, and a
/// process that opens hundreds at its start would be late for all of them.
const OPENED_AT_ONCE: usize = 8;

/// The namespaces of one process in one Redis, which share its connections: four for commands and one for the subscription at
/// each node, for one namespace as for hundreds.
///
/// For processes that serve several tenants or providers. Each namespace is a [`RefreshCoordinator`] with flights, limits, a
/// circuit and metrics of its own. They share the connections: a busy namespace delays the others, and when one reconnects to
/// Redis, all do. A process with one namespace needs no fleet.
///
/// # Examples
///
/// ```no_run
/// use refresh_coordinator::{Config, Fleet, RedisTarget, Refresh, TokenResponse};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let fleet = Fleet::connect(RedisTarget::new("redis://localhost"), Config::default()).await?;
///
/// let coordinator = fleet.namespace("tenant-a").await?;
/// # let _ = coordinator.refresh(Refresh::new("t"), |_| async { Ok(TokenResponse::from_json("{}").unwrap()) });
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Fleet {
    inner: Arc<Inner>,
}

struct Inner {
    nodes: Arc<Nodes>,
    /// What holds for every namespace that says nothing else.
    config: Config,
    namespaces: Mutex<Namespaces>,
    opening: Semaphore,
}

type Namespaces = HashMap<String, Arc<OnceCell<RefreshCoordinator>>>;

impl Fleet {
    /// A fleet at a Redis, with the settings of all its namespaces; `namespace` of them is not used. Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when a setting is wrong, or the URL or a file of the target cannot be used.
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn connect(redis: impl Into<RedisTarget>, config: Config) -> Result<Self, ConnectError> {
        config.validate()?;
        let name = format!("refresh-coordinator:fleet:{}", new_pod());
        let nodes = Arc::new(Nodes::of(redis.into(), name, &config).await?);
        Ok(Self {
            inner: Arc::new(Inner {
                nodes,
                config,
                namespaces: Mutex::default(),
                opening: Semaphore::new(OPENED_AT_ONCE),
            }),
        })
    }

    /// The coordinator of a namespace, with the settings of the fleet: always the same one, until it is closed. The first call
    /// checks server, rights and the other pods, as [`RefreshCoordinator::connect`] does; each further one is a look into a map.
    ///
    /// # Errors
    ///
    /// As [`RefreshCoordinator::connect`]. The next call tries again. With
    /// [`start_without_redis`](Config::start_without_redis) a Redis that is away is no error.
    ///
    /// # Cancellation
    ///
    /// As [`RefreshCoordinator::connect`].
    pub async fn namespace(&self, name: &str) -> Result<RefreshCoordinator, ConnectError> {
        if let Some(open) = self.inner.open(name) {
            return Ok(open);
        }
        self.namespace_with(Config { namespace: name.to_owned(), ..self.inner.config.clone() }).await
    }

    /// As [`namespace`](Self::namespace), of the namespace that these settings name, with these: another provider, pepper or
    /// limit for a tenant. `store_timeout` must be that of the fleet. Those of the first call count, until its coordinator is
    /// closed.
    ///
    /// # Errors
    ///
    /// As [`namespace`](Self::namespace).
    ///
    /// # Cancellation
    ///
    /// As [`namespace`](Self::namespace).
    pub async fn namespace_with(&self, config: Config) -> Result<RefreshCoordinator, ConnectError> {
        config.validate()?;
        let bound = self.inner.config.store_timeout;
        if config.store_timeout != bound {
            // The connections are shared, and so is how long they may be silent.
            let value = format!("{:?}", config.store_timeout);
            return Err(ConfigError { setting: "store_timeout", value, allowed: Allowed::AsInFleet { bound } }.into());
        }
        let name = config.namespace.clone();
        let cell = self.inner.cell(&name);
        let open = || async {
            let _place = self.inner.opening.acquire().await.expect("BUG: it is never closed");
            RefreshCoordinator::over(Arc::clone(&self.inner.nodes), config).await
        };
        let opened = cell.get_or_try_init(open).await;
        match opened {
            Ok(coordinator) => Ok(coordinator.clone()),
            Err(error) => {
                self.inner.forget(&name, &cell);
                Err(error)
            }
        }
    }

    /// Closes the coordinators of all namespaces at the same time, each as [`RefreshCoordinator::close`] does.
    ///
    /// # Cancellation
    ///
    /// Nothing new is admitted in any of them; what is under way goes on.
    pub async fn close(&self, deadline: Duration) {
        let open: Vec<_> = self.inner.lock().values().filter_map(|cell| cell.get().cloned()).collect();
        let mut closing = JoinSet::new();
        for coordinator in open {
            closing.spawn(async move { coordinator.close(deadline).await });
        }
        while closing.join_next().await.is_some() {}
    }
}

impl Inner {
    /// The coordinator of a namespace, unless there is none or it was closed.
    fn open(&self, name: &str) -> Option<RefreshCoordinator> {
        let open = self.lock().get(name)?.get()?.clone();
        (!is_closing(&open)).then_some(open)
    }

    fn cell(&self, name: &str) -> Arc<OnceCell<RefreshCoordinator>> {
        let mut namespaces = self.lock();
        let cell = namespaces.entry(name.to_owned()).or_default();
        if cell.get().is_some_and(is_closing) {
            *cell = Arc::default();
        }
        Arc::clone(cell)
    }

    /// A namespace that could not be opened leaves nothing behind: names may come from callers.
    fn forget(&self, name: &str, cell: &Arc<OnceCell<RefreshCoordinator>>) {
        let mut namespaces = self.lock();
        let is_unused = |kept: &Arc<OnceCell<RefreshCoordinator>>| {
            // The map's, and that of this call.
            Arc::ptr_eq(kept, cell) && !kept.initialized() && Arc::strong_count(kept) == 2
        };
        if namespaces.get(name).is_some_and(is_unused) {
            namespaces.remove(name);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Namespaces> {
        self.namespaces.lock().expect("BUG: nothing panics with this lock held")
    }
}

fn is_closing(coordinator: &RefreshCoordinator) -> bool {
    coordinator.inner.is_closing.load(Ordering::SeqCst)
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("namespaces", &self.inner.lock().len()).finish_non_exhaustive()
    }
}
