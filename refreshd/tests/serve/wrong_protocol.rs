//! What stands in front speaks something else than refreshd does at this port: the log says what, and what would be right.

use std::path::Path;

use crate::daemon::{Daemon, rest};
use crate::pki::Pki;
use crate::provider::{Provider, json};

async fn provider() -> Provider {
    Provider::start(async |_| json(200, r#"{"access_token":"a"}"#)).await
}

#[tokio::test]
async fn protocol_that_is_not_spoken_is_named() {
    let cases: [(&[u8], &str); 4] = [
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "--tls-cert for --listen"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2 is spoken: send HTTP/1.1"),
        (
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
            "the PROXY protocol is spoken",
        ),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0caaaaaaaaaaaaGET /healthz HTTP/1.1\r\n\r\n",
            "the PROXY protocol is spoken",
        ),
    ];
    for (bytes, told) in cases {
        // Another one for each, as each kind of line is told once a second.
        let daemon = Daemon::start(&provider().await, &[]).await;

        let answer = rest(daemon.write(bytes).await).await;

        assert!(!answer.contains(" 200 "), "{answer}");
        let line = daemon.logged("a token request is refused").await;
        assert!(line.contains(told), "{line}");
    }
}

#[tokio::test]
async fn caller_that_speaks_no_tls_where_that_is_wanted_is_told_to_the_operator() {
    let (pki, provider) = (Pki::new(), provider().await);
    let (certificate, key) = pki.issue("refreshd", &["localhost"]);
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let daemon =
        Daemon::start(&provider, &["--tls-cert", &text(&certificate), "--tls-key", &text(&key), "--log", "info"]).await;

    // Who only looks whether somebody listens is none.
    drop(daemon.write(b"").await);
    let mut in_clear = daemon.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let _ = tokio::io::AsyncReadExt::read(&mut in_clear, &mut [0; 64]).await;

    let line = daemon.logged("a caller is refused in the TLS handshake").await;
    assert!(line.contains("no TLS is spoken") && line.contains(r#""left_out":0"#), "{line}");
}
