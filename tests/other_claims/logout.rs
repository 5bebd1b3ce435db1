//! Logout by one claim ends the session for all claims of the login, and the newest token is revoked.

use std::time::Duration;

use refresh_coordinator::{RefreshError, Refreshed};

use crate::caller::Caller;
use crate::on_both_stores;
use crate::provider::Provider;
use crate::support;
use crate::support::fleet::quick;
use crate::support::wait::until;

#[track_caller]
fn ended(caller: &Caller, told: &Result<Refreshed, RefreshError>) {
    let (scope, token) = (&caller.scope, &caller.token);
    assert!(matches!(told, Err(RefreshError::SessionEnded)), "{scope} with {token}: {told:?}");
}

on_both_stores! {
    async fn logout_by_one_claim_ends_the_session_for_all_that_keep_their_own_tokens(
        fleet: [3],
        quick().with_keep_outcome(Duration::ZERO)
    ) {
        let provider = Provider::prompt();
        let mut callers = Caller::three(&provider, "f.1");
        for pod in &fleet.pods {
            for caller in &mut callers {
                caller.goes_on(pod).await;
            }
        }
        let (presented, newest) = (provider.presented().len(), provider.newest("f"));
        let leaves = &callers[0];
        assert_ne!(leaves.token, newest);

        let logout = fleet.pods[1].end_session(provider.request(&leaves.token, &leaves.scope)).await.expect("ended");

        assert_eq!(logout.newest().map(|token| token.expose()), Some(newest.as_str()));
        assert_eq!((logout.is_revoked(), provider.revoked()), (Some(true), vec![newest.clone()]));
        for pod in &fleet.pods {
            for caller in &callers {
                ended(caller, &caller.asks(pod).await);
                let with_newest = Caller::new(&provider, caller.scope.as_str(), &newest);
                ended(&with_newest, &with_newest.asks(pod).await);
            }
        }
        assert_eq!(provider.presented().len(), presented, "nothing is presented afterwards");
    }

    async fn logout_while_claims_wait_for_another_ends_the_session_for_all(
        fleet: [3],
        quick().with_keep_outcome(Duration::ZERO)
    ) {
        let provider = Provider::prompt();
        let mut callers = Caller::three(&provider, "f.1");
        for caller in &mut callers {
            caller.goes_on(&fleet.pods[0]).await;
        }
        let before = provider.presented().len();
        provider.hold();
        let asks = |number: usize| {
            let (caller, pod) = (callers[number].clone(), fleet.pods[number].clone());
            tokio::spawn(async move { caller.asks(&pod).await })
        };
        let leads = asks(0);
        provider.asked(before + 1).await;
        let waits = [asks(1), asks(2)];
        until("they wait for their turn", async || {
            fleet.pods[1..].iter().all(|pod| pod.metrics().joined_fleet == 1)
        })
        .await;

        let of_another = &callers[2];
        let logout = fleet.pods[0].end_session(provider.request(&of_another.token, &of_another.scope)).await;
        assert!(logout.expect("ended").is_under_way());
        provider.release();

        for (caller, told) in callers.iter().zip([leads].into_iter().chain(waits)) {
            ended(caller, &told.await.expect("no panic"));
        }
        let newest = provider.newest("f");
        until("what the leader brought is revoked", async || provider.revoked().contains(&newest)).await;
        assert_eq!((provider.presented().len(), provider.twice()), (before + 1, vec![]));
    }
}
