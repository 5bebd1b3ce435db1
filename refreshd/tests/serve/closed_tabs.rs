//! Callers that go away before they are answered, and come again with the token that they have.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;

use crate::daemon::Daemon;
use crate::provider::{Gate, Provider, json};
use crate::redis::RedisServer;
use crate::within;

const SESSIONS: usize = 200;

/// Rotates, takes a token that comes twice for stolen, and keeps everybody waiting at first.
async fn strict_provider(gate: &Gate) -> Provider {
    let (gate, used) = (gate.clone(), Arc::new(Mutex::new(HashSet::new())));
    Provider::start(move |seen| {
        let (gate, used) = (gate.clone(), Arc::clone(&used));
        async move {
            gate.passed().await;
            let token = seen.body.split('&').find_map(|pair| pair.strip_prefix("refresh_token=")).expect("a token");
            let token = token.replace("%2E", ".");
            if !used.lock().expect("no panic").insert(token.clone()) {
                return json(400, r#"{"error":"invalid_grant"}"#);
            }
            let (session, generation) = token.split_once('.').expect("a session and a generation");
            let next = generation.parse::<u32>().expect("a number") + 1;
            json(200, &format!(r#"{{"access_token":"a{next}","expires_in":12,"refresh_token":"{session}.{next}"}}"#))
        }
    })
    .await
}

fn refresh(session: usize, credential: &str) -> String {
    format!("grant_type=refresh_token&client_id=app&refresh_token={session}.1&scope=a{credential}")
}

async fn ask_again(daemons: &[Daemon], round: usize) -> Vec<String> {
    let answers = (0..SESSIONS).map(|session| async move {
        let answer = daemons[(session + round) % daemons.len()].post(&refresh(session, "&client_secret=pw")).await;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = within(answer.text()).await.expect("text");
        assert_eq!(status, 200, "session {session} is logged out: {body}");
        assert!(headers["refresh-fence"].to_str().expect("digits").parse::<u64>().expect("a fence") > 0);
        headers["refresh-role"].to_str().expect("a word").to_owned()
    });
    join_all(answers).await
}

#[tokio::test]
async fn two_hundred_sessions_whose_tabs_were_closed_in_mid_request_are_not_logged_out() {
    let (redis, gate) = (RedisServer::start_own(&[]).await, Gate::closed());
    redis.in_use("default").await;
    let provider = strict_provider(&gate).await;
    let settings = [
        "--redis",
        redis.url(),
        "--keep-outcome",
        "200ms",
        "--max-concurrent-refreshes",
        "500",
        "--store-timeout",
        "5s",
    ];
    let daemons = join_all((0..3).map(|_| Daemon::start(&provider, &settings))).await;
    daemons[0].logged("those to public clients").await;

    let all = join_all(
        (0..SESSIONS).map(|session| daemons[session % 3].write_refresh(refresh(session, "&client_secret=pw"))),
    )
    .await;
    provider.asked(SESSIONS).await;
    drop(all);
    gate.open();
    redis.until(&["ZCARD", "rc:{default}:held_until"], &SESSIONS.to_string()).await;
    redis.wait(Duration::from_millis(300)).await;

    let soon = ask_again(&daemons, 1).await;
    assert_eq!(provider.seen().len(), SESSIONS, "nobody was asked");
    redis.wait(Duration::from_secs(13)).await;
    let late = ask_again(&daemons, 2).await;

    assert!(soon.iter().all(|role| role == "latecomer"), "{soon:?}");
    assert!(late.iter().all(|role| role == "led"), "{late:?}");
    let presented: HashSet<_> = provider.seen().into_iter().map(|seen| seen.body.replace("%2E", ".")).collect();
    assert_eq!((presented.len(), provider.seen().len()), (2 * SESSIONS, 2 * SESSIONS));
    assert!(
        presented.contains(&refresh(0, "&client_secret=pw").replace("0.1", "0.2")),
        "nothing but the token changes"
    );
}

#[tokio::test]
async fn public_clients_and_signed_requests_are_as_before() {
    let gate = Gate::closed();
    gate.open();
    let provider = strict_provider(&gate).await;
    let daemon = Daemon::start(&provider, &["--keep-outcome", "0s"]).await;

    let public = [daemon.post(&refresh(1, "")).await, daemon.post(&refresh(1, "")).await];
    let signed = |body: String| {
        let request = crate::daemon::client().post(daemon.url("/token")).header("content-type", crate::daemon::FORM);
        within(request.header("signature-input", "sig=()").body(body).send())
    };
    let body = refresh(2, "&client_secret=pw");
    let signed = [signed(body.clone()).await.expect("an answer"), signed(body).await.expect("an answer")];

    for [first, second] in [public, signed] {
        assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 400));
    }
}
