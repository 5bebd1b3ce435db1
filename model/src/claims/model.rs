//! The model: which actions are possible in a world, and what they lead to.

use super::scene::Scene;
use super::sizes::{CLAIMS, TOKENS};
use std::time::Duration;

use stateright::{Model, Property};

use super::action::Action;
use super::promises::Promise;
use super::redis::{Record, State};
use super::rules::{Rule, Rules};
use super::scenario::{Scenario, Store};
use super::story;
use super::world::{Step, World};
use crate::report::{self, Judged, Verdict};

/// Claims under rules, in a scenario.
#[derive(Clone, Debug)]
pub struct Claims {
    /// The configuration.
    pub scenario: Scenario,
    /// The rules in force.
    pub rules: Rules,
}

/// What must be possible, or the promises would be kept by doing nothing.
const SOMETIMES: &str = "a claim was served past another claim's presentation";

impl Claims {
    /// Looks at every history of the scenario under these rules, until one breaks a promise or the time is over.
    pub fn check(scenario: &Scenario, rules: Rules, limit: Duration) -> Verdict<Promise> {
        report::check(&Self { scenario: *scenario, rules }, limit)
    }

    fn scene<'a>(&'a self, world: &'a mut World, caller: usize) -> Scene<'a> {
        Scene { world, scenario: &self.scenario, rules: self.rules, caller }
    }

    fn store(&self, caller: usize) -> Option<Store> {
        self.scenario.callers[caller].map(|settings| settings.store)
    }

    fn caller_actions(&self, world: &World, index: usize, actions: &mut Vec<Action>) {
        let (caller, faults) = (&world.callers[index], &world.faults);
        if caller.leaves.is_some() {
            actions.push(Action::Leave(index));
        }
        let has_token = caller.token > 0 || self.store(index) == Some(Store::Shared);
        let Some(flight) = &caller.flight else {
            if caller.comings > 0 && has_token {
                actions.push(Action::Come(index));
            }
            // Whoever is there first has a place first.
            let all_there = (0..index).all(|other| {
                let claim = self.scenario.callers[other].map_or(0, |settings| usize::from(settings.claim));
                world.known.given[claim] > 0
            });
            // Where all places are to be taken, the family is there.
            let is_full = || world.db.lazy.families().any(|family| family.count() >= self.scenario.places);
            let is_there = !self.rules.has(Rule::LazyFamily) || self.scenario.places >= CLAIMS || is_full();
            if self.store(index) == Some(Store::Stolen) && faults.steals > 0 && all_there && is_there {
                actions.push(Action::Steal(index));
            }
            return;
        };
        match flight.step {
            Step::Asking => actions.push(Action::Ask(index)),
            Step::Waiting => {
                if Scene::is_woken(world, flight, &self.scenario, self.rules) {
                    actions.push(Action::Ask(index));
                }
            }
            Step::Led => {
                actions.push(Action::Present(index));
                if faults.busies > 0 {
                    actions.push(Action::PresentToBusy(index));
                }
            }
            Step::Calling => {
                actions.push(Action::Complete(index));
                if faults.misses > 0 {
                    actions.push(Action::CompleteMissed(index));
                }
            }
        }
        if faults.crashes > 0 {
            actions.push(Action::Crash(index));
        }
    }
}

impl Claims {
    fn lazy_actions(&self, world: &World, actions: &mut Vec<Action>) {
        let (faults, keys) = (&world.faults, &world.db.lazy);
        if faults.promotions > 0 && !self.rules.has(Rule::LandsInTime) {
            actions.extend((0..=world.log.len()).map(Action::PromoteLater));
        }
        if faults.flushes > 0 {
            actions.push(Action::Flush);
        }
        if faults.lulls > 0 && world.is_settled() {
            actions.push(Action::Lull);
        }
        if faults.evictions > 0 {
            let tokens = || 1..=TOKENS as u8;
            let is_free = |&token: &u8| keys.record(token).is_some() && !keys.is_led(token);
            actions.extend(tokens().filter(is_free).map(|token| Action::Evict(Some(token))));
            actions.extend(tokens().filter(|&token| keys.held(token).is_some()).map(Action::EvictHeld));
            actions.extend(keys.families().next().map(|_| Action::Evict(None)));
        }
    }
}

