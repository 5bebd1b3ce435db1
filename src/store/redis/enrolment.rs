//! What a pod does before it takes part in the fleet: the server and the user's rights are tested, all living pods agree, and
//! a namespace that nobody used yet is told from one that Redis has forgotten.
//!
//! Once: at the start of the pod, or, where Redis was away then, when it is in reach for the first time.

use std::sync::Arc;

use tokio::sync::watch;

use super::agreement::Agreement;
use super::calls::Calls;
use super::calls::ready::KnownFences;
use super::fences::Fences;
use super::lanes::Lanes;
use super::locator::Locator;
use super::not_enrolled::NotEnrolled;
use super::preflight::Preflight;
use super::verdict::Verdict;
use crate::error::ConnectError;
use crate::store::contract::StoreError;

pub(super) struct Enrolment {
    pub(super) lanes: Arc<Lanes>,
    pub(super) preflight: Arc<Preflight>,
    pub(super) calls: Arc<Calls>,
    pub(super) pod: String,
    pub(super) agreement: Arc<Agreement>,
    pub(super) fences: Arc<Fences>,
    pub(super) locator: Arc<Locator>,
    /// Whether this pod takes part.
    pub(super) is_done: watch::Sender<bool>,
}

impl Enrolment {
    /// The pod's subscription comes after this: that nobody listens says that nobody leads.
    pub(super) async fn enrol(&self) -> Result<(), NotEnrolled> {
        self.preflight.look(&self.lanes, &self.pod).await?;
        self.lanes.connect().await.map_err(|error| NotEnrolled {
            is_away: !matches!(Verdict::of(&error), Verdict::Denied | Verdict::Wrong),
            error: self.preflight.refused(&error),
        })?;
        self.take_part().await.map_err(|error| {
            let is_away = matches!(error, ConnectError::Unreachable { .. });
            NotEnrolled { error, is_away }
        })?;
        self.is_done.send_replace(true);
        self.preflight.warn_about_eviction(&self.lanes).await;
        Ok(())
    }

    /// Whether the user has all rights that a pod needs, now.
    ///
    /// # Errors
    ///
    /// Names those that are missing, or what kept this pod from trying.
    pub(super) async fn has_rights(&self) -> Result<(), StoreError> {
        let looked = self.preflight.look(&self.lanes, &self.pod).await;
        looked.map_err(|missing| StoreError::did_not_run(missing.error.to_string()))
    }

    async fn take_part(&self) -> Result<(), ConnectError> {
        let (fence, server) = self.preflight.check(&self.calls).await?;
        self.fences.see(fence);
        self.locator.begin(server);
        self.agreement.agree().await?;
        let known = KnownFences { seen: self.fences.seen(), given: self.fences.given() };
        self.calls.ready(known).await.map_err(|error| self.preflight.failed(&error.reason))
    }
}
