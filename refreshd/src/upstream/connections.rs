//! The connections to the provider: opened when none is free, kept for the next request, given up in time.
//!
//! A request has an HTTP/1.1 connection for itself and moves it along in its own task: with a task for each connection,
//! as HTTP clients have it, every request would wait for two hops between threads. HTTP/2, where the provider offers
//! it, is one connection for all, which needs a task of its own. What the provider may have processed is never sent again.
//!
//! Why not the pool of an HTTP client: it says of a failed connect only that nothing was sent. Here it is also known of a
//! request that met a connection as it closed, and of an HTTP/2 stream that the provider refused; and nothing lies between
//! having a connection and writing to it but what is written here.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::Connection;
use hyper_util::rt::TokioExecutor;
use refresh_coordinator::exchange::SendError;
use refresh_coordinator::{Attempt, ProviderFailure};
use refresh_coordinator_cli::Span;
use tokio::time::Instant;
use tower_service::Service;

use super::answer::whole;
use super::chain::chain;
use super::failed::Failed;
use super::http1::Http1;
use super::route::{Proxy, Route};

/// How long things may take, and how large an answer may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connecting, TLS included.
    pub(super) connect: Duration,
    /// A request, connecting included. Not shorter than `connect`.
    pub(super) whole: Duration,
    /// How long a connection is kept that nobody needs.
    pub(super) idle: Duration,
    /// The largest body of an answer, in bytes.
    pub(super) max_answer: usize,
}

/// Where connections lead to, and how.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// It is absolute.
    pub(super) url: Uri,
    pub(super) host: HeaderValue,
    pub(super) tls: rustls::ClientConfig,
    pub(super) proxy: Option<Proxy>,
}

/// The connections, and the way to further ones.
#[derive(Debug)]
pub(super) struct Connections {
    connector: HttpsConnector<Route>,
    url: Uri,
    host: HeaderValue,
    /// Who is sent the requests instead of the provider, which has no TLS.
    relay: Option<Proxy>,
    bounds: Bounds,
    free: Mutex<Free>,
}

/// What waits for the next request.
#[derive(Debug, Default)]
struct Free {
    /// Since when, the oldest first.
    http1: Vec<(Instant, Box<Http1>)>,
    /// Since when nobody has asked on it.
    http2: Option<(Instant, http2::SendRequest<Full<Bytes>>)>,
}

