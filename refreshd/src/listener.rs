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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::coalesced::Coalesced;
use crate::endpoint::Endpoint;
use crate::metrics::Connection;
use crate::settings::{BadSetting, Span};
use crate::size::Size;

// No doc comment: clap would take it for the subcommand's own text.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Limits {
    /// How many connections are open at once; more wait to be accepted
    #[arg(long, value_name = "N", env = "REFRESHD_MAX_CONNECTIONS", default_value_t = 4096,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections: u32,
    /// How large the body of a request may be; more is answered with 413
    #[arg(long, value_name = "SIZE", env = "REFRESHD_MAX_BODY", default_value_t = Size(64 * 1024))]
    pub(crate) max_body: Size,
    /// How large all headers of a request together may be; more is answered with 431
    #[arg(long, value_name = "SIZE", env = "REFRESHD_MAX_HEADERS", default_value_t = Size(32 * 1024))]
    max_headers: Size,
    /// How long reading the headers may take, and reading the body; also how long an idle connection stays open
    #[arg(long, value_name = "TIME", env = "REFRESHD_READ_TIMEOUT", default_value = "30s")]
    pub(crate) read_timeout: Span,
}

/// hyper's smallest buffer.
const LEAST_HEADERS: usize = 8 * 1024;

impl Limits {
    pub(crate) fn validate(&self) -> Result<(), BadSetting> {
        if self.max_headers.0 < LEAST_HEADERS {
            return Err(BadSetting::new(format!("--max-headers is {}: it must be 8KiB or more", self.max_headers)));
        }
        if self.max_body.0 == 0 {
            return Err(BadSetting::new("--max-body is 0: it must be 1 or more"));
        }
        if self.read_timeout.0 < Duration::from_millis(10) {
            return Err(BadSetting::new(format!("--read-timeout is {}: it must be 10ms or more", self.read_timeout)));
        }
        Ok(())
    }
}

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
        let connection = Coalesced::new(open.watch(http.serve_connection(TokioIo::new(stream), service)));
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
