//! Token requests as clients and gateways really send them: what a provider tolerates is passed on, compared and
//! coordinated.

use futures_util::future::join_all;

use crate::daemon::{Daemon, FORM, client, refresh};
use crate::provider::{Gate, Provider, json};
use crate::redis::RedisServer;
use crate::within;

const TOKENS: &str = "{ \"access_token\":\"a2\",\"refresh_token\":\"r2\" }\n";
const R1: &str = "grant_type=refresh_token&refresh_token=RT1";

/// Headers and body of a request.
type Written<'a> = (&'a [(&'a str, &'a str)], &'a str);

async fn post(daemon: &Daemon, target: &str, (headers, body): Written<'_>) -> (u16, String) {
    let mut request = client().post(daemon.url(target)).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = within(request.send()).await.expect("an answer");
    (answer.status().as_u16(), within(answer.text()).await.expect("text"))
}

/// All ask at once, and then the first asks again: each has the provider's bytes, from one presentation.
async fn one_presentation(arguments: &[&str], target: &str, requests: &[Written<'_>]) {
    let gate = Gate::closed();
    let provider = Provider::behind(&gate, json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, arguments).await;

    let asking = join_all(requests.iter().map(|request| post(&daemon, target, *request)));
    let (answers, ()) = tokio::join!(asking, async {
        provider.asked(1).await;
        gate.open();
    });
    let again = post(&daemon, target, requests[0]).await;

    for answer in answers.iter().chain([&again]) {
        assert_eq!(answer, &(200, TOKENS.to_owned()), "{requests:?}");
    }
    let seen = provider.seen();
    assert_eq!(seen.len(), 1, "{requests:?}");
    assert!(requests.iter().any(|(_, body)| *body == seen[0].body), "as it came");
    assert_eq!(seen[0].headers["accept-encoding"], "identity");
}

const TYPE: (&str, &str) = ("content-type", FORM);

#[tokio::test]
async fn refresh_token_of_many_groups_is_coordinated() {
    for length in [8193, 64 * 1024] {
        let body = refresh(&"x".repeat(length));
        one_presentation(&[], "/token", &[(&[TYPE], &body), (&[TYPE], &body)]).await;
    }
}

#[tokio::test]
async fn doubles_and_a_credential_in_two_places_are_one() {
    let basic = ("authorization", "Basic YXBwOnB3"); // app:pw
    let once = format!("{R1}&client_id=app&client_secret=pw&scope=openid");
    let twice = format!("{once}&client_id=app&scope=openid");
    let by_basic = format!("{R1}&scope=openid");

    let all: [Written<'_>; 4] =
        [(&[TYPE, basic], &once), (&[TYPE], &twice), (&[TYPE, basic], &by_basic), (&[TYPE], &once)];
    one_presentation(&[], "/token", &all).await;
}

#[tokio::test]
async fn client_that_finds_out_how_to_authenticate_at_two_daemons_is_handed_no_refusal_of_another_way() {
    let (redis, gate) = (RedisServer::start().await, Gate::closed());
    let held_back = gate.clone();
    let provider = Provider::start(move |seen| {
        let gate = held_back.clone();
        async move {
            if !seen.headers.contains_key("authorization") {
                return json(200, TOKENS);
            }
            gate.passed().await;
            json(401, r#"{"error":"invalid_client"}"#)
        }
    })
    .await;
    redis.in_use("probing").await;
    let flags = ["--redis", redis.url(), "--namespace", "probing"];
    let (a, b) = (Daemon::start(&provider, &flags).await, Daemon::start(&provider, &flags).await);
    let by_basic: Written<'_> = (&[TYPE, ("authorization", "Basic YXBwOnB3")], R1);
    let body = format!("{R1}&client_id=app&client_secret=pw");

    let joins = async {
        provider.asked(1).await;
        post(&b, "/token", (&[TYPE], &body)).await
    };
    let opens = within(async {
        while !b.get("/metrics").await.1.contains("\nrefreshd_joined_fleet_total 1\n") {}
        gate.open();
    });
    let (refused, tokens, ()) = tokio::join!(post(&a, "/token", by_basic), joins, opens);

    assert_eq!((refused.0, tokens), (401, (200, TOKENS.to_owned())));
    assert_eq!(post(&a, "/token", by_basic).await, (200, TOKENS.to_owned()), "a success is for both");
    assert_eq!(provider.seen().len(), 2);
}

#[tokio::test]
async fn tabs_with_different_expired_access_tokens_share_an_answer() {
    let body = format!("{R1}&client_id=app");
    let [one, two, three] = ["Bearer one", "Bearer two", "DPoP three"].map(|value| [TYPE, ("authorization", value)]);

    one_presentation(&[], "/token", &[(&one, &body), (&two, &body), (&three, &body)]).await;
}

#[tokio::test]
async fn json_is_coordinated_as_a_form_is() {
    let (one, other) = (
        r#"{"grant_type":"refresh_token","refresh_token":"RT1"}"#,
        r#"{ "refresh_token": "RT1", "grant_type": "refresh_token" }"#,
    );
    let json: [(&str, &str); 1] = [("content-type", "application/json")];
    one_presentation(&["--only-refresh"], "/token", &[(&json, one), (&json, other), (&json, one), (&json, one)]).await;
    one_presentation(&[], "/token?grant_type=refresh_token", &[(&json as &[_], r#"{"refresh_token":"RT1"}"#); 3]).await;
}

#[tokio::test]
async fn parameters_in_the_query_are_coordinated() {
    one_presentation(
        &[],
        "/token?refresh_token=RT1&client_id=app",
        &[(&[TYPE] as &[_], "grant_type=refresh_token"); 2],
    )
    .await;
}

#[tokio::test]
async fn tenants_do_not_share_where_their_header_is_claimed() {
    let provider = Provider::start(async |_| json(200, r#"{"access_token":"a"}"#)).await;
    let daemon = Daemon::start(&provider, &["--claim-header", "X-Api-Key,X-Tenant"]).await;

    for tenant in ["a", "a", "b", "b"] {
        assert_eq!(post(&daemon, "/token", (&[TYPE, ("x-tenant", tenant)], R1)).await.0, 200);
    }

    let tenants: Vec<_> = provider.seen().into_iter().map(|seen| seen.headers["x-tenant"].clone()).collect();
    assert_eq!(tenants, ["a", "b"]);
}

#[tokio::test]
async fn refresh_without_a_token_gets_the_providers_own_answer() {
    const REFUSED: &str = "{\"error\":\"invalid_request\",\"error_description\":\"of theirs\"}\n";
    let provider = Provider::start(async |_| json(400, REFUSED)).await;
    let daemon = Daemon::start(&provider, &["--only-refresh"]).await;

    for body in ["grant_type=refresh_token", "grant_type=refresh_token&refresh_token="] {
        assert_eq!(post(&daemon, "/token", (&[TYPE], body)).await, (400, REFUSED.to_owned()));
    }

    assert_eq!(provider.seen().len(), 2);
}

#[tokio::test]
async fn what_is_refused_is_told_to_the_caller_and_the_log_and_quoted_to_nobody() {
    let provider = Provider::start(async |_| json(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &["--max-token", "1KiB"]).await;
    let long = refresh(&format!("s3cr3t{}", "x".repeat(1024)));
    let many = format!("{R1}{}", "&s3cr3t=s3cr3t".repeat(16_000 / 3));
    let cases = [
        ("grant_type=refresh_token&refresh_token=s3cr3t&refresh_token=other", "refresh_token is there with different"),
        ("grant_type=s3cr3t&grant_type=refresh_token&refresh_token=a", "grant_type is there with different values"),
        (&long, "the refresh token has 1030 bytes, allowed are 1024 (setting max_token)"),
        (&many, "more than 200 parameters"),
    ];

    for (body, reason) in cases {
        let (status, answer) = post(&daemon, "/token", (&[TYPE], body)).await;

        assert_eq!(status, 400, "{reason}");
        assert!(answer.starts_with(r#"{"error":"invalid_request""#) && answer.contains(reason), "{answer}");
        let line = daemon.logged(reason).await;
        assert!(line.contains(r#""level":"INFO""#) && line.contains("is refused"), "{line}");
        assert!(!line.contains("s3cr3t") && !answer.contains("s3cr3t"), "{line} {answer}");
    }
    assert!(provider.seen().is_empty());
}
