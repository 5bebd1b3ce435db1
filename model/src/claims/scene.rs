//! Where a flight is.

use super::host::Terms;
use super::rules::Rules;
use super::scenario::Scenario;
use super::world::{Flight, World};

/// A caller's flight in a world under rules.
pub struct Scene<'a> {
    /// The world.
    pub world: &'a mut World,
    /// The configuration.
    pub scenario: &'a Scenario,
    /// The rules in force.
    pub rules: Rules,
    /// Whose flight.
    pub caller: usize,
}

impl Scene<'_> {
    pub(super) fn flight(&mut self) -> &mut Flight {
        self.world.callers[self.caller].flight.as_mut().expect("BUG: there is no flight")
    }

    pub(super) fn terms(&self) -> Terms {
        self.scenario.terms(self.rules)
    }
}
