//! Asks a Redis that is out of reach until it answers, so that an outage ends without a caller that waits for it. A pod that does
//! not take part yet, because Redis was away when it started, is enrolled then.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use super::calls::Calls;
use super::calls::ready::KnownFences;
use super::enrolment::Enrolment;
use super::fences::Fences;
use super::not_enrolled::NotEnrolled;
use super::outage::Outage;
use crate::store::contract::StoreError;

/// Between two probes, each of which asks again and again for `store_timeout`.
const PAUSE: Duration = Duration::from_millis(50);
/// From one probe to the next, where Redis refuses at once: a user without the right to run scripts may be given it.
const PERIOD: Duration = Duration::from_millis(250);

pub(super) struct Prober {
    pub(super) outage: Arc<Outage>,
    pub(super) calls: Arc<Calls>,
    pub(super) fences: Arc<Fences>,
    pub(super) enrolment: Arc<Enrolment>,
}

impl Prober {
    pub(super) async fn run(self: Arc<Self>, closed: CancellationToken) {
        loop {
            // One that began while nobody probed is not announced again.
            if !self.outage.is_out_of_reach() {
                tokio::select! {
                    () = closed.cancelled() => return,
                    () = self.outage.began() => {}
                }
            }
            loop {
                let asked = Instant::now();
                match self.reached().await {
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
                            () = tokio::time::sleep_until((asked + PERIOD).max(Instant::now() + PAUSE)) => {}
                        }
                    }
                }
            }
        }
    }

    async fn reached(&self) -> Result<u64, StoreError> {
        if !*self.enrolment.is_done.borrow() {
            self.enrolment.enrol().await.map_err(|NotEnrolled { error, is_away }| {
                let reason = error.to_string();
                if !is_away && self.outage.is_news(&reason) {
                    error!(%reason, "redis is in reach, and this pod cannot take part");
                }
                StoreError::did_not_run(reason)
            })?;
            info!("redis is in reach for the first time: this pod takes part");
        }
        self.probe().await
    }

    /// Tries whether Redis lets in what writes. Answers up to which fence it was told what this pod gave itself.
    pub(super) async fn probe(&self) -> Result<u64, StoreError> {
        let given = self.fences.given();
        self.calls.ready(KnownFences { seen: self.fences.seen(), given }).await?;
        Ok(given)
    }
}
