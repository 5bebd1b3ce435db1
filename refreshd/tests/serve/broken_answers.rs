//! Answers that break the rules of HTTP, and answers whose connection does: what arrived is given to the callers.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::certified::certified;
use crate::connections::{accepted, asked, in_front_of_bytes};
use crate::daemon::{Daemon, refresh, refreshd};
use crate::within;

const TOKENS: &str = r#"{"access_token":"a2","refresh_token":"r2"}"#;

#[tokio::test]
async fn header_that_breaks_the_rules_costs_nobody_the_answer() {
    let (daemon, listener) = in_front_of_bytes("http", &[]).await;
    let untidy = [
        ("Set-Cookie: visid=a1b2\r\n    c3; path=/", "it is folded"),
        ("X-Blank : 1", "there are blanks before its colon"),
        ("X-Control: a\u{1}b\u{0}c", "its value has control characters"),
        ("X-Return: a\rb", "its value has control characters"),
        (": nameless", "its name is empty"),
        ("X Spaced: 1", "its name has characters that no name has"),
        ("no colon at all", "it has no colon"),
    ];

    for (number, (line, why)) in untidy.into_iter().enumerate() {
        let token = format!("r{number}");
        let provider = async {
            let mut stream = accepted(&listener).await;
            assert!(asked(&mut stream, &token).await);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{line}\r\nx-good: 1\r\n");
            let answer = format!("{head}connection: close\r\ncontent-length: {}\r\n\r\n{TOKENS}", TOKENS.len());
            within(stream.write_all(answer.as_bytes())).await.expect("written");
        };
        let body = refresh(&token);
        let (answer, ()) = tokio::join!(daemon.post(&body), provider);

        let good = answer.headers().get("x-good").map(|value| value.as_bytes());
        assert_eq!((answer.status().as_u16(), good), (200, Some(&b"1"[..])), "{line:?} {:?}", answer.headers());
        assert!(!answer.headers().contains_key("set-cookie"));
        assert_eq!(within(answer.text()).await.expect("text"), TOKENS, "{line}");
        let told = daemon.logged(why).await;
        assert!(told.contains("breaks the rules of HTTP") && !told.contains("visid"), "{told}");
    }
}

/// A provider with TLS that answers one request and goes away without a word.
async fn without_close_notify(answer: &str) -> (Daemon, tempfile::NamedTempFile, impl Future<Output = ()> + use<>) {
    let (ca, tls) = certified("localhost");
    let tls = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("https://localhost:{}/token", listener.local_addr().expect("it is bound").port());
    let file = ca.path().to_str().expect("UTF-8");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--no-check-upstream"];
    let arguments = [&arguments[..], &["--upstream", &url, "--ca-file", file]].concat();
    let daemon = Daemon::spawn(refreshd(&arguments)).await;
    let answer = answer.to_owned();
    let serving = async move {
        let (stream, _) = within(listener.accept()).await.expect("a connection");
        let mut stream = within(tls.accept(stream)).await.expect("TLS");
        let mut read = Vec::new();
        while !read.ends_with(b"r1") {
            assert!(within(stream.read_buf(&mut read)).await.expect("a request") > 0);
        }
        within(stream.write_all(answer.as_bytes())).await.expect("written");
        within(stream.flush()).await.expect("flushed");
        // TCP alone: no alert of TLS says that this is the end.
        within(stream.into_inner().0.shutdown()).await.expect("shut down");
    };
    (daemon, ca, serving)
}

