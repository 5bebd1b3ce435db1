//! The store in memory: one process, nothing to set up. The same states and endings as the scripts in `lua/`.
//!
//! Coordinators that share a [`MemoryStore`] are to each other what pods that share Redis are. Outcomes are not
//! sealed here: they never leave the process, and only an equal claim gets one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use dashmap::DashMap;
use foldhash::fast::RandomState;
use tokio::time::Instant;

mod begin;
mod cleanup;
mod chain;
mod clients;
mod ended;
mod family;
mod family_order;
mod follow;
mod follows;
mod gates;
mod held;
mod land;
mod land_family;
mod logins;
mod marks;
mod news;
mod next_lead;
mod record;
mod untold;

use self::chain::HeldAnswer;
use self::family::SharedFamily;
use self::gates::Gates;
use self::marks::EndedSessions;
pub(crate) use self::news::MemoryNews;
use self::record::FlightRecord;
use super::contract::{AttemptId, FENCES_END};
use crate::admission::circuit::CircuitState;
use crate::admission::overview::Overview;
use crate::admission::queue::PodNumber;
use crate::config::Config;
use crate::identity::Hash;
use crate::metrics::Counters;

/// A store in memory, for coordinators of one process that are to share flights as pods do.
///
/// Coordinators of different namespaces may share one store; they share no flights.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    namespaces: Arc<DashMap<String, Arc<Namespace>>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn pod(&self, config: Arc<Config>) -> MemoryPod {
        let namespace = Arc::clone(&self.namespaces.entry(config.namespace.clone()).or_default());
        let number = namespace.last_pod.fetch_add(1, Ordering::Relaxed) + 1;
        MemoryPod { namespace, config, number, counters: Arc::default(), follows: Follows::OtherClaims }
    }
}

/// One coordinator's view of the store.
#[derive(Debug)]
pub(crate) struct MemoryPod {
    namespace: Arc<Namespace>,
    config: Arc<Config>,
    number: PodNumber,
    counters: Arc<Counters>,
    follows: Follows,
}

/// Whether a claim goes on where other claims of its client went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follows {
    OtherClaims,
    Nobody,
}

#[derive(Debug, Default)]
struct Namespace {
    flights: DashMap<Hash, FlightRecord, RandomState>,
    /// Nothing else is locked while one is looked up here.
    families: DashMap<Hash, Arc<SharedFamily>, RandomState>,
    /// Locked after a flight's record, never before it.
    held: DashMap<Hash, HeldAnswer, RandomState>,
    ended: EndedSessions,
    gates: Mutex<Gates>,
    last_fence: AtomicU64,
    last_pod: AtomicU64,
    /// Whether a task forgets what is over.
    has_cleanup: AtomicBool,
}

impl Namespace {
    fn last_fence(&self) -> u64 {
        self.last_fence.load(Ordering::Relaxed)
    }

    /// Above all that were given, and above what a process before this one gave: by the system's clock, in us.
    fn next_fence(&self) -> u64 {
        let now = fence_of_time();
        let next = |last: u64| Some(now.max(last + 1));
        // Always some: the closure refuses nothing.
        let last = self.last_fence.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_default();
        now.max(last + 1)
    }
}

impl MemoryPod {
    /// With the counters of its coordinator.
    pub(crate) fn counted_by(mut self, counters: &Arc<Counters>) -> Self {
        self.counters = Arc::clone(counters);
        self
    }

    /// As one of several memories of a fleet, none of which knows where the others went.
    pub(crate) fn following_nobody(mut self) -> Self {
        self.follows = Follows::Nobody;
        self
    }

    /// Takes back an attempt's place in the queue, and the one that it waits for among the claims of its login.
    pub(crate) fn withdraw(&self, id: &AttemptId, queued_since: Option<Instant>) {
        self.leave_queue(id, queued_since);
        self.leave_order(&id.flight, id.attempt);
    }

    pub(crate) fn leave_queue(&self, id: &AttemptId, since: Option<Instant>) {
        self.gates().leave_queue(id.attempt, since, Instant::now(), &self.config);
    }

    /// Whether somebody leads this flight.
    pub(crate) fn is_led(&self, flight: &Hash) -> bool {
        self.namespace.flights.get(flight).is_some_and(|record| record.is_led_at(Instant::now()))
    }

    /// Fences given from now on are higher.
    pub(crate) fn raise_fence(&self, fence: u64) {
        if fence < FENCES_END {
            self.namespace.last_fence.fetch_max(fence, Ordering::Relaxed);
        }
    }

    pub(crate) fn circuit_state(&self) -> CircuitState {
        self.gates().circuit_state(Instant::now())
    }

    pub(crate) fn overview(&self) -> Overview {
        self.gates().overview(Instant::now())
    }

    #[cfg(test)]
    pub(crate) fn remembers(&self, session: Hash) -> bool {
        self.gates().remembers(session)
    }

    #[cfg(test)]
    pub(super) fn counts(&self, session: &Hash) -> [usize; 3] {
        self.gates().counts(session, Instant::now(), &self.config)
    }

    fn gates(&self) -> MutexGuard<'_, Gates> {
        self.namespace.gates.lock().expect("BUG: nothing panics with this lock held")
    }
}

/// The system's time as a fence; 0 where the clock stands before 1970.
fn fence_of_time() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).map_or(0, |us| us.min(FENCES_END - 1))
}
