//! Logout at the coordinator: a session that was ended brings nobody tokens, on any pod, and what comes for it is revoked.

mod support;

use std::time::Duration;

use refresh_coordinator::{Attempt, EndedSession, Refresh, RefreshCoordinator, RefreshError, Refreshed, Role};
use support::fleet::quick;
use support::strict::StrictProvider;
use support::wait::until;
use tokio::task::JoinHandle;

const S: Duration = Duration::from_secs(1);

/// Of the one client, whose tokens are revoked at this provider.
fn request(provider: &StrictProvider, token: &str) -> Refresh {
    let provider = provider.clone();
    Refresh::new(token).client("app", "pw").token_from_attempt().revoking(move |token| {
        provider.revoke(token.expose());
        async { Ok::<_, std::io::Error>(()) }
    })
}

async fn refresh(
    pod: RefreshCoordinator,
    provider: StrictProvider,
    token: &'static str,
) -> Result<Refreshed, RefreshError> {
    let asked = provider.clone();
    let present = async move |attempt: Attempt| asked.present(attempt.token()).await;
    pod.refresh(request(&provider, token), present).await
}

fn caller(pod: &RefreshCoordinator, provider: &StrictProvider) -> JoinHandle<Result<Refreshed, RefreshError>> {
    tokio::spawn(refresh(pod.clone(), provider.clone(), "s.1"))
}

async fn end(pod: &RefreshCoordinator, provider: &StrictProvider, token: &str) -> EndedSession {
    pod.end_session(request(provider, token)).await.expect("ended")
}

fn is_ended(told: &Result<Refreshed, RefreshError>) -> bool {
    matches!(told, Err(RefreshError::SessionEnded))
}

on_both_stores! {
    async fn logout_in_mid_flight_brings_no_pod_tokens_and_the_new_one_is_revoked(fleet: [3], quick()) {
        let provider = StrictProvider::held();
        let [a, b, c] = &fleet.pods[..] else { panic!("three pods") };
        let leader = caller(a, &provider);
        provider.asked(1).await;
        let others = [caller(a, &provider), caller(b, &provider)];
        until("the other pod has joined", async || b.metrics().joined_fleet == 1).await;

        let ended = end(c, &provider, "s.1").await;

        assert!(ended.is_under_way() && ended.newest().is_none());
        assert_eq!((ended.is_revoked(), provider.revoked()), (Some(true), vec!["s.1".to_owned()]));
        provider.release(1);
        for told in [leader].into_iter().chain(others) {
            let told = told.await.expect("no panic");
            assert!(is_ended(&told), "{told:?}");
            assert!(told.is_err_and(|error| error.is_session_over() && !error.is_transient()));
        }
        until("the new token is revoked", async || provider.revoked().contains(&"s.2".to_owned())).await;
        assert!(is_ended(&refresh(b.clone(), provider.clone(), "s.1").await));
        assert_eq!(provider.presentations(), 1);
        assert_eq!((a.metrics().revoked, c.metrics().sessions_ended), (1, 1));
    }

    async fn logout_with_an_old_token_ends_the_chain_to_its_newest(fleet: [2], quick().with_keep_outcome(S)) {
        let provider = StrictProvider::open();
        let [a, b] = &fleet.pods[..] else { panic!("two pods") };
        for token in ["s.1", "s.2"] {
            refresh(a.clone(), provider.clone(), token).await.expect("tokens");
        }

        // Nobody has used the newest. The first is over, because the second was used.
        let ended = end(b, &provider, "s.2").await;

        assert_eq!(ended.newest().map(|token| token.expose()), Some("s.3"));
        assert_eq!(provider.revoked(), ["s.3"]);
        for token in ["s.2", "s.3"] {
            assert!(is_ended(&refresh(a.clone(), provider.clone(), token).await), "{token}");
        }
        assert_eq!(provider.presentations(), 2);
    }

    async fn revocation_that_fails_or_panics_is_tried_again(fleet: [1], quick()) {
        let tries = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let tried = std::sync::Arc::clone(&tries);
        let request = Refresh::new("t").revoking(move |_token| {
            let tried = tried.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            async move {
                assert_ne!(tried, 0, "the first way to fail");
                if tried == 1 { Err("the second") } else { Ok(()) }
            }
        });

        let ended = fleet.pods[0].end_session(request).await.expect("ended");

        assert_eq!((ended.is_revoked(), tries.load(std::sync::atomic::Ordering::SeqCst)), (Some(true), 3));
    }

    async fn caller_that_only_waits_gets_what_another_pod_brings_and_leads_nothing(fleet: [2], quick()) {
        let provider = StrictProvider::held();
        let [a, b] = &fleet.pods[..] else { panic!("two pods") };
        let waits = |pod: &RefreshCoordinator| {
            let (pod, request) = (pod.clone(), request(&provider, "s.1"));
            tokio::spawn(async move { pod.wait_for(request).await })
        };
        assert!(matches!(waits(b).await.expect("no panic"), Err(RefreshError::NotUnderWay)));
        let leader = caller(a, &provider);
        provider.asked(1).await;
        let (here, there) = (waits(a), waits(b));
        until("the other pod has joined", async || b.metrics().joined_fleet == 1).await;
        // One that may lead does not share the flight of one that may not.
        let refreshes = caller(b, &provider);
        until("it has joined, too", async || b.metrics().joined_fleet == 2).await;

        provider.release(1);

        let told = [leader.await, here.await, there.await, refreshes.await].map(|told| told.expect("no panic"));
        let roles = told.map(|told| told.expect("tokens").role());
        assert_eq!(roles, [Role::Led, Role::JoinedHere, Role::JoinedFleet, Role::JoinedFleet]);
        assert_eq!(waits(b).await.expect("no panic").expect("it is fresh").role(), Role::Latecomer);
        assert_eq!((provider.presentations(), a.metrics().led + b.metrics().led), (1, 1));
    }

    async fn caller_that_only_waits_is_told_when_the_leader_gives_back(fleet: [2], quick()) {
        let [a, b] = &fleet.pods[..] else { panic!("two pods") };
        let (may_give_back, given) = tokio::sync::oneshot::channel::<()>();
        let leader = {
            let a = a.clone();
            tokio::spawn(async move {
                let call = |attempt: Attempt| async move {
                    given.await.expect("it is let");
                    Err(attempt.give_back("nothing was sent"))
                };
                a.refresh(Refresh::new("t"), call).await
            })
        };
        until("it leads", async || a.metrics().led == 1).await;
        let waits = {
            let b = b.clone();
            tokio::spawn(async move { b.wait_for(Refresh::new("t")).await })
        };
        until("it waits", async || b.metrics().joined_fleet == 1).await;

        may_give_back.send(()).expect("the leader is there");

        assert!(leader.await.expect("no panic").is_err());
        let told = waits.await.expect("no panic");
        assert!(told.is_err(), "{told:?}");
        assert_eq!(b.metrics().led, 0);
    }
}

#[tokio::test]
async fn logout_while_redis_is_away_says_so_and_is_to_come_again() {
    let fleet = support::fleet::Fleet::on_redis(1, &quick().with_store_timeout(S / 2)).await;
    let provider = StrictProvider::open();
    fleet.redis().cli(&["CLIENT", "PAUSE", "60000", "ALL"]).await;

    let ended = fleet.pods[0].end_session(request(&provider, "s.1")).await;

    assert!(matches!(&ended, Err(RefreshError::StoreOutage { .. })), "{ended:?}");
    assert_eq!(provider.revoked(), Vec::<String>::new());
}
