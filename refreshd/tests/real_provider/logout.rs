//! A logout while the session's token is refreshed: the provider is left with no token that lives.

use crate::fleet::{Fleet, Request, answers, until};
use crate::provider::Provider;

#[tokio::test(flavor = "multi_thread")]
async fn logout_in_mid_flight_leaves_nobody_with_tokens_and_none_alive_at_the_provider() {
    let Some(provider) = Provider::shared() else { return };
    let revocation_url = provider.url().replace("/o/token/", "/o/revoke_token/");
    let fleet = Fleet::start(provider, "logout", &["--revocation-upstream", &revocation_url]).await;
    let family = provider.family("app");
    let token = &family.refresh_token;
    let held = provider.hold_answer(token);
    let callers = fleet.ask(&Request::refresh(token), 6);
    fleet.has_callers(6).await;
    until(async || provider.served(token) == 1).await;
    until(async || fleet.sum("refreshd_joined_fleet_total").await == 2).await;

    let answer = fleet.revoke(1, token).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    drop(held);
    let told = answers(callers).await;
    assert!(told.iter().all(|answer| answer.field("error").as_deref() == Some("invalid_grant")), "{told:?}");
    until(async || !provider.is_alive(&family)).await;
    let late = fleet.answers(&Request::refresh(token), 3).await;
    assert!(late.iter().all(|answer| answer.status == 400 && answer.field("access_token").is_none()), "{late:?}");
    assert_eq!((provider.presentations(token), provider.revocations(token)), (1, 1));
    until(async || fleet.sum("refreshd_revoked_total").await == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_with_an_old_token_revokes_the_newest() {
    let Some(provider) = Provider::shared() else { return };
    let revocation_url = provider.url().replace("/o/token/", "/o/revoke_token/");
    let fleet = Fleet::start(provider, "old-logout", &["--revocation-upstream", &revocation_url]).await;
    let family = provider.family("app");
    let refreshed = fleet.answers(&Request::refresh(&family.refresh_token), 1).await;
    let newest = refreshed[0].field("refresh_token").expect("tokens");
    assert!(provider.is_alive(&family));

    let answer = fleet.revoke(2, &family.refresh_token).await;

    assert_eq!((answer.status, provider.revocations(&newest)), (200, 1), "{answer:?}");
    assert!(!provider.is_alive(&family));
    let late = fleet.answers(&Request::refresh(&newest), 3).await;
    assert!(late.iter().all(|answer| answer.status == 400), "{late:?}");
    assert_eq!(provider.presentations(&newest), 0);
}
