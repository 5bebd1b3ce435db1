//! The connections to the provider: opened when none is free, kept for the next request, given up in time.
//!
//! A request has an HTTP/1.1 connection for itself and moves it along in its own task: with a task for each connection,
//! as HTTP clients have it, every request would wait for two hops between threads. HTTP/2, where the provider offers
//! it, is one connection for all, which needs a task of its own. Nothing is ever sent a second time.

use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use refresh_coordinator::exchange::SendError;
use refresh_coordinator_cli::Span;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower_service::Service;

use super::chain::chain;

/// More than any answer of a token endpoint; larger ones are given up.
const LARGEST_BODY: usize = 1024 * 1024;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Connecting, TLS included.
    pub(super) connect: Duration,
    /// A request, connecting included. Not shorter than `connect`.
    pub(super) whole: Duration,
    /// How long a connection is kept that nobody needs.
    pub(super) idle: Duration,
}

/// The connections, and the way to further ones.
#[derive(Debug)]
pub(super) struct Connections {
    connector: HttpsConnector<HttpConnector>,
    /// Where they lead to.
    url: Uri,
    host: HeaderValue,
    times: Times,
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

/// A connection on which nothing else is asked until the answer is there.
#[derive(Debug)]
struct Http1 {
    sender: http1::SendRequest<Full<Bytes>>,
    connection: Open,
}

/// What moves an HTTP/1.1 connection. None: it is closed, or moves by itself.
type Open = Option<http1::Connection<MaybeHttpsStream<TokioIo<TcpStream>>, Full<Bytes>>>;

impl Connections {
    /// None so far. `url` is absolute.
    pub(super) fn new(tls: rustls::ClientConfig, url: Uri, host: HeaderValue, times: Times) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        // Shared among the addresses of a name, so that a dead one leaves time for the next.
        http.set_connect_timeout(Some(times.connect));
        // A machine that vanished while its provider was thinking is noticed within a minute.
        http.set_keepalive(Some(Duration::from_secs(15)));
        http.set_keepalive_interval(Some(Duration::from_secs(15)));
        http.set_keepalive_retries(Some(3));
        #[cfg(target_os = "linux")]
        http.set_tcp_user_timeout(Some(Duration::from_secs(30)));
        Self { connector: HttpsConnector::from((http, tls)), url, host, times, free: Mutex::default() }
    }

