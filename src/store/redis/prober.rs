//! Asks a Redis that is out of reach until it answers, so that an outage ends without a caller who waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::alone::Alone;
use super::call::Call;
use super::keys::Keys;
use super::lanes::Lanes;
use super::ms;
use super::outage::Outage;
use super::scripts::{Reply, Scripts};
use crate::config::Config;
use crate::store::StoreError;

/// Between two probes, each of which asks again and again for `store_timeout`.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Prober {
    pub(super) outage: Arc<Outage>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) scripts: Arc<Scripts>,
    pub(super) keys: Arc<Keys>,
    pub(super) highest_fence: Arc<AtomicU64>,
    pub(super) alone: Option<Arc<Alone>>,
    pub(super) config: Arc<Config>,
}

impl Prober {
    pub(super) async fn run(self: Arc<Self>, closed: CancellationToken) {
        loop {
            tokio::select! {
                () = closed.cancelled() => return,
                () = self.outage.began() => {}
                () = tokio::time::sleep(self.config.cleanup_interval), if self.alone.is_some() => {
                    if let Some(alone) = &self.alone {
                        alone.clean_up();
                    }
                    continue;
                }
            }
            while let Err(error) = self.probe().await {
                debug!(%error, "redis is still out of reach");
                tokio::select! {
                    () = closed.cancelled() => return,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
            self.outage.end();
        }
    }

    /// Tries whether Redis lets in what writes.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        let mut call = Call::new(&self.scripts.probe, 2);
        call.key(self.keys.fence()).key(self.keys.recovering());
        let given = self.alone.as_ref().map_or(0, |alone| alone.last_fence());
        call.arg(self.highest_fence.load(Ordering::Relaxed)).arg(given).arg(ms(self.config.lease));
        let reply = Reply::new("probe", self.lanes.run(&call).await?);
        match reply.word()? {
            "ready" => Ok(()),
            _ => Err(reply.unknown()),
        }
    }
}
