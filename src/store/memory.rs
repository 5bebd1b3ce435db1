//! The store in memory: one process, nothing to set up. The same states and endings as the scripts in `lua/`.
//!
//! Coordinators that share a [`MemoryStore`] are to each other what pods that share Redis are. Outcomes are not
//! sealed here: they never leave the process, and only an equal claim gets one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Ask, Before, Begun, Joined, Landed, LeaderSeen, Lease, News, Renewed, Standing, Waiting};
use crate::config::{Config, Uncertain};
use crate::error::Refusal;
use crate::outcome::{Class, Outcome, TokenState};
use crate::token::Hash;

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
        MemoryPod { namespace, config }
    }
}

/// One coordinator's view of the store.
#[derive(Debug)]
pub(crate) struct MemoryPod {
    namespace: Arc<Namespace>,
    config: Arc<Config>,
}

#[derive(Debug, Default)]
struct Namespace {
    flights: DashMap<Hash, Record>,
    last_fence: AtomicU64,
    /// Whether a task forgets what is over.
    has_cleanup: AtomicBool,
}

/// What `lock:<flight>` and `flight:<flight>` are in Redis.
#[derive(Debug)]
struct Record {
    lock: Option<Lock>,
    state: State,
    claim: Hash,
    attempt: uuid::Uuid,
    fence: u64,
    started: Instant,
    /// Leaders lost in a row.
    lost: u32,
    ends: Instant,
    /// Made when the first pod joins.
    waiting: Option<watch::Sender<Option<Told>>>,
    /// The success before the flight that is led now, and when the provider gave it: somebody may still come for it.
    last: Option<(Hash, Landed, Instant)>,
    /// The attempt whose success landed last: completed again, it changes nothing.
    success_of: Option<uuid::Uuid>,
}

/// What waiting pods are told: whose claim landed, and with what.
type Told = (Hash, Landed);

#[derive(Clone, Copy, Debug)]
struct Lock {
    fence: u64,
    until: Instant,
}

#[derive(Debug)]
enum State {
    Leading,
    Lost,
    Landed { outcome: Arc<Outcome>, at: Instant, fresh_until: Instant },
}

/// Told when a joined flight ends, or when it is time to see whether its leader still lives.
#[derive(Debug)]
pub(crate) struct Notice {
    claim: Hash,
    told: watch::Receiver<Option<Told>>,
    look_at: Instant,
}

impl Notice {
    pub(crate) async fn news(&mut self) -> News {
        tokio::select! {
            changed = self.told.changed() => match (changed, &*self.told.borrow_and_update()) {
                // Handed over, not looked up: a newcomer may have led the next flight already.
                (Ok(()), Some((claim, landed))) if *claim == self.claim => News::Landed(landed.clone()),
                _ => News::Look,
            },
            () = tokio::time::sleep_until(self.look_at) => News::Look,
        }
    }
}

impl Record {
    fn is_led_at(&self, now: Instant) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.until > now)
    }

    fn is_over(&self, now: Instant) -> bool {
        self.ends <= now && !self.is_led_at(now)
    }

    fn is_success(&self) -> bool {
        matches!(&self.state, State::Landed { outcome, .. } if outcome.class() == Class::Success)
    }

    fn last_success(&self, now: Instant, waits: Duration) -> Option<(Hash, Landed, Instant)> {
        match &self.state {
            State::Landed { at, .. } if self.is_success() && *at + waits > now => {
                self.landed(now).map(|landed| (self.claim, landed, *at))
            }
            State::Landed { .. } | State::Leading | State::Lost => self.last.clone(),
        }
    }

    fn join(&mut self, ask: &Ask, fence: u64, look_at: Instant, leader: LeaderSeen) -> Begun {
        // Under the record's guard: whoever completes needs the guard too, so nothing is missed between.
        let told = self.waiting.get_or_insert_with(|| watch::Sender::new(None)).subscribe();
        let claim = ask.identity.claim;
        let fence = (self.claim == claim).then_some(fence);
        Begun::Join(Joined { fence, leader, waiting: Waiting::Memory(Notice { claim, told, look_at }) })
    }

    fn forgotten(lease: &Lease, now: Instant) -> Self {
        Self {
            lock: None,
            state: State::Leading,
            claim: lease.claim,
            attempt: lease.attempt,
            fence: lease.fence,
            started: lease.started,
            lost: 0,
            ends: now,
            waiting: None,
            last: None,
            success_of: None,
        }
    }

    fn landed(&self, now: Instant) -> Option<Landed> {
        match &self.state {
            State::Landed { outcome, at, .. } => Some(Landed {
                outcome: Arc::clone(outcome),
                fence: self.fence,
                age: now.saturating_duration_since(*at),
            }),
            State::Leading | State::Lost => None,
        }
    }

    fn free(&mut self, lease: &Lease) {
        if self.lock.as_ref().is_some_and(|lock| lock.fence == lease.fence) {
            self.lock = None;
        }
    }

    /// Whoever waits is told what landed, or to look.
    fn tell_waiting(&mut self, now: Instant) {
        if let Some(waiting) = self.waiting.take()
            && let Some(landed) = self.landed(now)
        {
            waiting.send_replace(Some((self.claim, landed)));
        }
    }
}

