//! `follow.lua`.

use super::super::host::Host;
use super::super::rules::Rule;
use super::super::sizes::TOKENS;
use super::begin::{Ask, Coming};
use super::name::Name;
use super::redis::{Entry, Family, Held, Record, Stage};

/// From where a flight comes to the newest token of its login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The family.
    pub id: u8,
    /// Its key, 0 for one that is made now.
    pub key: u8,
    /// The token that its claim came with.
    pub token: u8,
    /// Where that stands, and where the one that is presented.
    pub place: u8,
    /// The same.
    pub newest: u8,
    /// To whom another claim's answer was given that is held for its token, and the token in that.
    pub before: Option<(Name, u8, bool)>,
    /// The tokens by which the family can tell how its claim is called with them.
    pub named: [u8; TOKENS + 1],
}

/// What `follow` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Followed {
    /// `wait`.
    Wait,
    /// `given`: the token in the answer.
    Given(u8),
    /// `newest`, or `other`: the token to present.
    Newest(u8, Origin),
    /// `own`.
    Own(Origin),
    /// `unused`.
    Unused,
    /// `spent`.
    Spent,
    /// `full`.
    Full,
}

/// What is known of the token that a flight asks about.
struct Seen {
    record: Record,
    held: Option<Held>,
    place: u8,
    family: Family,
    key: u8,
    /// The answer of another claim that is held for it.
    other: Option<Held>,
    is_end: bool,
    /// The token belonged to no family.
    is_new: bool,
}

impl Seen {
    fn is_spent(&self) -> bool {
        self.record.stage == Stage::Rotated
    }

    fn newest_token(&self) -> Option<u8> {
        self.family.newest.map(|newest| newest.token)
    }
}

