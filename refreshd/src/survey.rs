//! Asks the stores of all providers how they stand: together, within a bounded time, and once a second at most, however often
//! pages and metrics are asked for.

use std::sync::Arc;
use std::time::Duration;

use refresh_coordinator::{Overview, RefreshError};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::provider::Provider;
use crate::providers::Providers;

/// A store that takes longer is told as one that did not answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// For so long an answer serves those that ask after it.
const FRESH: Duration = Duration::from_secs(1);

/// A provider, and how its namespace stands; else why nobody knows.
#[derive(Debug)]
pub(crate) struct Surveyed {
    pub(crate) provider: Arc<Provider>,
    pub(crate) overview: Result<Overview, String>,
}

#[derive(Debug, Default)]
pub(crate) struct Survey(Mutex<Option<(Instant, Arc<Vec<Surveyed>>)>>);

impl Survey {
    /// How all namespaces stand, in the order of the providers.
    pub(crate) async fn of(&self, providers: &Providers) -> Arc<Vec<Surveyed>> {
        // Held while the stores are asked: who comes meanwhile takes the same answers.
        let mut last = self.0.lock().await;
        if let Some((at, surveyed)) = &*last
            && at.elapsed() < FRESH
        {
            return Arc::clone(surveyed);
        }
        let surveyed = Arc::new(ask(providers).await);
        *last = Some((Instant::now(), Arc::clone(&surveyed)));
        surveyed
    }
}

async fn ask(providers: &Providers) -> Vec<Surveyed> {
    let deadline = Instant::now() + PATIENCE;
    let mut asking = JoinSet::new();
    for (index, provider) in providers.iter().enumerate() {
        let coordinator = provider.coordinator.clone();
        asking.spawn(async move { (index, coordinator.overview().await) });
    }
    let late = || Err(format!("no answer within {} s", PATIENCE.as_secs()));
    let mut surveyed: Vec<_> =
        providers.iter().map(|provider| Surveyed { provider: Arc::clone(provider), overview: late() }).collect();
    // Those that are late are given up as the set is dropped.
    while let Ok(Some(answered)) = timeout_at(deadline, asking.join_next()).await {
        let Ok((index, overview)) = answered else { continue };
        surveyed[index].overview = overview.map_err(|error| match error {
            RefreshError::StoreOutage { reason, .. } => reason,
            error => error.to_string(),
        });
    }
    surveyed
}
