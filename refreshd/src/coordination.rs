//! Where the pods of each provider agree: in memory, or in Redis, where all providers of a process share its connections.

use std::time::Duration;

use refresh_coordinator::{Config, Fleet, MemoryStore, RefreshCoordinator};
use refresh_coordinator_cli::{BadSetting, Redis};
use tokio::task::JoinSet;

/// What coordinators are opened in.
pub(crate) enum Coordination {
    /// This process agrees with itself; also with what it knew of a provider that left the file and is named again.
    Embedded(MemoryStore),
    /// The one provider of a process without a file.
    Alone(Box<Redis>),
    /// Many namespaces over one set of connections.
    Shared(Fleet),
}

impl Coordination {
    /// Connects to nothing yet. `config` is that of any of the providers.
    pub(crate) async fn new(redis: Option<Redis>, is_of_file: bool, config: &Config) -> Result<Self, BadSetting> {
        Ok(match redis {
            None => Self::Embedded(MemoryStore::new()),
            Some(redis) if is_of_file => Self::Shared(Fleet::connect(redis.target(), config.clone()).await?),
            Some(redis) => Self::Alone(Box::new(redis)),
        })
    }

    /// For people.
    pub(crate) fn store(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "embedded",
            Self::Alone(_) | Self::Shared(_) => "redis",
        }
    }

    pub(crate) async fn open(&self, config: Config) -> Result<RefreshCoordinator, BadSetting> {
        Ok(match self {
            Self::Embedded(store) => RefreshCoordinator::in_memory_shared(store, config)?,
            Self::Alone(redis) => RefreshCoordinator::connect_with(redis.target(), config).await?,
            Self::Shared(fleet) => fleet.namespace_with(config).await?,
        })
    }

    /// Closes all coordinators at the same time; `own` are those of the providers.
    pub(crate) async fn close(&self, own: impl IntoIterator<Item = RefreshCoordinator>, deadline: Duration) {
        match self {
            Self::Embedded(_) | Self::Alone(_) => close(own, deadline).await,
            Self::Shared(fleet) => fleet.close(deadline).await,
        }
    }
}

/// Closes coordinators at the same time.
pub(crate) async fn close(coordinators: impl IntoIterator<Item = RefreshCoordinator>, deadline: Duration) {
    let mut closing = JoinSet::new();
    for coordinator in coordinators {
        closing.spawn(async move { coordinator.close(deadline).await });
    }
    while closing.join_next().await.is_some() {}
}
