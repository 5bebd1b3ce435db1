//! How a namespace stands as a whole, for the person on call. It decides nothing.

use std::time::Duration;

use super::circuit::CircuitState;

/// How a namespace stands, as the store sees it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overview {
    /// The circuit breaker, as [`circuit_state`](crate::RefreshCoordinator::circuit_state) tells it.
    pub circuit: CircuitState,
    /// Permits that are out in the whole fleet, of `max_concurrent_refreshes`. Those of lost leaders do not count.
    pub permits_out: u64,
    /// Flights of the whole fleet that wait for a permit.
    pub queued: u64,
    /// How long the one that waits longest has waited.
    pub oldest_queued: Option<Duration>,
    /// For how long nobody is given a lead yet, because the store may have lost writes.
    pub recovering_for: Option<Duration>,
    /// The pods that count as living, by their ids in Redis. A pod that was killed does for 3 min and its lease. None in memory,
    /// where no register is kept.
    pub pods: Option<Vec<String>>,
}
