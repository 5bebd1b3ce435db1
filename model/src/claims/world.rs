//! Everything at a moment: callers, the server, the provider, and what the judge knows.

use super::host::{Host, Terms};
use super::lazy::begin::{Ask as LazyAsk, Coming};
use super::lazy::course::Course;
use super::lazy::redis::Stage;
use super::promises::Promise;
use super::redis::{Db, Record, State};
use super::rules::Rule;
use super::scenario::{Faults, Scenario, Store};
use super::scripts::{Ask, Complete};
use super::sizes::{CALLERS, CLAIMS, TOKENS, bit};

/// So many of the last writes may a replica lack.
const LAG: usize = 3;

/// What a flight does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// It asks the store.
    Asking,
    /// It waits for another flight, or for its turn.
    Waiting,
    /// It was given the lead.
    Led,
    /// The provider has rotated the token, and the store does not know it yet.
    Calling,
}

/// A flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flight {
    /// What it asks.
    pub ask: Ask,
    /// What it does next.
    pub step: Step,
    /// Where the family is made lazily: what it knows.
    pub course: Course,
    /// It has presented a token.
    pub has_called: bool,
    /// The token that it was told of was gone, and it has begun again.
    pub has_begun_again: bool,
    /// So often it asked.
    pub looks: u8,
    /// The judge's: its claim is owed what followed its token.
    pub is_owed: bool,
    /// The judge's: its claim has come with a later token.
    pub is_left_behind: bool,
    /// The judge's: its claim was never given the token, and somebody has used what followed.
    pub is_stray: bool,
}

impl Flight {
    /// Whether it leads, as far as it knows.
    pub fn is_leading(&self) -> bool {
        matches!(self.step, Step::Led | Step::Calling)
    }
}

/// Somebody who comes, and its pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The token that it keeps, 0 for none.
    pub token: u8,
    /// How often it comes yet.
    pub comings: u8,
    /// Its flight.
    pub flight: Option<Flight>,
    /// For so many steps of time it has not come.
    pub rested: u8,
    /// What its pod has landed lately.
    pub kept: Vec<Complete>,
    /// Its pod has not told yet how far the way from this token goes: to the token in what has landed.
    pub leaves: Option<(LazyAsk, u8)>,
}

/// What the judge knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Known {
    /// The newest token that the provider gave for each claim.
    pub given: [u8; CLAIMS],
    /// All that it gave for each.
    pub ever_given: [u16; CLAIMS],
    /// For which claim each token was rotated, and 1; 0 for none.
    pub rotated_for: [u8; TOKENS + 1],
    /// With which tokens each has come before anybody had used what followed, whatever Redis has lost since.
    pub ever_rightful: [u16; CLAIMS],
    /// Tokens of which it is not promised that the way goes on past them.
    pub excused: u16,
    /// Tokens of which nobody knows any more that they were presented.
    pub unsure: u16,
    /// Redis has lost a key by itself.
    pub has_evicted: bool,
    /// So many things were lost by a fault: each may cost a look and a record.
    pub losses: u8,
    /// The owner has come with so many new tokens since the thief was served.
    pub advances: u8,
    /// A claim was handed something that followed another claim's presentation.
    pub was_shared: bool,
}

/// A state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The callers.
    pub callers: [Caller; CALLERS],
    /// The token that some of them share.
    pub shared: u8,
    /// The server's data.
    pub db: Db,
    /// Its number.
    pub server: u8,
    /// The data before each of its last writes.
    pub log: Vec<Db>,
    /// The token that is good.
    pub current: u8,
    /// A token came twice: none is.
    pub is_revoked: bool,
    /// What may still go wrong.
    pub faults: Faults,
    /// The judge's.
    pub known: Known,
    /// The promise that was broken.
    pub broken: Option<Promise>,
}

