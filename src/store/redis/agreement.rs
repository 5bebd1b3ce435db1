//! What all pods agreed on at start, kept true: a Redis that forgets forgets that, too, and a pod with another pepper
//! could then join unnoticed. Every token would be presented twice.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::calls::Calls;
use super::preflight::Preflight;
use crate::error::ConnectError;
use crate::store::contract::StoreError;

/// A pause between two tries while Redis is out of reach.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Agreement {
    preflight: Preflight,
    calls: Arc<Calls>,
    forgotten: Notify,
    /// Set when somebody else's agreement stands; this pod then begins nothing any more.
    broken: OnceLock<String>,
}

impl Agreement {
    pub(super) fn new(preflight: Preflight, calls: Arc<Calls>) -> Self {
        Self { preflight, calls, forgotten: Notify::new(), broken: OnceLock::new() }
    }

    pub(super) fn holds(&self) -> Result<(), StoreError> {
        match self.broken.get() {
            None => Ok(()),
            Some(reason) => Err(StoreError::did_not_run(reason.clone())),
        }
    }

    /// Redis was found to have forgotten.
    pub(super) fn may_be_forgotten(&self) {
        self.forgotten.notify_one();
    }

    /// Puts the agreement back whenever Redis may have forgotten it.
    pub(super) async fn keep(self: Arc<Self>, mut gaps: watch::Receiver<u64>, closed: CancellationToken) {
        loop {
            tokio::select! {
                () = closed.cancelled() => return,
                gap = gaps.changed() => if gap.is_err() { return },
                () = self.forgotten.notified() => {}
            }
            while let Err(failure) = self.preflight.agree(&self.calls).await {
                if matches!(failure, ConnectError::Mismatch { .. }) {
                    error!(%failure, "this pod begins nothing any more");
                    _ = self.broken.set(failure.to_string());
                    return;
                }
                warn!(%failure, "what all pods agree on could not be looked at");
                tokio::select! {
                    () = closed.cancelled() => return,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }
}

impl std::fmt::Debug for Agreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agreement").field("broken", &self.broken.get()).finish_non_exhaustive()
    }
}
