//! A provider that a test plays frame by frame (RFC 9113).

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certified::certified;
use crate::daemon::{Daemon, refreshd};
use crate::within;

pub(crate) const TOKENS: &str = r#"{"access_token":"a"}"#;

/// A provider that speaks HTTP/2, and nothing else unless it is told to.
pub(crate) struct Frames {
    listener: TcpListener,
    tls: TlsAcceptor,
    ca: tempfile::NamedTempFile,
}

/// A connection to it.
pub(crate) struct Connection(TlsStream<TcpStream>);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

pub(crate) const INTERNAL_ERROR: u32 = 2;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const HTTP_1_1_REQUIRED: u32 = 13;

impl Frames {
    pub(crate) async fn listen() -> Self {
        Self::offering(offering_http2()).await
    }

    /// It takes HTTP/1.1, too.
    pub(crate) async fn listen_for_both() -> Self {
        let (ca, mut tls) = offering_http2();
        tls.alpn_protocols.push(b"http/1.1".to_vec());
        Self::offering((ca, tls)).await
    }

    async fn offering((ca, tls): (tempfile::NamedTempFile, rustls::ServerConfig)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self { listener, tls: TlsAcceptor::from(Arc::new(tls)), ca }
    }

    pub(crate) async fn connected(&self) -> TcpStream {
        within(self.listener.accept()).await.expect("a connection").0
    }

    pub(crate) async fn secured(&self, stream: TcpStream) -> TlsStream<TcpStream> {
        within(self.tls.accept(stream)).await.expect("TLS")
    }

    pub(crate) async fn daemon(&self) -> Daemon {
        let url = format!("https://localhost:{}/token", self.listener.local_addr().expect("it is bound").port());
        let ca = self.ca.path().to_str().expect("UTF-8");
        let listen = ["serve", "--listen", "127.0.0.1:0", "--log-format", "json"];
        Daemon::spawn(refreshd(&[&listen[..], &["--upstream", &url, "--no-check-upstream", "--ca-file", ca]].concat()))
            .await
    }

    pub(crate) async fn accept(&self) -> Connection {
        Connection::begin(self.secured(self.connected().await).await).await
    }
}

impl Connection {
    pub(crate) async fn begin(mut stream: TlsStream<TcpStream>) -> Self {
        let mut preface = [0; 24];
        within(stream.read_exact(&mut preface)).await.expect("a preface");
        let mut connection = Self(stream);
        connection.write(SETTINGS, 0, 0, b"").await;
        connection
    }

    pub(crate) async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
        let frame = [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat();
        within(self.0.write_all(&frame)).await.expect("written");
        within(self.0.flush()).await.expect("flushed");
    }

    /// Kind, flags, stream and payload.
    pub(crate) async fn read(&mut self) -> (u8, u8, u32, Vec<u8>) {
        let mut head = [0; 9];
        within(self.0.read_exact(&mut head)).await.expect("a frame");
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        within(self.0.read_exact(&mut payload)).await.expect("its payload");
        if (kind, flags) == (SETTINGS, 0) {
            self.write(SETTINGS, ACK, 0, b"").await;
        }
        (kind, flags, u32::from_be_bytes(stream), payload)
    }

    /// The stream and the body of the next request.
    pub(crate) async fn request(&mut self) -> (u32, String) {
        let mut body = Vec::new();
        loop {
            let (kind, flags, stream, payload) = self.read().await;
            if kind == DATA {
                body.extend_from_slice(&payload);
                if flags & END_STREAM != 0 {
                    return (stream, String::from_utf8(body).expect("ASCII"));
                }
            }
        }
    }

    pub(crate) async fn answer(&mut self, stream: u32) {
        // :status 200, by its number in HPACK's static table.
        self.write(HEADERS, END_HEADERS, stream, &[0x88]).await;
        self.write(DATA, END_STREAM, stream, TOKENS.as_bytes()).await;
    }

    /// The same with these headers.
    pub(crate) async fn answer_with(&mut self, stream: u32, headers: impl Iterator<Item = (&str, String)>) {
        self.write(HEADERS, 0, stream, &[0x88]).await;
        // Literals that nobody keeps, whose lengths fit in seven bits (RFC 7541 section 6.2.2).
        let fields = headers.flat_map(|(name, value)| {
            [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
        });
        for part in fields.collect::<Vec<_>>().chunks(8 * 1024) {
            self.write(CONTINUATION, 0, stream, part).await;
        }
        self.write(CONTINUATION, END_HEADERS, stream, &[]).await;
        self.write(DATA, END_STREAM, stream, TOKENS.as_bytes()).await;
    }

    pub(crate) async fn reset(&mut self, stream: u32, why: u32) {
        self.write(RST_STREAM, 0, stream, &why.to_be_bytes()).await;
    }

    /// Goes away in order: streams up to `last` are still answered.
    pub(crate) async fn go_away(&mut self, last: u32, debug: &str) {
        let no_error = 0_u32.to_be_bytes();
        self.write(GOAWAY, 0, 0, &[&last.to_be_bytes(), &no_error, debug.as_bytes()].concat()).await;
    }

    /// From now on so many streams at once; returns once that is known.
    pub(crate) async fn allow_streams(&mut self, most: u32) {
        const MAX_CONCURRENT_STREAMS: [u8; 2] = [0, 3];
        self.write(SETTINGS, 0, 0, &[&MAX_CONCURRENT_STREAMS[..], &most.to_be_bytes()].concat()).await;
        self.is_read().await;
    }

    /// Returns once all that was written before is read.
    pub(crate) async fn is_read(&mut self) {
        self.write(PING, 0, 0, b"all read").await;
        while !matches!(self.read().await, (PING, ACK, ..)) {}
    }
}

pub(crate) fn offering_http2() -> (tempfile::NamedTempFile, rustls::ServerConfig) {
    let (ca, mut tls) = certified("localhost");
    tls.alpn_protocols = vec![b"h2".to_vec()];
    (ca, tls)
}
