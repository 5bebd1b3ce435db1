//! The scripts, as far as claims go: a function for each, at a server under rules.

use super::host::Host;
use super::lazy::land::Landing;
use super::redis::{Entry, Family, Record, State};
use super::rules::Rule;
use super::sizes::{CLAIMS, TOKENS};

/// What `begin` is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    /// Whose flight asks.
    pub flight: u8,
    /// The claim.
    pub claim: u8,
    /// The token that the caller came with.
    pub own: u8,
    /// The token that is asked about: its own, or a newer one.
    pub token: u8,
    /// It presents its own token, whatever is known of the family.
    pub is_past: bool,
}

/// What `begin` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// The asker leads the token.
    Lead,
    /// Another flight leads, or another claim has its turn.
    Wait,
    /// The answer of its claim is held: the token in it.
    Handed(u8),
    /// The token was rotated: the newest one, or, without a record of the family, the next.
    GoOn(u8),
    /// There is no record of the token that a walker asks about.
    Missing,
    /// The way leads nowhere, or the claim has left this token behind: the provider is to judge its own token.
    PresentOwn,
}

/// What `complete` is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Complete {
    /// What was asked when the lead was given.
    pub ask: Ask,
    /// The same where the family is made lazily.
    pub landing: Option<Landing>,
}

