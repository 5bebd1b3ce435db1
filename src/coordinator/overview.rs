//! What a coordinator tells the person on call: how its namespace stands, and which flights this pod has under way.

use super::RefreshCoordinator;
use crate::admission::overview::Overview;
use crate::error::RefreshError;
use crate::flight::stage::LocalFlightSeen;

impl RefreshCoordinator {
    /// How the namespace stands in the whole fleet: two short questions to the store, over the connections that are there. Behind
    /// a Redis that is known to be out of reach it is answered at once.
    ///
    /// # Errors
    ///
    /// [`RefreshError::StoreOutage`] when the store does not answer.
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    ///
    /// # Examples
    ///
    /// ```
    /// use refresh_coordinator::{Config, RefreshCoordinator};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let coordinator = RefreshCoordinator::in_memory(Config::default())?;
    ///
    /// let overview = coordinator.overview().await?;
    ///
    /// assert_eq!((overview.permits_out, overview.queued, overview.recovering_for), (0, 0, None));
    /// assert!(coordinator.local_flights(200).is_empty());
    /// # Ok(()) }
    /// ```
    pub async fn overview(&self) -> Result<Overview, RefreshError> {
        self.inner.store.overview().await.map_err(|error| self.inner.count_outage(error))
    }

    /// The flights that this pod has under way, the oldest first, `most` of them at most; [`in_flight`](Self::in_flight) counts
    /// them all.
    pub fn local_flights(&self, most: usize) -> Vec<LocalFlightSeen> {
        self.inner.flights.seen(most)
    }
}