enum Opened {
    Http1(Box<Http1>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connections {
    /// None so far.
    pub(super) fn new(target: Target, bounds: Bounds) -> Self {
        let Target { url, host, tls, proxy } = target;
        let route = Route::to(&url, proxy.as_ref(), bounds.connect);
        let relay = proxy.filter(|_| matches!(route, Route::ToProxy(..)));
        Self { connector: HttpsConnector::from((route, tls)), url, host, relay, bounds, free: Mutex::default() }
    }

    /// Sends a request and takes the whole answer. Its URL is absolute. What was surely not processed is asked once more,
    /// on another connection, in what is left of the time. `attempt` is that of a refresh.
    pub(super) async fn ask(
        &self,
        mut request: Request<Full<Bytes>>,
        attempt: Option<&Attempt>,
    ) -> Result<Response<Vec<u8>>, SendError> {
        let until = Instant::now() + self.bounds.whole;
        let uri = request.uri().clone();
        let opened = match self.take() {
            Some(free) => free,
            None => self.opened(until).await?,
        };
        match self.ask_on(opened, request, attempt, until).await {
            Err(Failed { unprocessed: Some(again), .. }) => request = again,
            asked => return asked.map_err(|failed| failed.error),
        }
        request.headers_mut().remove(header::HOST);
        *request.uri_mut() = uri;
        let opened = self.opened(until).await?;
        self.ask_on(opened, request, attempt, until).await.map_err(|failed| failed.error)
    }

    async fn ask_on(
        &self,
        opened: Opened,
        request: Request<Full<Bytes>>,
        attempt: Option<&Attempt>,
        until: Instant,
    ) -> Result<Response<Vec<u8>>, Failed> {
        // As late as can be: now the connection is there, and nothing of the request was written.
        let leave = tokio::time::timeout_at(until, leave_to_send(attempt)).await;
        if let Err(error) = leave.unwrap_or_else(|_| Err(SendError::NotSent(self.too_late()))) {
            if let Opened::Http1(http1) = opened {
                self.keep(http1);
            }
            return Err(error.into());
        }
        let is_http2 = matches!(opened, Opened::Http2(_));
        let answer = async {
            match opened {
                Opened::Http1(mut http1) => {
                    let answer = http1.ask(self.as_http1(request), self.bounds.max_answer).await?;
                    self.keep(http1);
                    Ok(answer)
                }
                Opened::Http2(mut sender) => {
                    let again = request.clone();
                    let sent = sender.try_send_request(request).await;
                    let answer = sent.map_err(|error| {
                        // It refuses, or goes away: what comes next is asked elsewhere.
                        self.free().http2 = None;
                        Failed::on_http2(error, again)
                    })?;
                    Ok(whole(answer, &mut None, self.bounds.max_answer).await?)
                }
            }
        };
        let Ok(answer) = tokio::time::timeout_at(until, answer).await else {
            if is_http2 {
                // It may have fallen silent for good: what comes next is asked elsewhere.
                self.free().http2 = None;
            }
            return Err(SendError::Unknown(self.too_late()).into());
        };
        answer
    }

    fn too_late(&self) -> String {
        format!("no answer within {}", Span(self.bounds.whole))
    }

    /// Closes what was not used for as long as connections are kept. Never ends.
    pub(super) async fn close_idle(&self) {
        // Late is fine: what is too old is not used again.
        let often = (self.bounds.idle / 4).max(Duration::from_millis(100));
        loop {
            tokio::time::sleep(often).await;
            let mut free = self.free();
            let too_old = free.http1.partition_point(|(since, _)| since.elapsed() >= self.bounds.idle);
            free.http1.drain(..too_old);
            free.http2.take_if(|(since, _)| since.elapsed() >= self.bounds.idle);
        }
    }

    /// A free connection that is still open.
    fn take(&self) -> Option<Opened> {
        if let Some(sender) = self.take_http2() {
            return Some(Opened::Http2(sender));
        }
        loop {
            // The youngest is the least likely to be closed by the provider just now.
            let (since, mut http1) = self.free().http1.pop()?;
            if since.elapsed() < self.bounds.idle && http1.is_free() {
                return Some(Opened::Http1(http1));
            }
        }
    }

    fn take_http2(&self) -> Option<http2::SendRequest<Full<Bytes>>> {
        let mut free = self.free();
        free.http2.take_if(|(since, sender)| since.elapsed() >= self.bounds.idle || sender.is_closed());
        let (since, sender) = free.http2.as_mut()?;
        *since = Instant::now();
        Some(sender.clone())
    }

    fn keep(&self, mut http1: Box<Http1>) {
        if http1.is_free() {
            self.free().http1.push((Instant::now(), http1));
        }
    }

    async fn opened(&self, until: Instant) -> Result<Opened, SendError> {
        let in_time = tokio::time::timeout_at(until, self.open()).await;
        in_time.unwrap_or_else(|_| Err(self.too_late())).map_err(SendError::NotSent)
    }

    /// A new connection, on which nothing was asked so far.
    async fn open(&self) -> Result<Opened, String> {
        let opened = async {
            let mut connector = self.connector.clone();
            poll_fn(|cx| connector.poll_ready(cx)).await.map_err(|error| chain(&*error))?;
            let stream = connector.call(self.url.clone()).await.map_err(|error| chain(&*error))?;
            if !stream.connected().is_negotiated_h2() {
                let http1 = Http1::over(stream).await.map_err(|error| chain(&error))?;
                return Ok(Opened::Http1(Box::new(http1)));
            }
            // Another request may have opened one meanwhile: it has room for all.
            if let Some(sender) = self.take_http2() {
                return Ok(Opened::Http2(sender));
            }
            let handshake = http2::handshake(TokioExecutor::new(), stream).await;
            let (sender, connection) = handshake.map_err(|error| chain(&error))?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to the provider ended early");
                }
            });
            self.free().http2 = Some((Instant::now(), sender.clone()));
            Ok(Opened::Http2(sender))
        };
        let too_late = |_| format!("not connected within {}", Span(self.bounds.connect));
        tokio::time::timeout(self.bounds.connect, opened).await.map_err(too_late)?
    }

    /// The request as HTTP/1.1 writes it: the path (to a proxy the whole URL), and the host in a header.
    fn as_http1(&self, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
        match &self.relay {
            None => {
                let target = request.uri().path_and_query().cloned();
                *request.uri_mut() = target.map_or_else(Uri::default, Uri::from);
            }
            Some(Proxy { authorization, .. }) => {
                if let Some(authorization) = authorization {
                    request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization.clone());
                }
            }
        }
        request.headers_mut().insert(header::HOST, self.host.clone());
        request
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the request may be sent: always, but for a refresh that another process may lead by now.
async fn leave_to_send(attempt: Option<&Attempt>) -> Result<(), SendError> {
    let Some(attempt) = attempt else { return Ok(()) };
    attempt.before_sending().await.map_err(|failure| match failure {
        ProviderFailure::NotSent { reason } => SendError::NotSent(reason),
        other => SendError::NotSent(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::upstream::tls;

    #[tokio::test]
    async fn what_a_closing_connection_did_not_take_is_known_to_be_unsent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let url: Uri = format!("http://{address}/").parse().expect("a URL");
        let host = HeaderValue::from_str(&address).expect("ASCII");
        let long = Duration::from_secs(30);
        let bounds = Bounds { connect: long, whole: long, idle: long, max_answer: 1024 };
        let connections = Connections::new(Target { url, host, tls: tls::of_nobody(), proxy: None }, bounds);
        let (opened, accepted) = tokio::join!(connections.open(), listener.accept());
        let Ok(Opened::Http1(mut http1)) = opened else { panic!("neither HTTP/2 nor an error") };
        drop(accepted);
        while http1.is_free() {
            tokio::task::yield_now().await;
        }

        let answer = http1.ask(connections.as_http1(Request::new(Full::default())), 1024).await;

        let Err(Failed { error: SendError::NotSent(_), unprocessed: Some(_) }) = answer else {
            panic!("neither unsent nor given back")
        };
        connections.keep(http1);
        assert!(connections.take().is_none(), "it is not used again");
    }
}