impl Host<'_> {
    /// `begin.lua`.
    pub fn begin(&mut self, ask: &Ask) -> Reply {
        let claim = usize::from(ask.claim);
        let is_own = ask.token == ask.own;
        if is_own {
            self.db.came[claim] = self.db.came[claim].max(ask.own);
        }
        let may_be_new = self.db.record(ask.token).is_none() && self.db.family.is_none();
        if is_own && may_be_new && !ask.is_past && self.has(Rule::NotedBeforeFirst) {
            *self.db.record(ask.token) = Some(Record::new(State::Given, self.server));
        }
        let Some(record) = *self.db.record(ask.token) else {
            // Nothing is known of the token. A caller that came with it presents it, a walker does not.
            return if is_own || !self.has(Rule::MissingBreaks) { self.lead(ask) } else { Reply::Missing };
        };
        if ask.is_past {
            return if record.state == State::Leading { Reply::Wait } else { self.lead(ask) };
        }
        if is_own && record.state != State::Rotated && self.has(Rule::NotedBeforeFirst) {
            // Nothing was answered yet. Which claims have come is noted all the same.
            self.db.family.get_or_insert(Family { tip: ask.own, used: ask.own, ..Family::default() });
        }
        let Some(mut family) = self.db.family else {
            return match record.state {
                State::Leading => Reply::Wait,
                State::Given | State::Lost if is_own => self.lead(ask),
                State::Given | State::Lost | State::Rotated => Reply::PresentOwn,
            };
        };
        if is_own && !self.may_walk(&family, claim, ask.own) {
            // It may still be that the token was never presented.
            return match record.state {
                State::Leading => Reply::Wait,
                State::Given | State::Lost => self.lead_in_turn(ask, family),
                State::Rotated => Reply::PresentOwn,
            };
        }
        let came = if is_own { self.note(&mut family, claim, ask.own) } else { ask.own };
        let reply = self.go_on(ask, &mut family, record.state, came);
        self.db.family = Some(family);
        if reply == Reply::Lead { self.lead(ask) } else { reply }
    }

    /// Whether the claim may go on from this token, where another flight has had it rotated.
    fn may_walk(&self, family: &Family, claim: usize, own: u8) -> bool {
        let entry = family.claims[claim];
        let used = if self.has(Rule::UsedPerClaim) { entry.map_or(0, |entry| entry.came) } else { family.used };
        if used > own && self.has(Rule::LeftBehindEnds) {
            return false;
        }
        let is_holder = if self.has(Rule::HolderIsExact) { family.is_holder(claim, own) } else { entry.is_some() };
        if !is_holder && family.used > own && self.has(Rule::StrangerNeedsUnused) {
            return false;
        }
        let is_full = family.claims.iter().flatten().count() >= self.places;
        let has_place = entry.is_some() || !is_full || !self.has(Rule::FullAdmitsNobody);
        let is_answered = entry.is_some_and(|entry| entry.given > own);
        has_place && (is_answered || self.has(Rule::OthersWalk))
    }

    /// Notes that the claim came with this token.
    fn note(&self, family: &mut Family, claim: usize, own: u8) -> u8 {
        family.used = family.used.max(own);
        if family.claims[claim].is_none() && family.claims.iter().flatten().count() >= self.places {
            // Without the rule the one that was given something the longest time ago makes way.
            let oldest = (0..CLAIMS).filter(|&it| family.claims[it].is_some());
            let oldest = oldest.min_by_key(|&it| family.claims[it].map(|entry| entry.given));
            oldest.into_iter().for_each(|it| family.claims[it] = None);
        }
        let life = self.life();
        let entry = family.claims[claim].get_or_insert(Entry { came: own, given: 0, is_over: true, life });
        entry.came = entry.came.max(own);
        entry.life = entry.life.max(life);
        own
    }

    fn life(&self) -> u8 {
        if self.has(Rule::OutlivesAccess) { 2 } else { 1 }
    }

    fn go_on(&self, ask: &Ask, family: &mut Family, state: State, came: u8) -> Reply {
        let claim = usize::from(ask.claim);
        let is_tip = ask.token == family.tip;
        let held = |it: usize| family.claims[it].filter(|entry| entry.given > came && !entry.is_over);
        let mine = held(claim).or_else(|| {
            // Without the rule any answer does.
            let others = (0..CLAIMS).find_map(held);
            others.filter(|_| !self.has(Rule::OwnAnswers))
        });
        if let Some(entry) = mine {
            family.leave_queue(ask.flight);
            return Reply::Handed(entry.given);
        }
        let tip = self.db.records[usize::from(family.tip) - 1];
        if is_tip || self.has(Rule::TipOfFamily) {
            // Whoever wants the newest token takes its place in the order.
            if tip.is_some_and(|tip| tip.state == State::Leading) {
                family.queue(ask.flight);
                return Reply::Wait;
            }
            if self.has(Rule::Turn) {
                family.queue(ask.flight);
                if family.first() != Some(ask.flight) {
                    return Reply::Wait;
                }
            }
        }
        if !is_tip {
            let next = if self.has(Rule::TipOfFamily) { family.tip } else { ask.token + 1 };
            return if state == State::Leading { Reply::Wait } else { Reply::GoOn(next) };
        }
        family.leave_queue(ask.flight);
        let is_own = ask.token == ask.own;
        let epoch = tip.map_or(0, |tip| tip.epoch);
        let is_lost = epoch < self.server && !self.has(Rule::OwedCrossesLoss);
        match state {
            State::Given | State::Lost if is_own => Reply::Lead,
            State::Given if !is_lost => Reply::Lead,
            State::Lost if !self.has(Rule::GivenOnly) => Reply::Lead,
            State::Given | State::Lost | State::Leading | State::Rotated => Reply::PresentOwn,
        }
    }

    /// A claim without a place leads its own token, when the flights that asked before have had it.
    fn lead_in_turn(&mut self, ask: &Ask, mut family: Family) -> Reply {
        family.used = family.used.max(ask.own);
        if self.has(Rule::Turn) && ask.token == family.tip {
            family.queue(ask.flight);
        }
        let has_turn = family.first().is_none_or(|first| first == ask.flight);
        if has_turn {
            family.leave_queue(ask.flight);
        }
        self.db.family = Some(family);
        if has_turn { self.lead(ask) } else { Reply::Wait }
    }

    fn lead(&mut self, ask: &Ask) -> Reply {
        let server = self.server;
        let record = self.db.record(ask.token).get_or_insert(Record::new(State::Given, server));
        record.was_rotated |= record.state == State::Rotated;
        record.state = State::Leading;
        Reply::Lead
    }

    /// `renew.lua`: puts a lead back that Redis does not hold.
    pub fn put_back(&mut self, ask: &Ask) {
        if self.db.state(ask.token) != Some(State::Rotated) {
            self.lead(ask);
        }
    }

    /// `abandon.lua`: the token is as it was.
    pub fn abandon(&mut self, ask: &Ask) {
        if let Some(record) = self.db.record(ask.token).as_mut().filter(|record| record.state == State::Leading) {
            let stays = record.was_rotated && self.rules.has(Rule::RotatedStays);
            record.state = if stays { State::Rotated } else { State::Given };
        }
    }

    /// `complete.lua`: the provider rotated the token. The claim is given the new one, and all others are owed it.
    pub fn complete(&mut self, done: &Complete, is_again: bool) {
        let Complete { ask, .. } = *done;
        let (claim, next) = (usize::from(ask.claim), ask.token + 1);
        let is_there = self.db.state(ask.token) == Some(State::Rotated);
        *self.db.record(ask.token) = Some(Record::new(State::Rotated, self.server));
        let new = usize::from(next) <= TOKENS && self.db.record(next).is_none() && !(is_again && is_there);
        if new {
            *self.db.record(next) = Some(Record::new(State::Given, self.server));
        }
        let life = self.life();
        let family = self.db.family.get_or_insert_default();
        family.tip = family.tip.max(next);
        if !is_again || self.rules.has(Rule::CompletionTellsClaim) {
            family.used = family.used.max(ask.own);
            let places = family.claims.iter().flatten().count();
            if family.claims[claim].is_some() || places < self.places {
                let entry = family.claims[claim].get_or_insert(Entry { came: ask.own, given: 0, is_over: false, life });
                if entry.given < next {
                    *entry = Entry { came: entry.came.max(ask.own), given: next, is_over: false, life };
                }
            }
        }
        self.db.came[claim] = self.db.came[claim].max(ask.own);
        self.drop_unheld();
    }

    /// Deletes the records of rotated tokens that nobody is owed anything for.
    fn drop_unheld(&mut self) {
        let Some(family) = self.db.family.filter(|_| self.has(Rule::DropsUnheld)) else { return };
        // Without a record of the family all that lies between is needed.
        let is_between = |token: u8| {
            let oldest = family.claims.iter().flatten().map(|entry| entry.came).min();
            !self.rules.has(Rule::TipOfFamily) && oldest.is_some_and(|oldest| token >= oldest)
        };
        for token in 1..family.used {
            let is_rotated = self.db.state(token) == Some(State::Rotated);
            if is_rotated && !family.is_held(token) && !is_between(token) {
                self.db.records[usize::from(token) - 1] = None;
            }
        }
    }

    /// A step of time: as long as an access token lives.
    pub fn age(&mut self) {
        self.db.lazy.age();
        let keeps = self.has(Rule::KeptForHolders);
        if let Some(family) = &mut self.db.family {
            for claim in &mut family.claims {
                if let Some(entry) = claim {
                    (entry.life, entry.is_over) = (entry.life - 1, true);
                }
                *claim = claim.filter(|entry| entry.life > 0);
            }
        }
        let family = self.db.family.unwrap_or_default();
        for token in 1..=TOKENS as u8 {
            let is_held = keeps && (family.is_held(token) || token == family.tip);
            let record = self.db.record(token);
            *record = record.filter(|record| is_held || !record.is_old);
            if let Some(record) = record {
                // Without the rule it stays as long as what is held for no claim.
                record.is_old = true;
            }
            *record = record.filter(|_| keeps || token == family.tip);
        }
        self.db.family = self.db.family.filter(|family| family.claims.iter().any(Option::is_some));
    }
}
