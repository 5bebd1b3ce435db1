//! Requests with the same token that must not share an answer: a wrong secret, another client, a narrower scope.

use crate::fleet::{Answer, Fleet, Request, answers, until};
use crate::provider::Provider;

#[tokio::test(flavor = "multi_thread")]
async fn another_claim_waits_for_the_flight_and_is_refused_after_the_rotation() {
    let Some(provider) = Provider::shared() else { return };
    let fleet = Fleet::start(provider, "rotated", &["--other-claims", "refuse"]).await;
    let family = provider.family("app");
    let token = &family.refresh_token;
    let others = [
        Request::refresh(token).client("app", "a guess"),
        Request::refresh(token).client("other", "other-secret"),
        Request::refresh(token).scope("read"),
    ];

    let held = provider.hold(token);
    let flight = fleet.ask(&Request::refresh(token), 9);
    until(async || provider.presentations(token) == 1).await;
    let waiting: Vec<_> = others.iter().flat_map(|other| fleet.ask(other, 3)).collect();
    fleet.has_callers(9 + 9).await;
    drop(held);
    let (flight, waiting) = (answers(flight).await, answers(waiting).await);
    let mut newcomers = Vec::new();
    for other in &others {
        newcomers.extend(fleet.answers(other, 3).await);
    }

    assert!(flight.iter().all(|answer| answer.status == 200), "{flight:?}");
    for answer in waiting.iter().chain(&newcomers) {
        assert_refused_for_now(answer);
    }
    assert_eq!(provider.presentations(token), 1);
    assert!(provider.is_alive(&family));
}

/// By refreshd, which never says 401: nobody's session is dropped for this.
fn assert_refused_for_now(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.field("error").as_deref(), Some("temporarily_unavailable"), "{answer:?}");
    // At most what is left of the default of --keep-outcome.
    assert!((1..=30).contains(&answer.retry_after.expect("it says when")), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_claim_reaches_the_provider_once_the_outcome_is_no_longer_fresh() {
    let Some(provider) = Provider::shared() else { return };
    let fleet = Fleet::start(provider, "over", &["--keep-outcome", "1s"]).await;
    let family = provider.family("app");
    let token = &family.refresh_token;
    let wrong = Request::refresh(token).client("app", "a guess");

    let rotated = fleet.answers(&Request::refresh(token), 3).await;
    let refused = wrong.clone().send(provider.url()).await;
    let insisted = fleet.insist(&wrong).await;

    assert!(rotated.iter().all(|answer| answer.status == 200), "{rotated:?}");
    assert_eq!((refused.status, refused.field("error").as_deref()), (401, Some("invalid_client")));
    assert!(refused.www_authenticate.is_some());
    assert_eq!(insisted, refused);
    // The rotation, the one past refreshd, the one through it.
    assert_eq!(provider.presentations(token), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn claim_that_fails_first_costs_the_right_one_nothing() {
    let Some(provider) = Provider::shared() else { return };
    let fleet = Fleet::start(provider, "failed", &[]).await;
    let wrong = [("app", "a guess", 401, "invalid_client"), ("other", "other-secret", 400, "invalid_grant")];
    let mut callers = 0;

    for (client, secret, status, error) in wrong {
        let family = provider.family("app");
        let token = &family.refresh_token;

        let held = provider.hold(token);
        let flight = fleet.ask(&Request::refresh(token).client(client, secret), 3);
        until(async || provider.presentations(token) == 1).await;
        let waiting = fleet.ask(&Request::refresh(token), 9);
        callers += 3 + 9;
        fleet.has_callers(callers).await;
        drop(held);
        let (flight, waiting) = (answers(flight).await, answers(waiting).await);

        for answer in flight {
            assert_eq!((answer.status, answer.field("error").as_deref()), (status, Some(error)), "{answer:?}");
            assert_eq!(answer.www_authenticate.is_some(), status == 401, "{answer:?}");
        }
        assert!(waiting.iter().all(|answer| *answer == waiting[0] && answer.status == 200), "{waiting:?}");
        assert_eq!(provider.presentations(token), 2);
        assert!(provider.is_alive(&family));
    }
}
