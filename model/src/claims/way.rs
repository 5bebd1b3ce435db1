//! What a flight does: the way of `src/coordinator/way.rs`, with other claims.

use super::host::Host;
use super::judge;
use super::lazy::course::Course;
use super::lazy::{self, follow::Followed};
use super::rules::{Rule, Rules};
use super::scenario::{Scenario, Store};
use super::scene::Scene;
use super::scripts::{Ask, Complete, Reply};
use super::sizes::{TOKENS, bit};
use super::world::{Flight, Step, World};

impl Scene<'_> {
    fn store(&self) -> Store {
        self.scenario.callers[self.caller].map_or(Store::Own, |settings| settings.store)
    }

    /// The caller comes.
    pub fn come(&mut self, claim: u8) {
        let shared = self.world.shared;
        let is_shared = self.store() == Store::Shared;
        let caller = &mut self.world.callers[self.caller];
        caller.comings -= 1;
        let own = if is_shared { shared } else { caller.token };
        caller.flight = Some(Flight {
            ask: Ask { flight: self.caller as u8, claim, own, token: own, is_past: false },
            step: Step::Asking,
            course: Course::default(),
            has_called: false,
            has_begun_again: false,
            looks: 0,
            is_owed: false,
            is_left_behind: false,
            is_stray: false,
        });
    }

    /// The flight asks the store.
    pub fn ask(&mut self) {
        if self.terms().is_lazy() {
            return self.ask_lazily();
        }
        let Flight { ask, looks, .. } = *self.flight();
        let rested = self.world.callers[self.caller].rested;
        let (is_owed, is_left_behind, is_stray) = judge::look(self.world, &ask, rested, false);
        if ask.token == ask.own && !ask.is_past {
            let flight = self.flight();
            flight.is_owed = is_owed;
            if looks == 0 {
                (flight.is_left_behind, flight.is_stray) = (is_left_behind, is_stray);
            }
        }
        self.flight().looks += 1;
        let flight = *self.flight();
        judge::looks(self.world, &flight);
        let reply = self.world.run(self.terms(), |host| host.begin(&ask));
        if ask.token == ask.own && !ask.is_past && !is_left_behind && !is_stray {
            let rightful = &mut self.world.db.rightful[usize::from(ask.claim)];
            *rightful = (*rightful).max(ask.own);
        }
        match reply {
            Reply::Lead => self.flight().step = Step::Led,
            Reply::Wait => self.flight().step = Step::Waiting,
            Reply::Handed(token) => self.end(Some(token)),
            Reply::GoOn(token) => {
                let flight = self.flight();
                (flight.ask.token, flight.step) = (token, Step::Asking);
            }
            Reply::Missing if !self.flight().has_begun_again && self.rules.has(Rule::MissingLooksAgain) => {
                let flight = self.flight();
                (flight.ask.token, flight.step, flight.has_begun_again) = (ask.own, Step::Asking, true);
            }
            Reply::Missing | Reply::PresentOwn => self.present_own(),
        }
    }

    fn present_own(&mut self) {
        let flight = self.flight().ask.flight;
        if let Some(family) = &mut self.world.db.family {
            family.leave_queue(flight);
        }
        let flight = self.flight();
        flight.ask = Ask { token: flight.ask.own, is_past: true, ..flight.ask };
        flight.step = Step::Asking;
    }

    /// The token is sent. The provider rotates it, or leaves it as it was.
    pub fn present(&mut self, is_busy: bool) {
        let flight = *self.flight();
        let token = flight.ask.token;
        let terms = self.terms();
        judge::presentation(self.world, &flight, terms);
        self.flight().has_called = true;
        if is_busy {
            self.world.faults.busies -= 1;
            if self.terms().is_lazy() {
                return self.abandon_lazily();
            }
            self.world.run(self.terms(), |host| host.abandon(&flight.ask));
            if self.rules.has(Rule::OncePerWalk) || token == flight.ask.own {
                self.end(None);
            } else {
                self.present_own();
            }
            return;
        }
        if token < self.world.current || usize::from(token) >= TOKENS {
            self.world.is_revoked = true;
            return;
        }
        self.world.current += 1;
        self.world.known.rotated_for[usize::from(token)] = self.flight().ask.claim + 1;
        self.flight().step = Step::Calling;
        let claim = usize::from(flight.ask.claim);
        self.world.known.given[claim] = self.world.known.given[claim].max(token + 1);
        self.world.known.ever_given[claim] |= bit(token + 1);
    }

    /// The outcome lands, and the caller is handed it.
    pub fn complete(&mut self) {
        let ask = self.flight().ask;
        let landing = self.terms().is_lazy().then(|| self.land());
        let known_by = &mut self.world.db.known_by[usize::from(ask.claim)];
        *known_by = (*known_by).max(ask.own);
        let came = &mut self.world.db.came[usize::from(ask.claim)];
        *came = (*came).max(ask.own);
        let complete = Complete { ask, landing };
        if landing.is_none() {
            self.world.run(self.terms(), |host| host.complete(&complete, false));
        }
        if self.world.faults.promotions + self.world.faults.flushes > 0 {
            self.world.callers[self.caller].kept.push(complete);
        }
        judge::memory(self.world);
        if landing.is_some() { self.landed(ask.token + 1) } else { self.end(Some(ask.token + 1)) }
    }

    /// The caller is handed an answer, or refused.
    pub(super) fn end(&mut self, token: Option<u8>) {
        let store = self.store();
        let flight = *self.flight();
        self.world.callers[self.caller].flight = None;
        let Some(token) = token else { return };
        judge::handed(self.world, self.scenario, &flight, token);
        let caller = &mut self.world.callers[self.caller];
        caller.rested = 0;
        if store == Store::Shared {
            self.world.shared = self.world.shared.max(token);
        } else {
            caller.token = token;
        }
    }

    /// What the caller is about to be handed is lost on its way: it keeps what it has.
    pub fn miss(&mut self) {
        let (token, shared) = (self.world.callers[self.caller].token, self.world.shared);
        self.world.faults.misses -= 1;
        self.world.known.losses += 1;
        let is_landing = self.flight().step == Step::Calling;
        if is_landing {
            self.complete()
        } else {
            self.ask()
        }
        self.world.callers[self.caller].token = token;
        self.world.shared = shared;
    }

    /// Whether the flight would be handed an answer, or go on, if it asked now.
    pub fn is_woken(world: &World, flight: &Flight, scenario: &Scenario, rules: Rules) -> bool {
        let mut copy = world.db;
        let mut host = Host::new(&mut copy, world.server, scenario.terms(rules));
        if rules.has(Rule::LazyFamily) {
            let ask = flight.course.question(&flight.ask);
            return if flight.course.is_following {
                host.follow_lazily(&ask, flight.course.own_in_turn()) != Followed::Wait
            } else {
                host.begin_lazily(&ask) != lazy::begin::Reply::Join
            };
        }
        host.begin(&flight.ask) != Reply::Wait
    }

    /// The thief takes the first caller's token.
    pub fn steal(&mut self) {
        self.world.faults.steals -= 1;
        let stolen = if self.scenario.callers[0].is_some_and(|it| it.store == Store::Shared) {
            self.world.shared
        } else {
            self.world.callers[0].token
        };
        self.world.callers[self.caller].token = stolen;
        self.world.known.advances = 0;
    }
}
