//! The model: which actions are possible in a world, and what they lead to.

use std::time::Duration;

use stateright::{Model, Property};

use super::action::{Action, At};
use super::flight::{Answer, Flight, Step};
use super::promises::Promise;
use super::redis::{Age, State, TOKENS, TokenState, bit};
use super::rules::{Rule, Rules};
use super::scenario::Scenario;
use super::story;
use super::way::Scene;
use super::world::World;
use crate::report::{self, Judged, Verdict};

/// Chains under rules, in a scenario.
#[derive(Clone, Debug)]
pub struct Chains {
    /// The configuration.
    pub scenario: Scenario,
    /// The rules in force.
    pub rules: Rules,
}

/// What must be possible, or the other promises would be kept by doing nothing.
const SOMETIMES: &str = "somebody was handed what was held";

impl Chains {
    /// Looks at every history of the scenario under these rules, until one breaks a promise or the time is over.
    pub fn check(scenario: &Scenario, rules: Rules, limit: Duration) -> Verdict<Promise> {
        report::check(&Self { scenario: *scenario, rules }, limit)
    }

    fn scene<'a>(&'a self, world: &'a mut World, (caller, is_waited_for): At) -> Scene<'a> {
        Scene { world, scenario: &self.scenario, rules: self.rules, caller, is_waited_for }
    }

    fn credential(&self, caller: usize) -> u8 {
        self.scenario.callers[caller].map_or(0, |settings| settings.claim.credential)
    }

    /// Callers that are alike come in their order: names make no difference.
    fn is_next(&self, world: &World, index: usize) -> bool {
        let settings = self.scenario.callers;
        let is_fresh = |caller: usize| settings[caller].is_some_and(|it| world.callers[caller].comings == it.comings);
        !(is_fresh(index) && (0..index).any(|other| settings[other] == settings[index] && is_fresh(other)))
    }

    fn flight_actions(&self, world: &World, at: At, flight: &Flight, actions: &mut Vec<Action>) {
        let faults = &world.faults;
        let (caller, is_waited_for) = at;
        let is_here = flight.server == world.server;
        match flight.step {
            Step::Asking => actions.push(Action::Ask(at)),
            Step::Led(_) if is_here => {
                let answers = [
                    (true, Answer::Arrives),
                    (faults.larges > 0, Answer::IsLarge),
                    (faults.lost_answers > 0, Answer::IsLost),
                    (faults.lost_answers > 0, Answer::NeverSent),
                    (faults.busies > 0, Answer::IsBusy),
                    (self.credential(caller) != 0, Answer::IsDisowned),
                ];
                let possible = answers.into_iter().filter_map(|(is_possible, answer)| is_possible.then_some(answer));
                actions.extend(possible.map(|answer| Action::Present(at, answer)));
            }
            Step::Calling(call) => {
                actions.push(Action::Complete(at, true));
                if faults.lost_news > 0 && world.flights().any(|(_, _, other)| other.ask.joined > 0) {
                    actions.push(Action::Complete(at, false));
                }
                let is_success = call.outcome == TokenState::Rotated;
                if is_success && is_waited_for && faults.earlies > 0 && world.callers[caller].behind.is_none() {
                    actions.push(Action::TellEarly(caller));
                }
                let record = world.db.records[usize::from(flight.ask.token) - 1];
                if faults.silences > 0 && record.lock == flight.ask.attempt {
                    actions.push(Action::FallSilent(at));
                }
            }
            Step::Leaving(_) => {
                actions.push(Action::Tip(at, true));
                if faults.lost_tips > 0 {
                    actions.push(Action::Tip(at, false));
                }
            }
            Step::Led(_) => {}
        }
        if flight.is_leading() && !is_here {
            actions.push(Action::PutBack(at));
        }
    }

