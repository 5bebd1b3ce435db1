//! `complete.lua`, with `lib/hold.lua`, `lib/land_family.lua` and `lib/wake.lua`; and `tip.lua`.

use super::super::host::Host;
use super::super::rules::Rule;
use super::super::sizes::TOKENS;
use super::begin::{Ask, Coming};
use super::follow::Origin;
use super::name::Name;
use super::redis::{Entry, Family, Held, Life, Record, Stage};

/// What `complete` is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Landing {
    /// What was asked when the lead was given.
    pub ask: Ask,
    /// From where it comes, where it is its turn among claims.
    pub origin: Option<Origin>,
    /// The server at which the provider answered.
    pub epoch: u8,
}

impl Host<'_> {
    /// `complete.lua`. `is_late`: it comes too late to be held.
    pub fn complete_lazily(&mut self, landing: &Landing, is_again: bool, is_late: bool) {
        let Landing { ask, origin, .. } = landing;
        let record = self.db.lazy.record(ask.token).unwrap_or_default();
        if is_again && record.stage == Stage::Rotated {
            return;
        }
        let given = record.given;
        let life = self.login_life(&record);
        let it = self.db.lazy.write(ask.token);
        (it.stage, it.claim, it.given, it.life) = (Stage::Rotated, ask.name(), 0, life);
        if usize::from(ask.token) >= TOKENS {
            return;
        }
        if record.generation > 0 {
            let is_direct = matches!(ask.coming, Coming::Direct | Coming::Past | Coming::Turn);
            it.used = record.used.max(if is_direct { record.generation } else { ask.from });
        }
        let record = Record { given, ..*it };
        let is_kept = match origin {
            Some(origin) => {
                self.land_in_family(landing, origin, &record);
                true
            }
            None if is_late => {
                let life = self.until_used();
                let link = self.db.lazy.write(ask.token + 1);
                (link.to, link.life) = (Name::with(ask.claim, ask.token + 1), link.life.max(life));
                false
            }
            None => self.hold_answer(landing, &record),
        };
        if !is_kept {
            let it = self.db.lazy.write(ask.token);
            it.life = it.life.max(given);
        }
        self.wake_families(ask.token, record.family, *origin);
    }

    /// `hold.lua`. Answers whether it is held.
    fn hold_answer(&mut self, landing: &Landing, record: &Record) -> bool {
        let Landing { ask, epoch, .. } = landing;
        let (token, next) = (ask.token, ask.token + 1);
        let (generation, used) = (record.generation.max(1), record.used);
        let to = Name::with(ask.claim, next);
        self.release_used(token, record.has_before, generation, used);
        if let Some(link) = self.db.lazy.record(next) {
            if !link.to.is_some() {
                self.db.lazy.write(next).to = to;
            }
            return false;
        }
        let life = self.until_used();
        let has_before = record.has_before;
        *self.db.lazy.hold(token) =
            Some(Held { claim: ask.name(), generation, used, next, has_before, is_good: true, life });
        let given = Record { generation: generation + 1, used, given: life, life, ..Record::default() };
        *self.db.lazy.write(next) = Record { epoch: *epoch, has_before: true, to, ..given };
        true
    }

    /// `release_used`.
    fn release_used(&mut self, token: u8, has_before: bool, generation: u8, used: u8) {
        let (mut before, mut generation) = (has_before.then(|| token - 1), generation);
        while let Some(token) = before {
            before = self.db.lazy.held(token).filter(|held| held.has_before).map(|_| token - 1);
            if used >= generation {
                *self.db.lazy.hold(token) = None;
            }
            generation = generation.saturating_sub(1);
        }
    }

    /// `note_member`.
    fn note_member(&mut self, token: u8, family: (u8, u8), place: u8, life: Life) {
        let knows = self.has(Rule::LostIsUsed);
        let record = self.db.lazy.write(token);
        (record.family, record.key) = family;
        if place > 1 && record.generation == 0 && knows {
            (record.generation, record.used) = (place, place);
        }
        record.life = record.life.max(life);
    }

    /// `note_before`.
    fn note_before(&self, family: &mut Family, origin: &Origin, key: u8, to: Name) {
        let Some((claim, answer, is_good)) = origin.before else { return };
        let of_to = || family.entry_of(to).filter(|_| self.has(Rule::OneEntryEach));
        let name = family.entry_of(claim).or_else(of_to).map_or(claim, |entry| entry.name);
        let entry = family.entry(name).unwrap_or_else(|| Entry::new(name, origin.place, claim, self.known_life()));
        if entry.given >= origin.newest {
            return;
        }
        family.write(Entry { given: origin.newest, given_claim: to, key, answer, is_good, ..entry });
    }

    /// `land_in_family`.
    fn land_in_family(&mut self, landing: &Landing, origin: &Origin, record: &Record) {
        let Landing { ask, epoch, .. } = landing;
        let (here, next, next_place, holds) = (ask.token, ask.token + 1, origin.newest + 1, self.known_life());
        let key = if origin.key > 0 { origin.key } else { here };
        let own_claim = Name::with(ask.claim, origin.token);
        let mut family = self.db.lazy.family(origin.id).unwrap_or_else(|| Family::new(origin.id));
        let over = family.entries.iter().flatten().filter(|it| it.life == 0).map(|it| it.name).collect::<Vec<_>>();
        over.into_iter().for_each(|name| family.forget(name));
        if self.has(Rule::AnswerIsTaken) {
            self.note_before(&mut family, origin, key, record.to);
        }
        if family.newest.is_none() && self.has(Rule::LandingNotesTo) {
            let (to, place) = (record.to, origin.newest);
            let is_others = to.is_some() && to.claim() != ask.claim;
            if is_others && family.entry_of(to).is_none() && family.entry(to).is_none() {
                let given = Entry::new(to, place - 1, Name::NONE, self.entry_life());
                family.write(Entry { given: place, given_claim: to, ..given });
            }
        }
        if family.newest.is_none() && self.has(Rule::LifeOfAnswer) {
            let short: Vec<Entry> = family.entries.iter().flatten().filter(|it| it.holds < holds).copied().collect();
            short.into_iter().for_each(|entry| family.write(Entry { holds, ..entry }));
        }
        self.land_for_claim(&mut family, ask, origin, (own_claim, key, next));
        let place_of = |place: u8| usize::from(place);
        (family.at[place_of(origin.place)], family.at[place_of(next_place)]) = (origin.token, next);
        family.used = family.used.max(origin.place);
        if family.newest.is_none_or(|newest| newest.place < next_place) {
            family.newest = Some(super::redis::Newest { place: next_place, token: next, key });
        }
        family.life = family.life.max(holds);
        let life = family.life;
        self.db.lazy.set_family(family);
        let link = self.db.lazy.record(next).unwrap_or_default();
        if link.generation == 0 {
            let to = Name::with(ask.claim, next);
            let given = Record { generation: next_place, used: 0, given: life, epoch: *epoch, ..link };
            *self.db.lazy.write(next) = Record { has_before: true, to, ..given };
        }
        self.note_member(next, (origin.id, key), next_place, life);
        self.note_member(origin.token, (origin.id, key), origin.place, holds);
        family.at[place_of(origin.newest)] = here;
        self.release_places(&mut family, next_place);
        if self.has(Rule::AllNamesAreOne) {
            (family.named[place_of(origin.place)], family.named[place_of(origin.newest)]) = (origin.token, here);
            let is_needed = std::array::from_fn::<bool, { TOKENS + 1 }, _>(|place| family.needs_name(place as u8));
            family.named.iter_mut().zip(is_needed).filter(|(_, is_needed)| !is_needed).for_each(|(it, _)| *it = 0);
        }
        if (family.names(origin.newest) || origin.newest == next_place) && origin.token != here {
            family.at[place_of(origin.newest)] = here;
            self.note_member(here, (origin.id, key), origin.newest, life);
        }
        self.db.lazy.set_family(family);
    }

    /// The claim has what it presented the token for.
    fn land_for_claim(&self, family: &mut Family, ask: &Ask, origin: &Origin, answered: (Name, u8, u8)) {
        let ((own_claim, key, next), claim) = (answered, ask.claim);
        let (name, next_place, holds) = (Name::in_family(claim), origin.newest + 1, self.known_life());
        let first = family.entry_of(own_claim).filter(|first| first.name != name);
        first.iter().for_each(|first| family.forget(first.name));
        let is_free = family.count() < self.most_claims();
        let new = is_free.then(|| Entry::new(name, origin.place, own_claim, holds));
        let entry = family.entry(name).or(first.map(|first| Entry { name, ..first })).or(new);
        let Some(mut entry) = entry.filter(|entry| entry.given < next_place) else { return };
        if entry.came <= origin.place {
            (entry.came, entry.came_claim) = (origin.place, own_claim);
        }
        if self.has(Rule::AllNamesAreOne) {
            // By the names that it has with the tokens that its pod knows, and with those whose keys the family has.
            let tokens = [origin.token, ask.token].into_iter().chain(origin.named).filter(|&token| token > 0);
            for called in tokens.map(|token| Name::with(claim, token)) {
                let Some(other) = family.entry_of(called).filter(|it| it.name != name) else { continue };
                // A flight that waits came before that, and is served: its own landing does the same.
                let is_waited_for = family.waiting.iter().any(|&waiting| other.is_called(waiting));
                if other.came >= next_place || other.given >= next_place || is_waited_for {
                    continue;
                }
                family.forget(other.name);
                if other.came > entry.came {
                    (entry.came, entry.came_claim) = (other.came, other.came_claim);
                }
            }
        }
        (entry.given, entry.given_claim) = (next_place, Name::with(claim, next));
        family.write(Entry { key, answer: next, is_good: true, holds, ..entry });
    }

    /// Whether an entry names the place before, whose token's record has no key of the family: the way from there leads here.
    fn follows_keyless(&self, family: &Family, place: u8) -> bool {
        let before = family.at[usize::from(place) - 1];
        let has_key = || self.db.lazy.record(before).is_some_and(|it| it.key > 0);
        before > 0 && family.names(place - 1) && !has_key() && self.has(Rule::KeptForKeyless)
    }

    /// `release_places`.
    fn release_places(&mut self, family: &mut Family, next_place: u8) {
        for place in 1..=TOKENS as u8 {
            let token = family.at[usize::from(place)];
            if token == 0 || place == next_place || family.names(place) || self.follows_keyless(family, place) {
                continue;
            }
            family.at[usize::from(place)] = 0;
            if self.has(Rule::DropsUnheld) && self.db.lazy.record(token).is_some() {
                self.db.lazy.write(token).life = 0;
            }
        }
    }

    /// `wake_families`.
    fn wake_families(&mut self, token: u8, id: u8, origin: Option<Origin>) {
        if id > 0 && origin.is_none() {
            if let Some(family) = self.db.lazy.family(id) {
                let record = self.db.lazy.write(token);
                record.life = record.life.max(family.life);
            }
            let next = self.db.lazy.record(token + 1);
            if next.is_some_and(|it| it.generation > 0 && it.family == 0) && self.has(Rule::LandingTellsNext) {
                self.db.lazy.write(token + 1).family = id;
            }
        }
        self.wake_family(id);
        let own = origin.map_or(token, |origin| origin.id);
        if own != id {
            self.wake_family(own);
        }
    }

    /// `tip.lua`: what the way from the older token has come to.
    pub fn tip_lazily(&mut self, own: &Ask, next: u8, is_good: bool) {
        let life = self.until_used();
        let Some(held) = self.db.lazy.held(own.token).filter(|held| held.claim == own.name()) else { return };
        let Some(link) = self.db.lazy.record(next).filter(|link| link.generation > 0 && held.next < next) else {
            return;
        };
        if link.given > 0 {
            let link = self.db.lazy.write(next);
            (link.given, link.life) = (link.given.max(life), link.life.max(life));
        }
        *self.db.lazy.hold(own.token) = Some(Held { next, is_good, life, ..held });
    }
}
