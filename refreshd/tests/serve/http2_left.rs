//! HTTP/2 that does not go well: what its answers bring, and that HTTP/1.1 is spoken where it goes badly.

use std::iter;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::daemon::refresh;
use crate::frames::{Connection, Frames, HTTP_1_1_REQUIRED, TOKENS};
use crate::within;

/// The next connection, which speaks HTTP/1.1, and its one request, which is answered.
async fn answered_by_http1(provider: &Frames, token: &str) -> TlsStream<TcpStream> {
    let mut stream = provider.secured(provider.connected().await).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut read = Vec::new();
    while !read.ends_with(token.as_bytes()) {
        assert!(within(stream.read_buf(&mut read)).await.expect("a request") > 0);
    }
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{TOKENS}", TOKENS.len());
    within(stream.write_all(answer.as_bytes())).await.expect("written");
    within(stream.flush()).await.expect("flushed");
    stream
}

#[tokio::test]
async fn provider_whose_http2_breaks_the_rules_is_spoken_to_by_http1_from_then_on() {
    let provider = Frames::listen_for_both().await;
    let daemon = provider.daemon().await;
    let playing = async {
        let mut one = provider.accept().await;
        let (stream, _) = one.request().await;
        // A header of HTTP/1.1 (RFC 9113 section 8.2.2), as servers let through what applications set.
        one.answer_with(stream, iter::once(("upgrade", "h2".to_owned()))).await;
        (answered_by_http1(&provider, "r2").await, one)
    };
    let asking = async {
        let first = daemon.post(&refresh("r1")).await.status().as_u16();
        (first, daemon.post(&refresh("r2")).await.status().as_u16())
    };

    let (statuses, _open) = tokio::join!(asking, playing);

    assert_eq!(statuses, (503, 200));
    daemon.logged("HTTP/1.1: that is spoken to it from now on").await;
}

#[tokio::test]
async fn request_for_which_the_provider_wants_http1_is_sent_so_at_once() {
    let provider = Frames::listen_for_both().await;
    let daemon = provider.daemon().await;
    let playing = async {
        let mut one: Connection = provider.accept().await;
        let (stream, _) = one.request().await;
        one.reset(stream, HTTP_1_1_REQUIRED).await;
        (answered_by_http1(&provider, "r1").await, one)
    };

    let body = refresh("r1");
    let (answer, _open) = tokio::join!(daemon.post(&body), playing);

    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn answer_with_large_headers_is_taken() {
    let provider = Frames::listen().await;
    let daemon = provider.daemon().await;
    let playing = async {
        let mut connection = provider.accept().await;
        let (stream, _) = connection.request().await;
        connection.answer_with(stream, iter::repeat_n(("set-cookie", "a".repeat(100)), 500)).await;
        connection
    };

    let body = refresh("r1");
    let (answer, _open) = tokio::join!(daemon.post(&body), playing);

    assert_eq!((answer.status().as_u16(), &*within(answer.text()).await.expect("text")), (200, TOKENS));
}
