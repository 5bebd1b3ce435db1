//! A provider that narrows: its next refresh token has the scope that was asked for last. There no other scope follows the refreshes of
//! its session; the preset of this provider says so, and `--other-claims refuse` does.

use crate::fleet::{Answer, Fleet, Request};
use crate::provider::Provider;

const ALL: &str = "read write";

/// A narrower scope comes with each token that was rotated, at three pods; the session goes on with all of its scopes.
async fn session_keeps_its_scopes(provider: &Provider, namespace: &str, flags: &[&str]) {
    let fleet = Fleet::start(provider, namespace, flags).await;
    let family = provider.family("app");
    let mut token = family.refresh_token.clone();
    for _ in 0..3 {
        let whole = fleet.answers(&Request::refresh(&token), 3).await;
        let narrower = fleet.answers(&Request::refresh(&token).scope("read"), 3).await;

        assert!(whole.iter().all(|answer| has_scope(answer, ALL)), "{whole:?}");
        for answer in narrower {
            assert_eq!((answer.status, answer.field("error").as_deref()), (503, Some("temporarily_unavailable")));
            assert!(answer.retry_after.is_some(), "{answer:?}");
        }
        assert_eq!(provider.presentations(&token), 1);
        token = whole[0].field("refresh_token").expect("it rotates");
    }

    assert_eq!(provider.presentations(&token), 0, "the newest is the session's own to use");
    assert!(provider.is_alive(&family));
    assert_eq!(fleet.sum("refreshd_refused_another_claim_total").await, 9);
}

fn has_scope(answer: &Answer, scope: &str) -> bool {
    answer.status == 200 && answer.field("scope").as_deref() == Some(scope)
}

#[tokio::test(flavor = "multi_thread")]
async fn session_of_a_provider_that_narrows_keeps_its_scopes_by_its_preset() {
    let Some(provider) = Provider::shared() else { return };
    session_keeps_its_scopes(provider, "narrows-preset", &["--provider", "django-oauth-toolkit"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn session_of_a_provider_that_narrows_keeps_its_scopes_where_other_claims_are_refused() {
    let Some(provider) = Provider::shared() else { return };
    session_keeps_its_scopes(provider, "narrows-refuse", &["--other-claims", "refuse"]).await;
}

/// The control: what the setting that the preset overrules does to a session of this provider.
#[tokio::test(flavor = "multi_thread")]
async fn session_of_a_provider_that_narrows_loses_a_scope_where_other_claims_follow() {
    let Some(provider) = Provider::shared() else { return };
    let fleet = Fleet::start(provider, "narrows-follow", &["--other-claims", "follow"]).await;
    let family = provider.family("app");
    let first = fleet.answers(&Request::refresh(&family.refresh_token), 1).await.remove(0);
    assert!(has_scope(&first, ALL), "{first:?}");

    let follows = fleet.answers(&Request::refresh(&family.refresh_token).scope("read"), 1).await.remove(0);
    let newest = follows.field("refresh_token").unwrap_or_else(|| panic!("it follows: {follows:?}"));
    let again = fleet.answers(&Request::refresh(&first.field("refresh_token").expect("tokens")).scope(ALL), 1).await;

    assert!(has_scope(&follows, "read"), "{follows:?}");
    assert_eq!(again[0].field("error").as_deref(), Some("invalid_scope"), "{again:?}");
    assert_eq!((provider.presentations(&family.refresh_token), provider.presentations(&newest)), (1, 1));
}
