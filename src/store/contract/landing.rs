//! How a flight ended: as it lands, and as it is found.

use std::sync::Arc;
use std::time::Duration;

use crate::outcome::{Outcome, ProviderHealth};

/// How a flight ended, for the store.
#[derive(Clone, Debug)]
pub(crate) struct Completion {
    pub(crate) outcome: Arc<Outcome>,
    /// What it says of the provider: mostly `Outcome::health`. A call that panicked and one that ran too long end as the
    /// same unknown outcome, and only the latter speaks against the provider.
    pub(crate) health: ProviderHealth,
    /// How long ago the provider answered.
    pub(crate) age: Duration,
    /// Nobody is to be told yet: its leader does something before, and then says so ([`Telling`]).
    pub(crate) is_untold: bool,
}

/// What becomes of an outcome that landed untold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// What is done before is still under way: nobody is told for a lease more.
    Waits,
    /// It was given up: pods that wait find the outcome, and do it themselves.
    Failed,
    /// It is done: all are told, and the token in the outcome counts as used.
    Done,
}

/// An outcome as the store holds it.
#[derive(Clone, Debug)]
pub(crate) struct StoredOutcome {
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) fence: u64,
    /// How long ago the provider gave it.
    pub(crate) age: Duration,
}
