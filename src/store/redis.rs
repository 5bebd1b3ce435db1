//! The store in Redis: what a pod decides by what the scripts reply.
//!
//! One script per verb, called through [`calls`]; a few [`lanes`] to send it over; one subscription, the [`inbox`], for
//! what other pods land.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;
use tracing::warn;

pub(crate) mod target;
pub(crate) mod access;
mod connect;
mod hello;
pub(crate) mod servers;
pub(crate) mod operator;
mod not_enrolled;
pub(crate) mod keyed;
pub(crate) mod rights;
mod preflight;
mod agreement;
mod register;
mod enrolment;

mod roll;
mod calls;
mod scripts;
mod slot;
mod socket;
mod keys;
mod sealed;

pub(crate) mod pubsub;
mod loading;
mod call;
mod node;
mod connector;
#[cfg(feature = "tls")]
mod certificates;
#[cfg(feature = "tls")]
mod transport;
mod pool;
mod verdict;
mod which_server;
mod failed;
mod hub;
mod node_lanes;
pub(crate) mod nodes;
mod lanes;
mod broken_keys;
mod taken_rights;
mod outage;
mod prober;

mod locator;
mod switches;
mod keeper;
mod handover;

mod inbox;
mod waiters;
mod fences;
mod looker;

mod replicas;
mod begin;
mod follow;
mod completer;
mod half_open;
mod large;
mod held;
mod ending;
mod unlanded;
mod tasks;

use self::agreement::Agreement;
use self::broken_keys::BrokenKeys;
use self::calls::Calls;
use self::completer::{Completer, SealedCompletion};
use self::fences::Fences;
use self::handover::Forgotten;
use self::inbox::Inbox;
use self::locator::Locator;
use self::outage::Outage;
pub(crate) use self::outage::{Reached, UnsharedOutcomeGuard};
use self::prober::Prober;
use self::replicas::Replicas;
use self::roll::Roll;
use self::sealed::Opener;
use self::taken_rights::TakenRights;
use self::tasks::Tasks;
pub(crate) use self::waiters::Ticket;
use self::waiters::Waiters;
use super::contract::{Ask, AttemptId, Completion, Gaps, Lease, Renewed, Standing, StoreError};
use crate::admission::circuit::CircuitState;
use crate::admission::overview::Overview;
use crate::config::Config;
use crate::metrics::Counters;

/// One pod's view of the store.
pub(crate) struct RedisStore {
    config: Arc<Config>,
    counters: Arc<Counters>,
    calls: Arc<Calls>,
    broken_keys: Arc<BrokenKeys>,
    taken_rights: Arc<TakenRights>,
    inbox: Arc<Inbox>,
    waiters: Arc<Waiters>,
    fences: Arc<Fences>,
    locator: Arc<Locator>,
    forgotten: Arc<Forgotten>,
    agreement: Arc<Agreement>,
    outage: Arc<Outage>,
    prober: Arc<Prober>,
    completer: Arc<Completer>,
    replicas: Arc<Replicas>,
    roll: Arc<Roll>,
    jitter: Duration,
    /// What goes on beside the flights.
    tasks: Tasks,
    closed: CancellationToken,
}

impl RedisStore {
    pub(crate) async fn renew(&self, lease: &Lease, ask: &Ask) -> Result<Renewed, StoreError> {
        self.locator.is_active_for(self.config.lease);
        self.calls.renew(lease, ask, self.fences.seen(), lease.stands()).await
    }

    /// Whether the provider may be asked under this lease: it was given by the server that the endpoint leads to.
    pub(crate) async fn is_current(&self, lease: &Lease) -> Result<bool, StoreError> {
        match lease.server {
            Some(server) => self.locator.is_current(server).await,
            None => Ok(true),
        }
    }

    pub(crate) async fn complete(
        &self,
        lease: &Lease,
        ask: &Ask,
        completion: &Completion,
    ) -> Result<Standing, StoreError> {
        self.completer.complete(lease, ask, completion).await
    }

    /// Seals a completion of a lead that this pod gave itself, for a Redis that may not be in reach.
    pub(crate) fn seal(&self, lease: &Lease, ask: &Ask, completion: &Completion) -> SealedCompletion {
        self.completer.seal(lease, ask, completion)
    }

    /// Waits until all completions that wait for Redis have landed there, or are not worth it any more. For a close: no
    /// further ones come meanwhile.
    pub(crate) async fn drained(&self) {
        // The one that works them off may have ended with its runtime.
        self.tasks.keep_running();
        tokio::select! {
            () = self.completer.unlanded.drained() => {}
            never = self.tasks.keep_running_meanwhile() => match never {},
        }
    }

