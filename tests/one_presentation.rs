//! Promise 1: one presentation of a token to the provider per flight, over any number of pods and callers.

mod support;

use refresh_coordinator::{Refresh, RefreshCoordinator, Role};
use support::fleet::quick;
use support::provider::Provider;
use tokio::task::JoinSet;

on_both_stores! {
    async fn callers_of_all_pods_share_one_presentation(fleet: [3], quick()) {
        let provider = Provider::held();
        let mut callers = JoinSet::new();
        for pod in &fleet.pods {
            for _ in 0..20 {
                let (pod, call) = (pod.clone(), provider.refresh("t"));
                callers.spawn(async move { pod.refresh(Refresh::new("t").client("app", "pw"), call).await });
            }
        }
        provider.asked(1).await;
        provider.release(100);

        let answers: Vec<_> = callers.join_all().await.into_iter().map(|answer| answer.expect("tokens")).collect();

        assert_eq!(provider.presented("t"), 1);
        assert!(answers.iter().all(|answer| answer.tokens().access_token() == "access-for-t"));
        assert!(answers.iter().all(|answer| answer.fence() == answers[0].fence()));
        assert_eq!(answers.iter().filter(|answer| answer.role() == Role::Led).count(), 1);
    }

    async fn chain_of_rotations_presents_each_link_once(fleet: [3], quick()) {
        let provider = Provider::open();
        let mut token = "t".to_owned();
        for _ in 0..5 {
            let mut callers = JoinSet::new();
            for pod in &fleet.pods {
                for _ in 0..5 {
                    let (pod, call, refresh) = (pod.clone(), provider.refresh(&token), Refresh::new(token.as_str()));
                    callers.spawn(async move { pod.refresh(refresh, call).await });
                }
            }
            let answers = callers.join_all().await;

            assert_eq!(provider.presented(&token), 1);
            let mut next = answers.into_iter().map(|answer| {
                answer.expect("tokens").tokens().refresh_token().expect("a successor").to_owned()
            });
            token = next.next().expect("an answer");
            assert!(next.all(|other| other == token));
        }
        assert_eq!(provider.total(), 5);
    }
}

/// A caller that asks again begins a flight of its own, however soon: what it was told is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caller_that_was_told_does_not_join_the_flight_that_told_it() {
    let pod = RefreshCoordinator::in_memory(quick()).expect("possible settings");
    let provider = Provider::open();

    for n in 0..2_000 {
        let token = format!("t{n}");
        pod.refresh(Refresh::new(token.as_str()), provider.refresh(&token)).await.expect("tokens");

        assert_eq!(pod.in_flight(), 0, "refresh {n}");
    }
}
