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
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use crate::callers::{Callers, Place};
use crate::endpoint::{Endpoint, Port};
use crate::limits::Limits;
use crate::metrics::{Connection, REFUSED};
use crate::noted_writes::NotedWrites;

/// Takes an address, which this flag says.
pub(crate) async fn bind(flag: &str, address: &str) -> Result<TcpListener, BadSetting> {
    TcpListener::bind(address).await.map_err(|error| {
        BadSetting::new(format!(
            "{flag} {address} cannot be listened at: {error}; give a free address of this machine, such as \
             127.0.0.1:8400"
        ))
    })
}

/// Serves until `stop`, then gives back what is left to drain. The listener is closed by then.
pub(crate) async fn serve(
    listener: TcpListener,
    callers: Arc<Callers>,
    endpoint: Arc<Endpoint>,
    port: Port,
    limits: &Limits,
    stop: CancellationToken,
) -> GracefulShutdown {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.read_timeout.0)
        .max_header_size(limits.max_headers.0)
        .max_buf_size(2 * limits.max_headers.0)
        .max_headers(100);
    let open = GracefulShutdown::new();

    let serve_caller = |stream: TcpStream, place: Place| {
        // Answers are one small write: waiting for more only adds delay.
        let _ = stream.set_nodelay(true);
        let endpoint = Arc::clone(&endpoint);
        let caller = Arc::clone(&place.caller);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (endpoint, caller) = (Arc::clone(&endpoint), Arc::clone(&caller));
            async move {
                let answer = endpoint.answer(request, port, &caller).await;
                Ok::<_, std::convert::Infallible>(answer.map(|body| Full::new(Bytes::from(body))))
            }
        });
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(limits.write_timeout.0));
        let stream = NotedWrites::new(stream, Arc::clone(&place.caller));
        let connection = open.watch(http.serve_connection(TokioIo::new(stream), service));
        let counted = Connection::open();
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => match ended {
                    Ok(()) => {}
                    // Answered by the HTTP server with 400 or 431. The error quotes nothing of it.
                    Err(error) if error.is_parse() => tracing::info!(reason = %error, "a request is refused"),
                    Err(error) => tracing::debug!(%error, "a connection ended early"),
                },
                () = place.caller.is_cut() => tracing::debug!("a connection that waited for its caller is cut"),
            }
            drop((counted, place));
        });
    };
    while let Some((stream, place)) = stop.run_until_cancelled(accept(&listener, &callers)).await {
        serve_caller(stream, place);
    }
    // Last: those that the kernel has taken already would be reset with what they have sent, and a proxy sends no POST twice.
    if let Ok(listener) = listener.into_std() {
        let waiting: Vec<_> = std::iter::from_fn(|| listener.accept().ok()).take(BACKLOG).collect();
        drop(listener);
        let admitting = async {
            for (stream, address) in waiting {
                let place = callers.admit(address.ip().to_canonical()).await;
                if let (Ok(()), Some(place)) = (stream.set_nonblocking(true), place)
                    && let Ok(stream) = TcpStream::from_std(stream)
                {
                    serve_caller(stream, place);
                }
            }
        };
        // Where there are no places for them, the drain is not held up.
        let _ = tokio::time::timeout(A_MOMENT, admitting).await;
    }
    open
}

/// So many connections the kernel keeps for a listener of tokio's.
const BACKLOG: usize = 1024;
/// How long the last connections may wait for places.
const A_MOMENT: Duration = Duration::from_millis(500);

/// The next connection, once there is a place for it.
async fn accept(listener: &TcpListener, callers: &Arc<Callers>) -> (TcpStream, Place) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                if let Some(place) = callers.admit(address.ip().to_canonical()).await {
                    return (stream, place);
                }
                metrics::counter!(REFUSED).increment(1);
            }
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                // Out of files, most likely: they come back as connections end, not by asking at once.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
