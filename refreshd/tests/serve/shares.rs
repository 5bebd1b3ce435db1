//! Refreshes and what is only passed on have a share each of the way to the provider: neither waits for the other, over HTTP/1.1
//! and HTTP/2.

use std::sync::Arc;

use tokio_rustls::TlsAcceptor;

use crate::certified::certified;
use crate::daemon::{Daemon, FORM, client, refresh};
use crate::provider::{Gate, Provider, json};
use crate::several::ConfigFile;
use crate::within;

const PASSED_ON: &str = "grant_type=password";
const MANY: usize = 8;

/// A provider that answers no request with this in it before the gate is open, and the file of its CA.
async fn slow_for(
    what: &'static str,
    gate: &Gate,
    protocol: &str,
    streams: u32,
) -> (Provider, tempfile::NamedTempFile) {
    let gate = gate.clone();
    let (ca, mut tls) = certified("localhost");
    tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let provider = Provider::start_tls_with_streams(streams, TlsAcceptor::from(Arc::new(tls)), move |seen| {
        let gate = gate.clone();
        async move {
            if seen.body.contains(what) {
                gate.passed().await;
            }
            json(200, r#"{"access_token":"a"}"#)
        }
    });
    (provider.await, ca)
}

async fn daemon(provider: &Provider, ca: &tempfile::NamedTempFile, more: &[&str]) -> Daemon {
    let ca = ca.path().to_str().expect("UTF-8");
    let most = MANY.to_string();
    let shares = ["--max-passed-on", &most, "--max-concurrent-refreshes", &most];
    Daemon::start(provider, &[&["--ca-file", ca], &shares[..], more].concat()).await
}

#[tokio::test]
async fn refreshes_are_answered_while_what_is_passed_on_has_all_of_its_share() {
    for protocol in ["http/1.1", "h2"] {
        let gate = Gate::closed();
        let (provider, ca) = slow_for(PASSED_ON, &gate, protocol, 100).await;
        let daemon = daemon(&provider, &ca, &["--connect-timeout", "1s"]).await;
        let passed_on = futures_util::future::join_all((0..MANY).map(|_| daemon.post(PASSED_ON)));
        let others = async {
            provider.asked(MANY).await;
            for number in 0..2 * MANY {
                assert_eq!(daemon.post(&refresh(&format!("r{number}"))).await.status(), 200, "{protocol}");
            }
            assert_eq!(daemon.post(PASSED_ON).await.status(), 503, "{protocol}: its share is out");
            gate.open();
        };

        let (passed_on, ()) = tokio::join!(passed_on, others);

        assert!(passed_on.iter().all(|answer| answer.status() == 200), "{protocol}");
    }
}

#[tokio::test]
async fn what_is_passed_on_is_answered_while_refreshes_have_all_of_their_share() {
    for protocol in ["http/1.1", "h2"] {
        let gate = Gate::closed();
        let (provider, ca) = slow_for("refresh_token", &gate, protocol, 100).await;
        let daemon = daemon(&provider, &ca, &[]).await;
        let tokens: Vec<_> = (0..2 * MANY).map(|number| refresh(&format!("r{number}"))).collect();
        let refreshes = futures_util::future::join_all(tokens.iter().map(|token| daemon.post(token)));
        let others = async {
            provider.asked(MANY).await;
            for _ in 0..2 * MANY {
                assert_eq!(daemon.post(PASSED_ON).await.status(), 200, "{protocol}");
            }
            gate.open();
        };

        let (refreshes, ()) = tokio::join!(refreshes, others);

        assert!(refreshes.iter().all(|answer| answer.status() == 200), "{protocol}");
    }
}

#[tokio::test]
async fn request_for_which_a_connection_has_no_stream_has_one_of_another() {
    for (what, ask) in [("password", PASSED_ON), ("refresh_token", "")] {
        let gate = Gate::closed();
        let (provider, ca) = slow_for(what, &gate, "h2", 2).await;
        let daemon = daemon(&provider, &ca, &[]).await;
        let body = |number: usize| if ask.is_empty() { refresh(&format!("r{number}")) } else { ask.to_owned() };
        // Its settings are known from the first answer on.
        let open = async {
            provider.asked(1).await;
            gate.open();
        };
        let first = body(0);
        let (first, ()) = tokio::join!(daemon.post(&first), open);
        assert_eq!(first.status(), 200, "{what}");
        gate.close();
        let bodies: Vec<_> = (1..=6).map(body).collect();
        let all = futures_util::future::join_all(bodies.iter().map(|body| daemon.post(body)));
        // All of them at once, though two have room on a connection.
        let asked = async {
            provider.asked(1 + bodies.len()).await;
            gate.open();
        };

        let (all, ()) = tokio::join!(all, asked);

        assert!(all.iter().all(|answer| answer.status() == 200), "{what}");
        let mut connections: Vec<_> = provider.seen()[1..].iter().map(|seen| seen.connection).collect();
        connections.sort_unstable();
        assert!(connections.chunk_by(|one, other| one == other).all(|same| same.len() <= 2), "{connections:?}");
    }
}

#[tokio::test]
async fn request_with_large_headers_shares_its_http2_connection_with_nobody() {
    for (protocol, expected) in [("h2", [[0, 1, 0, 2], [3, 4, 3, 5]]), ("http/1.1", [[0; 4], [1; 4]])] {
        let (provider, ca) = slow_for("nothing", &Gate::closed(), protocol, 100).await;
        let daemon = daemon(&provider, &ca, &["--upstream-idle", "1m", "--no-check-upstream"]).await;

        for kind in ["refresh_token", "password"] {
            for (number, size) in [1, 4096, 1, 4096].into_iter().enumerate() {
                let body = format!("grant_type={kind}&client_id=app&refresh_token=r{number}");
                let request = client().post(daemon.url("/token")).header("content-type", FORM);
                let request = request.header("x-large", "x".repeat(size)).body(body);
                assert_eq!(within(request.send()).await.expect("an answer").status(), 200);
            }
        }

        let connections: Vec<usize> = provider.seen().into_iter().map(|seen| seen.connection).collect();
        assert_eq!(connections, expected.concat(), "{protocol}");
    }
}

#[tokio::test]
async fn what_is_passed_on_keeps_its_place_until_its_answer_though_its_caller_went_away() {
    for protocol in ["http/1.1", "h2"] {
        let gate = Gate::closed();
        let (provider, ca) = slow_for(PASSED_ON, &gate, protocol, 100).await;
        let daemon = daemon(&provider, &ca, &["--connect-timeout", "1s"]).await;
        let mut callers = Vec::new();
        for _ in 0..MANY {
            callers.push(daemon.write_refresh(PASSED_ON.to_owned()).await);
        }
        provider.asked(MANY).await;

        drop(callers);
        daemon.get("/healthz").await;
        tokio::select! {
            answer = daemon.post(PASSED_ON) => assert_eq!(answer.status(), 503, "{protocol}"),
            () = provider.asked(MANY + 1) => panic!("{protocol}: the provider works on more than --max-passed-on"),
        }
        gate.open();

        assert_eq!(daemon.post(PASSED_ON).await.status(), 200, "{protocol}");
        let mut connections: Vec<_> = provider.seen().iter().map(|seen| seen.connection).collect();
        let last = connections.pop();
        assert!(last.is_some_and(|last| connections.contains(&last)), "{protocol}: none of them was closed");
    }
}

#[tokio::test]
async fn what_is_passed_on_to_all_providers_together_leaves_half_of_the_places_to_refreshes() {
    let gate = Gate::closed();
    let (provider, ca) = slow_for(PASSED_ON, &gate, "h2", 100).await;
    let (url, ca) = (provider.url(), ca.path().to_str().expect("UTF-8"));
    let tables = ["one", "two", "three"]
        .map(|name| format!("[provider.{name}]\nupstream = \"{url}\"\nca-file = \"{ca}\"\nnamespace = \"{name}\"\n"));
    let file = ConfigFile::new(&tables.concat());
    let places = (2 * MANY).to_string();
    let daemon = file.serve(&["--max-connections", &places]).await;
    let passed_on = futures_util::future::join_all(
        (0..MANY).map(|number| daemon.post_to(["/one/token", "/two/token"][number % 2], PASSED_ON)),
    );
    let others = async {
        provider.asked(MANY).await;
        for path in ["/one/token", "/three/token"] {
            let answer = tokio::select! {
                answer = daemon.post_to(path, PASSED_ON) => answer,
                () = provider.asked(MANY + 1) => panic!("{path}: more than half of the places"),
            };
            assert_eq!((answer.status().as_u16(), answer.headers().contains_key("retry-after")), (503, true), "{path}");
        }
        let refreshed = daemon.post_to("/three/token", &refresh("r1")).await;
        gate.open();
        refreshed.status()
    };

    let (passed_on, refreshed) = tokio::join!(passed_on, others);

    assert!(passed_on.iter().all(|answer| answer.status() == 200));
    assert_eq!((refreshed.as_u16(), daemon.post_to("/three/token", PASSED_ON).await.status().as_u16()), (200, 200));
}
