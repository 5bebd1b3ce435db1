//! Asks a Redis that is out of reach until it answers, so that an outage ends without a caller that waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::calls::Calls;
use super::calls::probe::Probe;
use super::fences::Fences;
use super::outage::Outage;
use crate::store::contract::StoreError;

/// Between two probes, each of which asks again and again for `store_timeout`.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Prober {
    pub(super) outage: Arc<Outage>,
    pub(super) calls: Arc<Calls>,
    pub(super) fences: Arc<Fences>,
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
        let given = self.fences.given();
        self.calls.probe(Probe { seen: self.fences.seen(), given }).await?;
        Ok(given)
    }
}
