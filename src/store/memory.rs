//! The store in memory: one process, nothing to set up. The same states and endings as the scripts in `lua/`.
//!
//! Coordinators that share a [`MemoryStore`] are to each other what pods that share Redis are. Outcomes are not
//! sealed here: they never leave the process, and only an equal claim gets one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::time::Instant;

mod gates;
mod news;
mod record;

use self::gates::{Admission, Gates};
pub(crate) use self::news::NewsSource;
use self::record::{Lock, Record, State};
use super::contract::{self, Ask, Before, Completion, Landed, LeaderSeen, Lease, Renewed, Standing};
use crate::admission::Terms;
use crate::admission::budget::PodNumber;
use crate::admission::circuit::CircuitState;
use crate::config::{Config, Uncertain};
use crate::error::Refusal;
use crate::identity::{Hash, Scatter};
use crate::outcome::{Class, Outcome, TokenState};
use crate::retention::Retention;

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
    flights: DashMap<Hash, Record, Scatter>,
    gates: Mutex<Gates>,
    last_fence: AtomicU64,
    last_pod: AtomicU64,
    /// Whether a task forgets what is over.
    has_cleanup: AtomicBool,
}

impl MemoryPod {
    pub(crate) fn begin(&self, ask: &Ask, joined: Option<u64>, terms: &Terms) -> Begun {
        self.start_cleanup();
        let now = Instant::now();
        let begun = match self.namespace.flights.entry(ask.identity.flight) {
            Entry::Vacant(vacant) => match self.lead(ask, terms, now, 0, Before::Nothing) {
                Ok((record, lease)) => {
                    vacant.insert(record);
                    Begun::Lead(lease)
                }
                Err(begun) => *begun,
            },
            Entry::Occupied(mut over) if over.get().is_over(now) => {
                match self.lead(ask, terms, now, 0, Before::Nothing) {
                    Ok((record, lease)) => {
                        over.insert(record);
                        Begun::Lead(lease)
                    }
                    Err(begun) => *begun,
                }
            }
            Entry::Occupied(mut occupied) => self.begin_known(ask, joined, terms, now, occupied.get_mut()),
        };
        match begun {
            Begun::Landed(_) | Begun::Join(_) => self.gates().leave_queue(ask, terms.queued_since, now, &self.config),
            Begun::Lead(_) | Begun::Queued(_) | Begun::Rejected(_) => {}
        }
        begun
    }

    fn begin_known(&self, ask: &Ask, joined: Option<u64>, terms: &Terms, now: Instant, record: &mut Record) -> Begun {
        let same_claim = record.claim == ask.identity.claim;

        // First an outcome for me: it costs nobody anything.
        // Whoever queues would have joined, had it come a moment later: what lands meanwhile is for it, too.
        let landed_while_queued = |at: Instant| terms.queued_since.is_some_and(|since| at > since);
        if let State::Landed { fresh_until, at, .. } = record.state {
            // A success of an older fence than the one that was joined came late, after the joining.
            let waited_for =
                joined.is_some_and(|fence| record.fence >= fence || record.is_success()) || landed_while_queued(at);
            if same_claim && (fresh_until > now || waited_for || record.attempt == ask.attempt) {
                return Begun::Landed(record.landed(now).expect("BUG: the state was just matched"));
            }
        }
        if let Some((claim, last, at)) = record.last.as_deref()
            && *claim == ask.identity.claim
            && (joined.is_some_and(|fence| last.fence >= fence) || landed_while_queued(*at))
        {
            // A newcomer leads already, but this is what was waited for.
            let age = now.saturating_duration_since(*at);
            return Begun::Landed(Landed { age, ..last.clone() });
        }

        // Then whoever leads, with whatever claim: one presentation at a time.
        if let Some(Lock { fence, until }) = record.lock
            && until > now
        {
            return record.join(ask, fence, until, LeaderSeen::Living, now + self.config.wait_timeout);
        }

        if matches!(record.state, State::Leading) {
            record.state = State::Lost { again_at: Some(now + self.config.grace_of_lost()) };
            record.lock = None;
            record.lost += 1;
        }
        let before = match &record.state {
            State::Leading => unreachable!("BUG: a leading flight without a lock was just marked lost"),
            State::GivenBack => Before::Nothing,
            State::Lost { again_at } => {
                let again_at = again_at.map(|at| at.max(record.started + self.config.retry_lost_after()));
                if let Some(again_at) = again_at
                    && again_at > now
                {
                    return record.join(ask, record.fence, again_at, LeaderSeen::Lost, now + self.config.wait_timeout);
                }
                if self.config.uncertain == Uncertain::Never {
                    return lost(record.fence);
                }
                Before::LostLeaders
            }
            State::Landed { outcome, fresh_until, .. } => match outcome.token_state() {
                TokenState::Rotated if *fresh_until > now => {
                    let retry_after = *fresh_until - now;
                    self.gates().leave_queue(ask, terms.queued_since, now, &self.config);
                    return Begun::Rejected(Refusal::AnotherClaim { retry_after });
                }
                TokenState::Rotated => Before::Rotated,
                TokenState::Unknown if self.config.uncertain == Uncertain::Never => return lost(record.fence),
                // Whoever took over asked nothing of the token: it is as uncertain as before.
                TokenState::Untouched if record.lost > 0 => Before::LostLeaders,
                TokenState::Kept | TokenState::Dead | TokenState::Untouched | TokenState::Unknown => Before::Nothing,
            },
        };
        let lost = if before == Before::LostLeaders { record.lost } else { 0 };
        match self.lead(ask, terms, now, lost, before) {
            Ok((led, lease)) => {
                let waiting = record.waiting.take();
                let last = record.last_success(now, self.config.wait_timeout);
                *record = Record { waiting, last, success_of: record.success_of, ..led };
                Begun::Lead(lease)
            }
            Err(begun) => *begun,
        }
    }