impl Host<'_> {
    fn see(&self, ask: &Ask) -> Seen {
        let keys = &self.db.lazy;
        let (record, held) = (keys.record(ask.token).unwrap_or_default(), keys.held(ask.token));
        let generation = Some(record.generation).filter(|&it| it > 0).or(held.map(|held| held.generation));
        let place = generation.unwrap_or(1);
        let id = if record.family > 0 { record.family } else { ask.token };
        let family = keys.family(id).unwrap_or_else(|| Family::new(id));
        let is_end = family.newest.is_none_or(|newest| newest.token == ask.token) || record.key == 0;
        let is_unused = |held: &Held| held.used <= place || !self.has(Rule::StrangerNeedsUnused);
        let mut other = held.filter(|held| is_end && is_unused(held));
        let is_missing = |held: &Held| keys.record(held.next).is_none() && keys.held(held.next).is_none();
        if self.has(Rule::MissingIsSpent) {
            other = other.filter(|other| !is_missing(other));
        }
        if let Some(next) = other.and_then(|other| keys.record(other.next)) {
            let is_unknown = next.family > 0 && keys.family(next.family).is_none_or(|it| it.newest.is_none());
            let goes_on = self.has(Rule::AnswerOnTheWay) && other.is_some_and(|it| keys.held(it.next).is_some());
            if next.stage == Stage::Rotated && is_unknown && !goes_on && self.has(Rule::UnknownIsSpent) {
                other = None;
            }
        }
        Seen { record, held, place, family, key: record.key, other, is_end, is_new: record.family == 0 }
    }

    /// `follow.lua`. `own` is the token that its claim came with, where its turn has led it on from there, and where that stands.
    pub fn follow_lazily(&mut self, ask: &Ask, own: Option<(u8, u8)>) -> Followed {
        let mut seen = self.see(ask);
        let owed = if ask.coming == Coming::Claim { own.map_or(ask.token, |(token, _)| token) } else { ask.token };
        let entry = match self.entry_for(ask, &mut seen, Name::with(ask.claim, owed)) {
            Ok(entry) => entry,
            Err(followed) => return followed,
        };
        let known = self.note_coming(ask, &mut seen, entry);
        let before = seen.newest_token().filter(|&it| self.db.lazy.record(it).is_some_and(|it| it.has_before));
        let is_telling = before.is_some_and(|newest| self.db.lazy.is_led(newest - 1));
        let newest_place = seen.family.newest.map(|newest| newest.place);
        let is_given = known.given > seen.place && known.is_good && seen.key > 0;
        if is_given && known.key > 0 && !(is_telling && newest_place == Some(known.given)) {
            self.done(ask, seen.family);
            return if known.key == seen.key { Followed::Given(known.answer) } else { Followed::Spent };
        }
        let presented = seen.newest_token().unwrap_or(ask.token);
        let is_led = is_telling
            || self.db.lazy.is_led(presented)
            || seen.other.is_some_and(|other| self.db.lazy.is_led(other.next));
        if let Some(other) = seen.other.filter(|_| self.has(Rule::NextIsToldOf)) {
            self.tell_next(other.next, seen.family.id);
        }
        if is_led {
            return self.wait(ask, seen.family, own);
        }
        self.take_turn(ask, seen, own)
    }

    /// Whose entry it is, none where no more is known.
    fn entry_for(&mut self, ask: &Ask, seen: &mut Seen, owed: Name) -> Result<Option<Name>, Followed> {
        let (name, place) = (ask.name(), seen.place);
        let mut known = seen.family.entry_of(owed);
        if known.is_none() && seen.record.to == name {
            let unnamed = |it: &&Entry| it.given == place && !it.given_claim.is_some();
            known = seen.family.entries.iter().flatten().find(unnamed).copied();
            if let Some(entry) = &mut known {
                entry.given_claim = name;
                seen.family.write(*entry);
                self.db.lazy.set_family(seen.family);
            }
        }
        if known.is_none() && self.has(Rule::OneEntryEach) {
            known = self.entry_before(ask, seen);
        }
        if matches!(ask.coming, Coming::Take | Coming::Walk) {
            let is_used = seen.record.used >= place || (seen.family.newest.is_some() && seen.family.used > place);
            let is_first = seen.record.to == name && seen.record.generation > 0 && !is_used;
            let is_owed = known.map_or(is_first, |entry| entry.given == place && entry.came < place);
            if !is_owed {
                return Err(Followed::Spent);
            } else if ask.coming == Coming::Take {
                return Err(Followed::Unused);
            }
        }
        let mut entry = known.map(|entry| entry.name);
        if entry.is_none() && ask.coming != Coming::Claim {
            let is_used = seen.family.newest.is_some() && seen.family.used > place;
            let is_used_later = seen.other.is_some_and(|other| self.is_used_further_on(other, place));
            let is_used = is_used || (is_used_later && self.has(Rule::ComingIsUse));
            if is_used && self.has(Rule::StrangerNeedsUnused) {
                return Err(Followed::Spent);
            }
            if seen.family.count() < self.most_claims() {
                entry = Some(name);
            } else if seen.is_spent() || seen.newest_token().is_some_and(|newest| newest != ask.token) {
                return Err(Followed::Full);
            }
        }
        let is_rotated = seen.is_spent() || seen.held.is_some();
        if is_rotated && seen.is_end && seen.other.is_none() { Err(Followed::Spent) } else { Ok(entry) }
    }

    /// The entry of the claim as it came with the token before, where this one was given to it.
    fn entry_before(&mut self, ask: &Ask, seen: &mut Seen) -> Option<Entry> {
        let is_given = seen.record.to == ask.name() && seen.record.has_before && seen.place > 1;
        let before = is_given.then(|| self.db.lazy.held(ask.token - 1)).flatten();
        let mut entry = before.and_then(|held| seen.family.entry_of(held.claim))?;
        if entry.given < seen.place {
            (entry.given, entry.given_claim) = (seen.place, ask.name());
            seen.family.write(entry);
            self.db.lazy.set_family(seen.family);
        }
        Some(entry)
    }

    /// From here on it is written. Answers what is known of the claim.
    fn note_coming(&mut self, ask: &Ask, seen: &mut Seen, entry: Option<Name>) -> Entry {
        let (name, place, holds) = (ask.name(), seen.place, self.entry_life());
        let record = self.db.lazy.write(ask.token);
        if record.family == 0 {
            record.family = seen.family.id;
            if place > 1 && record.generation == 0 {
                (record.generation, record.used) = (place, place);
            }
        }
        if seen.family.newest.is_none() && self.has(Rule::OthersNoted) {
            self.note_others(name, ask.token, seen);
        }
        let known = entry.and_then(|entry| seen.family.entry(entry));
        let mut known = known.unwrap_or_else(|| Entry::new(entry.unwrap_or(name), place, name, holds));
        let is_direct = matches!(ask.coming, Coming::Direct | Coming::Turn);
        if is_direct {
            (known.came, known.came_claim) = (place, name);
        } else if ask.coming == Coming::Walk && known.given < place {
            (known.came, known.came_claim) = (place - 1, Name::NONE);
            (known.given, known.given_claim) = (place, name);
        }
        let family = &mut seen.family;
        if entry.is_some() {
            family.write(known);
            if ask.coming != Coming::Claim {
                family.at[usize::from(place)] = ask.token;
            }
        }
        if is_direct {
            family.used = family.used.max(place);
        }
        family.life = family.life.max(known.holds);
        let life = family.life;
        self.db.lazy.set_family(*family);
        let record = self.db.lazy.write(ask.token);
        record.life = record.life.max(known.holds);
        if let Some(newest) = family.newest
            && let Some(before) = self.db.lazy.record(newest.token).filter(|it| it.given > 0)
        {
            let it = self.db.lazy.write(newest.token);
            (it.given, it.life) = (before.given.max(life), before.life.max(life));
        }
        seen.record = self.db.lazy.record(ask.token).unwrap_or_default();
        known
    }

    /// Others that are owed what follows this token: the claim that it was given to, and the one that presents it or has.
    fn note_others(&self, name: Name, token: u8, seen: &mut Seen) {
        let (Record { to, claim, stage, .. }, place, holds) = (seen.record, seen.place, self.entry_life());
        let is_named = |family: &Family, name| family.entry(name).is_some() && self.has(Rule::OneEntryEach);
        if to.is_some() && to != name && seen.family.entry_of(to).is_none() && !is_named(&seen.family, to) {
            let before = (seen.record.has_before && self.has(Rule::NamedBefore)).then(|| self.db.lazy.held(token - 1));
            let came = before.flatten().map_or(Name::NONE, |held| held.claim);
            let known = seen.family.entry_of(came).unwrap_or_else(|| Entry::new(to, place - 1, came, holds));
            if known.given < place {
                seen.family.write(Entry { given: place, given_claim: to, ..known });
            }
        }
        let is_new = seen.is_new || !self.has(Rule::PresenterHasEntry);
        let presents = matches!(stage, Stage::Leading | Stage::Rotated) && claim.is_some() && claim != name && is_new;
        if presents && seen.family.entry_of(claim).is_none() && !is_named(&seen.family, claim) {
            seen.family.write(Entry::new(claim, place, claim, holds));
        }
    }

    /// Who comes with a token that followed finds the family, too.
    fn tell_next(&mut self, next: u8, id: u8) {
        let mut next = Some(next).filter(|_| self.has(Rule::NextIsMember));
        while let Some(token) = next {
            let record = self.db.lazy.record(token);
            if record.is_some_and(|it| it.family > 0) {
                return;
            }
            if record.is_some_and(|it| it.generation > 0) {
                self.db.lazy.write(token).family = id;
            }
            next = self.db.lazy.held(token).map(|held| held.next);
        }
    }

    /// Whether somebody came with a token that followed this answer, at a place after this one.
    fn is_used_further_on(&self, answer: Held, place: u8) -> bool {
        let used = |token: u8| self.db.lazy.record(token).is_some_and(|it| it.used > place);
        let mut next = Some(answer);
        while let Some(held) = next {
            if used(held.next) {
                return true;
            }
            next = self.db.lazy.held(held.next);
        }
        false
    }

    fn done(&mut self, ask: &Ask, mut family: Family) {
        family.leave(ask.flight);
        if family.called == Some(ask.flight) {
            family.called = None;
            family.call_next();
        }
        self.db.lazy.set_family(family);
    }

    fn wait(&mut self, ask: &Ask, mut family: Family, own: Option<(u8, u8)>) -> Followed {
        let own = own.map_or(ask.token, |(token, _)| token);
        family.queue(ask.flight, Name::with(ask.claim, own));
        self.db.lazy.set_family(family);
        Followed::Wait
    }

    fn take_turn(&mut self, ask: &Ask, seen: Seen, own: Option<(u8, u8)>) -> Followed {
        let mut family = seen.family;
        let is_called = family.called == Some(ask.flight);
        if family.called.is_some() && !is_called {
            return self.wait(ask, family, own);
        }
        if !is_called && family.first().is_some_and(|first| first != ask.flight) {
            family.call_next();
            return self.wait(ask, family, own);
        }
        let is_further_on = family.newest.filter(|newest| newest.token != ask.token);
        if is_further_on.is_some() && seen.key == 0 && seen.other.is_none() {
            self.done(ask, family);
            return Followed::Spent;
        }
        family.leave(ask.flight);
        family.called = Some(ask.flight);
        self.db.lazy.set_family(family);
        let (token, place) = own.unwrap_or((ask.token, seen.place));
        let named = if seen.key > 0 { family.named } else { [0; TOKENS + 1] };
        let origin = |newest, before| Origin { id: family.id, key: seen.key, token, place, newest, before, named };
        if let Some(other) = seen.other {
            let next = self.db.lazy.record(other.next);
            self.tell_next(other.next, family.id);
            let is_taken = own.is_none() || self.has(Rule::AnswerOnTheWay);
            let before = is_taken.then_some((other.claim, other.next, other.is_good));
            let of_next = next.map(|it| it.generation).filter(|&it| it > 0 && self.has(Rule::PlaceOfNext));
            let origin = origin(of_next.unwrap_or(seen.place + 1), before);
            return Followed::Newest(other.next, origin);
        }
        match is_further_on {
            Some(newest) if newest.key != seen.key => Followed::Spent,
            Some(newest) => Followed::Newest(newest.token, origin(newest.place, None)),
            None => Followed::Own(origin(seen.place, None)),
        }
    }
}
