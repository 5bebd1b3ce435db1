//! A provider made for a test: it answers as the test says, and remembers what it was sent.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::within;

/// What the provider was sent.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Which connection it came on, counted from 0.
    pub(crate) connection: usize,
    pub(crate) version: http::Version,
    pub(crate) target: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

/// The answer; none closes the connection instead.
pub(crate) type Answer = Option<Response<Vec<u8>>>;
type Handler = Arc<dyn Fn(Seen) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    scheme: &'static str,
    seen: Arc<Mutex<Vec<Seen>>>,
    count: watch::Receiver<usize>,
    connections: watch::Receiver<usize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn free_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

impl Provider {
    pub(crate) async fn start<F>(answer: impl Fn(Seen) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        Self::on(free_port().await, answer)
    }

    /// Gives everybody this answer, as soon as the gate is open.
    pub(crate) async fn behind(gate: &Gate, answer: Answer) -> Self {
        let gate = gate.clone();
        Self::start(move |_| {
            let (gate, answer) = (gate.clone(), answer.clone());
            async move {
                gate.passed().await;
                answer
            }
        })
        .await
    }

    pub(crate) async fn start_tls<F>(tls: TlsAcceptor, answer: impl Fn(Seen) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        Self::listen(free_port().await, Some(tls), Gate::opened(), None, answer)
    }

    /// Answers no handshake before the gate is open.
    pub(crate) async fn start_tls_behind<F>(
        gate: &Gate,
        tls: TlsAcceptor,
        answer: impl Fn(Seen) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        Self::listen(free_port().await, Some(tls), gate.clone(), None, answer)
    }

    /// Allows so many streams on each HTTP/2 connection.
    pub(crate) async fn start_tls_with_streams<F>(
        streams: u32,
        tls: TlsAcceptor,
        answer: impl Fn(Seen) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        Self::listen(free_port().await, Some(tls), Gate::opened(), Some(streams), answer)
    }

    /// At the port of this listener.
    pub(crate) fn on<F>(listener: TcpListener, answer: impl Fn(Seen) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        Self::listen(listener, None, Gate::opened(), None, answer)
    }

    fn listen<F>(
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        gate: Gate,
        streams: Option<u32>,
        answer: impl Fn(Seen) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let address = listener.local_addr().expect("it is bound");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let handler: Handler = Arc::new(move |seen| Box::pin(answer(seen)));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (counted, count) = watch::channel(0);
        let serving = Serving { handler, seen: Arc::clone(&seen), counted: Arc::new(counted), streams };
        let (connected, connections) = watch::channel(0);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let (serving, tls, gate) = (serving.clone(), tls.clone(), gate.clone());
                let connection = *connected.borrow();
                connected.send_replace(connection + 1);
                tokio::spawn(async move {
                    gate.passed().await;
                    match tls {
                        None => serving.serve(connection, stream).await,
                        // A client that does not trust us leaves in the handshake.
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                                serving.serve_http2(connection, stream).await;
                            }
                            Ok(stream) => serving.serve(connection, stream).await,
                            Err(_) => {}
                        },
                    }
                });
            }
        });
        Self { address, scheme, seen, count, connections, task }
    }

    /// The token endpoint's URL.
    pub(crate) fn url(&self) -> String {
        format!("{}://localhost:{}/oauth2/token", self.scheme, self.address.port())
    }

    /// Everything it was sent so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }

    /// Waits until this many connections have come.
    pub(crate) async fn connected(&self, times: usize) {
        within(self.connections.clone().wait_for(|count| *count >= times)).await.expect("it runs");
    }

    /// Waits until it has been sent this many requests.
    pub(crate) async fn asked(&self, times: usize) {
        within(self.count.clone().wait_for(|count| *count >= times)).await.expect("it runs");
    }
}

#[derive(Clone)]
struct Serving {
    handler: Handler,
    seen: Arc<Mutex<Vec<Seen>>>,
    counted: Arc<watch::Sender<usize>>,
    streams: Option<u32>,
}

impl Serving {
    async fn serve(self, connection: usize, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = service_fn(|request: Request<Incoming>| {
            let serving = self.clone();
            async move { serving.answer(connection, request).await }
        });
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    async fn serve_http2(self, connection: usize, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = service_fn(|request: Request<Incoming>| {
            let serving = self.clone();
            async move { serving.answer(connection, request).await }
        });
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        if let Some(streams) = self.streams {
            http2.max_concurrent_streams(streams);
        }
        let _ = http2.serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(self, connection: usize, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Hangup> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Hangup)?.to_bytes();
        let seen = Seen {
            connection,
            version: parts.version,
            target: parts.uri.to_string(),
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        self.seen.lock().expect("no panic").push(seen.clone());
        self.counted.send_modify(|count| *count += 1);
        let answer = (self.handler)(seen).await.ok_or(Hangup)?;
        Ok(answer.map(|body| Full::new(Bytes::from(body))))
    }
}

/// Ends a connection in the middle of an exchange.
#[derive(Debug)]
struct Hangup;

impl std::fmt::Display for Hangup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hung up")
    }
}

impl std::error::Error for Hangup {}

/// An answer with this status, type JSON.
pub(crate) fn json(status: u16, body: &str) -> Answer {
    let answer = Response::builder().status(status).header("content-type", "application/json");
    Some(answer.body(body.as_bytes().to_vec()).expect("a response"))
}

/// What a flight ends with: everybody waits here until the test opens it.
#[derive(Clone)]
pub(crate) struct Gate(watch::Sender<bool>);

impl Gate {
    pub(crate) fn closed() -> Self {
        Self(watch::Sender::new(false))
    }

    fn opened() -> Self {
        Self(watch::Sender::new(true))
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn close(&self) {
        self.0.send_replace(false);
    }

    pub(crate) async fn passed(&self) {
        self.0.subscribe().wait_for(|is_open| *is_open).await.expect("it is held here");
    }
}
