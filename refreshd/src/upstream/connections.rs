//! The connections to the provider: opened when none is free, kept for the next request, given up in time.
//!
//! A request has an HTTP/1.1 connection for itself and moves it along in its own task: with a task for each connection,
//! as HTTP clients have it, every request would wait for two hops between threads. HTTP/2, where the provider offers
//! it, is one connection for as many requests as it allows streams, and a further one for more; a request with large headers has one
//! to itself. What the provider may have processed
//! is never sent again.
//!
//! Why not the pool of an HTTP client: it says of a failed connect only that nothing was sent. Here it is also known of a
//! request that met a connection as it closed, and of an HTTP/2 stream that the provider refused; and nothing lies between
//! having a connection and writing to it but what is written here.

use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::Connection;
use refresh_coordinator::exchange::SendError;
use refresh_coordinator::{Attempt, ProviderFailure};
use refresh_coordinator_cli::Span;
use tokio::time::Instant;

use super::chain::chain;
use super::connectors::Connectors;
use super::counted::Counted;
use super::failed::Failed;
use super::http1::Http1;
use super::http2::{Http2, OneStream};
use super::outgoing::has_large_headers;
use super::route::{Hop, Proxy, Route};
use crate::metrics::ProviderConnections;

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

/// A connection is used for no longer, so that a provider whose name leads elsewhere is followed there although requests come all the time.
const LONGEST_USE: Duration = Duration::from_secs(5 * 60);

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
    connectors: Connectors,
    url: Uri,
    host: HeaderValue,
    /// Who is sent the requests instead of the provider, which has no TLS.
    relay: Option<Proxy>,
    pub(super) is_by_proxy: bool,
    bounds: Bounds,
    free: Mutex<Free>,
    standing: ProviderConnections,
}

/// What waits for the next request.
#[derive(Debug, Default)]
struct Free {
    /// Since when, the oldest first.
    http1: Vec<(Instant, Box<Http1>)>,
    /// Since when nobody has asked on it, the oldest connection first.
    http2: Vec<(Instant, Http2)>,
}

enum Opened {
    Http1(Box<Http1>),
    Http2(OneStream),
}

/// For which request a connection is opened.
#[derive(Clone, Copy)]
enum OpenedFor {
    /// It is served as well by another connection, where one with room came about meanwhile.
    AnyRequest,
    /// The provider gave it back on another connection. It may do so on all that were open then, as where it drains a machine.
    SecondTry,
    /// For its headers the provider may end the whole HTTP/2 connection: nobody else's request is to be on it.
    LargeHeaders,
}

impl Connections {
    /// None so far.
    pub(super) fn new(target: Target, bounds: Bounds) -> Self {
        let Target { url, host, tls, proxy } = target;
        let route = Route::to(&url, proxy.as_ref(), bounds.connect);
        let is_by_proxy = proxy.is_some();
        let relay = proxy.filter(|_| matches!(route, Route::ToProxy(..)));
        let (free, standing) = (Mutex::default(), ProviderConnections::none_yet());
        let connectors = Connectors::new(route, tls);
        Self { connectors, url, host, relay, is_by_proxy, bounds, free, standing }
    }

    /// Sends a request and takes the whole answer. Its URL is absolute. What was surely not processed is asked once more,
    /// on a new connection, in what is left of the time. `attempt` is that of a refresh.
    pub(super) async fn ask(
        &self,
        mut request: Request<Full<Bytes>>,
        attempt: Option<&Attempt>,
    ) -> Result<Response<Vec<u8>>, SendError> {
        let until = Instant::now() + self.bounds.whole;
        let uri = request.uri().clone();
        let (free, first, second) = match has_large_headers(&request) {
            false => (self.take(), OpenedFor::AnyRequest, OpenedFor::SecondTry),
            true => (self.take_http1(), OpenedFor::LargeHeaders, OpenedFor::LargeHeaders),
        };
        let opened = match free {
            Some(free) => free,
            None => self.opened(first, until).await?,
        };
        match self.ask_on(opened, request, attempt, until).await {
            Err(Failed { unprocessed: Some(again), .. }) => request = again,
            asked => return asked.map_err(|failed| failed.error),
        }
        request.headers_mut().remove(header::HOST);
        *request.uri_mut() = uri;
        let opened = self.opened(second, until).await?;
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
        match opened {
            Opened::Http1(mut http1) => {
                let answer = http1.ask(self.as_http1(request), self.bounds.max_answer);
                let answer = tokio::time::timeout_at(until, answer).await.map_err(|_| self.unknown())??;
                self.keep(http1);
                Ok(answer)
            }
            Opened::Http2(mut stream) => {
                let answer = stream.ask(request, self.bounds.max_answer);
                let answer = match tokio::time::timeout_at(until, answer).await {
                    Ok(answer) => answer,
                    Err(_) => Err(self.unknown()),
                };
                if answer.as_ref().is_err_and(|failed| failed.is_http2_unfit) {
                    self.connectors.leave_http2();
                    self.free().http2.clear();
                }
                if answer.is_err() {
                    // It refuses, goes away, or may have fallen silent for good: what comes next is asked elsewhere.
                    self.free().http2.retain(|(_, connection)| !stream.is_of(connection));
                }
                answer
            }
        }
    }

