//! A configuration: who comes for which claim, with whose token, and how often what may go wrong.

use super::host::Terms;
use super::rules::Rules;
use super::sizes::CALLERS;

/// Where a caller has its token from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Store {
    /// All callers with it share one stored token.
    Shared,
    /// It keeps what it was given.
    Own,
    /// It steals the token of the first caller, and keeps what it is given.
    Stolen,
}

/// Somebody who comes. Each comes to a pod of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// The scope that it asks for.
    pub claim: u8,
    /// Where it has its token from.
    pub store: Store,
    /// How often it comes.
    pub comings: u8,
}

impl Settings {
    /// A caller that keeps what it is given.
    pub const fn own(claim: u8, comings: u8) -> Self {
        Self { claim, store: Store::Own, comings }
    }

    /// A caller that shares a stored token.
    pub const fn shared(claim: u8, comings: u8) -> Self {
        Self { claim, store: Store::Shared, comings }
    }

    /// A thief.
    pub const fn thief(claim: u8, comings: u8) -> Self {
        Self { claim, store: Store::Stolen, comings }
    }
}

/// How often each fault may happen in one history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// The access tokens are over.
    pub ages: u8,
    /// What a caller is handed is lost on its way to it.
    pub misses: u8,
    /// The provider leaves a token as it was.
    pub busies: u8,
    /// A moment passes: what has just landed is over.
    pub lulls: u8,
    /// A pod dies.
    pub crashes: u8,
    /// Redis loses a record, or the family.
    pub evictions: u8,
    /// A replica is promoted without the last writes.
    pub promotions: u8,
    /// Redis loses all it has.
    pub flushes: u8,
    /// A thief takes the token of the first caller.
    pub steals: u8,
}

/// Nothing goes wrong.
pub const NO_FAULTS: Faults =
    Faults { ages: 0, misses: 0, busies: 0, lulls: 0, crashes: 0, evictions: 0, promotions: 0, flushes: 0, steals: 0 };

/// A configuration.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// Who comes.
    pub callers: [Option<Settings>; CALLERS],
    /// What may go wrong.
    pub faults: Faults,
    /// So many claims have a place in the record of a family.
    pub places: usize,
    /// Access tokens live for longer than an hour, and than an answer is held.
    pub is_long: bool,
    /// Too large for the tests.
    pub is_deep: bool,
}

impl Scenario {
    /// By what its servers go under these rules.
    pub fn terms(&self, rules: Rules) -> Terms {
        Terms { rules, places: self.places, is_long: self.is_long }
    }
}
