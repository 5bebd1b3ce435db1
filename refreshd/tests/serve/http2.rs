//! HTTP/2 to the provider, played frame by frame (RFC 9113): what a connection that ends says of the requests on it.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certified::certified;
use crate::daemon::{Daemon, refresh, refreshd};
use crate::provider::{Gate, Provider, json};
use crate::within;

const TOKENS: &str = r#"{"access_token":"a"}"#;

/// A provider that speaks nothing but HTTP/2.
struct Frames {
    listener: TcpListener,
    tls: TlsAcceptor,
    ca: tempfile::NamedTempFile,
}

/// A connection to it.
struct Connection(TlsStream<TcpStream>);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;

impl Frames {
    async fn listen() -> Self {
        let (ca, tls) = offering_http2();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self { listener, tls: TlsAcceptor::from(Arc::new(tls)), ca }
    }

    async fn connected(&self) -> TcpStream {
        within(self.listener.accept()).await.expect("a connection").0
    }

    async fn secured(&self, stream: TcpStream) -> TlsStream<TcpStream> {
        within(self.tls.accept(stream)).await.expect("TLS")
    }

    async fn daemon(&self) -> Daemon {
        let url = format!("https://localhost:{}/token", self.listener.local_addr().expect("it is bound").port());
        let ca = self.ca.path().to_str().expect("UTF-8");
        let listen = ["serve", "--listen", "127.0.0.1:0", "--log-format", "json"];
        Daemon::spawn(refreshd(&[&listen[..], &["--upstream", &url, "--no-check-upstream", "--ca-file", ca]].concat()))
            .await
    }

    async fn accept(&self) -> Connection {
        Connection::begin(self.secured(self.connected().await).await).await
    }
}

impl Connection {
    async fn begin(mut stream: TlsStream<TcpStream>) -> Self {
        let mut preface = [0; 24];
        within(stream.read_exact(&mut preface)).await.expect("a preface");
        let mut connection = Self(stream);
        connection.write(SETTINGS, 0, 0, b"").await;
        connection
    }

    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
        let frame = [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat();
        within(self.0.write_all(&frame)).await.expect("written");
        within(self.0.flush()).await.expect("flushed");
    }

    /// Kind, flags, stream and payload.
    async fn read(&mut self) -> (u8, u8, u32, Vec<u8>) {
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
    async fn request(&mut self) -> (u32, String) {
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

    async fn answer(&mut self, stream: u32) {
        // :status 200, by its number in HPACK's static table.
        self.write(HEADERS, END_HEADERS, stream, &[0x88]).await;
        self.write(DATA, END_STREAM, stream, TOKENS.as_bytes()).await;
    }

    async fn reset(&mut self, stream: u32, why: u32) {
        self.write(RST_STREAM, 0, stream, &why.to_be_bytes()).await;
    }

    /// Goes away in order: streams up to `last` are still answered.
    async fn go_away(&mut self, last: u32, debug: &str) {
        let no_error = 0_u32.to_be_bytes();
        self.write(GOAWAY, 0, 0, &[&last.to_be_bytes(), &no_error, debug.as_bytes()].concat()).await;
    }

    /// Returns once all that was written before is read.
    async fn is_read(&mut self) {
        self.write(PING, 0, 0, b"all read").await;
        while !matches!(self.read().await, (PING, ACK, ..)) {}
    }
}

fn offering_http2() -> (tempfile::NamedTempFile, rustls::ServerConfig) {
    let (ca, mut tls) = certified("localhost");
    tls.alpn_protocols = vec![b"h2".to_vec()];
    (ca, tls)
}

impl Connection {
    /// Ends the next request instead of answering it. Whether the connection goes on.
    async fn end_request(&mut self, end: End) -> bool {
        let (stream, body) = self.request().await;
        assert_eq!(body, refresh("r1"));
        match end {
            End::GoesAwayBefore => self.go_away(0, "").await,
            End::Refuses => self.reset(stream, REFUSED_STREAM).await,
            End::GoesAwayAfter => self.go_away(stream, "").await,
            End::Resets => self.reset(stream, INTERNAL_ERROR).await,
            End::Closes => {}
        }
        !matches!(end, End::GoesAwayAfter | End::Closes)
    }
}

/// How the provider ends a request instead of answering it.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The last stream that it has processed or will is an earlier one (RFC 9113 section 6.8).
    GoesAwayBefore,
    /// It vouches for not having processed it (section 8.7).
    Refuses,
    GoesAwayAfter,
    Resets,
    Closes,
}

#[tokio::test]
async fn only_what_the_provider_vouches_for_not_having_processed_was_not_sent() {
    let ends = [
        (&[End::GoesAwayBefore, End::GoesAwayBefore][..], "not_sent"),
        (&[End::Refuses, End::Refuses], "not_sent"),
        (&[End::Refuses, End::Resets], "unknown"),
        (&[End::GoesAwayAfter], "unknown"),
        (&[End::Resets], "unknown"),
        (&[End::Closes], "unknown"),
    ];
    for (end, counted) in ends {
        let provider = Frames::listen().await;
        let daemon = provider.daemon().await;
        let playing = async {
            let mut open = Vec::new();
            for end in end {
                let mut connection = provider.accept().await;
                // Left open where that was not the end of it.
                if connection.end_request(*end).await {
                    open.push(connection);
                }
            }
            open
        };

        let body = refresh("r1");
        let (answer, _open) = tokio::join!(daemon.post(&body), playing);

        assert_eq!(answer.status(), 503, "{end:?}");
        let metrics = daemon.get("/metrics").await.1;
        assert!(metrics.contains(&format!("\nrefresh_coordinator_{counted}_total 1\n")), "{end:?}: {metrics}");
    }
}

#[tokio::test]
async fn what_the_provider_vouches_for_not_having_processed_is_asked_once_more_elsewhere() {
    for end in [End::GoesAwayBefore, End::Refuses] {
        let provider = Frames::listen().await;
        let daemon = provider.daemon().await;
        let playing = async {
            let mut one = provider.accept().await;
            one.end_request(end).await;
            let mut other = provider.accept().await;
            let (stream, body) = other.request().await;
            assert_eq!(body, refresh("r1"));
            other.answer(stream).await;
            (one, other)
        };

        let body = refresh("r1");
        let (answer, _open) = tokio::join!(daemon.post(&body), playing);

        assert_eq!(answer.status(), 200, "{end:?}");
    }
}

#[tokio::test]
async fn what_the_provider_says_for_debugging_as_it_goes_away_is_not_logged() {
    let provider = Frames::listen().await;
    let daemon = provider.daemon().await;
    let playing = async {
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut connection = provider.accept().await;
            let (_, body) = connection.request().await;
            connection.go_away(0, &body).await;
            open.push(connection);
        }
        open
    };