impl MemoryPod {
    pub(crate) fn begin(&self, ask: &Ask, joined: Option<u64>) -> Begun {
        self.start_cleanup();
        let now = Instant::now();
        match self.namespace.flights.entry(ask.identity.flight) {
            Entry::Vacant(vacant) => {
                let (record, lease) = self.lead(ask, now, 0, Before::Nothing, None);
                vacant.insert(record);
                Begun::Lead(lease)
            }
            Entry::Occupied(mut over) if over.get().is_over(now) => {
                let (record, lease) = self.lead(ask, now, 0, Before::Nothing, None);
                over.insert(record);
                Begun::Lead(lease)
            }
            Entry::Occupied(mut occupied) => self.begin_known(ask, joined, now, occupied.get_mut()),
        }
    }

    fn begin_known(&self, ask: &Ask, joined: Option<u64>, now: Instant, record: &mut Record) -> Begun {
        let same_claim = record.claim == ask.identity.claim;

        // First an outcome for me: it costs nobody anything.
        if let State::Landed { fresh_until, .. } = record.state {
            // A success of an older fence than the one that was joined came late, after the joining.
            let waited_for = joined.is_some_and(|fence| record.fence >= fence || record.is_success());
            if same_claim && (fresh_until > now || waited_for || record.attempt == ask.attempt) {
                return Begun::Landed(record.landed(now).expect("BUG: the state was just matched"));
            }
        }
        if let (Some(fence), Some((claim, last, at))) = (joined, &record.last)
            && *claim == ask.identity.claim
            && last.fence >= fence
        {
            // A newcomer leads already, but this is what was waited for.
            let age = now.saturating_duration_since(*at);
            return Begun::Landed(Landed { age, ..last.clone() });
        }

        // Then whoever leads, with whatever claim: one presentation at a time.
        if let Some(Lock { fence, until }) = record.lock
            && until > now
        {
            return record.join(ask, fence, until, LeaderSeen::Living);
        }

        if matches!(record.state, State::Leading) {
            record.state = State::Lost;
            record.lock = None;
            record.lost += 1;
        }
        let before = match &record.state {
            State::Leading => unreachable!("BUG: a leading flight without a lock was just marked lost"),
            State::Lost => {
                let retry_at = record.started + self.config.retry_lost_after();
                if retry_at > now {
                    return record.join(ask, record.fence, retry_at, LeaderSeen::Lost);
                }
                if self.config.uncertain == Uncertain::Never {
                    return lost(record.fence);
                }
                Before::LostLeaders
            }
            State::Landed { outcome, fresh_until, .. } => match outcome.token_state() {
                TokenState::Rotated if *fresh_until > now => {
                    let retry_after = *fresh_until - now;
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
        let waiting = record.waiting.take();
        let last = record.last_success(now, self.config.wait_timeout);
        let (led, lease) = self.lead(ask, now, lost, before, waiting);
        *record = Record { last, success_of: record.success_of, ..led };
        Begun::Lead(lease)
    }

    fn lead(
        &self,
        ask: &Ask,
        now: Instant,
        lost: u32,
        before: Before,
        waiting: Option<watch::Sender<Option<Told>>>,
    ) -> (Record, Lease) {
        let fence = self.namespace.last_fence.fetch_add(1, Ordering::Relaxed) + 1;
        let until = now + self.config.lease;
        let lease = Lease {
            flight: ask.identity.flight,
            claim: ask.identity.claim,
            attempt: ask.attempt,
            fence,
            started: now,
            granted: now,
            before,
        };
        let record = Record {
            lock: Some(Lock { fence, until }),
            state: State::Leading,
            claim: lease.claim,
            attempt: lease.attempt,
            fence,
            started: now,
            lost,
            ends: until + self.memory_of_lost(),
            last: None,
            success_of: None,
            waiting,
        };
        (record, lease)
    }

    pub(crate) fn renew(&self, lease: &Lease) -> Renewed {
        let now = Instant::now();
        let until = now + self.config.lease;
        let Some(mut record) = self.namespace.flights.get_mut(&lease.flight) else {
            return Renewed::Lost;
        };
        if record.is_over(now) || record.fence > lease.fence {
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
        record.lock = Some(Lock { fence: lease.fence, until });
        record.ends = record.ends.max(until + self.memory_of_lost());
        if record.fence == lease.fence && matches!(record.state, State::Lost) {
            // It was only late.
            record.state = State::Leading;
            record.lost = record.lost.saturating_sub(1);
        }
        Renewed::Renewed
    }

    pub(crate) fn complete(&self, lease: &Lease, outcome: &Arc<Outcome>, held: Duration) -> Standing {
        let now = Instant::now();
        let is_success = outcome.class() == Class::Success;
        let mut record = match self.namespace.flights.entry(lease.flight) {
            Entry::Occupied(occupied) if !occupied.get().is_over(now) => occupied.into_ref(),
            // It is forgotten; that the token was rotated or is uncertain must not be.
            _ if !is_success && outcome.token_state() != TokenState::Unknown => return Standing::Stale,
            gone => gone.insert(Record::forgotten(lease, now)),
        };
        if record.success_of == Some(lease.attempt) {
            record.free(lease);
            return Standing::Ours;
        }

        let stands = match &record.state {
            // A success replaces a failure whatever the fences; the first success stays.
            State::Landed { outcome: landed, .. } => !is_success || landed.class() == Class::Success,
            State::Leading | State::Lost => !is_success && record.attempt != lease.attempt,
        };
        if stands {
            record.free(lease);
            record.tell_waiting(now);
            return match record.landed(now) {
                Some(_) if record.attempt == lease.attempt => Standing::Ours,
                Some(landed) if record.claim == lease.claim => Standing::Theirs(landed),
                _ => Standing::Stale,
            };
        }

        let at = now - held;
        let fresh_until = now + outcome.fresh_for(&self.config);
        let fresh_until = outcome.lives_for().map_or(fresh_until, |lives| fresh_until.min(at + lives));
        record.state = State::Landed { outcome: Arc::clone(outcome), at, fresh_until };
        record.claim = lease.claim;
        record.attempt = lease.attempt;
        record.fence = lease.fence;
        if is_success {
            record.success_of = Some(lease.attempt);
        }
        record.ends = now + outcome.kept_for(&self.config);
        if record.waiting.is_some() {
            record.ends = record.ends.max(now + self.config.wait_timeout);
        }
        if outcome.token_state() == TokenState::Untouched && record.lost > 0 {
            record.ends = record.ends.max(now + self.memory_of_lost());
        }
        record.free(lease);
        record.tell_waiting(now);
        Standing::Ours
    }

    pub(crate) fn abandon(&self, lease: &Lease) {
        if let Entry::Occupied(mut occupied) = self.namespace.flights.entry(lease.flight) {
            let record = occupied.get_mut();
            if record.attempt != lease.attempt || matches!(record.state, State::Landed { .. }) {
                return;
            }
            record.free(lease);
            record.tell_waiting(Instant::now());
            if matches!(record.state, State::Lost) {
                // This leader was only late, and asked nobody.
                record.lost -= 1;
            }
            if record.lost > 0 {
                // This leader never asked, but one before it may have.
                record.state = State::Lost;
                record.attempt = uuid::Uuid::nil();
            } else {
                occupied.remove();
            }
        }
    }

    /// How long it is remembered that a leader was lost.
    fn memory_of_lost(&self) -> Duration {
        self.config.uncertain_memory.max(self.config.retry_lost_after())
    }

    /// Redis expires keys itself; here a task does, for as long as anybody holds the store.
    fn start_cleanup(&self) {
        if !self.namespace.has_cleanup.swap(true, Ordering::Relaxed) {
            let cleanup = Cleanup(Arc::downgrade(&self.namespace));
            tokio::spawn(cleanup.run(self.config.cleanup_interval));
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
    async fn run(self, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            let Some(namespace) = self.0.upgrade() else { return };
            let now = Instant::now();
            namespace.flights.retain(|_, record| !record.is_over(now));
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
