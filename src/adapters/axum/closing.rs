//! The end of a server: first its requests drain, then the coordinator closes, within one span.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::coordinator::RefreshCoordinator;

/// Comes when the server is to take no more requests: for `with_graceful_shutdown`.
pub type Told = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves until `told` comes, then lets requests end, and then closes the coordinator: `grace` after `told` at the latest.
///
/// Requests that are open wait for their refreshes, and refreshes can still be begun for them, so the coordinator must not be
/// closed before them. Where some are open after half of `grace`, it is closed beside them: refreshes under way get the other half,
/// and new ones are refused. What is open when `grace` is over is left to end with the runtime. Let `grace` be shorter than
/// what your platform waits before it kills (Kubernetes: 30 s by default); the store may take up to four `store_timeout` more, as
/// [`close`](RefreshCoordinator::close) tells. A provider that takes longer than half of `grace` is not waited for: where yours may, give
/// the platform more time, or lower `call_limit` (60 s by default).
///
/// # Errors
///
/// Those of the server. The coordinator is closed also then.
///
/// # Cancellation
///
/// Drops the server's future, and leaves the coordinator open or half closed: close it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use refresh_coordinator::RefreshCoordinator;
/// use refresh_coordinator::adapters::axum::serve_and_close;
///
/// async fn serve(listener: tokio::net::TcpListener, app: axum::Router, coordinator: RefreshCoordinator) -> std::io::Result<()> {
///     let told = async { tokio::signal::ctrl_c().await.expect("a signal handler") };
///     serve_and_close(coordinator, Duration::from_secs(20), told, |told| {
///         axum::serve(listener, app).with_graceful_shutdown(told)
///     })
///     .await
/// }
/// ```
pub fn serve_and_close<S>(
    coordinator: RefreshCoordinator,
    grace: Duration,
    told: impl Future<Output = ()> + Send + 'static,
    serve: impl FnOnce(Told) -> S,
) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send>>
where
    S: IntoFuture<Output = io::Result<()>, IntoFuture: Send + 'static>,
{
    let stop = CancellationToken::new();
    let server = serve(Box::pin(stop.clone().cancelled_owned())).into_future();
    // Boxed, or the compiler would not see that a server of axum may be spawned.
    Box::pin(drain_and_close(coordinator, grace, told, stop, Box::pin(server)))
}

async fn drain_and_close(
    coordinator: RefreshCoordinator,
    grace: Duration,
    told: impl Future<Output = ()>,
    stop: CancellationToken,
    mut server: Pin<Box<dyn Future<Output = io::Result<()>> + Send>>,
) -> io::Result<()> {
    tokio::select! {
        ended = &mut server => {
            coordinator.close(grace).await;
            return ended;
        }
        () = told => stop.cancel(),
    }
    let began = Instant::now();
    let left = || grace.saturating_sub(began.elapsed());
    if let Ok(ended) = timeout(grace / 2, &mut server).await {
        coordinator.close(left()).await;
        return ended;
    }
    warn!(?grace, "requests are open after half of the grace: the coordinator admits no more refreshes");
    // A bound too far away for the clock is none.
    let over = began.checked_add(grace).unwrap_or_else(|| began + Duration::from_secs(365 * 24 * 60 * 60));
    let (ended, ()) = tokio::join!(timeout_at(over, server), coordinator.close(left()));
    ended.unwrap_or_else(|_elapsed| {
        warn!(?grace, "requests are open after the grace: their callers get no answer");
        Ok(())
    })
}
