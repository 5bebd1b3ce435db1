//! New tokens that nobody has used are held, and reuse detection works as soon as somebody has.

use std::time::Duration;

use crate::fleet::{Fleet, Request};
use crate::provider::Provider;

/// Beyond `--keep-outcome` of a second, by the clock that it is counted by.
const NOT_FRESH: Duration = Duration::from_millis(1500);

#[tokio::test(flavor = "multi_thread")]
async fn old_token_is_answered_while_nobody_has_used_the_new_one_and_then_costs_the_family() {
    let Some(provider) = Provider::shared() else { return };
    let fleet = Fleet::start(provider, "held", &["--keep-outcome", "1s"]).await;
    let family = provider.family("app");
    let first = &family.refresh_token;
    let new_token = |answer: &crate::fleet::Answer| answer.field("refresh_token").expect("tokens");

    let lost = fleet.answers(&Request::refresh(first), 1).await;
    fleet.wait(NOT_FRESH).await;
    let again = fleet.answers(&Request::refresh(first), 3).await;

    assert!(again.iter().all(|answer| new_token(answer) == new_token(&lost[0])), "{again:?}");
    assert_eq!(provider.presentations(first), 1);
    assert!(provider.is_alive(&family));

    let used = fleet.answers(&Request::refresh(&new_token(&again[0])), 3).await;
    assert!(used.iter().all(|answer| answer.status == 200), "{used:?}");
    fleet.wait(NOT_FRESH).await;
    let thief = fleet.answers(&Request::refresh(first), 1).await;

    assert_eq!((thief[0].status, thief[0].field("error").as_deref()), (400, Some("invalid_grant")));
    assert_eq!(provider.presentations(first), 2);
    assert!(!provider.is_alive(&family), "the provider saw no reuse");
}
