//! What is noted of a claim that comes with a token of a login, and for how long.

use std::time::Duration;

use tokio::time::Instant;

use super::seen::{Asker, Seen};
use crate::identity::Hash;
use crate::store::contract::Ask;
use crate::store::memory::MemoryPod;
use crate::store::memory::chain::Link;
use crate::store::memory::family::{Entry, FamilyRecord, Membership};

/// Notes the claim that a token was given to, which is called otherwise with the token before, should it come with that. Answers for how
/// long it is known.
fn note_given(
    family: &mut FamilyRecord,
    (to, came): (Hash, Option<Hash>),
    place: u64,
    holds: Duration,
    now: Instant,
) -> Duration {
    let name = came.and_then(|came| family.entry_of(came)).map_or(to, |entry| entry.name);
    let entry = family.entry_named(name, || Entry { came_claim: came, ..Entry::new(name, place - 1, holds, now) });
    if entry.given < place {
        entry.was_given(place, to);
        entry.holds = entry.holds.max(holds);
        entry.ends = now + entry.holds;
    }
    entry.holds
}

impl MemoryPod {
    /// Notes that this claim came, and those that are owed what follows the token as well.
    pub(super) fn note_coming(
        &self,
        family: &mut FamilyRecord,
        asker: Asker<'_>,
        seen: &Seen,
        name: Hash,
        holds: Duration,
        now: Instant,
    ) {
        let ask = asker.ask;
        let (flight, claim, place) = (ask.identity.flight, ask.identity.claim, seen.place);
        // Each is known for as long as what it was given lives.
        let mut owed_until = now;
        if family.newest.is_none() {
            // A claim that has an entry of this name has come since by another.
            let is_new = |family: &FamilyRecord, other| family.entry_of(other).is_none() && !family.has_named(other);
            if let Some((to, holds)) = seen.to.filter(|(to, _)| *to != claim && is_new(family, *to)) {
                owed_until = now + note_given(family, (to, seen.to_came), place, holds, now);
            }
            // Who presents a token of the login has an entry, with the token that it came with.
            let presents = seen.presents.filter(|_| !seen.is_member);
            if let Some(other) = presents.filter(|other| *other != claim && is_new(family, *other)) {
                let holds = seen.next_holds.unwrap_or(holds);
                family.entry_named(other, || Entry::new(other, place, holds, now)).came_with(place, other);
                owed_until = owed_until.max(now + holds);
            }
        }
        let is_direct = asker.comes_directly();
        if is_direct {
            family.used = family.used.max(place);
        }
        // One claim more may still present the newest token itself, and nothing is kept for it; nor for one that its turn has led here.
        let is_known = family.entries.iter().any(|entry| entry.name == name);
        let is_noted = is_known || !(family.is_full() || asker.is_led_on());
        let mut until = now + holds;
        if is_noted {
            let entry = family.entry_named(name, || Entry::new(name, place, holds, now));
            if is_direct {
                entry.came_with(place, claim);
            } else if !asker.is_led_on() && entry.given < place {
                (entry.came, entry.came_claim) = (place - 1, None);
                entry.was_given(place, claim);
            }
            entry.ends = now + entry.holds;
            until = entry.ends;
        }
        if is_noted && !asker.is_led_on() {
            family.flights.insert(place, flight);
        }
        until = until.max(owed_until);
        // Anybody can make tokens up. Its claims are known for as long as they are owed anything once a flight has landed that got one
        // for it.
        if family.newest.is_none() && !seen.is_proven {
            until = until.min(now + self.config.unproven_claim_is_known_for());
        }
        let ends = family.keep_until(until);
        let of_held = self.link_of_held(ask, seen);
        self.with_record(flight, claim, now, |record| {
            record.ends = record.ends.max(until);
            record.link = record.link.take().or(of_held);
            if record.login.as_ref().is_none_or(|login| login.holder != seen.holder) {
                record.joins(Membership { id: seen.id, holder: seen.holder, key: None, entry: None }, until);
            }
        });
        if let Some(newest) = &family.newest {
            // The newest token is given for as long as anybody is owed it.
            self.stays_given_until(&newest.flight, ends, now);
        }
    }

    /// Where the record of the token is over, what is held for it tells where it stands.
    fn link_of_held(&self, ask: &Ask, seen: &Seen) -> Option<Box<Link>> {
        let held = self.namespace.held.get(&ask.identity.flight).filter(|held| held.holder == seen.holder)?;
        let (holder, generation, used, before) = (held.holder, held.generation, held.used, held.before?);
        Some(Box::new(Link { holder, generation, used, given_until: None, before, to: None }))
    }

    /// The token of a login was rotated: the claims that came with it are known for as long as each is owed anything.
    pub(in crate::store::memory) fn is_owed_to_claims(&self, id: Hash, flight: &Hash, now: Instant) {
        let Some(family) = self.known_family(id) else { return };
        let mut family = family.lock();
        if !family.is_over(now)
            && let Some(until) = family.keep_for_claims()
        {
            self.stays_known(flight, until);
        }
    }
}
