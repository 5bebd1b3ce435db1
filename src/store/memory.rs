//! The store in memory: one process, nothing to set up. The same states and endings as the scripts in `lua/`.
//!
//! Coordinators that share a [`MemoryStore`] are to each other what pods that share Redis are. Outcomes are not
//! sealed here: they never leave the process, and only an equal claim gets one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use foldhash::fast::RandomState;
use tokio::time::Instant;

mod gates;
mod land;
mod news;
mod record;

use self::gates::{Admission, Gates};
pub(crate) use self::news::NewsSource;
use self::record::{FlightRecord, Lock, NextLead, State, WaitedFor};
use super::contract::{self, Ask, LeaderSeen, Lease, StoredOutcome, TokenHistory};
use crate::admission::AdmissionTerms;
use crate::admission::budget::PodNumber;
use crate::admission::circuit::CircuitState;
use crate::config::Config;
use crate::error::Refusal;
use crate::identity::Hash;
use crate::outcome::Outcome;

type Begun = contract::Begun<NewsSource>;

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
        MemoryPod { namespace, config, number }
    }
}

/// One coordinator's view of the store.
#[derive(Debug)]
pub(crate) struct MemoryPod {
    namespace: Arc<Namespace>,
    config: Arc<Config>,
    number: PodNumber,
}

#[derive(Debug, Default)]
struct Namespace {
    flights: DashMap<Hash, FlightRecord, RandomState>,
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
}

impl MemoryPod {
    /// `wrap` makes of this store's source of news the asking store's. Not done to the answer as a whole, which would be
    /// moved once more with the lease in it.
    pub(crate) fn begin<N>(
        &self,
        ask: &Ask,
        joined: Option<u64>,
        terms: &AdmissionTerms,
        wrap: impl FnOnce(NewsSource) -> N,
    ) -> contract::Begun<N> {
        self.start_cleanup();
        let now = Instant::now();
        let begun = match self.namespace.flights.entry(ask.identity.flight) {
            Entry::Vacant(vacant) => match self.lead(ask, terms, now, 0, TokenHistory::Unremarkable) {
                Ok((record, lease)) => {
                    vacant.insert(record);
                    contract::Begun::Lead(lease)
                }
                Err(begun) => begun.map_news(wrap),
            },
            Entry::Occupied(mut over) if over.get().is_over(now) => {
                match self.lead(ask, terms, now, 0, TokenHistory::Unremarkable) {
                    Ok((record, lease)) => {
                        over.insert(record);
                        contract::Begun::Lead(lease)
                    }
                    Err(begun) => begun.map_news(wrap),
                }
            }
            Entry::Occupied(mut occupied) => {
                self.begin_known(ask, joined, terms, now, occupied.get_mut()).map_news(wrap)
            }
        };
        match begun {
            contract::Begun::Landed(_) | contract::Begun::Join(_) => {
                self.gates().leave_queue(ask, terms.queued_since, now, &self.config)
            }
            contract::Begun::Lead(_) | contract::Begun::Queued(_) | contract::Begun::Rejected(_) => {}
        }
        begun
    }

    /// A flight of this token is remembered.
    fn begin_known(
        &self,
        ask: &Ask,
        joined: Option<u64>,
        terms: &AdmissionTerms,
        now: Instant,
        record: &mut FlightRecord,
    ) -> Begun {
        // First an outcome for this flight: it costs nobody anything.
        let waited_for =
            WaitedFor { attempt: ask.attempt, claim: ask.identity.claim, joined, since: terms.queued_since };
        if let Some(landed) = record.outcome_for(&waited_for, now) {
            return Begun::Landed(landed);
        }
        // Then the leader, with whatever claim: one presentation at a time.
        let waits_until = now + self.config.wait_timeout;
        if let Some(Lock { fence, until }) = record.lock
            && until > now
        {
            return record.join(ask, fence, until, LeaderSeen::Living, waits_until);
        }
        record.notice_lost_leader(now, &self.config);
        let history = match record.next_lead(now, &self.config) {
            NextLead::May(history) => history,
            NextLead::NotBefore(again_at) => {
                return record.join(ask, record.fence, again_at, LeaderSeen::Lost, waits_until);
            }
            NextLead::Never => return lost(record.fence),
            NextLead::AnotherClaim { retry_after } => {
                self.gates().leave_queue(ask, terms.queued_since, now, &self.config);
                return Begun::Rejected(Refusal::AnotherClaim { retry_after });
            }
        };
        let lost = if history == TokenHistory::LostLeaders { record.lost } else { 0 };
        match self.lead(ask, terms, now, lost, history) {
            Ok((led, lease)) => {
                let waiting = record.waiting.take();
                let last = record.last_success(now, self.config.wait_timeout);
                *record = FlightRecord { waiting, last, success_of: record.success_of, ..led };
                Begun::Lead(lease)
            }
            Err(begun) => *begun,
        }
    }

