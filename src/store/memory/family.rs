//! A login whose tokens several claims come with: what `family:<id>` and `answers:<id>` are in Redis. Mirrored by
//! `lua/lib/family.lua`.
//!
//! Its newest token and its answers are sealed under the family's key, and that for each token whose holder is owed something.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::family_order::Order;
use crate::identity::Hash;
use crate::store::contract::Given;

/// So many claims of one login are known.
const MOST_CLAIMS: usize = 64;

/// Locked before any flight's record, never after one: what is told or landed of several records of a login is one step.
#[derive(Debug, Default)]
pub(super) struct SharedFamily(Mutex<FamilyRecord>);

impl SharedFamily {
    pub(super) fn lock(&self) -> MutexGuard<'_, FamilyRecord> {
        self.0.lock().expect("BUG: nothing panics with this lock held")
    }
}

#[derive(Debug, Default)]
pub(super) struct FamilyRecord {
    pub(super) newest: Option<Newest>,
    /// The newest place that anybody came with.
    pub(super) used: u64,
    pub(super) entries: Vec<Entry>,
    /// The flights of the tokens that entries name, by place.
    pub(super) flights: BTreeMap<u64, Hash>,
    /// By what claims are called with the tokens at these places, sealed under the family's key, where an entry is of one that has presented
    /// none.
    pub(super) named: BTreeMap<u64, Vec<u8>>,
    pub(super) order: Order,
    /// Until when its session counts as ended.
    pub(super) ended: Option<Instant>,
    ends: Option<Instant>,
}

/// The newest token of a login, sealed under the family's key.
#[derive(Debug)]
pub(super) struct Newest {
    pub(super) place: u64,
    pub(super) flight: Hash,
    pub(super) sealed: Vec<u8>,
}

/// What is known of one claim of a login.
#[derive(Debug)]
pub(super) struct Entry {
    /// The claim, as it was called when it was first heard of.
    pub(super) name: Hash,
    /// The place that it came with last, and how it is called with the token there. No name where it has not come itself.
    pub(super) came: u64,
    pub(super) came_claim: Option<Hash>,
    /// The same of the place that it was given last; 0 where it was given none.
    pub(super) given: u64,
    pub(super) given_claim: Option<Hash>,
    /// For how long it is known from its last coming on.
    pub(super) holds: Duration,
    pub(super) ends: Instant,
    /// What it was given last.
    pub(super) answer: Option<Answer>,
}

/// What a claim was given, sealed under the family's key.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) given: Given,
    pub(super) at: Instant,
    pub(super) good_until: Instant,
    pub(super) sealed: Vec<u8>,
}

/// That a token belongs to a login.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) id: Hash,
    pub(super) holder: Hash,
    /// The family's key, sealed for the holder. None where it has none yet.
    pub(super) key: Option<Vec<u8>>,
    /// The claim that the token was given to.
    pub(super) entry: Option<Hash>,
}

