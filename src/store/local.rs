//! The local fallback (`on_store_outage = local`): a store that asks Redis, and while that is out of reach goes on in the
//! pod's own memory.
//!
//! Only after a whole lease without Redis: by then the leases of other pods that are cut off have ended, too. Pods that
//! still reach Redis lead on unseen, and so does a leader that is cut off while its call runs, so two pods may present one
//! token. The limits of the fleet are not known here: sessions, permits and circuit start empty. What this pod knows to be under way in the fleet, or was told of it, it leaves alone. When Redis is back, what landed
//! here is landed there.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::warn;

use self::alone::SaidAlone;
use self::fleet::FleetTokens;
use super::contract::{
    self, Ask, AttemptId, Coming, Completion, EndedFlight, Gaps, Lease, News, Renewed, Standing, StoreError, Telling,
    Tip,
};
use super::memory::{self, MemoryPod, MemoryStore};
use super::redis::{RedisStore, Ticket, UnsharedOutcomeGuard};
use crate::admission::AdmissionTerms;
use crate::admission::circuit::CircuitState;
use crate::admission::overview::Overview;
use crate::config::Config;
use crate::identity::Hash;
use crate::metrics::Counters;
use crate::outcome::Outcome;

mod alone;
mod fleet;

type Begun = contract::Begun<LocalNews>;

/// One pod's view of Redis, and the memory it goes on in without.
#[derive(Debug)]
pub(crate) struct LocalFallback {
    redis: RedisStore,
    memory: MemoryPod,
    /// What is not to be presented here without Redis.
    fleet: Arc<FleetTokens>,
    config: Arc<Config>,
    counters: Arc<Counters>,
    alone: Arc<SaidAlone>,
}

/// Where a waiting flight's news come from.
#[derive(Debug)]
pub(crate) enum LocalNews {
    Memory(memory::MemoryNews),
    Redis { ticket: Ticket, flight: Hash, fleet: Arc<FleetTokens> },
}

impl LocalNews {
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
    pub(crate) fn new(mut redis: RedisStore, config: &Arc<Config>, counters: &Arc<Counters>) -> Self {
        let fleet = Arc::new(FleetTokens::new(config));
        redis.goes_on("fleet tokens", {
            let fleet = Arc::clone(&fleet);
            move |closed| Arc::clone(&fleet).clean_up_regularly(closed)
        });
        let alone = Arc::new(SaidAlone::new(config, redis.pod()));
        redis.goes_on("said alone", {
            let (alone, reached) = (Arc::clone(&alone), redis.reached());
            move |closed| Arc::clone(&alone).run(reached.clone(), closed)
        });
        Self {
            redis,
            memory: MemoryStore::new().pod(Arc::clone(config)).following_nobody(),
            fleet,
            config: Arc::clone(config),
            counters: Arc::clone(counters),
            alone,
        }
    }

    pub(crate) async fn begin(
        &self,
        ask: &Ask,
        joined: Option<u64>,
        terms: &AdmissionTerms,
    ) -> Result<Begun, StoreError> {
        self.redis.agrees()?;
        if let Some(begun) = self.join_here(ask, joined, terms) {
            return Ok(begun);
        }
        if let Some(begun) = self.begin_here(ask, joined, terms) {
            self.alone.say();
            return Ok(begun);
        }
        let begun = self.redis.begin(ask, joined, terms).await?;
        let flight = ask.identity.flight;
        self.fleet.begun(flight, &begun);
        Ok(begun.map_news(|ticket| LocalNews::Redis { ticket, flight, fleet: Arc::clone(&self.fleet) }))
    }

    /// Only the fleet knows where other claims went.
    pub(crate) async fn follow(
        &self,
        ask: &Ask,
        own: Option<&Ask>,
        may_lead: bool,
    ) -> Result<contract::Followed<LocalNews>, StoreError> {
        let flight = ask.identity.flight;
        let followed = self.redis.follow(ask, own, may_lead).await?;
        Ok(followed.map_news(|ticket| LocalNews::Redis { ticket, flight, fleet: Arc::clone(&self.fleet) }))
    }

    /// A flight of this token that was begun here and is still led is joined here, whatever Redis says.
    fn join_here(&self, ask: &Ask, joined: Option<u64>, terms: &AdmissionTerms) -> Option<Begun> {
        if !self.memory.is_led(&ask.identity.flight) {
            return None;
        }
        // None where it is led no longer. Redis decides which flight leads next, or `begin_here`.
        let mut begun = self.memory.begin_without_leading(ask, joined, terms, LocalNews::Memory);
        if let Some(Begun::Lead(lease)) = &mut begun {
            // Its own attempt asks for it again.
            lease.is_local = true;
        }
        begun
    }

    /// Begins a flight in the pod after a whole lease without Redis, with a fence above all that Redis was seen to give.
    ///
    /// None where the flight joined a fence that Redis gave, and where the fleet is known to have the token in hand or its
    /// outcome.
    fn begin_here(&self, ask: &Ask, joined: Option<u64>, terms: &AdmissionTerms) -> Option<Begun> {
        self.redis.if_out_of_reach_for(self.config.lease, |fences| {
            if matches!(ask.coming, Coming::Taking { .. } | Coming::Walking { .. } | Coming::Claiming { .. }) {
                // What became of a newer token in the fleet is not known here.
                return None;
            }
            if ask.is_background {
                // All pods would at the same moment, and nobody waits for it.
                return None;
            }
            let flight = &ask.identity.flight;
            let seen = fences.seen();
            if joined.is_some_and(|fence| fence <= seen) || self.fleet.has(flight) {
                return None;
            }
            self.memory.raise_fence(seen);
            let mut begun = self.memory.begin(ask, joined, terms, LocalNews::Memory);
            if let Begun::Lead(lease) = &mut begun {
                lease.is_local = true;
                fences.give(lease.fence);
                self.counters.led_alone.add_one();
                warn!(%flight, fence = lease.fence, "leading without redis (on_store_outage = local)");
            }
            Some(begun)
        })?
    }

