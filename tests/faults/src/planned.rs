//! What happens to a fleet: faults, or to one that walks chains the rows of those.

use crate::chains::Chain;
use crate::faults::Fault;

#[derive(Clone, Debug)]
pub(crate) enum Planned {
    Fault(Fault),
    Chain(Chain),
}

impl Planned {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Fault(fault) => fault.name,
            Self::Chain(chain) => chain.fault.name,
        }
    }
}
