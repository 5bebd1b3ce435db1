//! The scenarios: what is looked at, and how often what may go wrong in it.

use super::scenario::{Faults, NO_FAULTS, Scenario, Settings};
use crate::settings::Uncertain;

const TWO_TABS: Scenario =
    Scenario { callers: [Some(Settings::tab(2)), Some(Settings::tab(2)), None], ..Scenario::ONE_TAB };
/// Two tabs, the second of which comes once.
const FAILOVER: Scenario =
    Scenario { callers: [Some(Settings::tab(2)), Some(Settings::tab(1)), None], ..Scenario::ONE_TAB };
const STRANGER: Scenario =
    Scenario { callers: [Some(Settings::tab(3)), Some(Settings::stranger(2)), None], ..Scenario::ONE_TAB };

/// All scenarios, the small ones first.
pub const ALL: &[Scenario] = &[
    Scenario::ONE_TAB,
    Scenario {
        name: "chain-tabs",
        about: "two tabs with one token, each may be closed",
        faults: Faults { ages: 3, leaves: 1, ..NO_FAULTS },
        ..TWO_TABS
    },
    Scenario {
        name: "chain-news",
        about: "three tabs, and what those that wait are told is lost",
        callers: [Some(Settings::tab(2)), Some(Settings::tab(1)), Some(Settings::tab(1))],
        faults: Faults { ages: 2, lost_news: 1, ..NO_FAULTS },
        ..TWO_TABS
    },
    Scenario {
        name: "chain-thief",
        about: "somebody has stolen the token and the credential",
        callers: [Some(Settings::tab(3)), Some(Settings::thief(2)), None],
        faults: Faults { ages: 2, leaves: 1, steals: 1, ..NO_FAULTS },
        ..TWO_TABS
    },
    Scenario {
        name: "chain-stranger",
        about: "somebody has stolen the token, and not the credential",
        faults: Faults { ages: 2, leaves: 1, steals: 1, busies: 1, ..NO_FAULTS },
        ..STRANGER
    },
    Scenario {
        name: "chain-strangers-never",
        about: "the same under never, answers are lost and pods die",
        callers: [Some(Settings::tab(2)), Some(Settings::stranger(2)), None],
        faults: Faults { ages: 1, leaves: 1, steals: 1, lost_answers: 1, crashes: 1, ..NO_FAULTS },
        uncertain: Uncertain::Never,
        ..STRANGER
    },
    Scenario {
        name: "chain-stranger-new",
        about: "somebody has stolen the new token, and not the credential; another tab has the old one",
        callers: [Some(Settings::tab(1)), Some(Settings::tab(1)), Some(Settings::stranger(1))],
        faults: Faults { ages: 1, steals: 1, busies: 1, ..NO_FAULTS },
        ..STRANGER
    },
    Scenario {
        name: "chain-evicted",
        about: "a tab is closed again and again, what it leaves behind is lost, and an answer makes way",
        callers: [Some(Settings::tab(3)), None, None],
        faults: Faults { ages: 4, leaves: 2, evictions: 1, lost_tips: 1, ..NO_FAULTS },
        ..STRANGER
    },
    Scenario {
        name: "chain-lost",
        about: "two tabs, an answer of the provider is lost, a pod dies",
        faults: Faults { ages: 1, leaves: 1, lost_answers: 1, crashes: 1, ..NO_FAULTS },
        ..TWO_TABS
    },
    Scenario {
        name: "chain-never",
        about: "the same under never",
        faults: Faults { ages: 1, leaves: 1, lost_answers: 1, crashes: 1, ..NO_FAULTS },
        uncertain: Uncertain::Never,
        ..TWO_TABS
    },
    Scenario {
        name: "chain-busy",
        about: "two tabs, a provider that is busy, a leader that falls silent",
        faults: Faults { ages: 2, leaves: 1, busies: 1, silences: 1, ..NO_FAULTS },
        ..TWO_TABS
    },
    Scenario {
        name: "chain-early",
        about: "two tabs that are told what has not landed yet",
        faults: Faults { ages: 2, leaves: 1, earlies: 1, ..NO_FAULTS },
        ..TWO_TABS
    },
    Scenario {
        name: "chain-held",
        about: "two tabs, an answer that is held makes way, or is too large to be held",
        faults: Faults { ages: 2, leaves: 1, evictions: 1, larges: 1, ..NO_FAULTS },
        ..TWO_TABS
    },
    Scenario {
        name: "chain-ends",
        about: "two tabs, and the time of what is held is over",
        faults: Faults { ages: 2, leaves: 1, ends: 1, lost_tips: 1, ..NO_FAULTS },
        ..TWO_TABS
    },
    Scenario {
        name: "chain-failover",
        about: "two tabs, and a failover",
        faults: Faults { ages: 2, promotions: 1, ..NO_FAULTS },
        ..FAILOVER
    },
    Scenario {
        name: "chain-failover-crash",
        about: "the same, and a pod dies",
        faults: Faults { ages: 1, promotions: 1, crashes: 1, ..NO_FAULTS },
        ..FAILOVER
    },
    Scenario {
        name: "chain-failover-never",
        about: "a failover under never, and an answer is lost",
        faults: Faults { ages: 1, promotions: 1, lost_answers: 1, ..NO_FAULTS },
        uncertain: Uncertain::Never,
        ..FAILOVER
    },
    Scenario {
        name: "chain-failover-closed",
        about: "two tabs that come twice, each may be closed, and a failover",
        faults: Faults { ages: 2, leaves: 1, promotions: 1, ..NO_FAULTS },
        is_deep: true,
        ..TWO_TABS
    },
    Scenario {
        name: "chain-three",
        about: "three callers, of whom one is a thief, and what those that wait are told is lost",
        callers: [Some(Settings::tab(2)), Some(Settings::tab(2)), Some(Settings::thief(1))],
        faults: Faults { ages: 2, leaves: 1, steals: 1, lost_news: 1, ..NO_FAULTS },
        is_deep: true,
        ..TWO_TABS
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
