//! The flights of one login that wait for their turn to present its newest token: what `order:<id>` is in Redis. Mirrored by
//! `lua/lib/wake.lua`.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::news::Turn;
use crate::identity::Hash;

/// So many flights of one login wait at most.
const MOST_WAITING: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Order {
    waiting: VecDeque<Waiting>,
    /// The attempt whose turn it is, and until when that is kept for it.
    called: Option<(Uuid, Instant)>,
}

#[derive(Debug)]
struct Waiting {
    attempt: Uuid,
    /// The entry of its claim.
    entry: Hash,
    ring: oneshot::Sender<()>,
}

impl Order {
    /// Whether no other flight than those that wait may wait.
    pub(super) fn is_full_for(&mut self, attempt: Uuid) -> bool {
        if self.called.is_some_and(|(called, _)| called == attempt)
            || self.waiting.iter().any(|waiting| waiting.attempt == attempt)
        {
            return false;
        }
        if self.waiting.len() >= MOST_WAITING {
            self.waiting.retain(|waiting| !waiting.ring.is_closed());
        }
        self.waiting.len() >= MOST_WAITING
    }

    /// Waits until it is called, or until it is time to look. A flight that asks again keeps its place.
    pub(super) fn wait(&mut self, attempt: Uuid, entry: Hash, look_at: Instant) -> Turn {
        let (ring, came) = oneshot::channel();
        let waiting = Waiting { attempt, entry, ring };
        match self.waiting.iter_mut().find(|other| other.attempt == attempt) {
            Some(place) => *place = waiting,
            None => self.waiting.push_back(waiting),
        }
        Turn::new(came, look_at)
    }

    /// Takes the turn, which is then kept for `called`. Answers when to look again where it is another's.
    ///
    /// # Errors
    ///
    /// Another presents the newest token, until `leads_until` at the latest, or comes first.
    pub(super) fn take_turn(
        &mut self,
        attempt: Uuid,
        leads_until: Option<Instant>,
        called: Duration,
        now: Instant,
    ) -> Result<(), Instant> {
        if let Some(until) = leads_until.filter(|until| *until > now) {
            return Err(until);
        }
        let is_called = match self.called {
            Some((other, until)) if other != attempt && until > now => return Err(until.min(now + called)),
            Some((other, _)) => other == attempt,
            None => false,
        };
        while !is_called
            && let Some(first) = self.waiting.front()
            && first.attempt != attempt
        {
            if self.call_first(called, now) {
                return Err(now + called);
            }
        }
        self.waiting.retain(|waiting| waiting.attempt != attempt);
        self.called = Some((attempt, now + called));
        Ok(())
    }

    /// Calls the flight that came first. Answers whether it listens.
    fn call_first(&mut self, called: Duration, now: Instant) -> bool {
        let Some(Waiting { attempt, ring, .. }) = self.waiting.pop_front() else { return false };
        let is_heard = ring.send(()).is_ok();
        self.called = is_heard.then_some((attempt, now + called));
        is_heard
    }

    /// Calls the first that listens: it is nobody's turn any more.
    fn call_next(&mut self, called: Duration, now: Instant) {
        self.called = None;
        while !self.waiting.is_empty() && !self.call_first(called, now) {}
    }

    /// A flight that may have presented the newest token has ended: whose turn is next is called. The others of the claim that was
    /// answered are called as well: they are handed that.
    pub(super) fn wake(&mut self, answered: Option<Hash>, called: Duration, now: Instant) {
        for waiting in std::mem::take(&mut self.waiting) {
            if Some(waiting.entry) == answered {
                // One that has just stopped waiting needs nothing.
                _ = waiting.ring.send(());
            } else {
                self.waiting.push_back(waiting);
            }
        }
        self.call_next(called, now);
    }

    /// Whether a flight waits that came by this entry.
    pub(super) fn has(&self, entry: Hash) -> bool {
        self.waiting.iter().any(|waiting| waiting.entry == entry && !waiting.ring.is_closed())
    }

    /// The entry of a claim is called so from now on.
    pub(super) fn rename(&mut self, first: Hash, name: Hash) {
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.entry == first) {
            waiting.entry = name;
        }
    }

    /// An attempt waits no longer. Where its turn has come, the next is called.
    pub(super) fn leave(&mut self, attempt: Uuid, called: Duration, now: Instant) {
        self.waiting.retain(|waiting| waiting.attempt != attempt);
        if self.called.is_some_and(|(other, _)| other == attempt) {
            self.call_next(called, now);
        }
    }

    /// All are called, and find out.
    pub(super) fn call_all(&mut self) {
        for waiting in self.waiting.drain(..) {
            // One that has just stopped waiting needs nothing.
            _ = waiting.ring.send(());
        }
        self.called = None;
    }

    /// Whether nobody waits any more.
    pub(super) fn is_deserted(&self) -> bool {
        self.waiting.iter().all(|waiting| waiting.ring.is_closed())
    }
}