    /// Leads, if the rules of admission let it.
    fn lead(
        &self,
        ask: &Ask,
        terms: &AdmissionTerms,
        now: Instant,
        lost: u32,
        history: TokenHistory,
    ) -> Result<(FlightRecord, Lease), Box<Begun>> {
        let mut gates = self.gates();
        let admitted = match gates.admit(self.number, ask, terms, now, &self.config) {
            Admission::Admitted(admitted) => admitted,
            Admission::Queued(queued) => return Err(Box::new(Begun::Queued(queued))),
            Admission::Rejected(refusal) => return Err(Box::new(Begun::Rejected(refusal))),
        };
        // Under the gates' lock: when the circuit opens, the last fence that was let through is known.
        let fence = self.namespace.last_fence.fetch_add(1, Ordering::Relaxed) + 1;
        let charged = gates.lead(admitted, fence, now, &self.config);
        drop(gates);
        let until = now + self.config.lease;
        let lease = Lease {
            flight: ask.identity.flight,
            claim: ask.identity.claim,
            attempt: ask.attempt,
            fence,
            started: now,
            granted: now,
            history,
            is_local: false,
        };
        let record = FlightRecord {
            lock: Some(Lock { fence, until }),
            state: State::Leading,
            claim: lease.claim,
            attempt: lease.attempt,
            fence,
            started: now,
            lost,
            ends: until + self.config.memory_of_lost(),
            last: None,
            success_of: None,
            charged: Some(charged),
            waiting: None,
        };
        Ok((record, lease))
    }

    pub(crate) fn leave_queue(&self, ask: &Ask, since: Option<Instant>) {
        self.gates().leave_queue(ask, since, Instant::now(), &self.config);
    }

    /// Whether somebody leads this flight.
    pub(crate) fn is_led(&self, flight: &Hash) -> bool {
        self.namespace.flights.get(flight).is_some_and(|record| record.is_led_at(Instant::now()))
    }

    /// Fences given from now on are higher.
    pub(crate) fn raise_fence(&self, fence: u64) {
        self.namespace.last_fence.fetch_max(fence, Ordering::Relaxed);
    }

    pub(crate) fn circuit_state(&self) -> CircuitState {
        self.gates().circuit_state(Instant::now())
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

    /// Redis expires keys itself; here a task does, for as long as anybody holds the store.
    fn start_cleanup(&self) {
        if !self.namespace.has_cleanup.swap(true, Ordering::Relaxed) {
            let cleanup = Cleanup(Arc::downgrade(&self.namespace));
            tokio::spawn(cleanup.run(Arc::clone(&self.config)));
        }
    }
}

/// A token that may have been rotated and must not be presented again.
fn lost(fence: u64) -> Begun {
    Begun::Landed(StoredOutcome { outcome: Arc::new(Outcome::TokenLost(None)), fence, age: Duration::ZERO })
}

/// Forgets what is over, for as long as anybody holds the store and the runtime it was started on lives.
struct Cleanup(Weak<Namespace>);

impl Cleanup {
    async fn run(self, config: Arc<Config>) {
        loop {
            tokio::time::sleep(config.cleanup_interval).await;
            let Some(namespace) = self.0.upgrade() else { return };
            let now = Instant::now();
            namespace.flights.retain(|_, record| !record.is_over(now));
            namespace.gates.lock().expect("BUG: nothing panics with this lock held").clean_up(now, &config);
        }
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        if let Some(namespace) = self.0.upgrade() {
            // The next `begin` starts another, on a runtime that lives.
            namespace.has_cleanup.store(false, Ordering::Relaxed);
        }
    }
}
