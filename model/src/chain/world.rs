//! All there is at a moment: callers, the server, the provider, and the faults that may still happen.

use super::flight::{Flight, Step};
use super::promises::Promise;
use super::redis::{Age, Db, Record, State, TOKENS, TokenState, bit};
use super::rules::{Rule, Rules};
use super::scenario::{CALLERS, Faults, Scenario};
use super::scripts::{Complete, Host};
use crate::settings::Uncertain;

/// A completion that its pod may land again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kept {
    /// What was landed.
    pub complete: Complete,
    /// The newest server that has it.
    pub server: u8,
}

/// Somebody who comes, and its pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The token that it holds; 0 is none.
    pub token: u8,
    /// How often it comes yet.
    pub comings: u8,
    /// The flight that it waits for.
    pub flight: Option<Flight>,
    /// A flight of its pod that goes on without it.
    pub behind: Option<Flight>,
    /// What its pod has landed lately.
    pub kept: Vec<Kept>,
}

/// The provider: the family of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Provider {
    /// The token that is good.
    pub current: u8,
    /// A token came twice: none is.
    pub is_revoked: bool,
}

/// What the judge knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Known {
    /// Tokens that somebody with the credential came with.
    pub uses: u8,
    /// Tokens of which nobody knows what the provider did with them when the client presented them.
    pub unsure: u8,
    /// Of those, the ones of which Redis has lost that it is so.
    pub forgotten: u8,
    /// Tokens whose way is broken by something that is not promised: a loss of writes, an eviction, an end.
    pub excused: u8,
    /// Tokens whose successors were given before Redis lost writes: no walker presents those.
    pub old: u8,
    /// Tokens whose answers made way, or are over.
    pub evicted: u8,
    /// Somebody was handed what was held.
    pub was_served: bool,
}

/// A state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The callers.
    pub callers: [Caller; CALLERS],
    /// The server's data.
    pub db: Db,
    /// Its number.
    pub server: u8,
    /// The data before each of its last writes.
    pub log: Vec<Db>,
    /// The provider.
    pub provider: Provider,
    /// The access tokens that are over, by the token that came with them.
    pub over: u8,
    /// What may still go wrong.
    pub faults: Faults,
    /// The last attempt.
    pub attempts: u8,
    /// The last fence.
    pub fences: u8,
    /// The judge's.
    pub known: Known,
    /// The promise that was broken.
    pub broken: Option<Promise>,
}

impl World {
    /// Where every history of a scenario begins: somebody has logged in, and nobody has refreshed.
    pub fn new(scenario: &Scenario) -> Self {
        let mut callers = [(); CALLERS].map(|()| Caller::default());
        for (caller, settings) in callers.iter_mut().zip(scenario.callers) {
            let Some(settings) = settings else { continue };
            (caller.token, caller.comings) = (u8::from(settings.has_token), settings.comings);
        }
        Self {
            callers,
            db: Db::default(),
            server: 0,
            log: Vec::new(),
            provider: Provider { current: 1, is_revoked: false },
            over: 0,
            faults: scenario.faults,
            attempts: 0,
            fences: 0,
            known: Known::default(),
            broken: None,
        }
    }

    /// Breaks a promise, unless one is broken already.
    pub fn breaks(&mut self, promise: Promise) {
        self.broken.get_or_insert(promise);
    }

