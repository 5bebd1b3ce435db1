//! The forms that the success of a token endpoint has: each is one presentation for everybody.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::answers::{answer, gzip, strict};
use crate::daemon::{Daemon, FORM, refresh};
use crate::provider::{Provider, json};
use crate::within;

/// Five callers at once and one after them: what each of them got.
async fn six_callers(daemon: &Daemon, token: &str) -> Vec<(u16, Vec<u8>)> {
    let ask = || async {
        let answer = daemon.post(&refresh(token)).await;
        (answer.status().as_u16(), within(answer.bytes()).await.expect("a body").to_vec())
    };
    let mut told = futures_util::future::join_all((0..5).map(|_| ask())).await;
    told.push(ask().await);
    told
}

#[tokio::test]
async fn success_in_any_form_is_shared_byte_for_byte_and_the_circuit_stays_closed() {
    let json_type = ("content-type", "application/json");
    let tokens = br#"{"access_token":"a2","refresh_token":"r2","expires_in":28800}"#;
    let gzipped = gzip(tokens);
    type Form<'a> = (&'a [(&'a str, &'a str)], &'a [u8]);
    let html = ("content-type", "text/html; charset=utf-8");
    let wide: Vec<u8> =
        r#"{"access_token":"a2","refresh_token":"r2"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let forms: [Form<'_>; 13] = [
        (&[("content-type", FORM)], b"access_token=a2&expires_in=28800&refresh_token=r2"),
        (&[json_type], br#"{"status":0,"body":{"access_token":"a2","refresh_token":"r2"}}"#),
        (&[json_type, ("content-encoding", "gzip")], &gzipped),
        (&[json_type], b"\xef\xbb\xbf{\"access_token\":\"a2\",\"refresh_token\":\"r2\"}"),
        (&[json_type], br#"{"ok":true,"code":0,"error":"","access_token":"a2","refresh_token":"r2"}"#),
        (&[json_type], br#"{"result":{"accessToken":"a2","refreshToken":"r2"}}"#),
        (&[("content-type", "text/plain")], b"a2 r2"),
        (&[html], b"<r><access_token>a2</access_token><refresh_token>r2</refresh_token></r>"),
        (&[html], b"callback({\"accessToken\":\"a2\",\"refreshToken\":\"r2\"});"),
        (&[html], b"<br />Notice: x<br />{\"accessToken\":\"a2\",\"refreshToken\":\"r2\"}"),
        (&[html], b"{'access_token':'a2','refresh_token':'r2'}"),
        (&[html], b"eyJhbGciOiJSUzI1NiJ9.e30.c2ln"),
        (&[html], &wide),
    ];
    for (headers, body) in forms {
        let provider = strict(answer(200, headers, body)).await;
        let daemon = Daemon::start(&provider, &["--breaker-max-failures=1"]).await;

        let told = six_callers(&daemon, "r1").await;

        assert!(told.iter().all(|(status, got)| *status == 200 && got == body), "{}", String::from_utf8_lossy(body));
        assert_eq!(provider.seen().len(), 1);
        assert!(daemon.get("/metrics").await.1.contains("refreshd_successes_total 1"));
    }
}

#[tokio::test]
async fn token_that_is_given_back_by_another_name_serves_other_scopes_at_once() {
    for body in [
        r#"{"accessToken":"a2","refreshToken":"r1","expiresIn":3600}"#,
        r#"{"result":{"x":{"AccessToken":"a2"}},"code":0}"#,
        r#"keep({"access_token":"a2","expires_in":3600});"#,
        r#"{"access_token":"a2","refresh_token":["r1"]}"#,
        r#"{"access_token":"a2","refresh_token":"undefined"}"#,
    ] {
        let provider = Provider::start(async move |_| json(200, body)).await;
        let daemon = Daemon::start(&provider, &[]).await;

        for scope in ["a", "b", "c"] {
            assert_eq!(daemon.post(&format!("{}&scope={scope}", refresh("r1"))).await.status(), 200, "{body}");
        }

        assert_eq!(provider.seen().len(), 3, "{body}");
    }
}

#[tokio::test]
async fn challenge_of_a_firewall_leaves_the_token_as_it_was() {
    let presented = AtomicUsize::new(0);
    let provider = Provider::start(move |_| {
        let is_first = presented.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            match is_first {
                true => answer(202, &[("x-amzn-waf-action", "challenge")], b""),
                false => json(200, r#"{"access_token":"a2","refresh_token":"r2"}"#),
            }
        }
    })
    .await;
    let daemon = Daemon::start(&provider, &["--uncertain=never", "--keep-failure=0s"]).await;

    assert_eq!(daemon.post(&refresh("r1")).await.status(), 503);
    assert_eq!(daemon.post(&refresh("r1")).await.status(), 200);
}