    /// Of a request that was written.
    fn unknown(&self) -> Failed {
        SendError::Unknown(self.too_late()).into()
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
            free.http2.retain(|(since, _)| since.elapsed() < self.bounds.idle);
        }
    }

    /// A free connection that is still open.
    fn take(&self) -> Option<Opened> {
        self.take_http2().map(Opened::Http2).or_else(|| self.take_http1())
    }

    fn take_http1(&self) -> Option<Opened> {
        loop {
            // The youngest is the least likely to be closed by the provider just now.
            let (since, mut http1) = self.free().http1.pop()?;
            if since.elapsed() < self.bounds.idle && http1.age() < LONGEST_USE && http1.is_free() {
                return Some(Opened::Http1(http1));
            }
        }
    }

    /// A stream of the oldest connection that has one: so a connection that was opened in a rush is not needed after it.
    fn take_http2(&self) -> Option<OneStream> {
        let mut free = self.free();
        free.http2.retain(|(since, connection)| {
            since.elapsed() < self.bounds.idle && connection.age() < LONGEST_USE && !connection.is_closed()
        });
        let (since, stream) =
            free.http2.iter_mut().find_map(|(since, connection)| Some((since, connection.free_stream()?)))?;
        *since = Instant::now();
        Some(stream)
    }

    fn keep(&self, mut http1: Box<Http1>) {
        if http1.is_free() {
            self.free().http1.push((Instant::now(), http1));
        }
    }

    async fn opened(&self, opened_for: OpenedFor, until: Instant) -> Result<Opened, SendError> {
        let in_time = tokio::time::timeout_at(until, self.open(opened_for)).await;
        in_time.unwrap_or_else(|_| Err(self.too_late())).map_err(SendError::NotSent)
    }

    /// A connection as requests have it, which nobody keeps.
    pub(super) async fn connect(&self) -> Result<MaybeHttpsStream<Hop>, Box<dyn Error + Send + Sync>> {
        self.connectors.connect(&self.url).await
    }

    pub(super) fn is_over_tls(&self) -> bool {
        self.url.scheme_str() == Some("https")
    }

    /// A new connection, on which nothing was asked so far.
    async fn open(&self, opened_for: OpenedFor) -> Result<Opened, String> {
        let opened = async {
            let mut stream = self.connect().await.map_err(|error| chain(&*error))?;
            if stream.connected().is_negotiated_h2() && !self.connectors.may_speak_http2() {
                // It was found unfit meanwhile.
                stream = self.connect().await.map_err(|error| chain(&*error))?;
            }
            let is_http2 = stream.connected().is_negotiated_h2();
            let stream = Counted::new(stream, self.standing.opened());
            if !is_http2 {
                let http1 = Http1::over(stream).await.map_err(|error| chain(&error))?;
                return Ok(Opened::Http1(Box::new(http1)));
            }
            if let OpenedFor::AnyRequest = opened_for
                && let Some(stream) = self.take_http2()
            {
                return Ok(Opened::Http2(stream));
            }
            // On the heap: it is far larger than what each request over an open connection needs.
            let connection = Box::pin(Http2::over(stream)).await.map_err(|error| chain(&error))?;
            let stream = connection.first_stream();
            match opened_for {
                OpenedFor::AnyRequest | OpenedFor::SecondTry => self.free().http2.push((Instant::now(), connection)),
                OpenedFor::LargeHeaders => {}
            }
            Ok(Opened::Http2(stream))
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

    fn connections_to(listener: &TcpListener) -> Connections {
        let address = listener.local_addr().expect("it is bound").to_string();
        let url: Uri = format!("http://{address}/").parse().expect("a URL");
        let host = HeaderValue::from_str(&address).expect("ASCII");
        let long = Duration::from_secs(3600);
        let bounds = Bounds { connect: long, whole: long, idle: long, max_answer: 1024 };
        Connections::new(Target { url, host, tls: tls::of_nobody(), proxy: None }, bounds)
    }

    #[tokio::test]
    async fn connection_that_is_used_all_the_time_is_left_after_a_while() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let connections = connections_to(&listener);
        let (opened, _accepted) = tokio::join!(connections.open(OpenedFor::AnyRequest), listener.accept());
        let Ok(Opened::Http1(http1)) = opened else { panic!("neither HTTP/2 nor an error") };
        tokio::time::pause();
        connections.keep(http1);
        tokio::time::advance(LONGEST_USE / 2).await;
        let Some(Opened::Http1(again)) = connections.take() else { panic!("it is kept") };
        connections.keep(again);

        tokio::time::advance(LONGEST_USE / 2).await;

        assert!(connections.take().is_none(), "its name may lead elsewhere by now");
    }

    #[tokio::test]
    async fn what_a_closing_connection_did_not_take_is_known_to_be_unsent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let connections = connections_to(&listener);
        let (opened, accepted) = tokio::join!(connections.open(OpenedFor::AnyRequest), listener.accept());
        let Ok(Opened::Http1(mut http1)) = opened else { panic!("neither HTTP/2 nor an error") };
        drop(accepted);
        while http1.is_free() {
            tokio::task::yield_now().await;
        }

        let answer = http1.ask(connections.as_http1(Request::new(Full::default())), 1024).await;

        let Err(Failed { error: SendError::NotSent(_), unprocessed: Some(_), .. }) = answer else {
            panic!("neither unsent nor given back")
        };
        connections.keep(http1);
        assert!(connections.take().is_none(), "it is not used again");
    }
}
