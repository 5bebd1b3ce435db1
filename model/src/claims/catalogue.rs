//! The scenarios: what is looked at, and how often what may go wrong in it.

use super::scenario::{Faults, NO_FAULTS, Scenario, Settings};

const TWO: Scenario = Scenario {
    name: "claims-two",
    about: "two claims, each keeps what it was given",
    callers: [Some(Settings::own(0, 4)), Some(Settings::own(1, 4)), None],
    faults: Faults { ages: 2, ..NO_FAULTS },
    places: 3,
    is_long: false,
    is_deep: false,
};

/// All scenarios, the small ones first.
pub const ALL: &[Scenario] = &[
    TWO,
    Scenario {
        name: "claims-shared",
        about: "two claims share a stored token",
        callers: [Some(Settings::shared(0, 4)), Some(Settings::shared(1, 4)), None],
        ..TWO
    },
    Scenario {
        name: "claims-three",
        about: "three claims, each keeps what it was given",
        callers: [Some(Settings::own(0, 3)), Some(Settings::own(1, 2)), Some(Settings::own(2, 2))],
        faults: Faults { ages: 1, ..NO_FAULTS },
        ..TWO
    },
    Scenario {
        name: "claims-mixed",
        about: "two claims share a stored token, a third keeps what it was given",
        callers: [Some(Settings::shared(0, 3)), Some(Settings::shared(1, 2)), Some(Settings::own(2, 2))],
        faults: Faults { ages: 1, ..NO_FAULTS },
        ..TWO
    },
    Scenario {
        name: "claims-tabs",
        about: "two callers of one claim share a stored token, another claim keeps what it was given",
        callers: [Some(Settings::shared(0, 3)), Some(Settings::shared(0, 2)), Some(Settings::own(1, 3))],
        faults: Faults { ages: 1, ..NO_FAULTS },
        ..TWO
    },
    Scenario {
        name: "claims-rare",
        about: "one claim comes often, the other seldom",
        callers: [Some(Settings::own(0, 7)), Some(Settings::own(1, 2)), None],
        faults: Faults { ages: 1, ..NO_FAULTS },
        ..TWO
    },
    Scenario {
        name: "claims-missed",
        about: "two claims, and what they are handed is lost on its way",
        faults: Faults { ages: 2, misses: 2, ..NO_FAULTS },
        ..TWO
    },
    Scenario {
        name: "claims-busy",
        about: "two claims, and the provider leaves tokens as they were",
        faults: Faults { ages: 1, misses: 1, busies: 2, ..NO_FAULTS },
        ..TWO
    },
    Scenario {
        name: "claims-crash",
        about: "two claims, and pods die",
        callers: [Some(Settings::own(0, 3)), Some(Settings::own(1, 3)), None],
        faults: Faults { ages: 1, crashes: 1, ..NO_FAULTS },
        ..TWO
    },
    Scenario {
        name: "claims-crash-missed",
        about: "the same twice, and what a caller is handed is lost on its way",
        faults: Faults { ages: 1, crashes: 2, misses: 1, ..NO_FAULTS },
        is_deep: true,
        ..TWO
    },
    Scenario {
        name: "claims-three-crash",
        about: "three claims, a pod dies, what a caller is handed is lost on its way",
        callers: [Some(Settings::own(0, 3)), Some(Settings::own(1, 2)), Some(Settings::own(2, 2))],
        faults: Faults { ages: 1, crashes: 1, misses: 1, ..NO_FAULTS },
        is_deep: true,
        ..TWO
    },
    Scenario {
        name: "claims-three-failover",
        about: "three claims, and a replica is promoted",
        callers: [Some(Settings::own(0, 3)), Some(Settings::own(1, 2)), Some(Settings::own(2, 2))],
        faults: Faults { ages: 1, promotions: 1, ..NO_FAULTS },
        is_deep: true,
        ..TWO
    },
    Scenario {
        name: "claims-evicted",
        about: "two claims, and Redis loses a record",
        callers: [Some(Settings::own(0, 3)), Some(Settings::own(1, 3)), None],
        faults: Faults { ages: 1, evictions: 1, ..NO_FAULTS },
        ..TWO
    },
    Scenario {
        name: "claims-evicted-missed",
        about: "the same twice, and what a caller is handed is lost on its way",
        faults: Faults { ages: 1, misses: 1, evictions: 2, ..NO_FAULTS },
        is_deep: true,
        ..TWO
    },
    Scenario {
        name: "claims-failover",
        about: "two claims, and a replica is promoted",
        callers: [Some(Settings::own(0, 4)), Some(Settings::own(1, 3)), None],
        faults: Faults { ages: 1, promotions: 1, ..NO_FAULTS },
        ..TWO
    },
    Scenario {
        name: "claims-failover-shared",
        about: "two claims share a stored token, and a replica is promoted",
        callers: [Some(Settings::shared(0, 3)), Some(Settings::shared(1, 3)), None],
        faults: Faults { ages: 1, promotions: 1, ..NO_FAULTS },
        ..TWO
    },
    Scenario {
        name: "claims-failover-crash",
        about: "two claims, a replica is promoted and a pod dies",
        callers: [Some(Settings::own(0, 3)), Some(Settings::own(1, 3)), None],
        faults: Faults { ages: 1, promotions: 1, crashes: 1, ..NO_FAULTS },
        ..TWO
    },
    Scenario {
        name: "claims-thief",
        about: "a thief comes as the claim that it has stolen from",
        callers: [Some(Settings::own(0, 4)), Some(Settings::own(1, 2)), Some(Settings::thief(0, 3))],
        faults: Faults { steals: 1, ages: 1, ..NO_FAULTS },
        ..TWO
    },
    Scenario {
        name: "claims-thief-shared",
        about: "a thief comes as the claim that it has stolen from, two claims share a stored token, the provider is busy",
        callers: [Some(Settings::shared(0, 3)), Some(Settings::shared(1, 1)), Some(Settings::thief(0, 1))],
        faults: Faults { steals: 1, busies: 1, ages: 1, ..NO_FAULTS },
        ..TWO
    },
    Scenario {
        name: "claims-thief-other",
        about: "a thief comes as another claim, which others use, too",
        callers: [Some(Settings::shared(0, 3)), Some(Settings::shared(1, 2)), Some(Settings::thief(1, 2))],
        faults: Faults { steals: 1, ages: 1, ..NO_FAULTS },
        ..TWO
    },
    Scenario {
        name: "claims-thief-full",
        about: "a thief invents a claim, and all places are taken",
        callers: [Some(Settings::own(0, 3)), Some(Settings::own(1, 3)), Some(Settings::thief(2, 3))],
        faults: Faults { steals: 1, ages: 1, ..NO_FAULTS },
        places: 2,
        ..TWO
    },
];

