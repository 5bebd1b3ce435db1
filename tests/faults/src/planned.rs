//! What happens to a fleet: faults, or to one that walks chains the rows of those.

use crate::chains::Chain;
use crate::faults::{self, Act, Fault};
use crate::history::Harm;
use crate::wire::Rules;

pub(crate) enum Planned {
    Fault(Fault),
    Chain(Chain),
}

impl Planned {
    pub(crate) fn all() -> Vec<Self> {
        let chains = Chain::all().into_iter().map(Self::Chain);
        Fault::all().into_iter().map(Self::Fault).chain(chains).collect()
    }

    /// Whether it happens to a fleet that goes by these rules.
    pub(crate) fn happens_to(&self, rules: &Rules) -> bool {
        match self {
            Self::Chain(_) => rules.walks,
            Self::Fault(_) if rules.walks => false,
            Self::Fault(fault) if fault.act == Act::WrongClock && faults::wrong_clock().is_none() => false,
            // Under all others such a fleet is one that does not go on alone.
            Self::Fault(fault) => !rules.goes_on_alone || matches!(fault.harm, Harm::CutOff | Harm::Store),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Fault(fault) => fault.name,
            Self::Chain(chain) => chain.fault.name,
        }
    }
}
