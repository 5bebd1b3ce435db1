//! The flights of this pod that wait for another pod: what each is to be told, and when to look.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use dashmap::DashMap;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use uuid::Uuid;

use super::fences::Fences;
use super::sealed::{Opener, SealedOutcome};
use crate::identity::Hash;
use crate::outcome::Class;
use crate::store::contract::{LeaderSeen, News};

/// All tickets of this pod, by flight. Several claims of one token may wait for the same flight.
#[derive(Debug)]
pub(super) struct Waiters {
    /// Learns the fences of outcomes that opened.
    fences: Arc<Fences>,
    flights: DashMap<Hash, HashMap<u64, Waiter>>,
    last_id: AtomicU64,
    /// When the first permit that queued flights wait for ends, should nobody give it back.
    reap_due: Mutex<Option<Instant>>,
    /// When the look that is planned will be, and a word to its planner that somebody wants an earlier one.
    planned: Mutex<Option<Instant>>,
    earlier: Notify,
}

#[derive(Debug)]
struct Waiter {
    /// The attempt, where this flight waits for its turn among the claims of its login: what others of its token are told is not for it.
    turn: Option<Uuid>,
    tell: mpsc::UnboundedSender<Push>,
    look: NextLook,
}

/// When a waiting flight is to look, and at what.
#[derive(Clone, Copy, Debug)]
enum NextLook {
    /// `begin` has not answered yet.
    Never,
    /// See whether this fence still leads.
    AtLeader { fence: u64, due: Instant },
    /// Begin again.
    Again { due: Instant },
    /// Wait for a permit: one script call to reap is enough for all of the pod.
    InQueue,
}

/// What came for a flight.
#[derive(Debug)]
enum Push {
    Landed { claim: String, sealed: SealedOutcome },
    BeginAgain,
}

/// A flight's place among the waiting. It must be taken before `begin` asks, so that a message that arrives before
/// the reply finds it. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    waiters: Arc<Waiters>,
    flight: Hash,
    id: u64,
    told: mpsc::UnboundedReceiver<Push>,
    /// None while `begin` has not answered, and when another claim's flight is waited for.
    awaited: Option<Awaited>,
}

/// What a waiting flight may be handed: the outcome of the fence it joined or of a later one, of its own claim.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) fence: u64,
    pub(super) claim: String,
    pub(super) opener: Opener,
}

impl Waiters {
    pub(super) fn new(fences: &Arc<Fences>) -> Self {
        Self {
            fences: Arc::clone(fences),
            flights: DashMap::new(),
            last_id: AtomicU64::new(0),
            reap_due: Mutex::new(None),
            planned: Mutex::new(None),
            earlier: Notify::new(),
        }
    }

    pub(super) fn ticket(self: &Arc<Self>, flight: Hash) -> Ticket {
        self.ticket_of(flight, None)
    }

    /// Of a flight that waits for its turn among the claims of its login.
    pub(super) fn ticket_for_turn(self: &Arc<Self>, flight: Hash, attempt: Uuid) -> Ticket {
        self.ticket_of(flight, Some(attempt))
    }

    fn ticket_of(self: &Arc<Self>, flight: Hash, turn: Option<Uuid>) -> Ticket {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = mpsc::unbounded_channel();
        self.flights.entry(flight).or_default().insert(id, Waiter { turn, tell, look: NextLook::Never });
        Ticket { waiters: Arc::clone(self), flight, id, told, awaited: None }
    }

    pub(super) fn tell_landed(&self, flight: &Hash, claim: &str, sealed: SealedOutcome) {
        let told = || Push::Landed { claim: claim.to_owned(), sealed: sealed.clone() };
        self.tell(flight, |waiter| waiter.turn.is_none(), told);
    }

    pub(super) fn tell_look(&self, flight: &Hash) {
        self.tell(flight, |_| true, || Push::BeginAgain);
    }

    /// The turn of this attempt has come.
    pub(super) fn tell_turn(&self, flight: &Hash, attempt: Uuid) {
        self.tell(flight, |waiter| waiter.turn == Some(attempt), || Push::BeginAgain);
    }

    fn tell(&self, flight: &Hash, is_meant: impl Fn(&Waiter) -> bool, told: impl Fn() -> Push) {
        if let Some(waiters) = self.flights.get(flight) {
            for waiter in waiters.values().filter(|waiter| is_meant(waiter)) {
                // A flight that has just stopped waiting needs nothing.
                _ = waiter.tell.send(told());
            }
        }
    }

    /// After a gap in the subscription nobody knows what was missed.
    pub(super) fn tell_all_to_look(&self) {
        for waiters in &self.flights {
            for waiter in waiters.values() {
                _ = waiter.tell.send(Push::BeginAgain);
            }
        }
    }