    /// Sends a request, once, and takes the whole answer. Its URL is absolute.
    pub(super) async fn ask(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Vec<u8>>, SendError> {
        let until = Instant::now() + self.times.whole;
        let uri = request.uri().clone();
        if let Some(free) = self.take() {
            request = match self.ask_on(free, request, until).await {
                // It closed just then, and took nothing of the request: that goes to a connection of its own.
                Err(Failed { request: Some(unsent), .. }) => unsent,
                asked => return asked.map_err(|failed| failed.error),
            };
            request.headers_mut().remove(header::HOST);
            *request.uri_mut() = uri;
        }
        let in_time = tokio::time::timeout_at(until, self.open()).await;
        let opened = in_time.unwrap_or_else(|_| Err(self.too_late())).map_err(SendError::NotSent)?;
        self.ask_on(opened, request, until).await.map_err(|failed| failed.error)
    }

    async fn ask_on(
        &self,
        opened: Opened,
        request: Request<Full<Bytes>>,
        until: Instant,
    ) -> Result<Response<Vec<u8>>, Failed> {
        let is_http2 = matches!(opened, Opened::Http2(_));
        let answer = async {
            match opened {
                Opened::Http1(mut http1) => {
                    let answer = http1.ask(self.as_http1(request)).await?;
                    self.keep(http1);
                    Ok(answer)
                }
                Opened::Http2(mut sender) => {
                    let answer = sender.try_send_request(request).await?;
                    Ok(whole(answer, &mut None).await?)
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
        format!("no answer within {}", Span(self.times.whole))
    }

    /// Closes what was not used for as long as connections are kept. Never ends.
    pub(super) async fn close_idle(&self) {
        // Late is fine: what is too old is not used again.
        let often = (self.times.idle / 4).max(Duration::from_millis(100));
        loop {
            tokio::time::sleep(often).await;
            let mut free = self.free();
            let too_old = free.http1.partition_point(|(since, _)| since.elapsed() >= self.times.idle);
            free.http1.drain(..too_old);
            free.http2.take_if(|(since, _)| since.elapsed() >= self.times.idle);
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
            if since.elapsed() < self.times.idle && http1.is_free() {
                return Some(Opened::Http1(http1));
            }
        }
    }

    fn take_http2(&self) -> Option<http2::SendRequest<Full<Bytes>>> {
        let mut free = self.free();
        free.http2.take_if(|(since, sender)| since.elapsed() >= self.times.idle || sender.is_closed());
        let (since, sender) = free.http2.as_mut()?;
        *since = Instant::now();
        Some(sender.clone())
    }

    fn keep(&self, mut http1: Box<Http1>) {
        if http1.is_free() {
            self.free().http1.push((Instant::now(), http1));
        }
    }

    /// A new connection, on which nothing was asked so far.
    async fn open(&self) -> Result<Opened, String> {
        let opened = async {
            let mut connector = self.connector.clone();
            poll_fn(|cx| connector.poll_ready(cx)).await.map_err(|error| chain(&*error))?;
            let stream = connector.call(self.url.clone()).await.map_err(|error| chain(&*error))?;
            if !stream.connected().is_negotiated_h2() {
                let (sender, connection) = http1::handshake(stream).await.map_err(|error| chain(&error))?;
                return Ok(Opened::Http1(Box::new(Http1 { sender, connection: Some(connection) })));
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
        let too_late = |_| format!("not connected within {}", Span(self.times.connect));
        tokio::time::timeout(self.times.connect, opened).await.map_err(too_late)?
    }

    /// The request as HTTP/1.1 writes it: the path, and the host in a header.
    fn as_http1(&self, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
        let target = request.uri().path_and_query().cloned();
        *request.uri_mut() = target.map_or_else(Uri::default, Uri::from);
        request.headers_mut().insert(header::HOST, self.host.clone());
        request
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Http1 {
    async fn ask(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Vec<u8>>, Failed> {
        let Self { sender, connection } = self;
        let answer = moving(connection, sender.try_send_request(request)).await?;
        Ok(whole(answer, connection).await?)
    }

    /// Whether it is open and waits for a request, as far as it has heard.
    fn is_free(&mut self) -> bool {
        // Without a waker: the task that asked last is not to be woken by what comes next.
        move_on(&mut self.connection, &mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.sender.is_ready()
    }
}

/// An answer with its body.
async fn whole(answer: Response<Incoming>, connection: &mut Open) -> Result<Response<Vec<u8>>, SendError> {
    let (parts, mut body) = answer.into_parts();
    let announced = body.size_hint().lower().min(LARGEST_BODY as u64);
    let mut bytes = Vec::with_capacity(announced as usize);
    while let Some(frame) = moving(connection, body.frame()).await {
        let frame = frame.map_err(|error| SendError::Unknown(chain(&error)))?;
        // Trailers say nothing that anybody asked for.
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > LARGEST_BODY {
            return Err(SendError::Unknown(format!("the answer has more than {LARGEST_BODY} bytes")));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Response::from_parts(parts, bytes))
}

/// Waits for a step of an exchange and moves the connection meanwhile.
async fn moving<F: Future>(connection: &mut Open, step: F) -> F::Output {
    let mut step = pin!(step);
    poll_fn(|cx| {
        // First, as it brings what the step waits for. Its end is told to the step, too.
        move_on(connection, cx);
        step.as_mut().poll(cx)
    })
    .await
}

fn move_on(connection: &mut Open, cx: &mut Context<'_>) {
    if connection.as_mut().is_some_and(|open| Pin::new(open).poll(cx).is_ready()) {
        *connection = None;
    }
}

/// Why there is no answer, with the request where nothing of it was written, as on a connection that was just being
/// closed. No `Debug`: the request is a secret.
struct Failed {
    error: SendError,
    request: Option<Request<Full<Bytes>>>,
}

impl From<SendError> for Failed {
    fn from(error: SendError) -> Self {
        Self { error, request: None }
    }
}

impl From<TrySendError<Request<Full<Bytes>>>> for Failed {
    fn from(mut error: TrySendError<Request<Full<Bytes>>>) -> Self {
        let request = error.take_message();
        let reason = chain(error.error());
        let is_unsent = request.is_some() || is_refused(error.error());
        let error = if is_unsent { SendError::NotSent(reason) } else { SendError::Unknown(reason) };
        Self { error, request }
    }
}

/// Whether the provider vouches for not having processed the request (RFC 9113 section 8.7): it refused the stream, or
/// went away in order and named an earlier one as its last. Only such streams are told so; others end with the
/// connection.
fn is_refused(error: &hyper::Error) -> bool {
    let http2 = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    http2.is_some_and(|error| {
        let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        let is_gone = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        error.is_remote() && (is_refused || is_gone)
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
        let times = Times { connect: long, whole: long, idle: long };
        let connections = Connections::new(tls::of_nobody(), url, host, times);
        let (opened, accepted) = tokio::join!(connections.open(), listener.accept());
        let Ok(Opened::Http1(mut http1)) = opened else { panic!("neither HTTP/2 nor an error") };
        drop(accepted);
        while http1.is_free() {
            tokio::task::yield_now().await;
        }

        let answer = http1.ask(connections.as_http1(Request::new(Full::default()))).await;

        let Err(Failed { error: SendError::NotSent(_), request: Some(_) }) = answer else {
            panic!("neither unsent nor given back")
        };
        connections.keep(http1);
        assert!(connections.take().is_none(), "it is not used again");
    }
}
