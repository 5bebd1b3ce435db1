use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::*;
use crate::token_response::{LONGEST_LIFE, TokenResponse};
use crate::tokens::brought;

const S: Duration = Duration::from_secs(1);

fn given(body: &str) -> SessionTokens {
    let tokens = TokenResponse::from_json(body).expect("tokens");
    brought::login(&tokens, UNIX_EPOCH + 1000 * S, 60 * S).expect("a refresh token")
}

fn grant(access_token: &str, seconds: u32) -> Grant {
    Grant { fence: Some(7), ..Grant::new(access_token.into(), UNIX_EPOCH + 1000 * S, seconds * S) }
}

fn holding(row: &SessionTokens, name: &str, grant: Grant) -> SessionTokens {
    row.rewritten(row.refresh_token().clone(), None).with_grant(&Claim::named(name), grant, UNIX_EPOCH + 1000 * S)
}

#[test]
fn text_holds_everything() {
    let login = given(r#"{"access_token":"a","refresh_token":"r2","expires_in":300,"scope":"openid","id_token":"i"}"#);
    let own = Grant { fence: Some(7), ..login.own.clone() };
    let tokens = holding(&SessionTokens { own, ..login }, "billing", grant("b", 60));

    let read = SessionTokens::from_text(tokens.to_text().expose()).expect("its own text");

    assert_eq!((read.access_token().expose(), read.refresh_token().expose()), ("a", "r2"));
    assert_eq!((read.expires_at(), read.lifetime()), (UNIX_EPOCH + 1300 * S, 300 * S));
    assert_eq!((read.scope(), read.id_token().map(Secret::expose)), (Some("openid"), Some("i")));
    assert_eq!((read.fence(), read.writes()), (Some(7), 1));
    assert!(read.is_of_login_of(&tokens));
    let billing = read.grant(&Claim::named("billing")).expect("held");
    assert_eq!((billing.access_token.expose(), billing.lifetime, billing.fence), ("b", 60 * S, Some(7)));
    assert_eq!(billing.expires_at, UNIX_EPOCH + 1060 * S);
    for text in ["", "{}", "null", r#"{"access_token":"a","refresh_token":"r","expires_at_ms":-1,"lifetime_ms":1}"#] {
        assert_eq!(SessionTokens::from_text(text).err(), Some(UnreadableTokens), "{text}");
    }
}

/// What releases without claims read and write.
#[derive(Serialize, Deserialize)]
struct WithoutClaims {
    access_token: String,
    refresh_token: String,
    expires_at_ms: i64,
    lifetime_ms: i64,
    #[serde(default)]
    fence: Option<u64>,
}

#[test]
fn release_without_claims_reads_what_has_them_and_is_read() {
    let row =
        holding(&given(r#"{"access_token":"a","refresh_token":"r","expires_in":300}"#), "billing", grant("b", 60));

    let without: WithoutClaims = serde_json::from_str(row.to_text().expose()).expect("it reads what it knows");
    assert_eq!((without.access_token.as_str(), without.refresh_token.as_str()), ("a", "r"));
    assert_eq!((without.expires_at_ms, without.lifetime_ms), (1_300_000, 300_000));

    let written = serde_json::to_string(&without).expect("written");
    let read = SessionTokens::from_text(&written).expect("a row without claims");
    assert_eq!((read.claims().count(), read.writes()), (0, 0));
    assert!(holding(&read, "billing", grant("b", 60)).may_replace(&read, &["r".into()]));
}

#[test]
fn access_token_that_is_given_for_ever_is_held_and_written_as_any_other() {
    let forever = given(r#"{"access_token":"a","refresh_token":"r2","expires_in":9223372036854775807}"#);
    let own = SessionTokens::new("a", "r", SystemTime::now(), Duration::MAX);

    for tokens in [forever, own] {
        let read = SessionTokens::from_text(tokens.to_text().expose()).expect("its own text");
        assert_eq!(read.lifetime(), LONGEST_LIFE);
        assert_eq!(read.expires_at_ms(), tokens.expires_at_ms());
    }
}

#[test]
fn row_is_replaced_by_what_was_made_from_it_and_by_nothing_else() {
    let login = given(r#"{"access_token":"a","refresh_token":"r1"}"#);
    let (one, other) = (holding(&login, "one", grant("b", 60)), holding(&login, "other", grant("c", 30)));
    let walked = ["r1".into()];

    assert!(one.may_replace(&login, &walked) && other.may_replace(&login, &walked));
    assert!(!other.may_replace(&one, &walked), "it would lose the first");
    assert!(!one.may_replace(&one, &walked) && !login.may_replace(&one, &walked));
    assert!(!one.may_replace(&login, &["r0".into()]), "not of the walk");
    let both = holding(&one, "other", grant("c", 30));
    assert!(both.may_replace(&one, &walked), "though it ends earlier");
    assert_eq!(both.claims().collect::<Vec<_>>(), ["one", "other"]);
}

#[test]
fn fences_are_those_of_the_refresh_token_that_is_held() {
    let held = holding(&given(r#"{"access_token":"a","refresh_token":"r1"}"#), "billing", grant("b", 60));
    let fence = |row: &SessionTokens| row.grant(&Claim::named("billing")).expect("held").fence;

    assert_eq!(fence(&held.rewritten("r1".into(), None)), Some(7));
    assert_eq!(fence(&held.rewritten("r2".into(), None)), None);
}

#[test]
fn row_holds_no_claim_that_has_ended_and_64_at_most() {
    let mut row = given(r#"{"access_token":"a","refresh_token":"r1"}"#);
    for claim in 0..64 {
        row = holding(&row, &format!("claim {claim}"), grant("b", 300 - claim));
    }
    row = holding(&row, "one more", grant("b", 1));
    let names: Vec<_> = row.claims().collect();
    assert_eq!((names.len(), names.contains(&"claim 63"), names.contains(&"one more")), (64, false, true));

    let later = row.rewritten("r2".into(), None).with_grant(&Claim::Login, grant("a2", 300), UNIX_EPOCH + 1298 * S);
    assert_eq!(later.claims().collect::<Vec<_>>(), ["claim 0", "claim 1"]);
    assert_eq!(later.access_token().expose(), "a2");
}