    pub(crate) async fn renew(&self, lease: &Lease, ask: &Ask) -> Result<Renewed, StoreError> {
        if lease.is_local { Ok(self.memory.renew(lease)) } else { self.redis.renew(lease, ask).await }
    }

    pub(crate) async fn is_current(&self, lease: &Lease) -> Result<bool, StoreError> {
        if lease.is_local { Ok(true) } else { self.redis.is_current(lease).await }
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
        // Redis is told when it is back, whatever is done meanwhile before callers here hear of it.
        let told = Completion { is_untold: false, ..completion.clone() };
        let later = self.redis.seal(lease, ask, &told);
        let shared = later.try_now(ask).await;
        if let Some(Standing::Theirs(landed) | Standing::TheirsUntold(landed)) = &shared {
            self.fleet.landed(lease.flight, &landed.outcome, landed.age);
        }
        let here = self.memory.complete(lease, ask, completion);
        match shared {
            // Redis has never heard of the flight, and keeps no failure of it; here it stands.
            Some(Standing::Stale) => here,
            Some(standing @ (Standing::Ours | Standing::Theirs(_) | Standing::TheirsUntold(_) | Standing::Ended)) => {
                standing
            }
            None => {
                later.when_redis_is_back();
                here
            }
        }
    }

    /// As [`complete`](Self::complete), of a flight that cannot wait.
    pub(crate) fn complete_later(&self, lease: &Lease, ask: &Ask, completion: &Completion, within: Duration) {
        if lease.is_local {
            let told = Completion { is_untold: false, ..completion.clone() };
            let later = self.redis.seal(lease, ask, &told);
            self.memory.complete(lease, ask, completion);
            later.when_redis_is_back();
        } else {
            self.redis.seal(lease, ask, completion).within(within);
            let unanswered = Err(StoreError::may_have_run("its flight has ended".to_owned()));
            self.fleet.completed(lease.flight, completion, &unanswered);
        }
    }

    pub(crate) fn abandon_at_once(&self, lease: &Lease, ask: &Ask) {
        if lease.is_local {
            self.memory.abandon(lease, ask);
        }
    }

    pub(crate) async fn abandon(&self, lease: &Lease, ask: &Ask) -> Result<(), StoreError> {
        if lease.is_local {
            self.memory.abandon(lease, ask);
            return Ok(());
        }
        self.fleet.abandoned(&lease.flight);
        self.redis.abandon(lease, ask).await
    }

    pub(crate) async fn tell(
        &self,
        ask: &Ask,
        fence: u64,
        outcome: &Outcome,
        telling: Telling,
    ) -> Result<(), StoreError> {
        if self.memory.tell(ask, fence, outcome, telling) {
            return Ok(());
        }
        self.redis.tell(ask, fence, outcome, telling).await
    }

    /// In this pod, too: a flight that it leads alone ends with the session.
    pub(crate) async fn end_session(&self, ask: &Ask) -> Result<EndedFlight, StoreError> {
        let here = self.memory.end_session(ask);
        Ok(match self.redis.end_session(ask).await? {
            EndedFlight::Idle => here,
            there => there,
        })
    }

    pub(crate) async fn tip(&self, ask: &Ask, tip: Option<&Tip>) -> Result<(), StoreError> {
        self.redis.tip(ask, tip).await
    }

    pub(crate) async fn withdraw(&self, attempt: &AttemptId, queued_since: Option<Instant>) -> Result<(), StoreError> {
        self.memory.leave_queue(attempt, queued_since);
        self.redis.withdraw(attempt).await
    }

    pub(crate) async fn circuit_state(&self) -> Result<CircuitState, StoreError> {
        self.redis.circuit_state().await
    }

    pub(crate) async fn overview(&self) -> Result<Overview, StoreError> {
        self.redis.overview().await
    }

    /// Whether a flight could be begun now, here at least.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        self.redis.agrees()?;
        match self.redis.if_out_of_reach_for(self.config.lease, |_| ()) {
            Some(()) => Ok(()),
            None => self.redis.check().await,
        }
    }

    pub(crate) fn note_unshared(&self) -> UnsharedOutcomeGuard {
        self.redis.note_unshared()
    }

    pub(crate) fn certificate_ends(&self) -> Vec<(&'static str, SystemTime)> {
        self.redis.certificate_ends()
    }

    pub(crate) fn is_out_of_reach(&self) -> bool {
        self.redis.is_out_of_reach()
    }

    pub(crate) fn remembers_strictly(&self) -> bool {
        self.redis.remembers_strictly()
    }

    pub(crate) fn gaps(&self) -> Gaps {
        self.redis.gaps()
    }

    pub(crate) async fn keep_running(&self) -> Infallible {
        self.redis.keep_running().await
    }

    pub(crate) async fn drained(&self) {
        self.redis.drained().await;
    }

    pub(crate) async fn leave(&self) {
        self.redis.leave().await;
    }

    pub(crate) fn close(&self) {
        self.redis.close();
    }
}
