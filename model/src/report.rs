//! Runs the checker on a scenario and tells what it found: a line for the table, and a story for a counterexample.

use std::fmt::{self, Debug, Display, Write};
use std::hash::Hash;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

/// A model that is judged by promises, and whose histories can be told.
pub trait Judged: Model<State: Send + Sync + Hash + Clone + PartialEq + Debug, Action: Display + Copy> + Clone {
    /// What is promised.
    type Promise;

    /// The name of what must be possible, or the promises would be kept by doing nothing.
    const SOMETIMES: &'static str;

    /// The scenario's name.
    fn scenario(&self) -> &'static str;

    /// All promises, by name.
    fn promises() -> impl Iterator<Item = (Self::Promise, &'static str)>;

    /// The parts of a state, a line each, always in the same order.
    fn parts(state: &Self::State) -> Vec<String>;
}

/// The promise that was broken first.
#[derive(Debug)]
pub struct Broken<P> {
    /// Which.
    pub promise: P,
    /// Its name.
    pub name: &'static str,
    /// How: the shortest history.
    pub story: String,
}

/// What came of a run.
#[derive(Debug)]
pub struct Verdict<P> {
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
    /// The promise that was broken first.
    pub broken: Option<Broken<P>>,
}

/// Looks at every history of the model, until one breaks a promise or the time is over.
pub fn check<M>(model: &M, limit: Duration) -> Verdict<M::Promise>
where
    M: Judged + Send + Sync + 'static,
    M::Action: PartialEq + Debug,
{
    let started = Instant::now();
    let checker = model.clone().checker().finish_when(HasDiscoveries::AnyFailures).timeout(limit).spawn_bfs().join();
    let time = started.elapsed();
    let paths = checker.discoveries();
    let broken = M::promises().find_map(|(promise, name)| {
        let path = paths.get(name)?.clone();
        Some(Broken { promise, name, story: tell(model, path.into_vec()) })
    });
    Verdict {
        scenario: model.scenario(),
        states: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        time,
        is_complete: broken.is_some() || time < limit,
        is_possible: paths.contains_key(M::SOMETIMES),
        broken,
    }
}

/// A history, step by step: what happens, and what is different then.
fn tell<M: Judged>(model: &M, path: Vec<(M::State, Option<M::Action>)>) -> String {
    let mut text = String::new();
    let mut before = M::parts(&path[0].0);
    for (number, (world, action)) in path.iter().enumerate() {
        let Some(action) = action else { break };
        let after = model.next_state(world, *action).expect("BUG: a step of a path leads nowhere");
        _ = writeln!(text, "{:>3}. {action}", number + 1);
        let parts = M::parts(&after);
        for (part, old) in parts.iter().zip(&before) {
            if part != old {
                _ = writeln!(text, "       {part}");
            }
        }
        before = parts;
    }
    text
}

impl<P> Display for Verdict<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, states, unique, depth, time, is_complete, is_possible, broken } = self;
        let verdict = match (broken, is_complete, is_possible) {
            (Some(broken), _, _) => format!("broken: {}", broken.name),
            (None, false, _) => "no counterexample in this time".to_owned(),
            (None, true, true) => "kept".to_owned(),
            (None, true, false) => "kept, but by doing nothing".to_owned(),
        };
        write!(f, "| {scenario} | {states} | {unique} | {depth} | {:.1} s | {verdict} |", time.as_secs_f32())
    }
}