/// What is about families that are made lazily alone.
pub const LAZY: &[Scenario] = &[
    Scenario {
        name: "lazy-lulls",
        about: "two claims, what has just landed is over, and what they are handed is lost on its way",
        callers: [Some(Settings::own(0, 4)), Some(Settings::own(1, 3)), None],
        faults: Faults { ages: 1, lulls: 2, misses: 1, ..NO_FAULTS },
        ..TWO
    },
    Scenario {
        name: "lazy-gives-up",
        about: "one claim goes on, and the pod of the other dies while that waits, or presents",
        callers: [Some(Settings::own(0, 5)), Some(Settings::own(1, 3)), None],
        faults: Faults { ages: 1, lulls: 1, crashes: 1, ..NO_FAULTS },
        ..TWO
    },
    Scenario {
        name: "lazy-gives-up-tabs",
        about: "two claims share a stored token, another caller of the second keeps its own, and its pod dies while it waits",
        callers: [Some(Settings::shared(0, 3)), Some(Settings::shared(1, 1)), Some(Settings::own(1, 2))],
        faults: Faults { crashes: 1, lulls: 1, ..NO_FAULTS },
        ..TWO
    },
    Scenario {
        name: "lazy-three-tabs",
        about: "a claim with two tabs walks, and two others come",
        callers: [Some(Settings::own(0, 3)), Some(Settings::own(1, 2)), Some(Settings::own(2, 2))],
        faults: Faults { ages: 1, lulls: 1, misses: 1, ..NO_FAULTS },
        is_deep: true,
        ..TWO
    },
    Scenario {
        name: "lazy-two-families",
        about: "two claims make the family at two tokens, and a third has come",
        callers: [Some(Settings::shared(0, 3)), Some(Settings::own(1, 2)), Some(Settings::shared(2, 2))],
        faults: Faults { ages: 1, lulls: 1, ..NO_FAULTS },
        ..TWO
    },
    Scenario {
        name: "lazy-long",
        about: "access tokens live for longer than an hour, and than an answer is held; three claims",
        callers: [Some(Settings::own(0, 3)), Some(Settings::own(1, 3)), Some(Settings::own(2, 2))],
        faults: Faults { ages: 1, ..NO_FAULTS },
        is_long: true,
        ..TWO
    },
    Scenario {
        name: "lazy-flushed",
        about: "two claims, and Redis loses all it has",
        callers: [Some(Settings::own(0, 3)), Some(Settings::own(1, 3)), None],
        faults: Faults { ages: 1, flushes: 1, ..NO_FAULTS },
        ..TWO
    },
];

/// What no set of rules can keep: a thief invents a claim while there is a place for it, and nobody has used what followed.
pub const INVENTED: Scenario = Scenario {
    name: "claims-thief-invents",
    about: "a thief invents a claim",
    callers: [Some(Settings::own(0, 4)), None, Some(Settings::thief(1, 3))],
    faults: Faults { steals: 1, ..NO_FAULTS },
    ..TWO
};

/// The scenario of this name.
///
/// # Panics
///
/// Where there is none.
pub fn named(name: &str) -> &'static Scenario {
    let mut all = ALL.iter().chain(LAZY).chain([&INVENTED, &HONEST]);
    all.find(|scenario| scenario.name == name).unwrap_or_else(|| panic!("there is no scenario {name}"))
}

/// The same with an honest caller in the thief's place: it keeps what it was given, and has another scope.
pub const HONEST: Scenario = Scenario {
    name: "claims-honest",
    about: "two claims, each keeps what it was given, as the thief does",
    callers: [Some(Settings::own(0, 4)), None, Some(Settings::own(1, 3))],
    faults: NO_FAULTS,
    ..TWO
};
