//! Asks a Redis that is out of reach until it answers, so that an outage ends without a caller who waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::call::Call;
use super::fences::Fences;
use super::keys::Keys;
use super::lanes::Lanes;
use super::ms;
use super::outage::Outage;
use super::scripts::{Reply, Scripts};
use crate::config::Config;
use crate::store::contract::StoreError;

/// Between two probes, each of which asks again and again for `store_timeout`.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Prober {
    pub(super) outage: Arc<Outage>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) scripts: Arc<Scripts>,
    pub(super) keys: Arc<Keys>,
    pub(super) fences: Arc<Fences>,
    pub(super) config: Arc<Config>,
}

impl Prober {
    pub(super) async fn run(self: Arc<Self>, closed: CancellationToken) {
        loop {
            tokio::select! {
                () = closed.cancelled() => return,
                () = self.outage.began() => {}
            }
            loop {
                match self.probe().await {
                    // Not where this pod led alone while the probe was on its way: Redis would give the same fence.
                    Ok(told) if self.outage.end(|| self.fences.given() <= told) => {
                        // Redis knows it now, and is noticed when it does not any more. Not before: while it is out of
                        // reach a fence that this pod has seen is one of the fleet.
                        self.fences.see(told);
                        break;
                    }
                    Ok(_) => {}
                    Err(error) => {
                        debug!(%error, "redis is still out of reach");
                        // Should it be ending: this pod goes on alone again.
                        self.outage.begin(&error.reason);
                        tokio::select! {
                            () = closed.cancelled() => return,
                            () = tokio::time::sleep(PAUSE) => {}
                        }
                    }
                }
            }
        }
    }

    /// Tries whether Redis lets in what writes. Answers up to which fence it was told what this pod gave itself.
    pub(super) async fn probe(&self) -> Result<u64, StoreError> {
        let mut call = Call::new(&self.scripts.probe, 2);
        call.key(self.keys.fence()).key(self.keys.recovering());
        let given = self.fences.given();
        call.arg(self.fences.seen()).arg(given).arg(ms(self.config.lease));
        let reply = Reply::new("probe", self.lanes.run(&call).await?);
        match reply.word()? {
            "ready" => Ok(given),
            _ => Err(reply.unknown()),
        }
    }
}
