//! The way to the provider by a forward proxy.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::certified::certified;
use crate::daemon::{Daemon, refresh, refreshd};
use crate::provider::{Provider, json};
use crate::within;

const TOKENS: &str = r#"{"access_token":"a"}"#;

/// A proxy that takes one connection, and the head of what it is asked for. To CONNECT it answers and joins the ends.
async fn proxy() -> (String, JoinHandle<String>) {
    proxy_on(async |stream| stream).await
}

async fn proxy_on<S, F>(on: impl FnOnce(TcpStream) -> F + Send + 'static) -> (String, JoinHandle<String>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = S> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let task = tokio::spawn(async move {
        let mut stream = on(within(listener.accept()).await.expect("a connection").0).await;
        let mut read = Vec::new();
        while !read.windows(4).any(|end| end == b"\r\n\r\n") {
            assert!(within(stream.read_buf(&mut read)).await.expect("a request") > 0);
        }
        let head = String::from_utf8(read).expect("ASCII");
        let asked = head.split(' ').nth(1).expect("a target").to_owned();
        if head.starts_with("CONNECT ") {
            let mut provider = TcpStream::connect(asked).await.expect("the provider");
            within(stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")).await.expect("written");
            tokio::spawn(async move { copy_bidirectional(&mut stream, &mut provider).await });
        } else {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{TOKENS}", TOKENS.len());
            within(stream.write_all(answer.as_bytes())).await.expect("written");
        }
        head
    });
    (format!("user:p%40ss@{address}"), task)
}

async fn daemon(upstream: &str, proxy: &str, more: &[&str]) -> Daemon {
    let common = ["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--upstream", upstream];
    let mut command = refreshd(&[&common, more].concat());
    let proxy = if proxy.contains("://") { proxy.to_owned() } else { format!("http://{proxy}") };
    command.env("REFRESHD_UPSTREAM_PROXY", proxy).env("HTTPS_PROXY", "http://127.0.0.1:1");
    Daemon::spawn(command).await
}

/// `user:p@ss`
const AUTHORIZATION: &str = "Basic dXNlcjpwQHNz";

#[tokio::test]
async fn provider_with_tls_is_reached_through_a_tunnel_that_sees_no_token() {
    let (ca, tls) = certified("localhost");
    let tls = TlsAcceptor::from(Arc::new(tls));
    let provider = Provider::start_tls(tls, async |_| json(200, TOKENS)).await;
    let (address, proxy) = proxy().await;
    // Or the one connection that it takes would be that of the check at start.
    let more = ["--ca-file", ca.path().to_str().expect("UTF-8"), "--no-check-upstream"];
    let daemon = daemon(&provider.url(), &address, &more).await;

    for token in ["r1", "r2"] {
        assert_eq!(daemon.post(&refresh(token)).await.status(), 200);
    }

    let head = within(proxy).await.expect("no panic");
    assert!(head.starts_with(&format!("CONNECT localhost:{} HTTP/1.1\r\n", provider.address.port())), "{head}");
    assert!(head.contains(&format!("Proxy-Authorization: {AUTHORIZATION}\r\n")), "{head}");
    assert!(provider.seen().iter().all(|seen| !seen.headers.contains_key("proxy-authorization")));
}

#[tokio::test]
async fn provider_in_clear_is_asked_for_by_its_whole_url() {
    let (address, proxy) = proxy().await;
    let daemon = daemon("http://idp.invalid/token?v=1", &address, &["--no-check-upstream"]).await;

    assert_eq!(daemon.post(&refresh("r1")).await.status(), 200);

    let head = within(proxy).await.expect("no panic").to_lowercase();
    assert!(head.starts_with("post http://idp.invalid/token?v=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("host: idp.invalid\r\n"), "{head}");
    assert!(head.contains(&format!("proxy-authorization: {}\r\n", AUTHORIZATION.to_lowercase())), "{head}");
}

#[tokio::test]
async fn proxy_that_refuses_was_sent_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let daemon = daemon("https://idp.invalid/token", &address, &["--no-check-upstream"]).await;
    let refusing = async {
        let mut stream = within(listener.accept()).await.expect("a connection").0;
        within(stream.read(&mut [0; 1024])).await.expect("a request");
        within(stream.write_all(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n")).await.expect("written");
    };

    let body = refresh("r1");
    let (answer, ()) = tokio::join!(daemon.post(&body), refusing);

    assert_eq!(answer.status(), 503);
    let line = daemon.logged("a refresh brought no tokens").await;
    assert!(line.contains("nothing was sent") && line.contains("proxy authorization required"), "{line}");
}

#[tokio::test]
async fn proxy_is_spoken_to_over_tls_where_its_url_says_so() {
    let (ca, tls) = certified("localhost");
    let tls = TlsAcceptor::from(Arc::new(tls));
    let provider = Provider::start_tls(tls.clone(), async |_| json(200, TOKENS)).await;
    let more = ["--ca-file", ca.path().to_str().expect("UTF-8"), "--no-check-upstream"];
    let upstreams =
        [(provider.url(), "CONNECT localhost:"), ("http://idp.invalid/token".to_owned(), "POST http://idp.invalid/")];

    for (upstream, expected) in upstreams {
        let tls = tls.clone();
        let (address, proxy) = proxy_on(async move |stream| tls.accept(stream).await.expect("TLS")).await;
        let address = format!("https://{}", address.replace("127.0.0.1", "localhost"));
        let daemon = daemon(&upstream, &address, &more).await;

        assert_eq!(daemon.post(&refresh("r1")).await.status(), 200, "{upstream}");

        let head = within(proxy).await.expect("no panic");
        assert!(head.starts_with(expected), "{head}");
        assert!(
            head.to_lowercase().contains(&format!("proxy-authorization: {}\r\n", AUTHORIZATION.to_lowercase())),
            "{head}"
        );
    }
}
