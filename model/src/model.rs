//! The model: which actions are possible in a world, and what they lead to.

use std::time::Duration;

use stateright::{Model, Property};

use crate::action::Action;
use crate::judge;
use crate::pod::{Flight, Step};
use crate::promises::Promise;
use crate::provider::Outcome;
use crate::report::{self, Judged, Verdict};
use crate::rules::Rules;
use crate::scenario::Scenario;
use crate::scene::{Fate, Scene};
use crate::settings::PODS;
use crate::story;
use crate::turn::{Turn, turns};
use crate::world::World;

/// The protocol under rules, in a scenario.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// The configuration.
    pub scenario: Scenario,
    /// The rules in force.
    pub rules: Rules,
}

impl Protocol {
    /// Looks at every history of the scenario under these rules, until one breaks a promise or the time is over.
    pub fn check(scenario: &Scenario, rules: Rules, limit: Duration) -> Verdict<Promise> {
        report::check(&Self { scenario: *scenario, rules }, limit)
    }

    fn scene<'a>(&'a self, world: &'a mut World, pod: usize) -> Scene<'a> {
        Scene { world, scenario: &self.scenario, rules: self.rules, pod }
    }

    fn turns(&self, world: &World, pod: usize) -> [Option<Turn>; 2] {
        let Some(settings) = self.scenario.pods[pod] else { return [None; 2] };
        turns(&world.pods[pod], settings.lease, self.rules)
    }

    fn fates(&self, world: &World, pod: usize, turn: Turn) -> impl Iterator<Item = Fate> + use<> {
        let loses = turn.is_command() && world.faults.losses > 0;
        let delays = turn.is_command() && world.faults.lates > 0 && world.pods[pod].late.is_none();
        let lost = [Fate::RequestLost, Fate::ReplyLost].into_iter().filter(move |_| loses);
        let late = [Fate::Late].into_iter().filter(move |_| delays);
        [Fate::Answered].into_iter().chain(lost).chain(late)
    }

    /// Of pods with the same settings the first is the one to which a caller comes first: names make no difference.
    fn is_next(&self, world: &World, index: usize) -> bool {
        let settings = self.scenario.pods;
        let is_fresh = |pod: usize| settings[pod].is_some_and(|settings| world.pods[pod].callers == settings.callers);
        !(is_fresh(index) && (0..index).any(|other| settings[other] == settings[index] && is_fresh(other)))
    }