    /// Leads, if the rules of admission let it.
    fn lead(
        &self,
        ask: &Ask,
        terms: &Terms,
        now: Instant,
        lost: u32,
        before: Before,
    ) -> Result<(Record, Lease), Box<Begun>> {
        let mut gates = self.gates();
        let passage = match gates.admit(self.number, ask, terms, now, &self.config) {
            Admission::Admitted(passage) => passage,
            Admission::Queued(queued) => return Err(Box::new(Begun::Queued(queued))),
            Admission::Rejected(refusal) => return Err(Box::new(Begun::Rejected(refusal))),
        };
        // Under the gates' lock: whoever opens the circuit knows the last fence that was let through.
        let fence = self.namespace.last_fence.fetch_add(1, Ordering::Relaxed) + 1;
        let charged = gates.lead(ask, terms, passage, fence, now, &self.config);
        drop(gates);
        let until = now + self.config.lease;
        let lease = Lease {
            flight: ask.identity.flight,
            claim: ask.identity.claim,
            attempt: ask.attempt,
            fence,
            started: now,
            granted: now,
            before,
            is_local: false,
        };
        let record = Record {
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

    pub(crate) fn renew(&self, lease: &Lease) -> Renewed {
        let now = Instant::now();
        let until = now + self.config.lease;
        let Some(mut record) = self.namespace.flights.get_mut(&lease.flight) else {
            return Renewed::Lost;
        };
        if record.is_over(now) || record.fence > lease.fence || matches!(record.state, State::GivenBack) {
            return Renewed::Lost;
        }
        if record.fence == lease.fence && record.attempt != lease.attempt {
            return Renewed::Lost;
        }
        let holds = record.lock.as_ref().is_some_and(|lock| lock.fence == lease.fence && lock.until > now);
        if record.is_led_at(now) && !holds {
            return Renewed::Lost;
        }
        if record.landed(now).is_some() && (record.attempt == lease.attempt || !holds) {
            // Over, for this leader or for all.
            return Renewed::Lost;
        }
        self.gates().renew(lease.fence, now, &self.config);
        record.lock = Some(Lock { fence: lease.fence, until });
        record.ends = record.ends.max(until + self.config.memory_of_lost());
        if record.fence == lease.fence && matches!(record.state, State::Lost { .. }) {
            // It was only late.
            record.state = State::Leading;
            record.lost = record.lost.saturating_sub(1);
        }
        Renewed::Renewed
    }

    pub(crate) fn complete(&self, lease: &Lease, ask: &Ask, completion: &Completion) -> Standing {
        let now = Instant::now();
        match self.land(lease, ask, completion, now) {
            Some(standing) => {
                self.gates().give_back(lease.fence, now, &self.config);
                standing
            }
            None => Standing::Ours,
        }
    }

    /// None: it landed, and its permit and its probe were given back in the same step. Otherwise what stands.
    fn land(&self, lease: &Lease, ask: &Ask, completion: &Completion, now: Instant) -> Option<Standing> {
        let Completion { outcome, verdict, held } = completion;
        let is_success = outcome.class() == Class::Success;
        let mut record = match self.namespace.flights.entry(lease.flight) {
            Entry::Occupied(occupied) if !occupied.get().is_over(now) => occupied.into_ref(),
            // It is forgotten; that the token was rotated or is uncertain must not be.
            _ if !is_success && outcome.token_state() != TokenState::Unknown => return Some(Standing::Stale),
            gone => gone.insert(Record::forgotten(lease, now)),
        };
        // Of a flight that is not known any more nobody can say whether it was counted: this may be a repeat.
        let is_known = !matches!(record.state, State::GivenBack);
        if record.success_of == Some(lease.attempt) {
            record.free(lease);
            return Some(Standing::Ours);
        }

        let stands = match &record.state {
            // A success replaces a failure whatever the fences; the first success stays.
            State::Landed { outcome: landed, .. } => !is_success || landed.class() == Class::Success,
            State::Leading | State::Lost { .. } => !is_success && record.attempt != lease.attempt,
            State::GivenBack => !is_success && outcome.token_state() != TokenState::Unknown,
        };
        if stands {
            record.free(lease);
            record.tell_waiting(now);
            return Some(match record.landed(now) {
                Some(_) if record.attempt == lease.attempt => Standing::Ours,
                Some(landed) if record.claim == lease.claim => Standing::Theirs(landed),
                _ => Standing::Stale,
            });
        }

        let at = now - *held;
        let Retention { fresh, lives, kept } = Retention::of(outcome, &self.config);
        // Some providers say "for ever" by the largest number there is: that is no bound.
        let dies_at = lives.and_then(|lives| at.checked_add(lives));
        let fresh_until = dies_at.map_or(now + fresh, |dies_at| dies_at.min(now + fresh));
        record.state = State::Landed { outcome: Arc::clone(outcome), at, fresh_until };
        record.claim = lease.claim;
        record.attempt = lease.attempt;
        record.fence = lease.fence;
        if is_success {
            record.success_of = Some(lease.attempt);
        }
        record.ends = now + kept;
        if record.waiting.is_some() {
            record.ends = record.ends.max(now + self.config.wait_timeout);
        }
        if outcome.token_state() == TokenState::Untouched && record.lost > 0 {
            record.ends = record.ends.max(now + self.config.memory_of_lost());
        }
        record.free(lease);
        let mut gates = self.gates();
        let session = ask.identity.session;
        if !outcome.is_charged()
            && let Some(charged) = record.charged.take()
        {
            gates.uncharge(session, charged);
        }
        let last_fence = self.namespace.last_fence.load(Ordering::Relaxed);
        if is_known {
            gates.landed((lease.fence, last_fence), session, *verdict, now, &self.config);
        }
        if outcome.token_state() == TokenState::Dead && session == lease.flight {
            gates.forget(session);
        }
        // Last: the circuit learned from its probe, if it was one.
        gates.give_back(lease.fence, now, &self.config);
        drop(gates);
        record.tell_waiting(now);
        None
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
    pub(crate) fn holds(&self, session: Hash) -> bool {
        self.gates().holds(session)
    }

    #[cfg(test)]
    pub(super) fn counts(&self, session: &Hash) -> [usize; 3] {
        self.gates().counts(session, Instant::now(), &self.config)
    }

    pub(crate) fn abandon(&self, lease: &Lease, ask: &Ask) {
        let now = Instant::now();
        let Some(mut record) = self.namespace.flights.get_mut(&lease.flight) else { return };
        let leads = matches!(record.state, State::Leading | State::Lost { .. }) && record.attempt == lease.attempt;
        if !leads || record.is_over(now) {
            return;
        }
        record.free(lease);
        let mut gates = self.gates();
        gates.give_back(lease.fence, now, &self.config);
        if let Some(charged) = record.charged.take() {
            gates.uncharge(ask.identity.session, charged);
        }
        drop(gates);
        record.tell_waiting(now);
        if matches!(record.state, State::Lost { .. }) {
            // This leader was only late, and asked nobody.
            record.lost -= 1;
        }
        record.attempt = uuid::Uuid::nil();
        if record.lost > 0 {
            // This leader never asked, but one before it may have, and its time was over.
            record.state = State::Lost { again_at: None };
        } else {
            record.state = State::GivenBack;
            // Somebody may still come for the success before, and it is not to land again.
            record.ends = now + self.config.lease;
        }
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
    Begun::Landed(Landed { outcome: Arc::new(Outcome::Lost(None)), fence, age: Duration::ZERO })
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
            // Whoever begins next starts another, on a runtime that lives.
            namespace.has_cleanup.store(false, Ordering::Relaxed);
        }
    }
}
