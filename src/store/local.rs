//! The local fallback (`on_store_outage = local`): a store that asks Redis, and while that is out of reach goes on in the
//! pod's own memory.
//!
//! Only after a whole lease without Redis: by then the leases of other pods that are cut off have ended, too. Pods that
//! still reach Redis lead on unseen, and so does a leader that is cut off while its call runs, so two pods may present one
//! token. The limits of the fleet are not known here: sessions, permits and circuit start empty. What this pod knows to be under way in the fleet, or was told of it, it leaves alone. When Redis is back, what landed
//! here is landed there.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::warn;

use self::fleet::FleetTokens;
use super::contract::{self, Ask, Completion, Gaps, Lease, News, Renewed, Standing, StoreError};
use super::memory::{self, MemoryPod, MemoryStore};
use super::redis::{RedisStore, Ticket, UnsharedOutcome};
use crate::admission::AdmissionTerms;
use crate::admission::circuit::CircuitState;
use crate::config::Config;
use crate::error::Refusal;
use crate::identity::Hash;
use crate::metrics::Counters;

mod fleet;

type Begun = contract::Begun<NewsSource>;

/// One pod's view of Redis, and the memory it goes on in without.
#[derive(Debug)]
pub(crate) struct LocalFallback {
    redis: RedisStore,
    memory: MemoryPod,
    /// What is not to be presented here without Redis.
    fleet: Arc<FleetTokens>,
    config: Arc<Config>,
    counters: Arc<Counters>,
}

/// Where a waiting flight's news come from.
#[derive(Debug)]
pub(crate) enum NewsSource {
    Memory(memory::NewsSource),
    Redis { ticket: Ticket, flight: Hash, fleet: Arc<FleetTokens> },
}

impl NewsSource {
    pub(crate) async fn news(&mut self) -> News {
        match self {
            Self::Memory(source) => source.news().await,
            Self::Redis { ticket, flight, fleet } => {
                let news = ticket.news().await;
                if let News::Landed(landed) = &news {
                    fleet.landed(*flight, &landed.outcome, landed.age);
                }
                news
            }
        }
    }
}

impl LocalFallback {
    pub(crate) fn new(redis: RedisStore, config: &Arc<Config>, counters: &Arc<Counters>) -> Self {
        let fleet = Arc::new(FleetTokens::new(config));
        fleet.clean_up_regularly();
        Self {
            redis,
            memory: MemoryStore::new().pod(Arc::clone(config)),
            fleet,
            config: Arc::clone(config),
            counters: Arc::clone(counters),
        }
    }

    pub(crate) async fn begin(
        &self,
        ask: &Ask,
        joined: Option<u64>,
        terms: &AdmissionTerms,
    ) -> Result<Begun, StoreError> {
        self.redis.agrees()?;
        if let Some(begun) = self.join_here(ask, joined, terms).or_else(|| self.begin_here(ask, joined, terms)) {
            return Ok(begun);
        }
        let begun = self.redis.begin(ask, joined, terms).await?;
        let flight = ask.identity.flight;
        self.fleet.begun(flight, &begun);
        Ok(begun.map_news(|ticket| NewsSource::Redis { ticket, flight, fleet: Arc::clone(&self.fleet) }))
    }

    /// A flight of this token that was begun here and is still led is joined here, whatever Redis says.
    fn join_here(&self, ask: &Ask, joined: Option<u64>, terms: &AdmissionTerms) -> Option<Begun> {
        if !self.memory.is_led(&ask.identity.flight) {
            return None;
        }
        match self.memory.begin(ask, joined, &terms.without_leading(), NewsSource::Memory) {
            // It is led no longer. Redis decides who leads next, or `begin_here`.
            Begun::Rejected(refusal) if !matches!(refusal, Refusal::AnotherClaim { .. }) => None,
            begun => Some(begun),
        }
    }

    /// Begins a flight in the pod after a whole lease without Redis, with a fence above all that Redis was seen to give.
    ///
    /// None where the flight joined a fence that Redis gave, and where the fleet is known to have the token in hand or its
    /// outcome.
    fn begin_here(&self, ask: &Ask, joined: Option<u64>, terms: &AdmissionTerms) -> Option<Begun> {
        self.redis.if_out_of_reach_for(self.config.lease, |fences| {
            let flight = &ask.identity.flight;
            let seen = fences.seen();
            if joined.is_some_and(|fence| fence <= seen) || self.fleet.has(flight) {
                return None;
            }
            self.memory.raise_fence(seen);
            let mut begun = self.memory.begin(ask, joined, terms, NewsSource::Memory);
            if let Begun::Lead(lease) = &mut begun {
                lease.is_local = true;
                fences.give(lease.fence);
                self.counters.led_alone.add_one();
                warn!(%flight, fence = lease.fence, "leading without redis (on_store_outage = local)");
            }
            Some(begun)
        })?
    }

    pub(crate) async fn renew(&self, lease: &Lease) -> Result<Renewed, StoreError> {
        if lease.is_local { Ok(self.memory.renew(lease)) } else { self.redis.renew(lease).await }
    }

    pub(crate) async fn complete(
        &self,
        lease: &Lease,
        ask: &Ask,
        completion: &Completion,
    ) -> Result<Standing, StoreError> {
        if lease.is_local {
            return Ok(self.complete_here(lease, ask, completion).await);
        }
        let standing = self.redis.complete(lease, ask, completion).await;
        self.fleet.completed(lease.flight, completion, &standing);
        standing
    }

    /// First in Redis where that is back, so that callers that wait here find it there; else when it is.
    async fn complete_here(&self, lease: &Lease, ask: &Ask, completion: &Completion) -> Standing {
        let later = self.redis.seal(lease, ask, completion);
        let shared = later.try_now(ask).await;
        if let Some(Standing::Theirs(landed)) = &shared {
            self.fleet.landed(lease.flight, &landed.outcome, landed.age);
        }
        let here = self.memory.complete(lease, ask, completion);
        match shared {
            // Redis has never heard of the flight, and keeps no failure of it; here it stands.
            Some(Standing::Stale) => here,
            Some(standing @ (Standing::Ours | Standing::Theirs(_))) => standing,
            None => {
                later.when_redis_is_back();
                here
            }
        }
    }

    pub(crate) async fn abandon(&self, lease: &Lease, ask: &Ask) -> Result<(), StoreError> {
        if lease.is_local {
            self.memory.abandon(lease, ask);
            return Ok(());
        }
        self.fleet.given_back(&lease.flight);
        self.redis.abandon(lease, ask).await
    }

    pub(crate) async fn disown(&self, ask: &Ask, queued_since: Option<Instant>) -> Result<(), StoreError> {
        self.memory.leave_queue(ask, queued_since);
        self.redis.disown(ask).await
    }

    pub(crate) async fn circuit_state(&self) -> Result<CircuitState, StoreError> {
        self.redis.circuit_state().await
    }

    /// Whether a flight could be begun now, here at least.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        self.redis.agrees()?;
        match self.redis.if_out_of_reach_for(self.config.lease, |_| ()) {
            Some(()) => Ok(()),
            None => self.redis.check().await,
        }
    }

    pub(crate) fn note_unshared(&self) -> UnsharedOutcome {
        self.redis.note_unshared()
    }

    pub(crate) fn is_out_of_reach(&self) -> bool {
        self.redis.is_out_of_reach()
    }

    pub(crate) fn gaps(&self) -> Gaps {
        self.redis.gaps()
    }

    pub(crate) async fn drained(&self) {
        self.redis.drained().await;
    }

    pub(crate) fn close(&self) {
        self.redis.close();
    }
}
