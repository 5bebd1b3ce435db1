//! Connections of callers: accepted up to a limit, read within a time, drained at the end.
//!
//! HTTP/1.1 only: OAuth clients speak nothing else in clear, and its reading can be bounded from the first byte on.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use refresh_coordinator_cli::BadSetting;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::endpoint::Endpoint;
use crate::limits::Limits;
use crate::metrics::Connection;

/// Takes an address.
pub(crate) async fn bind(address: &str) -> Result<TcpListener, BadSetting> {
    TcpListener::bind(address).await.map_err(|error| {
        BadSetting::new(format!(
            "--listen {address} cannot be listened at: {error}; give a free address of this machine, such as \
             127.0.0.1:8400"
        ))
    })
}

/// Serves until `stop`, then gives back what is left to drain. The listener is closed by then.
pub(crate) async fn serve(
    listener: TcpListener,
    endpoint: Arc<Endpoint>,
    limits: &Limits,
    stop: CancellationToken,
) -> GracefulShutdown {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.read_timeout.0)
        .max_header_size(limits.max_headers.0)
        .max_buf_size(2 * limits.max_headers.0)
        .max_headers(100);
    let places = Arc::new(Semaphore::new(limits.max_connections as usize));
    let open = GracefulShutdown::new();

    while let Some((stream, place)) = stop.run_until_cancelled(accept(&listener, &places)).await {
        // Answers are one small write: waiting for more only adds delay.
        let _ = stream.set_nodelay(true);
        let endpoint = Arc::clone(&endpoint);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let endpoint = Arc::clone(&endpoint);
            async move {
                let answer = endpoint.answer(request).await;
                Ok::<_, std::convert::Infallible>(answer.map(|body| Full::new(Bytes::from(body))))
            }
        });
        let connection = open.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            let counted = Connection::open();
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop((counted, place));
        });
    }
    open
}

/// The next connection, once there is a place for it.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let place = Arc::clone(places).acquire_owned().await.expect("BUG: nobody closes it");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                // Out of files, most likely: they come back as connections end, not by asking at once.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