impl World {
    /// Somebody has logged in, and nobody has refreshed.
    pub fn new(scenario: &Scenario) -> Self {
        let mut callers = [(); CALLERS].map(|()| Caller::default());
        for (caller, settings) in callers.iter_mut().zip(scenario.callers) {
            let Some(settings) = settings else { continue };
            (caller.token, caller.comings) = (u8::from(settings.store == Store::Own), settings.comings);
        }
        Self {
            callers,
            shared: 1,
            db: Db::default(),
            server: 0,
            log: Vec::new(),
            current: 1,
            is_revoked: false,
            faults: scenario.faults,
            known: Known::default(),
            broken: None,
        }
    }

    /// Breaks a promise, unless one is broken already.
    pub fn breaks(&mut self, promise: Promise) {
        self.broken.get_or_insert(promise);
    }

    /// Runs a script. What it changes may be lost with the server.
    pub fn run<R>(&mut self, terms: Terms, run: impl FnOnce(&mut Host<'_>) -> R) -> R {
        let before = self.db;
        let result = run(&mut Host::new(&mut self.db, self.server, terms));
        if self.faults.promotions > 0 && before != self.db {
            self.log.push(before);
            let excess = self.log.len().saturating_sub(LAG);
            self.log.drain(..excess);
        }
        result
    }

    /// All flights.
    pub fn flights(&self) -> impl Iterator<Item = &Flight> {
        self.callers.iter().filter_map(|caller| caller.flight.as_ref())
    }

    /// Whether all pods have told how far ways go, and nobody is about to ask about a token to which it was led: its record stays for that.
    pub fn is_settled(&self) -> bool {
        let is_led_on = |flight: &Flight| flight.step == Step::Asking && flight.course.led_on.is_some();
        self.callers.iter().all(|caller| caller.leaves.is_none() && !caller.flight.as_ref().is_some_and(is_led_on))
    }

    /// Claims whose flights are gone have no turn, and tokens whose leaders are gone no leader.
    pub fn forget_the_dead(&mut self) {
        for token in 1..=TOKENS as u8 {
            let is_led = self.flights().any(|flight| flight.is_leading() && flight.ask.token == token);
            if let Some(Record { state, was_rotated, .. }) = self.db.record(token)
                && *state == State::Leading
                && !is_led
            {
                *state = if *was_rotated { State::Rotated } else { State::Lost };
                self.known.excused |= bit(token);
            }
        }
        self.forget_the_dead_lazily();
        for index in 0..CALLERS {
            let waits = self.callers[index].flight.is_some_and(|flight| !flight.is_leading());
            if let (false, Some(family)) = (waits, &mut self.db.family) {
                family.leave_queue(index as u8);
            }
        }
    }

    /// The same where the family is made lazily. A turn that nobody takes is over in a moment.
    pub fn forget_the_dead_lazily(&mut self) {
        for token in 1..=TOKENS as u8 {
            let is_led = self.flights().any(|flight| flight.is_leading() && flight.ask.token == token);
            if self.db.lazy.is_led(token) && !is_led {
                self.db.lazy.lose_leader(token);
                self.known.excused |= bit(token);
            }
        }
        for index in 0..CALLERS {
            let flight = self.callers[index].flight;
            let waits = flight.is_some_and(|flight| flight.course.is_following && flight.step == Step::Waiting);
            let has_turn = waits || flight.is_some_and(|flight| flight.course.coming != Coming::Past);
            for family in self.db.lazy.families_mut() {
                family.called = family.called.filter(|&called| has_turn || usize::from(called) != index);
                if !waits {
                    family.leave(index as u8);
                }
            }
        }
    }

    /// A pod dies, with all that it knew.
    pub fn crash(&mut self, index: usize) {
        self.faults.crashes -= 1;
        self.known.losses += 1;
        let caller = &mut self.callers[index];
        caller.leaves = None;
        if let Some(flight) = caller.flight.take().filter(Flight::is_leading) {
            self.known.excused |= bit(flight.ask.token);
            if flight.step == Step::Calling {
                self.known.unsure |= bit(flight.ask.token);
            }
        }
        for kept in std::mem::take(&mut caller.kept) {
            // Should Redis lose it, nobody knows.
            self.known.unsure |= bit(kept.ask.token);
        }
        self.forget_the_dead();
    }

    /// A replica is promoted without the last writes; who lives puts back what it knows before anybody leads.
    pub fn promote(&mut self, lost: usize, terms: Terms, is_late: bool) {
        self.known.losses += 1;
        let all = self.log.len();
        if lost > all {
            self.db = Db::default();
        } else if lost > 0 {
            self.db = self.log[all - lost];
        }
        self.log.clear();
        self.server += 1;
        let mut kept: Vec<Complete> = self.callers.iter_mut().flat_map(|it| std::mem::take(&mut it.kept)).collect();
        kept.sort_by_key(|complete| complete.ask.token);
        let mut host = Host::new(&mut self.db, self.server, terms);
        if terms.rules.has(Rule::LandAgain) {
            kept.iter().for_each(|complete| match &complete.landing {
                Some(landing) => host.complete_lazily(landing, true, is_late),
                None => host.complete(complete, true),
            });
        }
        let leads: Vec<Flight> = self.flights().filter(|it| it.is_leading()).copied().collect();
        let mut host = Host::new(&mut self.db, self.server, terms);
        leads.iter().for_each(|flight| {
            if terms.is_lazy() {
                host.put_back_lazily(&flight.course.question(&flight.ask))
            } else {
                host.put_back(&flight.ask)
            }
        });
        let (rightful, given) = (self.db.rightful, self.known.given);
        for flight in self.callers.iter_mut().filter_map(|caller| caller.flight.as_mut()) {
            let claim = usize::from(flight.ask.claim);
            // That its claim has come is lost with the server.
            flight.is_owed &= rightful[claim] == flight.ask.own || given[claim] == flight.ask.own;
        }
        self.excuse_what_nobody_knows();
        self.forget_the_dead();
    }

    /// What a dead pod had landed may be lost with the server.
    fn excuse_what_nobody_knows(&mut self) {
        for token in 1..=TOKENS as u8 {
            let is_known = self.db.state(token) == Some(State::Rotated)
                || self.db.lazy.record(token).is_some_and(|it| it.stage == Stage::Rotated);
            if self.known.unsure & bit(token) != 0 && !is_known {
                // Neither that it was presented is known, nor to which claim the next was given.
                self.known.excused |= bit(token) | bit(token + 1);
            }
        }
    }

    /// The access tokens are over.
    pub fn age(&mut self, terms: Terms) {
        self.faults.ages -= 1;
        self.log.clear();
        Host::new(&mut self.db, self.server, terms).age();
        for caller in &mut self.callers {
            caller.rested += 1;
            caller.kept.clear();
        }
    }

    /// Redis loses one record.
    pub fn evict(&mut self, token: Option<u8>, terms: Terms) {
        self.faults.evictions -= 1;
        self.known.has_evicted = true;
        self.known.losses += 1;
        match token {
            None => {
                self.db.family = None;
                let ids: Vec<u8> = self.db.lazy.families().map(|family| family.id).collect();
                ids.into_iter().for_each(|id| self.db.lazy.lose_family(id));
                self.known.excused = u16::MAX;
            }
            Some(token) => {
                *self.db.record(token) = None;
                self.db.lazy.lose_record(token);
                self.known.excused |= if terms.is_lazy() { u16::MAX } else { 0 };
                self.known.excused |= bit(token);
            }
        }
    }

    /// Redis loses what is held for a token.
    pub fn evict_held(&mut self, token: u8) {
        self.faults.evictions -= 1;
        self.known.has_evicted = true;
        self.known.losses += 1;
        *self.db.lazy.hold(token) = None;
        self.known.excused |= bit(token);
    }

    /// A moment passes: what has just landed is over.
    pub fn lull(&mut self) {
        self.faults.lulls -= 1;
        self.db.lazy.settle();
    }

    /// Who has joined a leader whose outcome has landed is told at once.
    pub fn told_lazily(&self) -> Option<usize> {
        self.callers.iter().position(|caller| {
            caller.flight.as_ref().is_some_and(|flight| {
                let ask = flight.course.question(&flight.ask);
                let record = self.db.lazy.record(ask.token).unwrap_or_default();
                ask.has_joined && record.stage == Stage::Rotated && record.claim == ask.name()
            })
        })
    }
}
