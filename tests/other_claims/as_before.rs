//! Where no answers are held beyond their time, another claim is refused as ever: with `keep_until_used` 0, for a public client, and
//! where a refresh function presents a token of its own. Where tokens may be used again, claims have nothing to do with each other.

use std::time::Duration;

use refresh_coordinator::{
    Attempt, Config, Refresh, RefreshCoordinator, RefreshError, RefreshTokens, Refreshed, Refusal,
};

use crate::on_both_stores;
use crate::provider::{Presented, Provider};
use crate::support;
use crate::support::fleet::{Fleet, quick};

/// The claims of one login.
fn scoped(refresh: &Refresh, scope: &str) -> Refresh {
    refresh.clone().parameters([("scope", scope)])
}

async fn refresh(
    pod: &RefreshCoordinator,
    provider: &Provider,
    refresh: Refresh,
    scope: &str,
) -> Result<Refreshed, RefreshError> {
    let provider = provider.clone();
    let (asked, scope) = (refresh.token().expose().to_owned(), scope.to_owned());
    pod.refresh(refresh, async move |attempt: Attempt| {
        let presented = Presented { asked, token: attempt.token().to_owned(), scope };
        provider.answer(presented, true).await
    })
    .await
}

/// The second claim is refused, and a caller of the first is handed its answer.
async fn other_claim_is_refused(fleet: &Fleet, of_client: Refresh) {
    let provider = Provider::prompt();
    let [a, b] = &fleet.pods[..] else { panic!("two pods") };
    refresh(a, &provider, scoped(&of_client, "mail"), "mail").await.expect("tokens");

    for pod in [a, b] {
        let told = refresh(pod, &provider, scoped(&of_client, "files"), "files").await;
        let error = told.expect_err("it was rotated for another");
        assert!(matches!(error, RefreshError::Refused(Refusal::AnotherClaim { .. })), "{error:?}");
        assert!(error.is_transient());
        refresh(pod, &provider, scoped(&of_client, "mail"), "mail").await.expect("it is fresh");
    }

    assert_eq!(provider.presented().len(), 1);
}

fn not_held() -> Config {
    quick().with_keep_until_used(Duration::ZERO)
}

on_both_stores! {
    async fn other_claim_is_refused_where_nothing_is_held(fleet: [2], not_held()) {
        other_claim_is_refused(&fleet, Refresh::new("f.1").client("app", "pw").token_from_attempt()).await;
    }

    async fn other_claim_of_a_public_client_is_refused(fleet: [2], quick()) {
        other_claim_is_refused(&fleet, Refresh::new("f.1").public_client("app").token_from_attempt()).await;
    }

    async fn other_claim_is_refused_where_a_function_has_a_token_of_its_own(fleet: [2], quick()) {
        other_claim_is_refused(&fleet, Refresh::new("f.1").client("app", "pw")).await;
    }

    async fn other_claim_of_a_token_that_may_be_used_again_presents_it(
        fleet: [2],
        quick().with_refresh_tokens(RefreshTokens::Reusable)
    ) {
        let provider = Provider::prompt();
        let of_client = Refresh::new("f.1").client("app", "pw").token_from_attempt();
        refresh(&fleet.pods[0], &provider, scoped(&of_client, "mail"), "mail").await.expect("tokens");

        // This provider takes it for a reuse: the setting is wrong for it.
        _ = refresh(&fleet.pods[1], &provider, scoped(&of_client, "files"), "files").await;

        let tokens: Vec<_> = provider.presented().into_iter().map(|presented| presented.token).collect();
        assert_eq!(tokens, ["f.1", "f.1"]);
    }
}