    /// Waits until the first of the waiting wants to look.
    pub(super) async fn due(&self, soonest: Instant) {
        loop {
            // First nothing is planned, so that a flight that joins from here on is heard; then the count.
            *self.planned.lock().expect("BUG: nothing panics with this lock held") = None;
            let first = self.first_due().map(|due| due.max(soonest));
            *self.planned.lock().expect("BUG: nothing panics with this lock held") = first;
            let earlier = self.earlier.notified();
            match first {
                None => earlier.await,
                Some(due) => tokio::select! {
                    () = tokio::time::sleep_until(due) => return,
                    () = earlier => {}
                },
            }
        }
    }

    fn first_due(&self) -> Option<Instant> {
        let mut first = *self.reap_due.lock().expect("BUG: nothing panics with this lock held");
        for waiters in &self.flights {
            for due in waiters.values().filter_map(|waiter| waiter.look.due()) {
                first = Some(first.map_or(due, |first| first.min(due)));
            }
        }
        first
    }

    fn want_look_at(&self, due: Instant) {
        // Checked first: with ten thousand waiting, a planner that recounts at each arrival does nothing else.
        let planned = *self.planned.lock().expect("BUG: nothing panics with this lock held");
        if planned.is_none_or(|planned| due < planned) {
            self.earlier.notify_one();
        }
    }

    /// Whether it is time to take back the permits of lost holders, for flights of this pod that queue.
    pub(super) fn is_reap_due(&self, now: Instant) -> bool {
        let mut due = self.reap_due.lock().expect("BUG: nothing panics with this lock held");
        if due.is_none_or(|due| due > now) {
            return false;
        }
        // Planned anew by the reply, or by the next flight that queues.
        *due = None;
        drop(due);
        self.flights.iter().any(|waiters| waiters.values().any(|waiter| matches!(waiter.look, NextLook::InQueue)))
    }

    pub(super) fn plan_reap(&self, due: Instant) {
        let mut planned = self.reap_due.lock().expect("BUG: nothing panics with this lock held");
        *planned = Some(planned.map_or(due, |planned| planned.min(due)));
        drop(planned);
        self.want_look_at(due);
    }

    /// Tells the flights that are due to begin again.
    pub(super) fn tell_due(&self, now: Instant) {
        self.tell_where(|look| matches!(look, NextLook::Again { due } if due <= now));
    }

    /// Tells all flights that wait for a lost leader or in the queue to begin again, when no message can.
    pub(super) fn tell_all_without_leader(&self) {
        self.tell_where(|look| matches!(look, NextLook::Again { .. } | NextLook::InQueue));
    }

    /// Tells all flights that queue to begin again, where a permit is free for which nobody is called.
    pub(super) fn tell_all_queued(&self) {
        self.tell_where(|look| matches!(look, NextLook::InQueue));
    }

    fn tell_where(&self, is_meant: impl Fn(NextLook) -> bool) {
        for mut waiters in self.flights.iter_mut() {
            for waiter in waiters.values_mut() {
                if is_meant(waiter.look) {
                    waiter.look_again_now();
                }
            }
        }
    }

    /// At which leaders to look, if it is time for any of them: then at all, because one call asks for all.
    pub(super) fn leaders_due(&self, now: Instant) -> Vec<(Hash, u64)> {
        let leaders = self.leaders();
        if leaders.iter().any(|(_, _, due)| *due <= now) { without_due(leaders) } else { Vec::new() }
    }

    /// At which leaders to look when no message can come.
    pub(super) fn all_leaders(&self) -> Vec<(Hash, u64)> {
        without_due(self.leaders())
    }

    fn leaders(&self) -> Vec<(Hash, u64, Instant)> {
        let mut leaders = Vec::new();
        for waiters in &self.flights {
            for waiter in waiters.values() {
                if let NextLook::AtLeader { fence, due } = waiter.look {
                    leaders.push((*waiters.key(), fence, due));
                }
            }
        }
        leaders
    }

    /// The leader is not the one that was joined any more.
    pub(super) fn leader_changed(&self, flight: &Hash) {
        if let Some(mut waiters) = self.flights.get_mut(flight) {
            waiters.values_mut().for_each(Waiter::look_again_now);
        }
    }

    /// The leader was seen alive: when to look next.
    pub(super) fn look_later(&self, flight: &Hash, seen: u64, next: Instant) {
        if let Some(mut waiters) = self.flights.get_mut(flight) {
            for waiter in waiters.values_mut() {
                if let NextLook::AtLeader { fence, due } = &mut waiter.look
                    && *fence == seen
                {
                    *due = next;
                }
            }
        }
    }
}

