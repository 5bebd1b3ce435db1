//! The way of a flight along a chain. Mirrors `src/coordinator/way.rs`, `way/along.rs` and `walk.rs`.

use super::flight::{Answer, Call, Flight, Found, Step};
use super::judge;
use super::redis::{Claim, TOKENS, TokenState, bit};
use super::rules::{Rule, Rules};
use super::scenario::Scenario;
use super::scripts::{Ask, Coming, Complete, Reply, Standing};
use super::world::{Kept, World};

/// What a caller is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    /// The tokens of an answer, told by the refresh token in it.
    Tokens(u8),
    /// The token is dead.
    Denied,
    /// The token is lost.
    Lost,
    /// Nothing for now.
    Failure,
}

/// A flight in a world under rules: where its way goes on.
pub struct Scene<'a> {
    /// The world.
    pub world: &'a mut World,
    /// The configuration.
    pub scenario: &'a Scenario,
    /// The rules in force.
    pub rules: Rules,
    /// Whose flight it is.
    pub caller: usize,
    /// Whether the caller waits for it, or it goes on without.
    pub is_waited_for: bool,
}

impl Scene<'_> {
    fn slot(&mut self) -> &mut Option<Flight> {
        let caller = &mut self.world.callers[self.caller];
        if self.is_waited_for { &mut caller.flight } else { &mut caller.behind }
    }

    fn flight(&mut self) -> &mut Flight {
        self.slot().as_mut().expect("BUG: nothing flies here")
    }

    fn new_attempt(&mut self) -> u8 {
        self.world.attempts += 1;
        self.world.attempts
    }

    /// A caller comes with the token that it holds.
    pub fn come(&mut self, claim: Claim) {
        let attempt = self.new_attempt();
        let uses = self.world.db.uses;
        let caller = &mut self.world.callers[self.caller];
        caller.comings -= 1;
        let own = caller.token;
        let ask = Ask { attempt, token: own, claim, coming: Coming::Directly, from: 0, joined: 0 };
        caller.flight = Some(Flight {
            own,
            ask,
            found: None,
            has_called: false,
            overtaken: None,
            has_turn: false,
            server: self.world.server,
            uses,
            is_unsure: false,
            step: Step::Asking,
        });
    }

    /// Asks the store, and does what it says.
    pub fn ask(&mut self) {
        let ask = self.flight().ask;
        if !ask.coming.is_walker() && ask.claim.credential == 0 {
            self.world.known.uses |= bit(ask.token);
        }
        let reply = self.world.run(self.rules, self.scenario.uncertain, |host| host.begin(&ask));
        match reply {
            Reply::Landed(token, fence) => self.walked(token, fence),
            Reply::TokenLost => self.ends_with(Given::Lost, None),
            Reply::Join(fence) => {
                let flight = self.flight();
                flight.has_turn |= fence == 0 && ask.claim.credential == 0;
                if fence > 0 {
                    flight.ask.joined = fence;
                }
            }
            Reply::Lead(fence) => self.led(fence),
            Reply::Recovering => {}
            Reply::AnotherClaim => self.ends_with(Given::Failure, None),
            Reply::Held(answer, fence, generation) => self.held(answer, fence, generation),
            Reply::Unused => {
                let found = self.flight().found.expect("BUG: only a walk asks whether a token was used");
                let leaves = (found.looked_at > 1).then_some(Some((found.answer, found.fence)));
                self.world.known.was_served = true;
                self.ends_with(Given::Tokens(found.answer), leaves);
            }
            Reply::Used => self.present_own(),
            Reply::Broken => match self.living() {
                Some(answer) => self.ends_with(Given::Tokens(answer), None),
                None => self.present_own(),
            },
        }
    }

    /// The newest answer that was found, where its access token lives.
    fn living(&mut self) -> Option<u8> {
        let over = self.world.over;
        self.flight().found.map(|found| found.answer).filter(|&answer| over & bit(answer) == 0)
    }

    fn held(&mut self, answer: u8, fence: u8, generation: u8) {
        let attempt = self.new_attempt();
        let is_good = self.world.over & bit(answer) == 0;
        let flight = self.flight();
        let (from, looked_at) = flight.found.map_or((generation, 1), |found| (flight.ask.from, found.looked_at + 1));
        flight.found = Some(Found { answer, fence, looked_at });
        flight.has_turn = false;
        flight.goes_on(attempt, answer, if is_good { Coming::Taking } else { Coming::Walking }, from);
    }

    /// The provider is to judge the caller's own token.
    fn present_own(&mut self) {
        let flight = *self.flight();
        judge::goes_back(self.world, &flight);
        let attempt = self.new_attempt();
        let waits = !self.rules.has(Rule::PastWaitsForNothing);
        let flight = self.flight();
        let joined = if waits { flight.ask.joined } else { 0 };
        flight.found = None;
        flight.goes_on(attempt, flight.own, Coming::Past, 0);
        flight.ask.joined = joined;
    }

    fn led(&mut self, fence: u8) {
        self.world.fences = fence;
        let server = self.world.server;
        let flight = *self.flight();
        judge::led(self.world, &flight);
        let is_unsure = self.world.known.unsure & bit(flight.ask.token) != 0;
        let is_waited_for = self.is_waited_for;
        let once = self.rules.has(Rule::OncePerWalk);
        let flight = self.flight();
        if !is_waited_for || (flight.has_called && once) {
            // Nothing is sent for nobody, nor twice.
            let (ask, overtaken) = (flight.ask, flight.overtaken);
            self.world.run(self.rules, self.scenario.uncertain, |host| host.abandon(&ask));
            let given = if overtaken == Some(TokenState::Dead) { Given::Denied } else { Given::Failure };
            return self.ends_with(given, None);
        }
        (flight.step, flight.server, flight.is_unsure) = (Step::Led(fence), server, is_unsure);
    }

    /// Sends the token.
    pub fn present(&mut self, answer: Answer) {
        let flight = *self.flight();
        let Step::Led(fence) = flight.step else { unreachable!("BUG: nothing was led") };
        judge::presentation(self.world, &flight, self.scenario.uncertain);
        let (token, is_owner) = (flight.ask.token, flight.ask.claim.credential == 0);
        let acts = !matches!(answer, Answer::IsBusy | Answer::NeverSent);
        let outcome = match answer {
            Answer::IsDisowned => TokenState::Dead,
            _ if acts && is_owner => self.provider_takes(token),
            _ => TokenState::Untouched,
        };
        let is_lost = matches!(answer, Answer::IsLost | Answer::NeverSent);
        if is_lost && is_owner {
            self.world.known.unsure |= bit(token);
        }
        let outcome = if is_lost { TokenState::Unknown } else { outcome };
        let call = Call { fence, outcome, epoch: None, is_late: false, is_large: answer == Answer::IsLarge };
        let flight = self.flight();
        (flight.step, flight.has_called) = (Step::Calling(call), true);
    }

    fn provider_takes(&mut self, token: u8) -> TokenState {
        let provider = &mut self.world.provider;
        if provider.is_revoked || token < provider.current {
            provider.is_revoked = true;
            return TokenState::Dead;
        }
        if usize::from(token) == TOKENS {
            // The family goes on, and this model does not.
            return TokenState::Untouched;
        }
        provider.current += 1;
        TokenState::Rotated
    }

    fn completion(&mut self) -> Complete {
        let noted = self.world.db.noted;
        let flight = self.flight();
        let Step::Calling(call) = &mut flight.step else { unreachable!("BUG: no call is under way") };
        let epoch = *call.epoch.get_or_insert(noted);
        let &mut Call { fence, outcome, is_late, is_large, .. } = call;
        Complete { ask: flight.ask, fence, outcome, epoch, is_late, is_large }
    }

    /// The answer is there, and Redis is slow: the callers are told, and the flight goes on without them.
    pub fn tell_early(&mut self) {
        let Complete { ask, outcome, .. } = self.completion();
        let flight = *self.flight();
        self.world.callers[self.caller].behind = Some(flight);
        match outcome {
            TokenState::Rotated => self.ends_with(Given::Tokens(ask.token + 1), None),
            TokenState::Dead => self.ends_with(Given::Denied, None),
            TokenState::Untouched | TokenState::Unknown => self.ends_with(Given::Failure, None),
        }
    }

    /// The answer lands. `is_heard`: the flights that wait for it are told what.
    pub fn complete(&mut self, is_heard: bool) {
        let complete = self.completion();
        let standing = self.world.run(self.rules, self.scenario.uncertain, |host| host.complete(&complete));
        let Complete { ask, fence, outcome, is_late, is_large, .. } = complete;
        if outcome == TokenState::Rotated && (is_late || is_large) {
            // What was not promised to be held.
            self.world.known.excused |= (1..=ask.token).map(bit).sum::<u8>();
        }
        let was_unsure = self.world.known.unsure & bit(ask.token) != 0;
        if outcome == TokenState::Rotated && was_unsure {
            // It is known now.
            self.world.known.unsure &= !bit(ask.token);
        }
        match standing {
            Standing::Ours => {
                let is_kept = matches!(outcome, TokenState::Rotated | TokenState::Unknown);
                if is_kept && self.world.faults.promotions > 0 {
                    let server = self.world.server;
                    self.world.callers[self.caller].kept.push(Kept { complete, server });
                }
                let others = self.world.flights().filter(|_| is_heard).filter(|(_, _, other)| {
                    other.step == Step::Asking
                        && (other.ask.token, other.ask.claim) == (ask.token, ask.claim)
                        && other.ask.joined > 0
                });
                let others: Vec<_> = others.map(|(index, is_waited_for, _)| (index, is_waited_for)).collect();
                self.walked(outcome, fence);
                for (caller, is_waited_for) in others {
                    let (scenario, rules) = (self.scenario, self.rules);
                    Scene { world: self.world, scenario, rules, caller, is_waited_for }.walked(outcome, fence);
                }
            }
            Standing::Theirs => self.walked(TokenState::Rotated, fence),
            Standing::Stale if outcome == TokenState::Rotated => self.walked(outcome, fence),
            Standing::Stale => {
                let flight = self.flight();
                (flight.overtaken, flight.step, flight.ask.joined) = (Some(outcome), Step::Asking, fence);
            }
        }
    }

    /// The flight ends with what a presentation brought, its own or another's.
    fn walked(&mut self, outcome: TokenState, fence: u8) {
        let Flight { ask, found, .. } = *self.flight();
        let answer = ask.token + 1;
        match (outcome, found) {
            (TokenState::Rotated, None) => self.ends_with(Given::Tokens(answer), None),
            (TokenState::Rotated, Some(_)) => self.ends_with(Given::Tokens(answer), Some(Some((answer, fence)))),
            (TokenState::Dead, None) => self.ends_with(Given::Denied, None),
            (TokenState::Dead, Some(_)) => self.ends_with(Given::Denied, Some(None)),
            (TokenState::Untouched | TokenState::Unknown, _)
                if !self.rules.has(Rule::OncePerWalk) && found.is_some() =>
            {
                self.flight().step = Step::Asking;
                self.present_own();
            }
            (TokenState::Untouched | TokenState::Unknown, _) => self.ends_with(Given::Failure, None),
        }
    }

    /// The callers are told, and the flight is over but for what it leaves behind.
    fn ends_with(&mut self, given: Given, leaves: Option<Option<(u8, u8)>>) {
        let flight = *self.flight();
        let given = match (given, self.living()) {
            (Given::Lost | Given::Failure, Some(answer)) => Given::Tokens(answer),
            (given, _) => given,
        };
        *self.slot() = None;
        if self.is_waited_for {
            self.tell(&flight, given);
        }
        let behind = &mut self.world.callers[self.caller].behind;
        if let (Some(tip), None) = (leaves, *behind) {
            *behind = Some(Flight { step: Step::Leaving(tip), ..flight });
        }
    }

    fn tell(&mut self, flight: &Flight, given: Given) {
        match given {
            Given::Tokens(answer) => {
                judge::handed(self.world, flight, answer);
                self.world.callers[self.caller].token = answer;
            }
            Given::Denied => self.world.callers[self.caller].comings = 0,
            Given::Lost => {
                judge::lost(self.world, flight);
                self.world.callers[self.caller].comings = 0;
            }
            Given::Failure => {}
        }
    }

    /// Tells the store how far the chain has come.
    pub fn leave(&mut self, arrives: bool) {
        let flight = self.slot().take().expect("BUG: nothing is left behind");
        let Step::Leaving(tip) = flight.step else { unreachable!("BUG: it goes on yet") };
        if arrives {
            let uncertain = self.scenario.uncertain;
            self.world.run(self.rules, uncertain, |host| host.tip(flight.own, flight.ask.claim, tip));
        }
    }

    /// The leader renews at the server that took over.
    pub fn put_back(&mut self) {
        let server = self.world.server;
        let flight = *self.flight();
        let fence = match flight.step {
            Step::Led(fence) | Step::Calling(Call { fence, .. }) => fence,
            Step::Asking | Step::Leaving(_) => unreachable!("BUG: it does not lead"),
        };
        self.world.run(self.rules, self.scenario.uncertain, |host| host.put_back(&flight.ask, fence));
        let record = *self.world.db.record(flight.ask.token);
        let is_back = record.lock == flight.ask.attempt;
        let flight = self.flight();
        flight.server = server;
        if let (Step::Led(fence), false) = (flight.step, is_back) {
            (flight.step, flight.ask.joined) = (Step::Asking, fence);
        }
    }
}
