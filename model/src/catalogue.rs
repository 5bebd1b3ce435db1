//! The scenarios: what is looked at, and how often what may go wrong in it.

use crate::scenario::{Faults, NO_FAULTS, Replacement, Scenario};
use crate::settings::Settings;

const USUAL: Settings = Settings::USUAL;
/// More writes than any of these histories make.
const ANY: u8 = 12;
const REPLACED: Faults = Faults { replacements: 1, ..NO_FAULTS };
const PAUSED: Faults = Faults { pauses: 1, ..NO_FAULTS };
/// Two pods of one claim, a caller each.
const TWO: Scenario = Scenario { pods: [Some(USUAL), Some(USUAL), None], ..Scenario::CALM };
/// The same with the policy `never`.
const TWO_NEVER: Scenario = Scenario { pods: [Some(USUAL.never()), Some(USUAL.never()), None], ..TWO };
/// A pod that runs, and one that starts later.
const NEWCOMER: Scenario = Scenario { pods: [Some(USUAL), Some(USUAL.to_start()), None], ..TWO };
const PROMOTED: &[Replacement] = &[Replacement::Promote(ANY)];

/// All scenarios, the small ones first.
pub const ALL: &[Scenario] = &[
    Scenario::CALM,
    Scenario {
        name: "failover",
        about: "a replica is promoted that lags",
        faults: REPLACED,
        replacements: PROMOTED,
        ..TWO
    },
    Scenario {
        name: "failover-never",
        about: "the same under never, and an answer may be lost",
        faults: Faults { lost_answers: 1, ..REPLACED },
        replacements: PROMOTED,
        ..TWO_NEVER
    },
    Scenario {
        name: "failover-crash",
        about: "a failover, and a leader that dies",
        faults: Faults { crashes: 1, ..REPLACED },
        replacements: PROMOTED,
        ..TWO
    },
    Scenario {
        name: "failover-pause",
        about: "a failover, and a pod that stops",
        faults: Faults { pauses: 1, ..REPLACED },
        replacements: PROMOTED,
        ..TWO
    },
    Scenario {
        name: "failover-newcomer",
        about: "a pod starts, leads, and all that is lost in a failover",
        faults: Faults { starts: 1, ..REPLACED },
        replacements: PROMOTED,
        ..NEWCOMER
    },
    Scenario {
        name: "failover-late",
        about: "a failover, a command that comes late, and a provider that is busy",
        faults: Faults { lates: 1, busies: 1, ..REPLACED },
        replacements: PROMOTED,
        ..TWO
    },
    Scenario {
        name: "failover-again",
        about: "a failover after a flight that failed: the older outcome stands where the next leader was",
        pods: [Some(USUAL), Some(USUAL.callers(2)), None],
        faults: Faults { busies: 1, ..REPLACED },
        replacements: PROMOTED,
        ..TWO
    },
    Scenario {
        name: "failover-hidden",
        about: "a proxy hides the failover from the pods",
        faults: REPLACED,
        replacements: PROMOTED,
        hidden_by_proxy: true,
        ..TWO
    },
    Scenario {
        name: "failover-three",
        is_deep: true,
        about: "a failover, three pods, two claims",
        faults: REPLACED,
        replacements: PROMOTED,
        ..Scenario::CALM
    },
    Scenario {
        name: "restart-empty",
        about: "the server restarts and holds nothing",
        faults: REPLACED,
        replacements: &[Replacement::RestartEmpty],
        ..TWO
    },
    Scenario {
        name: "restart-pause",
        about: "the same, and a pod stops",
        faults: Faults { pauses: 1, ..REPLACED },
        replacements: &[Replacement::RestartEmpty],
        ..TWO
    },
    Scenario {
        name: "restart-old",
        about: "the server restarts with old data, and a pod starts",
        faults: Faults { starts: 1, ..REPLACED },
        replacements: &[Replacement::RestartOld(ANY)],
        ..NEWCOMER
    },
    Scenario {
        name: "promoted-empty",
        about: "a replica that holds nothing is promoted, and a pod starts",
        faults: Faults { starts: 1, ..REPLACED },
        replacements: &[Replacement::PromoteEmpty],
        ..NEWCOMER
    },
    Scenario { name: "flushed", about: "the data is flushed", faults: Faults { flushes: 1, ..NO_FAULTS }, ..TWO },
    Scenario {
        name: "demoted",
        about: "a demoted primary goes on answering those that it holds",
        faults: REPLACED,
        replacements: &[Replacement::Demote(ANY)],
        ..TWO
    },
    Scenario {
        name: "demoted-told",
        about: "the same, and all pods hear of the promotion",
        faults: REPLACED,
        replacements: &[Replacement::Demote(ANY)],
        told_of_promotion: true,
        ..TWO
    },
    Scenario {
        name: "long-lease",
        is_deep: true,
        about: "a failover, a leader with a longer lease that stops, and a pod with a shorter one",
        pods: [Some(USUAL.longest()), Some(USUAL), None],
        faults: Faults { pauses: 1, ..REPLACED },
        replacements: PROMOTED,
        ..TWO
    },
    Scenario {
        name: "long-lease-forgotten",
        about: "the same, but the server restarts empty, and the other pod has just started",
        pods: [Some(USUAL.longest()), Some(USUAL.to_start()), None],
        faults: Faults { pauses: 1, starts: 1, ..REPLACED },
        replacements: &[Replacement::RestartEmpty],
        ..TWO
    },
    Scenario { name: "pause", about: "a pod stops and goes on", faults: PAUSED, ..TWO },
    Scenario {
        name: "pause-last-gap",
        about: "a pod stops even between its last look at its lease and the sending, which no rule can close",
        faults: PAUSED,
        last_gap: true,
        ..TWO
    },
    Scenario { name: "pause-never", about: "the same under never", faults: PAUSED, ..TWO_NEVER },
    Scenario {
        name: "pause-three",
        is_deep: true,
        about: "the same, three pods, two claims",
        faults: PAUSED,
        ..Scenario::CALM
    },
    Scenario {
        name: "pause-policies",
        is_deep: true,
        about: "pods stop and die where they differ in lease and policy",
        pods: [Some(USUAL.longest()), Some(USUAL.never()), Some(USUAL.other_claim())],
        faults: Faults { crashes: 1, ..PAUSED },
        ..TWO
    },
    Scenario {
        name: "losses",
        about: "commands and answers are lost or late",
        faults: Faults { losses: 2, lates: 1, ..NO_FAULTS },
        ..TWO
    },
    Scenario {
        name: "crash-deaf",
        about: "a leader dies, another pod starts, and no pod is ever woken",
        faults: Faults { crashes: 1, starts: 1, lost_answers: 1, ..NO_FAULTS },
        deaf: true,
        ..TWO
    },
    Scenario {
        name: "clock-back",
        about: "redis' clock is set back, a replica is promoted, a leader dies, the provider is busy",
        faults: Faults { set_backs: 1, crashes: 1, busies: 1, ..REPLACED },
        replacements: PROMOTED,
        ..TWO
    },
    Scenario {
        name: "clock-forward",
        about: "redis' clock is set forward under never",
        faults: Faults { leaps: 1, pauses: 1, ..NO_FAULTS },
        ..TWO_NEVER
    },
];

/// The scenario of this name.
///
/// # Panics
///
/// If there is none.
pub fn named(name: &str) -> &'static Scenario {
    ALL.iter().find(|scenario| scenario.name == name).unwrap_or_else(|| panic!("there is no scenario {name}"))
}