    fn caller_actions(&self, world: &World, index: usize, actions: &mut Vec<Action>) {
        let (caller, faults) = (&world.callers[index], &world.faults);
        let may_come = caller.flight.is_none() && caller.comings > 0 && caller.token > 0;
        let is_owner = self.credential(index) == 0;
        let leaves = caller.flight.is_some() && caller.behind.is_none() && faults.leaves > 0 && is_owner;
        let works = caller.flight.is_some() || caller.behind.is_some() || !caller.kept.is_empty();
        let lands = self.rules.has(Rule::LandAgain) && caller.kept.iter().any(|kept| kept.server < world.server);
        let possible = [
            (may_come && self.is_next(world, index), Action::Come(index)),
            (leaves, Action::Leave(index)),
            (works && faults.crashes > 0, Action::Crash(index)),
            (lands, Action::LandAgain(index)),
        ];
        actions.extend(possible.into_iter().filter_map(|(is_possible, action)| is_possible.then_some(action)));
        if faults.steals > 0 && self.scenario.callers[index].is_some_and(|settings| !settings.has_token) {
            let others = (0..world.callers.len()).filter(|&other| other != index && world.callers[other].token > 0);
            actions.extend(others.map(|other| Action::Steal(index, other)));
        }
    }

    fn server_actions(world: &World, rules: Rules, actions: &mut Vec<Action>) {
        let faults = &world.faults;
        // An end or an eviction that falls between two looks of a walk is not looked at.
        let is_walked = world.flights().any(|(_, _, flight)| flight.ask.coming.is_walker());
        for token in 1..=TOKENS as u8 {
            let record = &world.db.records[usize::from(token) - 1];
            let is_held = world.db.held[usize::from(token) - 1].is_some();
            // The oldest make way.
            let is_fresh = matches!(record.state, State::Landed(_, Age::Fresh));
            let is_given = record.link.is_some_and(|link| link.is_given);
            // What is held longest ends first.
            let answers = || world.db.held.iter().flatten().map(|held| held.answer);
            let is_given = is_given || answers().any(|answer| answer == token);
            let may_end = answers().all(|answer| answer >= token);
            let possible = [
                (world.lease_may_end(token), Action::LeaseEnds(token)),
                (faults.evictions > 0 && is_held && !is_fresh && !is_walked, Action::Evict(token)),
                (faults.ends > 0 && is_given && may_end && record.lock == 0 && !is_walked, Action::End(token)),
            ];
            actions.extend(possible.into_iter().filter_map(|(is_possible, action)| is_possible.then_some(action)));
        }
        if faults.promotions > 0 {
            actions.extend((0..=world.log.len()).map(Action::Promote));
        }
        if world.may_recover(rules) {
            actions.push(Action::Recovered);
        }
        if world.may_age(rules) {
            actions.extend([Action::Age(false), Action::Age(true)]);
        }
    }

    fn land_again(&self, world: &mut World, index: usize) {
        let server = world.server;
        let kept = world.callers[index].kept.iter().position(|kept| kept.server < server);
        let kept = kept.expect("BUG: nothing is kept");
        let complete = world.callers[index].kept[kept].complete;
        world.run(self.rules, self.scenario.uncertain, |host| host.complete(&complete));
        world.callers[index].kept[kept].server = server;
        if complete.outcome == TokenState::Rotated {
            // It is known now.
            world.known.unsure &= !bit(complete.ask.token);
        }
    }
}