    fn pod_actions(&self, world: &World, index: usize, actions: &mut Vec<Action>) {
        let (pod, faults) = (&world.pods[index], &world.faults);
        for turn in self.turns(world, index).into_iter().flatten() {
            actions.extend(self.fates(world, index, turn).map(|fate| Action::Take(index, turn, fate)));
            if turn == Turn::Send && faults.busies > 0 {
                actions.push(Action::SendToBusy(index));
            }
        }
        let is_primary_elsewhere = pod.lane != world.primary.id;
        let calls = pod.is_calling();
        let possible = [
            (pod.runs() && pod.flight.is_none() && pod.callers > 0 && self.is_next(world, index), Action::Come(index)),
            (pod.runs() && calls, Action::Answer(index)),
            (pod.runs() && calls && faults.lost_answers > 0, Action::LoseAnswer(index)),
            (pod.late.is_some(), Action::Arrive(index)),
            (pod.runs() && pod.flight.is_some() && faults.pauses > 0, Action::Pause(index)),
            (pod.is_paused, Action::Resume(index)),
            (pod.is_alive && pod.flight.is_some() && faults.crashes > 0, Action::Crash(index)),
            (!pod.is_alive && self.scenario.pods[index].is_some() && faults.starts > 0, Action::Start(index)),
            (pod.runs() && is_primary_elsewhere, Action::Move(index)),
        ];
        actions.extend(possible.into_iter().filter_map(|(is_possible, action)| is_possible.then_some(action)));
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.scenario, self.rules)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.broken.is_some() {
            return;
        }
        let is_busy = (0..PODS).any(|pod| self.turns(world, pod) != [None; 2]);
        if !is_busy {
            actions.push(Action::Tick);
        }
        for pod in 0..PODS {
            self.pod_actions(world, pod, actions);
        }
        let faults = &world.faults;
        if faults.replacements > 0 {
            actions.extend(world.replacements(&self.scenario).into_iter().map(Action::Replace));
        }
        let possible = [
            (faults.flushes > 0, Action::Flush),
            (faults.leaps > 0, Action::Leap),
            (faults.set_backs > 0, Action::SetBack),
        ];
        actions.extend(possible.into_iter().filter_map(|(is_possible, action)| is_possible.then_some(action)));
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Tick => {
                world.tick();
                if world == *before {
                    return None;
                }
                judge::patience(&mut world);
            }
            Action::Come(pod) => self.scene(&mut world, pod).come(),
            Action::Take(pod, turn, fate) => {
                self.scene(&mut world, pod).take(turn, fate, false);
                match fate {
                    Fate::Answered => {}
                    Fate::RequestLost | Fate::ReplyLost => world.faults.losses -= 1,
                    Fate::Late => world.faults.lates -= 1,
                }
            }
            Action::SendToBusy(pod) => {
                self.scene(&mut world, pod).take(Turn::Send, Fate::Answered, true);
                world.faults.busies -= 1;
            }
            Action::Answer(pod) => {
                let Some(Flight { step: Step::Calling { answer, .. }, .. }) = world.pods[pod].flight else {
                    return None;
                };
                self.scene(&mut world, pod).answered(answer);
            }
            Action::LoseAnswer(pod) => {
                self.scene(&mut world, pod).answered(Outcome::Unknown);
                world.faults.lost_answers -= 1;
            }
            Action::Arrive(pod) => {
                let (server, command) = world.pods[pod].late.take()?;
                let attempt = command.from().attempt;
                let held_before = judge::holds_permit(&world, attempt);
                world.run(server, &command, &self.scenario, self.rules);
                judge::late(&mut world, pod, attempt, held_before);
            }
            Action::Pause(pod) => {
                world.faults.pauses -= 1;
                (world.pods[pod].is_paused, world.pods[pod].is_disturbed) = (true, true);
            }
            Action::Resume(pod) => world.pods[pod].is_paused = false,
            Action::Crash(pod) => world.crash(pod),
            Action::Start(pod) => world.start(pod),
            Action::Move(pod) => world.move_to_primary(pod),
            Action::Replace(replacement) => world.replace(replacement, &self.scenario),
            Action::Flush => world.flush(),
            Action::Leap => {
                world.faults.leaps -= 1;
                world.primary.db.leap();
            }
            Action::SetBack => {
                world.faults.set_backs -= 1;
                world.is_set_back = true;
                world.primary.db.set_back();
            }
        }
        if world.faults.replacements == 0 {
            world.log.clear();
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn keeps(world: &World, promise: Promise) -> bool {
            world.broken != Some(promise)
        }
        use Promise::*;
        let promised = |promise: Promise, holds: fn(&Self, &World) -> bool| Property::always(promise.name(), holds);
        vec![
            promised(OnePresentation, |_, world| keeps(world, OnePresentation)),
            promised(NeverTwice, |_, world| keeps(world, NeverTwice)),
            promised(SuccessKept, |_, world| keeps(world, SuccessKept)),
            promised(NobodyHangs, |_, world| keeps(world, NobodyHangs)),
            promised(PermitsComeBack, |_, world| keeps(world, PermitsComeBack)),
            promised(SameOutcome, |_, world| keeps(world, SameOutcome)),
            promised(FencesGrow, |_, world| keeps(world, FencesGrow)),
            promised(RecoveringWaits, |_, world| keeps(world, RecoveringWaits)),
            Property::sometimes(SOMETIMES, |_, world| judge::everybody_was_given_the_success(world)),
        ]
    }
}

impl Judged for Protocol {
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

/// What must be possible, or the other promises would be kept by doing nothing.
const SOMETIMES: &str = "all callers have come, and the success was given";