    let body = refresh("s3cr3t");
    let (_, _open) = tokio::join!(daemon.post(&body), playing);

    let line = daemon.logged("a refresh brought no tokens").await;
    assert!(!line.contains("s3cr3t") && line.contains("the connection was closed"), "{line}");
}

#[tokio::test]
async fn request_after_the_provider_said_that_it_goes_away_goes_to_another_connection() {
    let provider = Frames::listen().await;
    let daemon = provider.daemon().await;
    let (going, answered) = (Gate::closed(), Gate::closed());
    let playing = async {
        let mut one = provider.accept().await;
        let (first, _) = one.request().await;
        one.go_away(first, "").await;
        one.is_read().await;
        going.open();
        let mut other = tokio::select! {
            other = provider.accept() => other,
            () = answered.passed() => panic!("no other connection was opened"),
        };
        let (second, body) = other.request().await;
        assert_eq!(body, refresh("r2"));
        other.answer(second).await;
        one.answer(first).await;
        (one, other)
    };
    let asking = async {
        let (r1, r2) = (refresh("r1"), refresh("r2"));
        let second = async {
            going.passed().await;
            let answer = daemon.post(&r2).await;
            answered.open();
            answer
        };
        let (first, second) = tokio::join!(daemon.post(&r1), second);
        (first.status().as_u16(), second.status().as_u16())
    };

    let (statuses, _open) = tokio::join!(asking, playing);

    assert_eq!(statuses, (200, 200));
}

#[tokio::test]
async fn who_finds_a_connection_that_came_about_meanwhile_opens_no_other() {
    let provider = Frames::listen().await;
    let daemon = provider.daemon().await;
    let playing = async {
        // Both are asked for while there is none.
        let (one, other) = (provider.connected().await, provider.connected().await);
        let mut connection = Connection::begin(provider.secured(one).await).await;
        let (first, _) = connection.request().await;

        let mut unused = provider.secured(other).await;
        let (second, _) = connection.request().await;
        let mut rest = Vec::new();
        _ = within(unused.read_to_end(&mut rest)).await;
        assert_eq!(rest, b"", "nothing was asked on it");

        connection.answer(first).await;
        connection.answer(second).await;
        connection
    };
    let asking = async {
        let (r1, r2) = (refresh("r1"), refresh("r2"));
        let (first, second) = tokio::join!(daemon.post(&r1), daemon.post(&r2));
        (first.status().as_u16(), second.status().as_u16())
    };

    let (statuses, _open) = tokio::join!(asking, playing);

    assert_eq!(statuses, (200, 200));
}

#[tokio::test]
async fn connection_that_fell_silent_is_not_asked_again() {
    let (ca, tls) = offering_http2();
    let provider = Provider::start_tls(TlsAcceptor::from(Arc::new(tls)), async |seen| {
        if seen.body == refresh("r2") {
            std::future::pending::<()>().await;
        }
        json(200, TOKENS)
    })
    .await;
    let ca = ca.path().to_str().expect("UTF-8");
    let limits = ["--upstream-timeout", "3s", "--connect-timeout", "2500ms"];
    let daemon = Daemon::start(&provider, &[&["--ca-file", ca][..], &limits].concat()).await;

    for (token, status) in [("r1", 200), ("r2", 503), ("r3", 200)] {
        assert_eq!(daemon.post(&refresh(token)).await.status(), status, "{token}");
    }

    let connections: Vec<usize> = provider.seen().into_iter().map(|seen| seen.connection).collect();
    assert!(connections[0] == connections[1] && connections[1] != connections[2], "{connections:?}");
}
