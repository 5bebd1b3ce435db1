//! Nobody is left hanging: what ends a flight whatever becomes of the task that flies it.

use std::sync::Arc;

use super::LocalFlight;
use super::flights::LocalFlights;
use crate::error::RefreshError;
use crate::flight::ending::Ending;
use crate::outcome::ProviderFailure;

/// Ends a flight, also after a panic of ours or in a runtime that shuts down.
///
/// Made before the flight's task is, so that a task that is never polled ends its flight, too.
pub(crate) struct FlightGuard {
    flights: Arc<LocalFlights>,
    flight: Arc<LocalFlight>,
    /// None where the task ends without one.
    ending: Option<Ending>,
}

impl FlightGuard {
    pub(crate) fn new(flights: Arc<LocalFlights>, flight: Arc<LocalFlight>) -> Self {
        Self { flights, flight, ending: None }
    }

    pub(crate) fn flight(&self) -> &Arc<LocalFlight> {
        &self.flight
    }

    pub(crate) fn end(mut self, ending: Ending) {
        self.ending = Some(ending);
    }
}

impl Drop for FlightGuard {
    fn drop(&mut self) {
        // First out of the map, then told: a caller that was told and asks again begins anew, and does not join this.
        self.flights.remove(&self.flight);
        let ending = self.ending.take().unwrap_or_else(|| {
            let failure = ProviderFailure::unknown("the task of this refresh was ended before it was over");
            Ending::failed(RefreshError::Provider { failure, fence: 0 })
        });
        self.flight.tell(ending);
    }
}
