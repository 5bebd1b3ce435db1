//! A configuration: who comes with which token, and how often what may go wrong.

use super::redis::Claim;
use crate::settings::Uncertain;

/// How many callers there are at most.
pub const CALLERS: usize = 3;

/// Somebody who comes: a tab, or a thief. Each comes to a pod of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// What it asks by.
    pub claim: Claim,
    /// Whether it has the first token. A thief steals one later.
    pub has_token: bool,
    /// How often it comes.
    pub comings: u8,
}

impl Settings {
    /// A tab that comes so often.
    pub const fn tab(comings: u8) -> Self {
        Self { claim: Claim { credential: 0, scope: 0 }, has_token: true, comings }
    }

    /// Somebody who steals a token, and has the credential, too.
    pub const fn thief(comings: u8) -> Self {
        Self { has_token: false, ..Self::tab(comings) }
    }

    /// Somebody who steals a token, and guesses at the credential.
    pub const fn stranger(comings: u8) -> Self {
        Self { claim: Claim { credential: 1, scope: 0 }, ..Self::thief(comings) }
    }
}

/// How often each fault may happen in one history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Time passes: outcomes are no longer fresh, then forgotten; access tokens may be over.
    pub ages: u8,
    /// A tab is closed while its flight is under way.
    pub leaves: u8,
    /// Somebody takes the token that another holds.
    pub steals: u8,
    /// The provider's answer is lost, and it had rotated the token or not.
    pub lost_answers: u8,
    /// The provider touches nothing.
    pub busies: u8,
    /// A process ends.
    pub crashes: u8,
    /// A leader is silent for longer than its lease, and goes on.
    pub silences: u8,
    /// Callers are told before the outcome has landed, as when Redis is slow.
    pub earlies: u8,
    /// A replica is promoted without the last writes.
    pub promotions: u8,
    /// What is held for a token makes way.
    pub evictions: u8,
    /// The time of a hold is over.
    pub ends: u8,
    /// An answer is too large to be held.
    pub larges: u8,
    /// What a walk leaves behind does not arrive.
    pub lost_tips: u8,
    /// What a waiting flight is told is lost, and it asks again.
    pub lost_news: u8,
}

/// None.
pub const NO_FAULTS: Faults = Faults {
    ages: 0,
    leaves: 0,
    steals: 0,
    lost_answers: 0,
    busies: 0,
    crashes: 0,
    silences: 0,
    earlies: 0,
    promotions: 0,
    evictions: 0,
    ends: 0,
    larges: 0,
    lost_tips: 0,
    lost_news: 0,
};

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What `--only` calls it.
    pub name: &'static str,
    /// What happens in it.
    pub about: &'static str,
    /// Who comes.
    pub callers: [Option<Settings>; CALLERS],
    /// What may go wrong.
    pub faults: Faults,
    /// The policy.
    pub uncertain: Uncertain,
    /// Too large for the tests: only `--deep` looks at all of it.
    pub is_deep: bool,
}

impl Scenario {
    /// A tab of its own.
    pub const ONE_TAB: Self = Self {
        name: "chain-tab",
        about: "a tab is closed again and again",
        callers: [Some(Settings::tab(4)), None, None],
        faults: Faults { ages: 4, leaves: 3, ..NO_FAULTS },
        uncertain: Uncertain::Retry,
        is_deep: false,
    };
}