#[tokio::test]
async fn complete_answer_is_taken_however_its_connection_ends() {
    const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";
    const JSON: &str = "content-type: application/json\r\n";
    let form = "access_token=a2&refresh_token=r2";
    const XML: &str = "<r><access_token>a2</access_token></r>";
    let (marked, list, call) = (format!("\u{feff}{TOKENS}"), format!("[{TOKENS}]"), format!("keep({TOKENS});"));
    let chunk = format!("{:x}\r\n{TOKENS}\r\n", TOKENS.len());
    let cases = [
        (format!("{JSON}\r\n{TOKENS}"), Some(TOKENS)),
        (format!("{JSON}connection: close\r\n\r\n{TOKENS}\n"), Some(TOKENS)),
        (format!("{JSON}transfer-encoding: chunked\r\n\r\n{chunk}"), Some(TOKENS)),
        (format!("{JSON}content-length: 1000\r\n\r\n{TOKENS}"), Some(TOKENS)),
        (format!("{JSON}content-length: 1000\r\n\r\n{marked}"), Some(&marked)),
        (format!("{JSON}content-length: 1000\r\n\r\n{list}"), Some(&list)),
        (format!("{JSON}content-length: 1000\r\n\r\n{call}"), Some(&call)),
        (format!("content-type: text/xml\r\ncontent-length: 1000\r\n\r\n{XML}"), Some(XML)),
        (format!("{FORM}\r\n{form}"), Some(form)),
        (format!("\r\n{form}"), Some(form)),
        (format!("content-type: text/plain; charset=utf-8\r\n\r\n{form}"), Some(form)),
        ("content-type: text/plain\r\n\r\na text".to_owned(), None),
        ("content-type: text/xml\r\n\r\n<r><access_token>a2</access_token>".to_owned(), None),
        (format!("{JSON}\r\n{}", &TOKENS[..TOKENS.len() - 1]), None),
        (format!("{FORM}content-length: 100\r\n\r\n{form}"), None),
        (
            format!("{FORM}content-length: 100\r\n\r\n{form}&token_type=bea"),
            Some("access_token=a2&refresh_token=r2&token_type=bea"),
        ),
        (format!("{FORM}content-length: 100\r\n\r\naccess_token=a2&scope=x&refresh_token=r2"), None),
    ];

    for (answer, expected) in cases {
        let (daemon, _ca, serving) = without_close_notify(&format!("HTTP/1.1 200 OK\r\n{answer}")).await;
        // As another grant it is passed on as it is, whatever is read out of it.
        let body = "grant_type=authorization_code&code=r1";
        let (told, ()) = tokio::join!(daemon.post(body), serving);

        match expected {
            Some(expected) => {
                assert_eq!(told.status(), 200, "{answer}");
                assert_eq!(within(told.text()).await.expect("text").trim_end(), expected, "{answer}");
            }
            None => assert_eq!(told.status(), 502, "{answer}"),
        }
    }
}

#[tokio::test]
async fn change_of_protocol_is_no_answer() {
    let (daemon, listener) = in_front_of_bytes("http", &[]).await;
    for (body, status) in [("grant_type=password", 502), (&refresh("password")[..], 503)] {
        let provider = async {
            let mut stream = accepted(&listener).await;
            assert!(asked(&mut stream, "password").await);
            let switch = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
            within(stream.write_all(switch)).await.expect("written");
            assert!(!asked(&mut stream, "password").await, "the connection is left");
        };
        let (answer, ()) = tokio::join!(daemon.post(body), provider);
        assert_eq!(answer.status(), status);
    }
}