impl FamilyRecord {
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.ends.is_none_or(|ends| ends <= now)
    }

    /// Nobody is owed anything, and nobody waits.
    pub(super) fn is_done_with(&self, now: Instant) -> bool {
        self.is_over(now) && self.order.is_deserted()
    }

    /// What is over is as if it had never been. Flights that wait wait on.
    pub(super) fn forget_if_over(&mut self, now: Instant) {
        if self.is_over(now) {
            self.forget();
        }
    }

    /// Nobody is owed anything any more. That its session has ended is remembered.
    pub(super) fn forget(&mut self) {
        let (order, ended) = (std::mem::take(&mut self.order), self.ended);
        *self = Self { order, ended, ends: ended, ..Self::default() };
    }

    pub(super) fn has_ended(&self, now: Instant) -> bool {
        self.ended.is_some_and(|until| until > now)
    }

    /// Nobody is owed anything for longer.
    pub(super) fn ends_by(&mut self, until: Instant) {
        self.ends = self.ends.map(|ends| ends.min(until));
    }

    /// Answers until when it stays.
    pub(super) fn keep_until(&mut self, until: Instant) -> Instant {
        *self.ends.insert(self.ends.map_or(until, |ends| ends.max(until)))
    }

    /// Its token is no made-up one: the claims that came are known for as long as each is owed anything. Answers until when it stays.
    pub(super) fn keep_for_claims(&mut self) -> Option<Instant> {
        let longest = self.entries.iter().map(|entry| entry.ends).max()?;
        Some(self.keep_until(longest))
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= MOST_CLAIMS
    }

    /// The entry of this claim, as it is called with the token of either place.
    pub(super) fn entry_of(&self, claim: Hash) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.is_called(claim))
    }

    /// Whether this claim has come, as it is called with that token, and was given nothing since.
    pub(super) fn has_only_come(&self, claim: Hash, now: Instant) -> bool {
        !self.is_over(now)
            && self.entry_of(claim).is_some_and(|entry| entry.came_claim == Some(claim) && entry.given == 0)
    }

    pub(super) fn has_named(&self, name: Hash) -> bool {
        self.entries.iter().any(|entry| entry.name == name)
    }

    /// A claim that has presented a token is one, by whatever name it was noted before: this is the entry of that one from now on. What it
    /// came with later than that stays. A flight that waits came before that, and is served: its own landing does the same.
    pub(super) fn merge(&mut self, name: Hash, called: &[Hash], newest: u64) {
        for claim in called {
            let is_same = |entry: &Entry| entry.name != name && entry.came <= newest && entry.given <= newest;
            let is_done_with = |entry: &Entry| is_same(entry) && !self.order.has(entry.name);
            let Some(other) = self.entry_of(*claim).filter(|entry| is_done_with(entry)) else { continue };
            let (first, came, came_claim) = (other.name, other.came, other.came_claim);
            self.entries.retain(|entry| entry.name != first);
            if let Some(entry) = self.entries.iter_mut().find(|entry| entry.name == name && entry.came < came) {
                (entry.came, entry.came_claim) = (came, came_claim);
            }
        }
    }

    /// Whether a claim that has presented no token is called as it is with that at this place.
    fn needs_name(&self, place: u64) -> bool {
        self.entries.iter().filter(|entry| !entry.has_presented()).any(|entry| {
            (entry.came == place && entry.came_claim.is_some()) || (entry.given == place && entry.given_claim.is_some())
        })
    }

    /// By what these claims are called: those that present a token later are known by that.
    pub(super) fn keep_names(&mut self, named: impl IntoIterator<Item = (u64, Vec<u8>)>) {
        let mut all = std::mem::take(&mut self.named);
        all.extend(named);
        all.retain(|place, _| self.needs_name(*place));
        self.named = all;
    }

    /// The entry of this name, which is made where there is none.
    pub(super) fn entry_named(&mut self, name: Hash, new: impl FnOnce() -> Entry) -> &mut Entry {
        let at = self.entries.iter().position(|entry| entry.name == name).unwrap_or_else(|| {
            self.entries.push(new());
            self.entries.len() - 1
        });
        &mut self.entries[at]
    }

    pub(super) fn names_place(&self, place: u64) -> bool {
        self.entries.iter().any(|entry| entry.came == place || entry.given == place)
    }

    /// Claims that have not come for as long as they are known.
    pub(super) fn forget_over(&mut self, now: Instant) {
        self.entries.retain(|entry| entry.ends >= now);
    }

    /// The claim of this entry is called so from now on. Where it has an entry of that name, this one is over; who waits for its answer
    /// waits for that of the other.
    pub(super) fn rename(&mut self, first: Hash, name: Hash) {
        if first == name {
            return;
        }
        self.order.rename(first, name);
        if self.entries.iter().any(|entry| entry.name == name) {
            self.entries.retain(|entry| entry.name != first);
        } else if let Some(entry) = self.entries.iter_mut().find(|entry| entry.name == first) {
            entry.name = name;
        }
    }

    /// Of claims that were known before the family was made it is not known how long their access tokens live: as long as this.
    pub(super) fn keep_first(&mut self, holds: Duration, now: Instant) {
        for entry in self.entries.iter_mut().filter(|entry| entry.holds < holds) {
            (entry.holds, entry.ends) = (holds, now + holds);
        }
    }

    /// The tokens that claims came with last, by place.
    pub(super) fn came(&self) -> Vec<(u64, Hash)> {
        self.entries.iter().filter_map(|entry| Some((entry.came, *self.flights.get(&entry.came)?))).collect()
    }

    /// No entry names some places any more, but for these. Answers the flights of the tokens there.
    pub(super) fn release(&mut self, but: &[u64]) -> Vec<Hash> {
        let is_named = |place: &u64| but.contains(place) || self.names_place(*place);
        let unnamed: Vec<u64> = self.flights.keys().copied().filter(|place| !is_named(place)).collect();
        unnamed.iter().filter_map(|place| self.flights.remove(place)).collect()
    }
}

impl Entry {
    pub(super) fn new(name: Hash, came: u64, holds: Duration, now: Instant) -> Self {
        let (came_claim, given, given_claim, answer) = (None, 0, None, None);
        Self { name, came, came_claim, given, given_claim, holds, ends: now + holds, answer }
    }

    /// Whether its claim is called so with the token of either place.
    pub(super) fn is_called(&self, claim: Hash) -> bool {
        self.came_claim == Some(claim) || self.given_claim == Some(claim)
    }

    /// Whether its claim has presented a token. Then its answer is sealed for the claim as it is called with the token in that.
    fn has_presented(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| Some(answer.given.claim) == self.given_claim)
    }

    pub(super) fn came_with(&mut self, place: u64, claim: Hash) {
        (self.came, self.came_claim) = (place, Some(claim));
    }

    pub(super) fn was_given(&mut self, place: u64, claim: Hash) {
        (self.given, self.given_claim) = (place, Some(claim));
    }
}