impl Model for Claims {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.scenario)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.broken.is_some() || world.is_revoked {
            return;
        }
        if let Some(told) = world.told_lazily() {
            actions.push(Action::Ask(told));
            return;
        }
        for index in 0..world.callers.len() {
            self.caller_actions(world, index, actions);
        }
        let faults = &world.faults;
        if faults.ages > 0 && world.flights().next().is_none() && world.is_settled() {
            actions.push(Action::Age);
        }
        if faults.evictions > 0 {
            let is_free = |record: &Option<Record>| record.is_some_and(|it| it.state != State::Leading);
            let tokens = (1..=TOKENS as u8).filter(|&token| is_free(&world.db.records[usize::from(token) - 1]));
            actions.extend(tokens.map(|token| Action::Evict(Some(token))));
            actions.extend(world.db.family.map(|_| Action::Evict(None)));
        }
        if faults.promotions > 0 {
            actions.extend((0..=world.log.len()).map(Action::Promote));
        }
        if self.rules.has(Rule::LazyFamily) {
            self.lazy_actions(world, actions);
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        let terms = self.scenario.terms(self.rules);
        match action {
            Action::Come(caller) => {
                let claim = self.scenario.callers[caller]?.claim;
                self.scene(&mut world, caller).come(claim);
            }
            Action::Steal(caller) => self.scene(&mut world, caller).steal(),
            Action::Ask(caller) => self.scene(&mut world, caller).ask(),
            Action::Present(caller) => self.scene(&mut world, caller).present(false),
            Action::PresentToBusy(caller) => self.scene(&mut world, caller).present(true),
            Action::Complete(caller) => self.scene(&mut world, caller).complete(),
            Action::CompleteMissed(caller) => self.scene(&mut world, caller).miss(),
            Action::Leave(caller) => self.scene(&mut world, caller).leave(),
            Action::Crash(caller) => world.crash(caller),
            Action::Evict(token) => world.evict(token, terms),
            Action::Promote(lost) => {
                world.faults.promotions -= 1;
                world.promote(lost, terms, false);
            }
            Action::PromoteLater(lost) => {
                world.faults.promotions -= 1;
                world.promote(lost, terms, true);
            }
            Action::Flush => {
                world.faults.flushes -= 1;
                world.promote(usize::MAX, terms, false);
                // What no pod tells again, nobody knows.
                world.known.excused = u16::MAX;
            }
            Action::EvictHeld(token) => world.evict_held(token),
            Action::Lull => world.lull(),
            Action::Age => world.age(terms),
        }
        if terms.is_lazy() {
            world.forget_the_dead_lazily();
        }
        if world.faults.promotions == 0 {
            world.log.clear();
        }
        if world.faults.promotions + world.faults.flushes == 0 {
            world.callers.iter_mut().for_each(|caller| caller.kept.clear());
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
            promised(Owed, |_, world| keeps(world, Owed)),
            promised(OncePerWalk, |_, world| keeps(world, OncePerWalk)),
            promised(FewLooks, |_, world| keeps(world, FewLooks)),
            promised(LittleMemory, |_, world| keeps(world, LittleMemory)),
            promised(LeftBehind, |_, world| keeps(world, LeftBehind)),
            promised(StrayIsFound, |_, world| keeps(world, StrayIsFound)),
            promised(OwnScope, |_, world| keeps(world, OwnScope)),
            promised(OnlyGiven, |_, world| keeps(world, OnlyGiven)),
            promised(ThiefIsFound, |_, world| keeps(world, ThiefIsFound)),
            Property::sometimes(SOMETIMES, |_, world: &World| world.known.was_shared),
        ]
    }
}

impl Judged for Claims {
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
