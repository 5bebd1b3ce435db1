//! What a thief and a stranger get where other claims follow the chain, and that a login has no more than 64 claims.

use std::time::Duration;

use refresh_coordinator::{Config, RefreshError, Refusal};

use crate::caller::Caller;
use crate::on_both_stores;
use crate::provider::{Presented, Provider};
use crate::support;
use crate::support::fleet::quick;

/// So many claims of a login go on.
const MOST: usize = 64;

/// An answer is fresh for nobody who comes later.
fn never_fresh() -> Config {
    quick().with_keep_outcome(Duration::ZERO)
}

/// The login is over because of this token, under this scope.
#[track_caller]
fn cost_the_login(provider: &Provider, told: &Result<refresh_coordinator::Refreshed, RefreshError>, token: &str) {
    let error = told.as_ref().expect_err("the thief is not served");
    assert!(matches!(error, RefreshError::Provider { .. }) && error.is_session_over(), "{error:?}");
    let last = provider.presented().pop().expect("something was presented");
    assert_eq!((last.asked.as_str(), last.token.as_str()), (token, token));
    assert_eq!((provider.twice(), provider.lost()), (vec![token.to_owned()], vec!["f".to_owned()]));
}

on_both_stores! {
    async fn token_that_a_claim_has_left_behind_reaches_the_provider_under_that_claim(fleet: [2], never_fresh()) {
        let provider = Provider::prompt();
        let [mut owner, mut other, _] = Caller::three(&provider, "f.1");
        owner.goes_on(&fleet.pods[0]).await;
        let stolen = owner.clone();
        for pod in &fleet.pods {
            other.goes_on(pod).await;
            owner.goes_on(pod).await;
        }

        let told = stolen.asks(&fleet.pods[1]).await;

        cost_the_login(&provider, &told, &stolen.token);
    }

    async fn token_that_a_claim_was_never_given_and_another_left_behind_reaches_the_provider(
        fleet: [2],
        never_fresh()
    ) {
        let provider = Provider::prompt();
        let [mut owner, mut other, _] = Caller::three(&provider, "f.1");
        other.goes_on(&fleet.pods[0]).await;
        owner.goes_on(&fleet.pods[1]).await;
        let stolen = owner.token.clone();
        for pod in &fleet.pods {
            owner.goes_on(pod).await;
        }

        let told = Caller::new(&provider, other.scope, &stolen).asks(&fleet.pods[1]).await;

        cost_the_login(&provider, &told, &stolen);
    }

    async fn new_claim_with_a_token_that_somebody_has_left_behind_reaches_the_provider(fleet: [2], never_fresh()) {
        let provider = Provider::prompt();
        let [mut owner, mut other, _] = Caller::three(&provider, "f.1");
        other.goes_on(&fleet.pods[1]).await;
        for pod in &fleet.pods {
            owner.goes_on(pod).await;
        }

        let told = Caller::new(&provider, "invented", "f.1").asks(&fleet.pods[1]).await;

        cost_the_login(&provider, &told, "f.1");
    }

    async fn stranger_with_the_tokens_and_a_wrong_secret_changes_nothing_for_the_claims(fleet: [2], never_fresh()) {
        let provider = Provider::prompt();
        let mut callers = Caller::three(&provider, "f.1");
        for round in 0..4 {
            for (number, caller) in callers.iter_mut().enumerate() {
                let pod = |number: usize| &fleet.pods[(round + number) % 2];
                let before = provider.newest("f");
                for token in ["f.1", &caller.token, &before] {
                    for scope in [&caller.scope, "invented"] {
                        let told = provider.refresh_with(pod(number + 1), token, scope, "a guess").await;
                        let error = told.expect_err("no stranger is served");
                        assert!(!matches!(error, RefreshError::Lost { .. } | RefreshError::SessionEnded), "{error:?}");
                    }
                }
                caller.goes_on(pod(number)).await;
            }
        }

        assert!(provider.wrong_secrets() > 0, "the stranger was never judged");
        assert_eq!((provider.twice(), provider.lost()), (vec![], vec![]));
        assert_eq!(provider.presented().len(), 12);
    }

    async fn claim_beyond_the_sixty_fourth_is_refused_as_transient_and_the_others_go_on(fleet: [2], never_fresh()) {
        let provider = Provider::prompt();
        let mut callers: Vec<_> = (0..MOST).map(|n| Caller::new(&provider, format!("scope-{n}"), "f.1")).collect();
        for (number, caller) in callers.iter_mut().enumerate() {
            caller.goes_on(&fleet.pods[number % 2]).await;
        }

        let one_more = Caller::new(&provider, "one-more", "f.1");
        for pod in &fleet.pods {
            let error = one_more.asks(pod).await.expect_err("there are enough");
            assert!(matches!(error, RefreshError::Refused(Refusal::AnotherClaim { .. })), "{error:?}");
            assert!(error.is_transient() && error.retry_after().is_some());
        }
        for (number, caller) in callers.iter_mut().enumerate() {
            caller.goes_on(&fleet.pods[number % 2]).await;
        }

        assert_eq!((provider.twice(), provider.presented().len()), (vec![], 2 * MOST));
        let of_one_more = |presented: &Presented| presented.scope == "one-more";
        assert!(!provider.presented().iter().any(of_one_more));
    }
}