impl Waiter {
    /// Nothing is planned any more: the flight begins again with another ticket.
    fn look_again_now(&mut self) {
        self.look = NextLook::Never;
        // A flight that has just stopped waiting needs nothing.
        _ = self.tell.send(Push::BeginAgain);
    }
}

fn without_due(leaders: Vec<(Hash, u64, Instant)>) -> Vec<(Hash, u64)> {
    let mut leaders: Vec<_> = leaders.into_iter().map(|(flight, fence, _)| (flight, fence)).collect();
    leaders.sort_unstable();
    leaders.dedup();
    leaders
}

impl NextLook {
    fn due(self) -> Option<Instant> {
        match self {
            Self::Never | Self::InQueue => None,
            Self::AtLeader { due, .. } | Self::Again { due } => Some(due),
        }
    }
}

impl Ticket {
    /// `begin` has answered: wait, and look when that is due.
    pub(super) fn join(&mut self, fence: u64, leader: LeaderSeen, due: Instant, awaited: Option<Awaited>) {
        self.awaited = awaited;
        let look = match leader {
            LeaderSeen::Living => NextLook::AtLeader { fence, due },
            LeaderSeen::Lost => NextLook::Again { due },
        };
        if let Some(waiter) = self.waiters.flights.get_mut(&self.flight).as_mut().and_then(|w| w.get_mut(&self.id)) {
            waiter.look = look;
        }
        self.waiters.want_look_at(due);
    }

    /// `begin` has answered: Redis recovers until then. What lands meanwhile is told.
    pub(super) fn wait_until(&mut self, due: Instant) {
        if let Some(waiter) = self.waiters.flights.get_mut(&self.flight).as_mut().and_then(|w| w.get_mut(&self.id)) {
            waiter.look = NextLook::Again { due };
        }
        self.waiters.want_look_at(due);
    }

    /// `begin` has answered: wait in the queue for a permit.
    pub(super) fn queue(&mut self, reap_due: Instant) {
        if let Some(waiter) = self.waiters.flights.get_mut(&self.flight).as_mut().and_then(|w| w.get_mut(&self.id)) {
            waiter.look = NextLook::InQueue;
        }
        self.waiters.plan_reap(reap_due);
    }

    /// Waits for the next news.
    pub(crate) async fn news(&mut self) -> News {
        let told = self.told.recv().await;
        let (Some(Push::Landed { claim, sealed }), Some(awaited)) = (told, &self.awaited) else {
            return News::BeginAgain;
        };
        // Another claim's outcome is not ours to open.
        if claim != awaited.claim {
            return News::BeginAgain;
        }
        let opened = awaited.opener.open(&sealed);
        if opened.is_some() {
            // A pod that held the token sealed it with this fence.
            self.waiters.fences.see(sealed.fence);
        }
        match opened {
            // Of an older fence only a success is sure to have landed after the joining: a failure may be a message
            // that was late.
            Some(landed) if sealed.fence >= awaited.fence || landed.outcome.class() == Class::Success => {
                News::Landed(landed)
            }
            Some(_) | None => News::BeginAgain,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.waiters.flights.remove_if_mut(&self.flight, |_, waiters| {
            waiters.remove(&self.id);
            waiters.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;

    fn waiters() -> Arc<Waiters> {
        Arc::new(Waiters::new(&Arc::new(Fences::default())))
    }

    fn hash() -> Hash {
        Hash::of_probe("t")
    }

    #[tokio::test(start_paused = true)]
    async fn flight_in_the_queue_begins_again_when_its_token_lands_anywhere() {
        let waiters = waiters();
        let mut queues = waiters.ticket(hash());
        queues.queue(Instant::now() + Duration::from_secs(60));

        let (attempt, age) = (Uuid::nil(), Duration::ZERO);
        waiters.tell_landed(&hash(), "c", SealedOutcome { fence: 7, attempt, age, bytes: b"sealed"[..].into() });

        assert!(matches!(queues.news().await, News::BeginAgain));
    }

    #[tokio::test(start_paused = true)]
    async fn free_permit_wakes_flights_in_the_queue_and_no_others() {
        let waiters = waiters();
        let due = Instant::now() + Duration::from_secs(60);
        let (mut queues, mut joins) = (waiters.ticket(hash()), waiters.ticket(hash()));
        queues.queue(due);
        joins.join(7, LeaderSeen::Living, due, None);

        waiters.tell_all_queued();

        assert!(matches!(queues.news().await, News::BeginAgain));
        assert!(tokio::time::timeout(Duration::from_secs(1), joins.news()).await.is_err());
    }
}
