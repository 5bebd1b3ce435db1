//! What a pod does without Redis whose policy is to go on alone (`on_store_outage = local`): single flight and limits
//! within the pod, kept by a store in memory.
//!
//! Only after a whole lease without Redis: what other pods led until then is over, or is led by pods that are cut off
//! like this one. Nobody can exclude those, so a partitioned pod may present a token that another pod presents, too.
//! What this pod knows to be under way in the fleet, or was told of it, it leaves alone. When Redis is back, what landed
//! here is landed there.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::time::Instant;
use tracing::warn;

use crate::admission::Terms;
use crate::config::{Config, Uncertain};
use crate::error::Refusal;
use crate::metrics::Counters;
use crate::outcome::{Outcome, TokenState};
use crate::store::memory::{MemoryPod, MemoryStore};
use crate::store::{Ask, Begun, Completion, Lease, Renewed, Standing};
use crate::token::Hash;

#[derive(Debug)]
pub(super) struct Alone {
    memory: MemoryPod,
    /// What this pod knows that the fleet has in hand, or an outcome of, and until when it is not to be presented here.
    of_fleet: DashMap<Hash, Instant>,
    config: Arc<Config>,
    counters: Arc<Counters>,
}

impl Alone {
    pub(super) fn new(config: &Arc<Config>, counters: &Arc<Counters>) -> Self {
        Self {
            memory: MemoryStore::new().pod(Arc::clone(config)),
            of_fleet: DashMap::new(),
            config: Arc::clone(config),
            counters: Arc::clone(counters),
        }
    }

    /// A flight of this token that was begun here and is still led is joined here, whatever Redis says.
    pub(super) fn join(&self, ask: &Ask, joined: Option<u64>, terms: &Terms) -> Option<Begun> {
        if !self.memory.is_led(&ask.identity.flight) {
            return None;
        }
        match self.memory.begin(ask, joined, &terms.without_leading()) {
            // It is led no longer. Who leads next is decided by Redis, or by `begin`.
            Begun::Rejected(refusal) if !matches!(refusal, Refusal::AnotherClaim { .. }) => None,
            begun => Some(begun),
        }
    }

    /// Begins a flight in the pod, with a fence above all that Redis was seen to give.
    ///
    /// None where somebody in the fleet is known to have the token in hand, or its outcome: `joined` is a fence of
    /// Redis, or this pod leads it for the fleet or was told what became of it.
    pub(super) fn begin(&self, ask: &Ask, joined: Option<u64>, terms: &Terms, seen: u64) -> Option<Begun> {
        let flight = &ask.identity.flight;
        let now = Instant::now();
        self.of_fleet.remove_if(flight, |_, until| *until <= now);
        if joined.is_some_and(|fence| fence <= seen) || self.of_fleet.contains_key(flight) {
            return None;
        }
        self.memory.raise_fence(seen);
        let mut begun = self.memory.begin(ask, joined, terms);
        if let Begun::Lead(lease) = &mut begun {
            lease.is_alone = true;
            self.counters.led_alone.add_one();
            warn!(%flight, fence = lease.fence, "leading without redis (on_store_outage = local)");
        }
        Some(begun)
    }

    /// The highest fence given here; 0 if none was.
    pub(super) fn last_fence(&self) -> u64 {
        self.memory.last_fence()
    }

    pub(super) fn renew(&self, lease: &Lease) -> Renewed {
        self.memory.renew(lease)
    }

    pub(super) fn complete(&self, lease: &Lease, ask: &Ask, completion: &Completion) -> Standing {
        self.memory.complete(lease, ask, completion)
    }

    pub(super) fn abandon(&self, lease: &Lease, ask: &Ask) {
        self.memory.abandon(lease, ask);
    }

    pub(super) fn leave_queue(&self, ask: &Ask, since: Option<Instant>) {
        self.memory.leave_queue(ask, since);
    }

    /// Redis has given this pod a lead.
    pub(super) fn leads_for_fleet(&self, flight: Hash) {
        self.of_fleet.insert(flight, Instant::now() + self.uncertain_for());
    }

    /// Redis has said that somebody else leads it, or was lost with it.
    pub(super) fn led_in_fleet(&self, flight: Hash) {
        let span = match self.config.uncertain {
            Uncertain::Never => self.uncertain_for(),
            Uncertain::Retry => self.config.retry_lost_after(),
        };
        self.taken_in_fleet(flight, span);
    }

    /// How long a lead may be uncertain.
    fn uncertain_for(&self) -> Duration {
        self.config.call_limit() + self.config.uncertain_memory
    }

    /// Somebody in the fleet is known to have it in hand, or an answer that this pod cannot open.
    pub(super) fn taken_in_fleet(&self, flight: Hash, span: Duration) {
        let until = Instant::now() + span;
        self.of_fleet.entry(flight).and_modify(|known| *known = until.max(*known)).or_insert(until);
    }

    /// This is known to stand in Redis, or to be on its way there, `age` old. Whoever comes with the same token while
    /// that is fresh is refused here: the answer is where nobody reaches it, and presenting the token once more would
    /// be a reuse, or what the policy `never` forbids.
    pub(super) fn landed_in_fleet(&self, flight: Hash, outcome: &Outcome, age: Duration) {
        let is_uncertain = matches!(outcome, Outcome::Lost(_)) || outcome.token_state() == TokenState::Unknown;
        let fresh = match self.config.uncertain {
            Uncertain::Never if is_uncertain => self.config.uncertain_memory,
            Uncertain::Never | Uncertain::Retry => {
                let fresh = outcome.fresh_for(&self.config);
                // It is fresh from its landing on, and of that this pod knows only that it is over.
                outcome.lives_for().map_or(fresh, |lives| fresh.min(lives.saturating_sub(age)))
            }
        };
        // By Redis' clock, which may run slower than this one: clocks are slewed by 500 ppm at most. Where that said that
        // the outcome is fresh still, what is obtained here would not land beside it.
        self.of_fleet.insert(flight, Instant::now() + fresh + fresh / 1000);
    }

    /// It was given back.
    pub(super) fn gave_back_to_fleet(&self, flight: &Hash) {
        self.of_fleet.remove(flight);
    }

    pub(super) fn clean_up(&self) {
        let now = Instant::now();
        self.of_fleet.retain(|_, until| *until > now);
    }
}
