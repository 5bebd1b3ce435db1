//! Runs the checker on a scenario and tells what it found: a line for the table, and a story for a counterexample.

use std::fmt::{self, Write};
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use crate::action::Action;
use crate::model::{Protocol, SOMETIMES};
use crate::promises::Promise;
use crate::rules::Rules;
use crate::scenario::Scenario;
use crate::story;
use crate::world::World;

/// What came of a run.
#[derive(Debug)]
pub struct Verdict {
    /// The scenario's name.
    pub scenario: &'static str,
    /// States that were looked at, repeats too.
    pub states: usize,
    /// Different states.
    pub unique: usize,
    /// The longest shortest way to a state.
    pub depth: usize,
    /// How long it took.
    pub time: Duration,
    /// Everything within the bounds was looked at, or a counterexample found.
    pub is_complete: bool,
    /// Every caller was given the success in at least one history.
    pub is_possible: bool,
    /// The promise that was broken first, and how.
    pub broken: Option<(Promise, String)>,
}

/// Looks at every history of the scenario under these rules, until one breaks a promise or the time is over.
pub fn check(scenario: &Scenario, rules: Rules, limit: Duration) -> Verdict {
    let started = Instant::now();
    let protocol = Protocol { scenario: *scenario, rules };
    let checker = protocol.clone().checker().finish_when(HasDiscoveries::AnyFailures).timeout(limit).spawn_bfs().join();
    let time = started.elapsed();
    let paths = checker.discoveries();
    let broken = Promise::ALL.into_iter().find_map(|promise| {
        let path = paths.get(promise.name())?.clone();
        Some((promise, tell(&protocol, path.into_vec())))
    });
    Verdict {
        scenario: scenario.name,
        states: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        time,
        is_complete: broken.is_some() || time < limit,
        is_possible: paths.contains_key(SOMETIMES),
        broken,
    }
}

/// A history, step by step: what happens, and what is different then.
fn tell(protocol: &Protocol, path: Vec<(World, Option<Action>)>) -> String {
    let mut text = String::new();
    let mut before = story::parts(&path[0].0);
    for (number, (world, action)) in path.iter().enumerate() {
        let Some(action) = action else { break };
        let after = protocol.next_state(world, *action).expect("BUG: a step of a path leads nowhere");
        _ = writeln!(text, "{:>3}. {action}", number + 1);
        let parts = story::parts(&after);
        for (part, old) in parts.iter().zip(&before) {
            if part != old {
                _ = writeln!(text, "       {part}");
            }
        }
        before = parts;
    }
    text
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, states, unique, depth, time, is_complete, is_possible, broken } = self;
        let verdict = match (broken, is_complete, is_possible) {
            (Some((promise, _)), _, _) => format!("broken: {}", promise.name()),
            (None, false, _) => "no counterexample in this time".to_owned(),
            (None, true, true) => "kept".to_owned(),
            (None, true, false) => "kept, but no success was ever given".to_owned(),
        };
        write!(f, "| {scenario} | {states} | {unique} | {depth} | {:.1} s | {verdict} |", time.as_secs_f32())
    }
}
