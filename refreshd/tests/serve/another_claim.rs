//! Who comes with a token that was just rotated for somebody else is told in what they differ, and of a setting only where one would help.

use crate::daemon::Daemon;
use crate::provider::{Provider, json};
use crate::redis::RedisServer;
use crate::within;

/// By what the token is rotated, by what it is asked for then, and what is told.
const REFUSALS: [(&[&str], &str, &str, &str); 4] = [
    (
        &[],
        "client_id=app&client_secret=one",
        "client_id=app&client_secret=two",
        "for another client or credential: read ",
    ),
    (
        &[],
        "client_id=app&client_secret=one",
        "client_id=app",
        "for another client, credential, scope or parameter: read ",
    ),
    (&[], "client_id=app", "client_id=app&scope=b", "for another client, credential, scope or parameter: read "),
    (
        &["--other-claims", "refuse"],
        "client_id=app&client_secret=one",
        "client_id=app&client_secret=one&scope=b",
        "it has a newer one (setting other_claims)",
    ),
];

#[tokio::test]
async fn refusal_of_another_claim_says_in_what_it_differs_and_names_a_setting_only_where_that_helps() {
    let redis = RedisServer::start_own(&[]).await;
    let provider = Provider::start(async |_| json(200, r#"{"access_token":"a","refresh_token":"r2"}"#)).await;
    for store in [&[][..], &["--redis", redis.url()]] {
        for (number, (settings, first, second, told)) in REFUSALS.into_iter().enumerate() {
            let namespace = format!("claims-{number}");
            let settings = [settings, store, &["--namespace", &namespace]].concat();
            let daemon = Daemon::start(&provider, &settings).await;
            let token = "grant_type=refresh_token&refresh_token=r1&";
            assert_eq!(daemon.post(&[token, first].concat()).await.status(), 200);

            let answer = daemon.post(&[token, second].concat()).await;

            let status = answer.status();
            let body = within(answer.text()).await.expect("text");
            assert!(status == 503 && body.contains(told), "{second}: {status} {body}");
            assert_eq!(body.contains("setting"), told.contains("setting"), "{body}");
            let line = daemon.logged(r#""reason":"another_claim""#).await;
            assert!(line.contains(r#""rotated_for":"another client"#), "{line}");
            assert_eq!(line.contains("other_claims"), told.contains("setting"), "{line}");
        }
    }
}