    /// Runs a script. What it changes may be lost with the server.
    pub fn run<R>(&mut self, rules: Rules, uncertain: Uncertain, run: impl FnOnce(&mut Host<'_>) -> R) -> R {
        let before = (self.faults.promotions > 0).then(|| self.db.clone());
        let (server, next_fence) = (self.server, self.fences + 1);
        let result = run(&mut Host { db: &mut self.db, rules, server, next_fence, uncertain });
        if let Some(before) = before.filter(|before| *before != self.db) {
            self.log.push(before);
        }
        result
    }

    /// All flights, with where they are.
    pub fn flights(&self) -> impl Iterator<Item = (usize, bool, &Flight)> {
        self.callers.iter().enumerate().flat_map(|(index, caller)| {
            let waited_for = caller.flight.iter().map(move |flight| (index, true, flight));
            waited_for.chain(caller.behind.iter().map(move |flight| (index, false, flight)))
        })
    }

    /// Time passes: more than a lease, and than a replica lags.
    pub fn age(&mut self, access_is_over: bool, rules: Rules) {
        self.faults.ages -= 1;
        self.log.clear();
        for token in 1..=TOKENS as u8 {
            if self.lease_may_end(token) {
                self.db.record(token).lock = 0;
            }
            let is_held = self.db.held(token).is_some();
            let record = self.db.record(token);
            let is_given = record.link.is_some_and(|link| link.is_given);
            let stays = record.link.is_some() && !is_held && rules.has(Rule::UnheldStays);
            record.has_waiting = false;
            match record.state {
                State::Landed(token, Age::Fresh) => record.state = State::Landed(token, Age::Stale),
                State::Landed(TokenState::Rotated, Age::Stale) if !stays => *record = Record::default(),
                State::Landed(TokenState::Dead, Age::Stale) if !is_given => *record = Record::default(),
                State::Landed(TokenState::Untouched, _) if !is_given && !record.lost && record.uncertain == 0 => {
                    *record = Record::default();
                }
                State::Landed(..) | State::Nothing | State::Leading | State::Lost => {}
            }
        }
        if access_is_over {
            self.over = (1..=self.provider.current).map(bit).sum();
        }
        for caller in &mut self.callers {
            caller.kept.clear();
            if let Some(Flight { step: Step::Calling(call), .. }) = &mut caller.behind {
                call.is_late = true;
            }
        }
    }

    /// Whether time may pass: all that is under way is an answer that has not landed.
    pub fn may_age(&self, rules: Rules) -> bool {
        let has_landed = |kept: &Kept| kept.server == self.server || !rules.has(Rule::LandAgain);
        self.faults.ages > 0
            && !self.db.is_recovering
            && self.callers.iter().flat_map(|caller| &caller.kept).all(has_landed)
            && self.flights().all(|(_, is_waited_for, flight)| {
                !is_waited_for && matches!(&flight.step, Step::Calling(call) if call.epoch.is_some())
            })
    }

    /// A replica is promoted without the last writes.
    pub fn promote(&mut self, lost: usize) {
        self.faults.promotions -= 1;
        let all = self.log.len();
        if lost > 0 {
            self.db = self.log[all - lost].clone();
        }
        self.log.clear();
        self.server += 1;
        let uses = self.db.uses;
        for caller in &mut self.callers {
            caller.flight.iter_mut().chain(&mut caller.behind).for_each(|flight| flight.uses &= uses);
        }
        // Only what was given since is presented by walkers.
        self.known.old |= (1..self.provider.current).map(bit).sum::<u8>();
        for token in 1..=TOKENS as u8 {
            let record = *self.db.record(token);
            let gone =
                !self.flights().any(|(_, _, flight)| flight.is_leading() && flight.ask.attempt == record.attempt);
            if record.state == State::Leading && gone && record.claim.credential == 0 {
                // That it was given back or has landed is lost.
                self.known.unsure |= bit(token);
            }
        }
        for token in (1..=TOKENS as u8).filter(|&token| self.known.unsure & bit(token) != 0) {
            let state = self.db.record(token).state;
            let is_there = matches!(state, State::Leading | State::Lost | State::Landed(..));
            let is_kept = |caller: &Caller| caller.kept.iter().any(|kept| kept.complete.ask.token == token);
            let is_led = self.flights().any(|(_, _, flight)| flight.ask.token == token && flight.is_leading());
            if !is_there && !is_led && !self.callers.iter().any(is_kept) {
                self.known.forgotten |= bit(token);
            }
        }
    }

    /// Whether leaders and successes are back.
    pub fn may_recover(&self, rules: Rules) -> bool {
        let server = self.server;
        let lands_again = rules.has(Rule::LandAgain);
        let is_back = |caller: &Caller| !lands_again || caller.kept.iter().all(|kept| kept.server == server);
        self.db.is_recovering
            && self.callers.iter().all(is_back)
            && self.flights().all(|(_, _, flight)| !flight.is_leading() || flight.server == server)
    }

    /// A process ends, with all that it knew.
    pub fn crash(&mut self, index: usize, credential: u8) {
        self.faults.crashes -= 1;
        let caller = &mut self.callers[index];
        let (flight, behind) = (caller.flight.take(), caller.behind.take());
        for flight in flight.into_iter().chain(behind).filter(Flight::is_leading) {
            self.known.excused |= bit(flight.ask.token);
            if credential == 0 {
                self.known.unsure |= bit(flight.ask.token);
            }
        }
        for kept in std::mem::take(&mut self.callers[index].kept) {
            // Should Redis lose it, nobody knows.
            self.known.excused |= bit(kept.complete.ask.token);
        }
    }

    /// A leader that is gone, or silent, has no lease any more.
    pub fn lease_may_end(&self, token: u8) -> bool {
        let record = &self.db.records[usize::from(token) - 1];
        let lives = |flight: &Flight| flight.is_leading() && flight.ask.attempt == record.lock;
        record.lock != 0 && !self.flights().any(|(_, _, flight)| lives(flight))
    }

    /// The time of what is held for the token before is over, and with it that of this one's record.
    pub fn end(&mut self, token: u8, rules: Rules) {
        self.faults.ends -= 1;
        self.known.excused |= (1..token).map(bit).sum::<u8>();
        self.known.evicted |= (1..token).map(bit).sum::<u8>();
        let record = self.db.record(token);
        if record.state == State::Nothing {
            *record = Record::default();
        } else if let Some(link) = &mut record.link {
            link.is_given = false;
        }
        for before in 1..token {
            let held = self.db.held(before);
            let leads_here = held.is_some_and(|held| held.answer == token);
            if leads_here && (before == token - 1 || rules.has(Rule::TipKeepsLink)) {
                *held = None;
            }
        }
    }
}
