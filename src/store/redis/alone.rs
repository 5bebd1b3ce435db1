//! What a pod does without Redis whose policy is to go on alone (`on_store_outage = local`): single flight and limits
//! within the pod, kept by a store in memory.
//!
//! Only after a whole lease without Redis: what other pods led until then is over, or is led by pods that are cut off
//! like this one. Nobody can exclude those, so a partitioned pod may present a token that another pod presents, too.
//! What this pod knows to be under way in the fleet it leaves alone. When Redis is back, what landed here is landed
//! there.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::time::Instant;
use tracing::warn;

use crate::admission::Terms;
use crate::config::Config;
use crate::metrics::Counters;
use crate::store::memory::{MemoryPod, MemoryStore};
use crate::store::{Ask, Begun, Completion, Lease, Renewed, Standing};
use crate::token::Hash;

#[derive(Debug)]
pub(super) struct Alone {
    memory: MemoryPod,
    /// What this pod leads or led for the fleet, and until when nobody else is to present it.
    leads_for_fleet: DashMap<Hash, Instant>,
    /// How long a lead for the fleet may be uncertain.
    uncertain_for: Duration,
    counters: Arc<Counters>,
}

impl Alone {
    pub(super) fn new(config: &Arc<Config>, counters: &Arc<Counters>) -> Self {
        Self {
            memory: MemoryStore::new().pod(Arc::clone(config)),
            leads_for_fleet: DashMap::new(),
            uncertain_for: config.call_limit() + config.uncertain_memory,
            counters: Arc::clone(counters),
        }
    }

    /// Whether a flight of this token was begun here and is still led: then it is joined here, whatever Redis says.
    pub(super) fn is_flying(&self, flight: &Hash) -> bool {
        self.memory.is_led(flight)
    }

    /// Begins a flight in the pod, with a fence above all that Redis was seen to give.
    ///
    /// None where somebody in the fleet is known to have the token in hand: `joined` is a fence of Redis, or this pod
    /// leads it for the fleet.
    pub(super) fn begin(&self, ask: &Ask, joined: Option<u64>, terms: &Terms, seen: u64) -> Option<Begun> {
        let flight = &ask.identity.flight;
        let now = Instant::now();
        self.leads_for_fleet.remove_if(flight, |_, until| *until <= now);
        if joined.is_some_and(|fence| fence <= seen) || self.leads_for_fleet.contains_key(flight) {
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
        self.leads_for_fleet.insert(flight, Instant::now() + self.uncertain_for);
    }

    /// It has landed in Redis. Whoever comes with the same token while that is fresh is refused here: the answer is
    /// where nobody reaches it, and presenting the token once more would be a reuse.
    pub(super) fn landed_for_fleet(&self, flight: Hash, fresh: Duration) {
        self.leads_for_fleet.insert(flight, Instant::now() + fresh);
    }

    /// It was given back.
    pub(super) fn gave_back_to_fleet(&self, flight: &Hash) {
        self.leads_for_fleet.remove(flight);
    }

    pub(super) fn clean_up(&self) {
        let now = Instant::now();
        self.leads_for_fleet.retain(|_, until| *until > now);
    }
}
