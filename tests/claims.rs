//! Promise 8: nobody gets an outcome without the same token, the same client's credentials and the same request.
//! A caller that asks for something else waits until the token is free, and is then served alone, or told to come
//! later.

mod support;

use std::time::Duration;

use refresh_coordinator::{
    Config, ProviderFailure, Refresh, RefreshCoordinator, RefreshError, Refreshed, Refusal, Role, TokenResponse,
};
use support::fleet::quick;
use support::provider::{Provider, rotated};
use support::wait::until;
use tokio::task::{JoinHandle, JoinSet};

type Answer = Result<TokenResponse, ProviderFailure>;

fn asks(
    pod: &RefreshCoordinator,
    refresh: Refresh,
    provider: &Provider,
    answer: fn(&str) -> Answer,
) -> JoinHandle<Result<Refreshed, RefreshError>> {
    let (pod, call) = (pod.clone(), provider.answering("t", answer));
    tokio::spawn(async move { pod.refresh(refresh, call).await })
}

fn tokens(token: &str) -> Answer {
    Ok(rotated(token))
}

fn theirs() -> Refresh {
    Refresh::new("t").client("app", "pw").parameters([("scope", "openid email"), ("resource", "a")])
}

/// Everything that must not be answered with what the first was given.
fn others() -> Vec<(&'static str, Refresh)> {
    let parameters = [("scope", "openid email"), ("resource", "a")];
    vec![
        ("another secret", Refresh::new("t").client("app", "pw2").parameters(parameters)),
        ("an empty secret", Refresh::new("t").client("app", "").parameters(parameters)),
        ("no secret", Refresh::new("t").public_client("app").parameters(parameters)),
        ("another client", Refresh::new("t").client("app2", "pw").parameters(parameters)),
        ("no client", Refresh::new("t").parameters(parameters)),
        ("a narrower scope", theirs_with([("scope", "openid"), ("resource", "a")])),
        ("a wider scope", theirs_with([("scope", "openid email admin"), ("resource", "a")])),
        ("no scope", Refresh::new("t").client("app", "pw").parameters([("resource", "a")])),
        ("another resource", theirs_with([("scope", "openid email"), ("resource", "b")])),
        ("one resource more", theirs().parameters([("resource", "b")])),
        ("a DPoP key", theirs().dpop_key("thumbprint")),
        ("alone", theirs().alone()),
    ]
}

fn theirs_with(parameters: [(&str, &str); 2]) -> Refresh {
    Refresh::new("t").client("app", "pw").parameters(parameters)
}

async fn waiting(pods: &[RefreshCoordinator], flights: u64) {
    until("they wait for the flight", async || {
        pods.iter().map(|pod| pod.metrics().joined_fleet).sum::<u64>() == flights
    })
    .await;
}

fn refused(answer: &Result<Refreshed, RefreshError>, config: &Config) -> bool {
    match answer {
        Err(error @ RefreshError::Refused(Refusal::AnotherClaim { retry_after, .. })) => {
            error.is_transient() && *retry_after > Duration::ZERO && *retry_after <= config.keep_outcome
        }
        _ => false,
    }
}

