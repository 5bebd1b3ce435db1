//! What token endpoints answer in the field: success in any form, refusals by any name, limits in any header.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Response;

use crate::daemon::{Daemon, FORM, client, refresh};
use crate::provider::{Answer, Provider, Seen, json};
use crate::within;

pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let bare = Response::builder().status(status);
    let answer = headers.iter().fold(bare, |answer, (name, value)| answer.header(*name, *value));
    Some(answer.body(body.to_vec()).expect("a response"))
}

/// A provider that gives this answer to a token's first presentation, and ends its family at the second.
pub(crate) async fn strict(first: Answer) -> Provider {
    let presented = AtomicUsize::new(0);
    Provider::start(move |_| {
        let reused = json(400, r#"{"error":"invalid_grant","error_description":"the family is revoked"}"#);
        let answer = if presented.fetch_add(1, Ordering::SeqCst) == 0 { first.clone() } else { reused };
        async move { answer }
    })
    .await
}

pub(crate) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}

#[tokio::test]
async fn dead_token_in_any_dress_is_presented_once_and_its_verdict_told_to_everybody() {
    for (status, body) in [
        (400, r#"{"status":"BAD_REFRESH_TOKEN"}"#),
        (401, r#"{"error":{"code":"refresh_token_reused"}}"#),
        (400, r#"{"error_code":"refresh_token_already_used"}"#),
        (200, r#"{"error":"bad_refresh_token"}"#),
        (400, r#"{"error":"token_gone"}"#),
    ] {
        let provider = Provider::start(move |_| async move { json(status, body) }).await;
        let daemon = Daemon::start(&provider, &["--dead-token-error=token_gone"]).await;

        for _ in 0..8 {
            let answer = daemon.post(&refresh("r1")).await;
            let (got, text) = (answer.status().as_u16(), within(answer.text()).await.expect("text"));
            assert_eq!((got, text.as_str()), (status, body));
        }

        assert_eq!(provider.seen().len(), 1, "{body}");
    }
}

#[tokio::test]
async fn refusal_that_will_pass_logs_nobody_out_and_is_asked_again_by_the_preset() {
    const LATER: &str = r#"{"error":"invalid_grant","error_description":"token request is already being processed"}"#;
    let presented = AtomicUsize::new(0);
    let provider = Provider::start(move |_| {
        let is_first = presented.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            match is_first {
                true => answer(400, &[("content-type", "application/json"), ("retry-after", "7")], LATER.as_bytes()),
                false => json(200, r#"{"access_token":"a2"}"#),
            }
        }
    })
    .await;
    let daemon = Daemon::start(&provider, &["--provider", "salesforce", "--keep-failure=0s"]).await;

    let first = daemon.post(&refresh("r1")).await;
    assert_eq!((first.status().as_u16(), &first.headers()["retry-after"]), (503, &"7".parse().unwrap()));
    let body = within(first.text()).await.expect("text");
    assert!(body.contains("temporarily_unavailable") && !body.contains("invalid_grant"), "{body}");

    assert_eq!(daemon.post(&refresh("r1")).await.status(), 200);
}

#[tokio::test]
async fn gateway_that_reached_nobody_leaves_the_token_as_it_was() {
    let presented = AtomicUsize::new(0);
    let provider = Provider::start(move |_| {
        let is_first = presented.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            match is_first {
                true => answer(503, &[("content-type", "text/plain")], b"no healthy upstream"),
                false => json(200, r#"{"access_token":"a2","refresh_token":"r2"}"#),
            }
        }
    })
    .await;
    let daemon = Daemon::start(&provider, &["--uncertain=never", "--keep-failure=0s"]).await;

    let first = daemon.post(&refresh("r1")).await;
    assert_eq!(first.status(), 503);
    assert_eq!(within(first.text()).await.expect("text"), "no healthy upstream");

    assert_eq!(daemon.post(&refresh("r1")).await.status(), 200);
}

#[tokio::test]
async fn reusable_tokens_give_each_scope_its_own_answer() {
    let provider = Provider::start(async |seen: Seen| {
        let scope = seen.body.rsplit('=').next().unwrap_or_default().to_owned();
        json(200, &format!(r#"{{"access_token":"for {scope}","refresh_token":"r2","expires_in":3600}}"#))
    })
    .await;
    let daemon = Daemon::start(&provider, &["--provider", "entra"]).await;

    let ask = |scope: &'static str| {
        let daemon = &daemon;
        async move {
            let answer = daemon.post(&format!("{}&scope={scope}", refresh("r1"))).await;
            assert_eq!(answer.status(), 200, "{scope}");
            assert!(within(answer.text()).await.expect("text").contains(&format!("for {scope}")));
        }
    };
    futures_util::future::join_all(["a", "b", "c", "a", "b", "c"].map(ask)).await;

    assert_eq!(provider.seen().len(), 3);
}

#[tokio::test]
async fn token_that_is_given_back_serves_other_scopes_at_once_and_is_refreshed_anew_in_time() {
    let provider =
        Provider::start(async |_| json(200, r#"{"access_token":"a2","refresh_token":"r1","expires_in":4}"#)).await;
    let daemon = Daemon::start(&provider, &[]).await;
    assert_eq!(daemon.post(&refresh("r1")).await.status(), 200);

    let other = daemon.post(&format!("{}&scope=b", refresh("r1"))).await;
    assert_eq!((other.status().as_u16(), provider.seen().len()), (200, 2));

    // Half of its life is over; the answer is not handed on any more.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let anew = daemon.post(&format!("{}&scope=b", refresh("r1"))).await;
    assert_eq!(provider.seen().len(), 3);
    assert!(within(anew.text()).await.expect("text").contains("\"expires_in\":4"));
}

#[tokio::test]
async fn token_that_is_never_rotated_serves_every_job() {
    let provider = Provider::start(async |_| json(200, r#"{"access_token":"a2","expires_in":3599}"#)).await;
    let daemon = Daemon::start(&provider, &["--max-refresh-attempts=1"]).await;

    for scope in 0..8 {
        // Each job asks for another scope, so that none is served by what another one got.
        assert_eq!(daemon.post(&format!("{}&scope=s{scope}", refresh("r1"))).await.status(), 200);
    }

    assert_eq!(provider.seen().len(), 8);
}

#[tokio::test]
async fn short_lives_of_access_tokens_allow_their_session_two_refreshes_each() {
    let provider =
        Provider::start(async |_| json(200, r#"{"access_token":"a2","expires_in":60,"refresh_token":"r"}"#)).await;
    let daemon = Daemon::start(&provider, &["--session-header=x-session"]).await;
    let ask = |call: u32| {
        let request = client().post(daemon.url("/token")).header("content-type", FORM).header("x-session", "s");
        async move { within(request.body(refresh(&format!("r{call}"))).send()).await.expect("an answer").status() }
    };

    let mut served = 0;
    while ask(served).await == 200 {
        served += 1;
    }

    // Five minutes are five lives.
    assert_eq!(served, 10);
}

#[tokio::test]
async fn refusal_of_ours_is_told_in_the_log_once_with_reason_setting_and_end() {
    let provider = Provider::start(async |_| json(200, r#"{"access_token":"a2","refresh_token":"r"}"#)).await;
    let daemon = Daemon::start(&provider, &["--max-refresh-attempts=1", "--session-header=x-session"]).await;
    let ask = |token: &str| {
        let request = client().post(daemon.url("/token")).header("content-type", FORM).header("x-session", "s");
        request.body(refresh(token)).send()
    };
    assert_eq!(within(ask("r1")).await.expect("an answer").status(), 200);

    let refused = within(ask("r2")).await.expect("an answer");

    assert_eq!(refused.status(), 429);
    let line = daemon.logged("\"message\":\"refused\"").await;
    let line: serde_json::Value = serde_json::from_str(&line).expect("logs are JSON");
    let told = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
    assert_eq!((told("level"), told("reason")), ("INFO".to_owned(), "cooling_down".to_owned()));
    assert_eq!(told("setting"), "max_refresh_attempts");
    assert!(told("flight").len() == 64 && !told("pod").is_empty() && told("until").ends_with('Z'), "{line}");
}

#[tokio::test]
async fn refusal_after_a_rotation_says_to_read_the_session_again_and_nothing_of_keep_outcome() {
    let provider = Provider::start(async |_| json(200, r#"{"access_token":"a2","refresh_token":"r2"}"#)).await;
    let daemon = Daemon::start(&provider, &["--keep-outcome=1m"]).await;
    assert_eq!(daemon.post(&refresh("r1")).await.status(), 200);

    let other = daemon.post(&format!("{}&scope=b", refresh("r1"))).await;

    assert_eq!((other.status().as_u16(), other.headers()["retry-after"].to_str().expect("digits")), (503, "1"));
    assert!(within(other.text()).await.expect("text").contains("read the session again"));
    assert_eq!(provider.seen().len(), 1);
}

#[tokio::test]
async fn expires_in_of_text_stays_text_for_later_callers() {
    for body in [
        r#"{"access_token":"a2","refresh_token":"r2","expires_in":"3600"}"#,
        r#"{"data":{"access_token":"a2","refresh_token":"r2","expires_in":"3600"}}"#,
        "access_token=a2&expires_in=3600&refresh_token=r2",
    ] {
        let plain = strict(answer(200, &[], body.as_bytes())).await;
        let gzipped = strict(answer(200, &[("content-encoding", "gzip")], &gzip(body.as_bytes()))).await;
        for provider in [plain, gzipped] {
            let daemon = Daemon::start(&provider, &[]).await;
            daemon.post(&refresh("r1")).await;

            tokio::time::sleep(Duration::from_millis(1500)).await;
            let later = daemon.post(&refresh("r1")).await;

            assert!(!later.headers().contains_key("content-encoding"));
            let text = within(later.text()).await.expect("text");
            let expected = |left: &str| body.replace("3600", left);
            assert!([expected("3598"), expected("3597"), expected("3596")].contains(&text), "{text}");
        }
    }
}

#[tokio::test]
async fn limit_told_in_any_header_is_kept_to_and_costs_nothing() {
    for (status, name, value) in [
        (429, "retry-after", "30"),
        (429, "x-ratelimit-reset", "30"),
        (503, "x-rate-limit-reset", "30"),
        (429, "ratelimit", "limit=10, remaining=0, reset=30"),
    ] {
        let provider = Provider::start(move |_| async move { answer(status, &[(name, value)], b"slow down") }).await;
        let daemon = Daemon::start(&provider, &["--max-refresh-attempts=1"]).await;

        for _ in 0..4 {
            assert_eq!(daemon.post(&refresh("r1")).await.status(), status, "{name}");
        }

        assert_eq!(provider.seen().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn pages_and_tokens_left_out_stay_as_they_are() {
    for (status, body) in [
        (403, "<html>blocked by the firewall</html>"),
        (408, "<html>408 Request Timeout</html>"),
        (200, r#"{"access_token":"a2"}"#),
        (200, r#"{"access_token":"a2","refresh_token":null}"#),
        (200, r#"{"access_token":"a2","refresh_token":""}"#),
        (200, r#"{"access_token":"a2","refresh_token":false}"#),
    ] {
        let provider = Provider::start(move |_| async move { answer(status, &[], body.as_bytes()) }).await;
        let daemon = Daemon::start(&provider, &[]).await;

        let answer = daemon.post(&refresh("r1")).await;

        let (got, text) = (answer.status().as_u16(), within(answer.text()).await.expect("text"));
        assert_eq!((got, text.as_str()), (status, body));
    }
}

#[tokio::test]
async fn presets_are_printed_with_their_sources() {
    let mut command = crate::daemon::refreshd(&["presets"]);
    let printed = within(command.stdout(std::process::Stdio::piped()).output()).await.expect("it runs");
    let text = String::from_utf8(printed.stdout).expect("UTF-8");

    assert!(printed.status.success());
    for name in [
        "atlassian",
        "twitch",
        "okta",
        "auth0",
        "keycloak",
        "entra",
        "google",
        "github",
        "salesforce",
        "supabase",
        "django-oauth-toolkit",
        "firebase",
        "zoho",
    ] {
        assert!(text.lines().any(|line| line == name), "{name}: {text}");
    }
    assert!(text.contains("https://learn.microsoft.com/en-us/entra/identity-platform/refresh-tokens"));

    let wrong = within(crate::daemon::refreshd(&["serve", "--provider=octa"]).output()).await.expect("it runs");
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(told.contains("okta, salesforce, supabase") && told.lines().count() == 1, "{told}");
}