    /// Goes on beside the flights, for as long as the pod lives.
    pub(super) fn goes_on<F>(
        &mut self,
        name: &'static str,
        start: impl Fn(CancellationToken) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.start(name, start);
    }

    /// Sees to it, for as long as this is polled, that what waiting flights are told by goes on.
    pub(super) async fn keep_running(&self) -> Infallible {
        self.tasks.keep_running_meanwhile().await
    }

    pub(crate) async fn abandon(&self, lease: &Lease, ask: &Ask) -> Result<(), StoreError> {
        if ask.is_unanswered() {
            self.withdraw(&ask.id()).await
        } else {
            self.calls.abandon(&ask.id(), lease.fence).await
        }
    }

    /// Of an attempt that may still be on its way: makes it arrive as abandoned, or abandons its lead.
    pub(crate) async fn withdraw(&self, attempt: &AttemptId) -> Result<(), StoreError> {
        self.calls.abandon(attempt, 0).await
    }

    pub(crate) async fn circuit_state(&self) -> Result<CircuitState, StoreError> {
        self.calls.circuit().await
    }

    /// How the namespace stands. At once where Redis is known to be out of reach.
    pub(crate) async fn overview(&self) -> Result<Overview, StoreError> {
        if self.is_out_of_reach() {
            self.outage.admits()?;
        }
        let circuit = self.calls.circuit().await?;
        self.calls.overview(circuit).await
    }

    /// Whether all living pods agree, as far as this pod knows.
    pub(crate) fn agrees(&self) -> Result<(), StoreError> {
        // What keeps this up to date may have ended with its runtime; also a pod that goes on alone asks.
        self.tasks.keep_running();
        self.agreement.holds()
    }

    /// Runs `act` if Redis has been out of reach for at least `span`. The outage cannot end while it runs.
    pub(crate) fn if_out_of_reach_for<T>(&self, span: Duration, act: impl FnOnce(&Fences) -> T) -> Option<T> {
        self.outage.if_lasts_for(span, || act(&self.fences))
    }

    /// Whether a flight could be begun now. Each look may take as long as a call: all of them together take two.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        let within = 2 * self.config.store_timeout;
        let late = |_| {
            Err(StoreError::did_not_run(format!("redis did not say within {within:?} whether a flight could begin")))
        };
        tokio::time::timeout(within, self.look()).await.unwrap_or_else(late)
    }

    async fn look(&self) -> Result<(), StoreError> {
        self.agrees()?;
        self.outage.admits()?;
        self.agreement.is_standing()?;
        self.prober.probe().await?;
        self.replicas.have(0).await.map_err(StoreError::did_not_run)?;
        self.broken_keys.are_healed().await?;
        if self.taken_rights.are_missed() {
            self.prober.enrolment.has_rights().await?;
            self.taken_rights.are_back();
        }
        self.locator.can_ask().await?;
        Ok(())
    }

    pub(crate) fn note_unshared(&self) -> UnsharedOutcomeGuard {
        self.outage.note_unshared()
    }

    pub(crate) fn certificate_ends(&self) -> Vec<(&'static str, SystemTime)> {
        self.inbox.lanes.nodes.connector.certificate_ends()
    }

    /// This pod's id in Redis.
    pub(crate) fn pod(&self) -> &str {
        self.calls.pod()
    }

    /// What tells when Redis is in reach again.
    pub(crate) fn reached(&self) -> Reached {
        Reached::of(&self.outage)
    }

    pub(crate) fn is_out_of_reach(&self) -> bool {
        self.outage.is_out_of_reach()
    }

    pub(crate) fn remembers_strictly(&self) -> bool {
        self.completer.register.remembers_strictly()
    }

    /// Counts the times the subscription was made again, and the outages: Redis may have forgotten what it held.
    pub(crate) fn gaps(&self) -> Gaps {
        Gaps::counted(self.inbox.gaps.subscribe())
    }

    /// Takes this pod out of the register of living pods. One that cannot stays there until its entry ends.
    pub(crate) async fn leave(&self) {
        if !self.is_out_of_reach() {
            self.agreement.leave().await;
        }
    }

    pub(crate) fn close(&self) {
        let unlanded = self.completer.unlanded.len();
        if unlanded > 0 {
            warn!(outcomes = unlanded, "closing with outcomes that redis was not told of");
        }
        self.closed.cancel();
        self.waiters.tell_all_to_look();
    }

    fn opener(&self, ask: &Ask) -> Opener {
        Opener::new(&ask.identity, &self.config, &self.counters)
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore").field("pod", &self.calls.pod()).finish_non_exhaustive()
    }
}