on_both_stores! {
    async fn another_claim_waits_and_is_refused_after_a_rotation(fleet: [2], quick()) {
        let config = fleet.pods[0].config().clone();
        let provider = Provider::held();
        let leads = asks(&fleet.pods[0], theirs(), &provider, tokens);
        provider.asked(1).await;
        let mut callers = Vec::new();
        for (what, refresh) in others() {
            for pod in &fleet.pods {
                callers.push((what, asks(pod, refresh.clone(), &provider, tokens)));
            }
        }
        waiting(&fleet.pods, callers.len() as u64).await;
        assert!(callers.iter().all(|(_, caller)| !caller.is_finished()), "nobody is refused while nobody knows");
        assert_eq!(provider.total(), 1, "nobody asks beside the first");

        provider.release(100);

        leads.await.expect("no panic").expect("tokens");
        for (what, caller) in callers {
            let answer = caller.await.expect("no panic");
            assert!(refused(&answer, &config), "{what}: {answer:?}");
        }
        assert_eq!(provider.total(), 1, "presenting it again would be a reuse");
        let counted: u64 = fleet.pods.iter().map(|pod| pod.metrics().refused_another_claim).sum();
        assert_eq!(counted, 2 * others().len() as u64);
    }

    async fn another_claim_that_comes_later_is_refused_while_the_rotation_is_fresh(fleet: [2], quick()) {
        let config = fleet.pods[0].config().clone();
        let provider = Provider::open();
        asks(&fleet.pods[0], theirs(), &provider, tokens).await.expect("no panic").expect("tokens");

        for (what, refresh) in others() {
            for pod in &fleet.pods {
                let answer = asks(pod, refresh.clone(), &provider, tokens).await.expect("no panic");
                assert!(refused(&answer, &config), "{what}: {answer:?}");
            }
        }

        assert_eq!(provider.total(), 1);
        let latecomer = asks(&fleet.pods[1], theirs(), &provider, tokens).await.expect("no panic").expect("tokens");
        assert_eq!(latecomer.role(), Role::Latecomer, "a caller with the claim is still served");
    }

    async fn another_claim_asks_the_provider_once_the_rotation_is_no_longer_fresh(
        fleet: [2],
        quick().with_keep_outcome(Duration::from_millis(300))
    ) {
        let provider = Provider::open();
        asks(&fleet.pods[0], theirs(), &provider, tokens).await.expect("no panic").expect("tokens");
        let other = || Refresh::new("t").client("app", "pw2");
        let first = asks(&fleet.pods[1], other(), &provider, tokens).await.expect("no panic");
        assert!(matches!(first, Err(RefreshError::Refused(Refusal::AnotherClaim { .. }))), "{first:?}");

        let mut answer = None;
        until("it is no longer refused", async || {
            let again = asks(&fleet.pods[1], other(), &provider, tokens).await.expect("no panic");
            answer = Some(again);
            !matches!(answer, Some(Err(RefreshError::Refused(_))))
        })
        .await;

        let answer = answer.expect("an answer").expect("tokens");
        assert_eq!((answer.role(), provider.total()), (Role::Led, 2));
        assert_eq!(fleet.pods[1].metrics().reused, 1, "the provider judges a reuse, and it is counted");
    }

    async fn another_claim_leads_alone_after_a_refusal(fleet: [2], quick()) {
        let refusals: [fn(&str) -> Answer; 4] = [
            |_| Err(ProviderFailure::denied("invalid_grant")),
            |_| Err(ProviderFailure::denied("invalid_client")),
            |_| Err(ProviderFailure::denied("invalid_scope")),
            |_| Err(ProviderFailure::not_sent("no address")),
        ];
        for (round, refusal) in refusals.into_iter().enumerate() {
            let token = format!("t{round}");
            let (of, secrets) = (|secret| Refresh::new(token.as_str()).client("app", secret), ["pw1", "pw2", "pw3"]);
            let provider = Provider::held();
            let leads = asks(&fleet.pods[0], of(secrets[0]), &provider, refusal);
            provider.asked(1).await;
            let before: u64 = fleet.pods.iter().map(|pod| pod.metrics().joined_fleet).sum();
            let second = asks(&fleet.pods[1], of(secrets[1]), &provider, refusal);
            let third = asks(&fleet.pods[0], of(secrets[2]), &provider, refusal);
            waiting(&fleet.pods, before + 2).await;
            assert_eq!(provider.total(), 1);

            // One after the other: each answer lets the next one ask.
            for asked in 2..=3 {
                provider.release(1);
                provider.asked(asked).await;
                assert_eq!(provider.total(), asked, "nobody asks beside another");
            }
            provider.release(1);

            let mut fences = Vec::new();
            for caller in [leads, second, third] {
                match caller.await.expect("no panic") {
                    Err(RefreshError::Provider { fence, .. }) => fences.push(fence),
                    other => panic!("{other:?}"),
                }
            }
            fences.sort_unstable();
            fences.dedup();
            assert_eq!((fences.len(), provider.total()), (3, 3), "each has led a flight of its own");
        }
    }

    async fn another_claim_leads_alone_when_the_token_was_kept(fleet: [2], quick()) {
        let kept: fn(&str) -> Answer =
            |_| Ok(TokenResponse::from_json(r#"{"access_token":"a","expires_in":3600}"#).expect("a token response"));
        let provider = Provider::held();
        let leads = asks(&fleet.pods[0], theirs(), &provider, kept);
        provider.asked(1).await;
        let other = asks(&fleet.pods[1], Refresh::new("t").client("app", "pw2"), &provider, kept);
        waiting(&fleet.pods, 1).await;

        provider.release(1);
        leads.await.expect("no panic").expect("tokens");
        provider.asked(2).await;
        provider.release(1);

        let other = other.await.expect("no panic").expect("tokens");
        assert_eq!((other.role(), provider.total()), (Role::Led, 2));
    }

    async fn newcomer_of_another_claim_gets_an_answer_of_its_own(fleet: [2], quick()) {
        let provider = Provider::open();
        let dead: fn(&str) -> Answer = |_| Err(ProviderFailure::denied("invalid_grant"));
        asks(&fleet.pods[0], theirs(), &provider, dead).await.expect("no panic").expect_err("denied");

        let stranger = Refresh::new("t").client("app", "guessed");
        let answer = asks(&fleet.pods[1], stranger, &provider, |_| Err(ProviderFailure::denied("invalid_client")));

        match answer.await.expect("no panic") {
            Err(RefreshError::Provider { failure: ProviderFailure::Denied { error, .. }, .. }) => {
                assert_eq!(error, "invalid_client");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(provider.total(), 2);
    }

    async fn requests_that_are_to_be_served_alone_are_served_one_after_the_other(fleet: [2], quick()) {
        let untouched: fn(&str) -> Answer = |_| Err(ProviderFailure::denied("invalid_scope"));
        let provider = Provider::held();
        let mut callers = JoinSet::new();
        for pod in &fleet.pods {
            for _ in 0..4 {
                let caller = asks(pod, theirs().alone(), &provider, untouched);
                callers.spawn(async move { caller.await.expect("no panic") });
            }
        }
        provider.asked(1).await;
        waiting(&fleet.pods, 7).await;

        for asked in 1..=8 {
            provider.asked(asked).await;
            assert_eq!(provider.total(), asked, "one at a time");
            provider.release(1);
        }
        let answers = callers.join_all().await;

        assert!(answers.iter().all(|answer| matches!(answer, Err(RefreshError::Provider { .. }))), "{answers:?}");
        assert_eq!(provider.total(), 8, "none was given another's answer");
    }

    async fn request_served_alone_is_refused_after_a_rotation(fleet: [2], quick()) {
        let config = fleet.pods[0].config().clone();
        let provider = Provider::held();
        let leads = asks(&fleet.pods[0], theirs().alone(), &provider, tokens);
        provider.asked(1).await;
        let waits = asks(&fleet.pods[1], theirs().alone(), &provider, tokens);
        waiting(&fleet.pods, 1).await;

        provider.release(2);

        leads.await.expect("no panic").expect("tokens");
        let answer = waits.await.expect("no panic");
        assert!(refused(&answer, &config), "{answer:?}");
        assert_eq!(provider.total(), 1);
    }

    async fn however_a_request_is_written_it_is_the_same(fleet: [2], quick()) {
        let written = [
            theirs(),
            Refresh::new("t").client("app", "pw").parameters([("resource", "a"), ("scope", "email openid")]),
            Refresh::new("t").parameters([("resource", "a")]).parameters([("scope", " openid  email openid ")])
                .client("app", "pw"),
            // The session pays, and does not matter for the answer.
            theirs().session("another"),
        ];
        let provider = Provider::held();
        let mut callers = Vec::new();
        for pod in &fleet.pods {
            for refresh in &written {
                callers.push(asks(pod, refresh.clone(), &provider, tokens));
            }
        }
        waiting(&fleet.pods, 1).await;
        until("the rest has joined within its pod", async || {
            fleet.pods.iter().map(|pod| pod.metrics().joined_here).sum::<u64>() == 6
        })
        .await;

        provider.release(10);

        for caller in callers {
            caller.await.expect("no panic").expect("tokens");
        }
        assert_eq!(provider.total(), 1);
    }
}
