//! What requests that are no refreshes have of the way to the provider: connections of their own, and a bound on how many of them
//! ask at once and how many wait. Refreshes have the rest to themselves, whatever the provider takes for the others.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use refresh_coordinator::exchange::SendError;
use tokio::sync::Semaphore;
use tracing::Instrument;

use super::connections::{Bounds, Connections, Target};

/// The share of one kind of requests.
#[derive(Debug)]
pub(super) struct Share {
    connections: Arc<Connections>,
    /// Of those that ask.
    places: Arc<Semaphore>,
    /// Of those that ask, and of those that wait to.
    admitted: Arc<Semaphore>,
    patience: Duration,
    /// Whether each request holds the place of a caller.
    has_callers: bool,
}

/// For each that asks so many may wait. Each holds the place of a caller, too, of which refreshes need some.
const WAITING: usize = 4;

/// Of all shares of this process. Each holds the place of a caller for every request: those of several providers behind one login
/// service that hangs would hold all of them.
static TOGETHER: OnceLock<Semaphore> = OnceLock::new();

/// Leaves half of the places of callers to refreshes, however many providers there are. Once, before the first request.
pub(crate) fn leave_places_to_refreshes(places: usize) {
    TOGETHER.get_or_init(|| Semaphore::new((places / 2).max(1)));
}

impl Share {
    /// So many requests of callers may ask at once.
    pub(super) fn new(target: Target, bounds: Bounds, most: u32) -> Self {
        let most = most as usize;
        Self {
            connections: Arc::new(Connections::new(target, bounds)),
            places: Arc::new(Semaphore::new(most)),
            admitted: Arc::new(Semaphore::new((1 + WAITING) * most)),
            patience: bounds.connect,
            has_callers: true,
        }
    }

    /// The same of requests that the coordinator makes.
    pub(super) fn of_nobody(target: Target, bounds: Bounds, most: u32) -> Self {
        Self { has_callers: false, ..Self::new(target, bounds, most) }
    }

    pub(super) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Sends a request, once, and takes the whole answer.
    ///
    /// # Cancellation
    ///
    /// A request that waits for its place is not sent. One that has it goes on: the provider works on it all the same, so that its
    /// place is free only then, and many streams that are cancelled make providers close a connection which others share.
    pub(super) async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Response<Vec<u8>>, SendError> {
        let taken = |setting| SendError::NotSent(format!("all places are taken (setting {setting})"));
        let together = TOGETHER
            .get()
            .filter(|_| self.has_callers)
            .map(Semaphore::try_acquire)
            .transpose()
            .map_err(|_| taken("--max-connections"))?;
        let taken = || taken("--max-passed-on");
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| taken())?;
        let place = Arc::clone(&self.places).acquire_owned();
        let Ok(Ok(place)) = tokio::time::timeout(self.patience, place).await else { return Err(taken()) };
        let connections = Arc::clone(&self.connections);
        let asking = async move {
            let _held = (together, admitted, place);
            connections.ask(request, None).await
        };
        // What a panic says is not repeated: it may quote a secret.
        let broken = |_| Err(SendError::Unknown("the request ended without an answer".to_owned()));
        tokio::spawn(asking.in_current_span()).await.unwrap_or_else(broken)
    }

    /// Closes connections that were not used for a while. Never ends.
    pub(super) async fn close_idle(&self) {
        self.connections.close_idle().await;
    }
}