#[tokio::test]
async fn head_that_breaks_the_rules_costs_nobody_the_answer() {
    let (daemon, listener) = in_front_of_bytes("http", &[]).await;
    let length = TOKENS.len();
    let many = "set-cookie: a=b\r\n".repeat(3000);
    let heads = [
        format!("HTTP/1.2 200 OK\r\ncontent-length: {length}\r\n"),
        format!("HTTP/2 200 OK\r\ncontent-length: {length}\r\n"),
        format!("http/1.1  200 O\u{1}K\r\ncontent-length: {length}\r\n"),
        format!("HTTP/1.1 200 OK\r\r\ncontent-length : +{length}\r\r\n\r"),
        "HTTP/1.1 200 OK\r\ncontent-length: none\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\ncontent-length: 500\r\n"),
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: binary\r\ncontent-length: {length}\r\n"),
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding:\r\ncontent-length: {length}\r\n"),
        format!("HTTP/1.1 200 OK\r\n{many}content-length: {length}\r\n"),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: {length}\r\n"),
    ];

    for (number, head) in heads.iter().enumerate() {
        let token = format!("r{number}");
        let provider = async {
            let mut stream = accepted(&listener).await;
            assert!(asked(&mut stream, &token).await);
            within(stream.write_all(format!("{head}\r\n{TOKENS}").as_bytes())).await.expect("written");
        };
        let body = refresh(&token);
        let (answer, ()) = tokio::join!(daemon.post(&body), provider);

        assert_eq!(answer.status(), 200, "{head:.100}");
        assert_eq!(within(answer.text()).await.expect("text"), TOKENS, "{head:.100}");
        // What the daemon answers now it answers having heard that this connection is closed.
        daemon.get("/healthz").await;
    }
}

#[tokio::test]
async fn answer_that_is_whole_is_taken_though_its_connection_stays_open_for_more() {
    let (daemon, listener) = in_front_of_bytes("http", &["--refresh-timeout", "20s"]).await;
    let lines = format!("{{\"status\":\"pending\"}}\n{TOKENS}");
    for (number, (parts, expected)) in
        [(&[TOKENS][..], TOKENS), (&["{\"status\":\"pending\"}\n", TOKENS][..], &lines[..])].into_iter().enumerate()
    {
        let body = refresh(&format!("r{number}"));
        let provider = async {
            let mut stream = accepted(&listener).await;
            assert!(asked(&mut stream, &format!("r{number}")).await);
            let is_one = parts.len() == 1;
            let length = expected.len() + usize::from(is_one);
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            within(stream.write_all(head.as_bytes())).await.expect("written");
            for (number, part) in parts.iter().enumerate() {
                if number > 0 {
                    // The first line is JSON that has come to its end; it is not the answer.
                    tokio::time::sleep(Duration::from_millis(1500)).await;
                }
                within(stream.write_all(part.as_bytes())).await.expect("written");
            }
            assert!(!asked(&mut stream, "next").await, "it is this end that closes");
        };

        let (answer, ()) = tokio::join!(daemon.post(&body), provider);

        assert_eq!(answer.status(), 200);
        assert_eq!(within(answer.text()).await.expect("text"), expected);
    }
}

#[tokio::test]
async fn refusal_that_is_cut_off_leaves_the_token_as_it_was() {
    let settings = ["--uncertain=never", "--keep-failure=0s", "--keep-refusal=0s"];
    let (daemon, listener) = in_front_of_bytes("http", &settings).await;
    for (number, head) in
        ["401 Unauthorized", "403 Forbidden\r\ncontent-encoding: gzip", "408 Timeout", "503 Unavailable"]
            .iter()
            .enumerate()
    {
        let body = refresh(&format!("r{number}"));
        let answering = async |answer: &str| {
            let mut stream = accepted(&listener).await;
            assert!(asked(&mut stream, &format!("r{number}")).await);
            within(stream.write_all(answer.as_bytes())).await.expect("written");
        };

        let cut_off = format!("HTTP/1.1 {head}\r\ncontent-length: 500\r\n\r\n<p>");
        let (refused, ()) = tokio::join!(daemon.post(&body), answering(&cut_off));
        let status = refused.status().as_u16().to_string();
        assert!(head.starts_with(&status), "{status}: {head}");
        assert_eq!(within(refused.text()).await.expect("text").is_empty(), head.contains("gzip"), "{head}");
        daemon.get("/healthz").await;

        let tokens = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{TOKENS}", TOKENS.len());
        let (anew, ()) = tokio::join!(daemon.post(&body), answering(&tokens));
        assert_eq!(anew.status(), 200, "{head}");
        daemon.get("/healthz").await;
    }
}