impl Model for Chains {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.scenario)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.broken.is_some() {
            return;
        }
        for (caller, is_waited_for, flight) in world.flights() {
            self.flight_actions(world, (caller, is_waited_for), flight, actions);
        }
        for index in 0..world.callers.len() {
            self.caller_actions(world, index, actions);
        }
        Self::server_actions(world, self.rules, actions);
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Come(caller) => {
                let settings = self.scenario.callers[caller]?;
                self.scene(&mut world, (caller, true)).come(settings.claim);
            }
            Action::Leave(caller) => {
                world.faults.leaves -= 1;
                let caller = &mut world.callers[caller];
                caller.behind = caller.flight.take();
            }
            Action::Steal(thief, from) => {
                world.faults.steals -= 1;
                world.callers[thief].token = world.callers[from].token;
            }
            Action::Ask(at) => self.scene(&mut world, at).ask(),
            Action::Present(at, answer) => {
                self.scene(&mut world, at).present(answer);
                match answer {
                    Answer::Arrives | Answer::IsDisowned => {}
                    Answer::IsLarge => world.faults.larges -= 1,
                    Answer::IsLost | Answer::NeverSent => world.faults.lost_answers -= 1,
                    Answer::IsBusy => world.faults.busies -= 1,
                }
            }
            Action::TellEarly(caller) => {
                world.faults.earlies -= 1;
                self.scene(&mut world, (caller, true)).tell_early();
            }
            Action::Complete(at, is_heard) => {
                world.faults.lost_news -= u8::from(!is_heard);
                self.scene(&mut world, at).complete(is_heard);
            }
            Action::Tip(at, arrives) => {
                world.faults.lost_tips -= u8::from(!arrives);
                self.scene(&mut world, at).leave(arrives);
            }
            Action::PutBack(at) => self.scene(&mut world, at).put_back(),
            Action::LandAgain(caller) => self.land_again(&mut world, caller),
            Action::Crash(caller) => world.crash(caller, self.credential(caller)),
            Action::LeaseEnds(token) => world.db.record(token).lock = 0,
            Action::FallSilent((caller, is_waited_for)) => {
                world.faults.silences -= 1;
                let flight = world.flights().find(|&(index, waits, _)| (index, waits) == (caller, is_waited_for));
                let token = flight?.2.ask.token;
                world.db.record(token).lock = 0;
                if self.credential(caller) == 0 {
                    world.known.unsure |= bit(token);
                }
            }
            Action::Promote(lost) => world.promote(lost),
            Action::Recovered => world.db.is_recovering = false,
            Action::Evict(token) => {
                world.faults.evictions -= 1;
                world.known.excused |= (1..=token).map(bit).sum::<u8>();
                world.known.evicted |= (1..=token).map(bit).sum::<u8>();
                *world.db.held(token) = None;
            }
            Action::End(token) => world.end(token, self.rules),
            Action::Age(access_is_over) => world.age(access_is_over, self.rules),
        }
        if world.faults.promotions == 0 {
            world.log.clear();
            let server = world.server;
            world.callers.iter_mut().for_each(|caller| caller.kept.retain(|kept| kept.server < server));
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn keeps(world: &World, promise: Promise) -> bool {
            world.broken != Some(promise)
        }
        use Promise::*;
        let promised = |promise: Promise, holds: fn(&Self, &World) -> bool| Property::always(promise.name(), holds);
        vec![
            promised(OncePerWalk, |_, world| keeps(world, OncePerWalk)),
            promised(OnlyGiven, |_, world| keeps(world, OnlyGiven)),
            promised(SuccessorIsThere, |_, world| keeps(world, SuccessorIsThere)),
            promised(UsedIsOver, |_, world| keeps(world, UsedIsOver)),
            promised(WaiterGetsIt, |_, world| keeps(world, WaiterGetsIt)),
            promised(EntitledOnly, |_, world| keeps(world, EntitledOnly)),
            promised(NeverTwice, |_, world| keeps(world, NeverTwice)),
            promised(StrangerLosesNothing, |_, world| keeps(world, StrangerLosesNothing)),
            promised(KnownFirst, |_, world| keeps(world, KnownFirst)),
            Property::sometimes(SOMETIMES, |_, world: &World| world.known.was_served),
        ]
    }
}

impl Judged for Chains {
    type Promise = Promise;

    const SOMETIMES: &'static str = SOMETIMES;

    fn scenario(&self) -> &'static str {
        self.scenario.name
    }

    fn promises() -> impl Iterator<Item = (Promise, &'static str)> {
        Promise::ALL.into_iter().map(|promise| (promise, promise.name()))
    }

    fn parts(world: &World) -> Vec<String> {
        story::parts(world)
    }
}
