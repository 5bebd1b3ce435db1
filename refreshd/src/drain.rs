//! The last step of `refreshd serve`: the listener is closed, and what is open ends.

use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use tokio::time::Instant;
use tokio::time::error::Elapsed;
use tokio_util::task::TaskTracker;

use crate::callers::Callers;
use crate::listener;

/// How long a connection may wait for its caller once the listener is closed.
const PATIENCE_AT_THE_END: Duration = Duration::from_millis(500);

/// Ends what is open. A proxy that has just sent a request here sends it to nobody else: what has come by now is admitted, also
/// on connections of which nothing was read yet, which a shutdown would close.
pub(crate) async fn drain(
    open: GracefulShutdown,
    left: Duration,
    revoking: &TaskTracker,
    close: impl AsyncFnOnce(Duration),
) -> Result<(), Elapsed> {
    let deadline = Instant::now() + left;
    // Those that come last wait for a place, and have as long from then on.
    let patient_until = deadline.min(Instant::now() + listener::A_MOMENT + PATIENCE_AT_THE_END);
    while open.count() > 0 && Instant::now() < patient_until {
        tokio::time::sleep(PATIENCE_AT_THE_END / 50).await;
    }
    let connections = tokio::time::timeout_at(deadline, open.shutdown());
    // Together: callers are answered as their flights end, and flights end also without callers.
    tokio::join!(connections, close(deadline.saturating_duration_since(Instant::now()))).0?;
    // A logout whose caller has gone is told to the provider, too.
    revoking.close();
    tokio::time::timeout_at(deadline, revoking.wait()).await
}

/// Who has not sent a whole request by now is not waited for. Never ends.
pub(crate) async fn cut_idle(callers: &Callers) {
    loop {
        callers.cut_idle(PATIENCE_AT_THE_END);
        tokio::time::sleep(PATIENCE_AT_THE_END / 5).await;
    }
}
