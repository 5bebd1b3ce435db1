//! The queue for the budget serves callers that wait: all of a burst with the defaults, and none that has left.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use refresh_coordinator::{Attempt, Config, Refresh, RefreshCoordinator, TokenResponse};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// What the provider was asked with, in order.
#[derive(Clone, Default)]
struct Provider {
    presented: Arc<Mutex<Vec<String>>>,
    answers: Arc<Notify>,
}

impl Provider {
    /// A refresh of this token, answered when the test says so.
    fn refresh(&self, coordinator: &RefreshCoordinator, token: &str) -> tokio::task::JoinHandle<bool> {
        let (provider, coordinator, token) = (self.clone(), coordinator.clone(), token.to_owned());
        tokio::spawn(async move {
            let call = {
                let token = token.clone();
                async move |_: Attempt| {
                    provider.presented.lock().expect("no panic").push(token);
                    provider.answers.notified().await;
                    Ok(TokenResponse::from_json(r#"{"access_token":"a","refresh_token":"r"}"#).expect("tokens"))
                }
            };
            coordinator.refresh(Refresh::new(token), call).await.is_ok()
        })
    }

    fn presented(&self) -> Vec<String> {
        self.presented.lock().expect("no panic").clone()
    }
}

async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn one_at_a_time() -> RefreshCoordinator {
    let config = Config::default().with_max_concurrent_refreshes(1);
    RefreshCoordinator::in_memory(config).expect("possible settings")
}

#[tokio::test(start_paused = true)]
async fn flight_whose_callers_have_all_left_leaves_the_queue_and_is_not_presented() {
    let (coordinator, provider) = (one_at_a_time(), Provider::default());
    let first = provider.refresh(&coordinator, "first");
    settle().await;
    let left = [provider.refresh(&coordinator, "left"), provider.refresh(&coordinator, "left")];
    let half_left = [provider.refresh(&coordinator, "half"), provider.refresh(&coordinator, "half")];
    settle().await;
    assert_eq!((provider.presented(), coordinator.metrics().queued), (vec!["first".to_owned()], 2));

    left.iter().for_each(tokio::task::JoinHandle::abort);
    half_left[0].abort();
    settle().await;
    assert_eq!(coordinator.in_flight(), 2);
    provider.answers.notify_one();
    assert!(first.await.expect("no panic"));
    settle().await;
    provider.answers.notify_one();

    let [_, stayed] = half_left;
    assert!(stayed.await.expect("no panic"));
    assert_eq!(provider.presented(), ["first", "half"]);
}

#[tokio::test(start_paused = true)]
async fn token_whose_flight_left_the_queue_is_refreshed_when_somebody_comes_again() {
    let (coordinator, provider) = (one_at_a_time(), Provider::default());
    let first = provider.refresh(&coordinator, "first");
    settle().await;
    let left = provider.refresh(&coordinator, "left");
    settle().await;
    left.abort();
    settle().await;

    let again = provider.refresh(&coordinator, "left");
    settle().await;
    provider.answers.notify_one();
    assert!(first.await.expect("no panic"));
    settle().await;
    provider.answers.notify_one();

    assert!(again.await.expect("no panic"));
    assert_eq!(provider.presented(), ["first", "left"]);
}

#[tokio::test(start_paused = true)]
async fn hundred_users_at_once_are_served_by_a_provider_that_takes_a_second() {
    let coordinator = RefreshCoordinator::in_memory(Config::default()).expect("the defaults");
    let mut users = JoinSet::new();

    for user in 0..100 {
        let coordinator = coordinator.clone();
        users.spawn(async move {
            let call = async |_: Attempt| {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(TokenResponse::from_json(r#"{"access_token":"a","refresh_token":"r"}"#).expect("tokens"))
            };
            coordinator.refresh(Refresh::new(format!("token-{user}")), call).await.map(drop)
        });
    }

    let answers = users.join_all().await;
    let refused: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    assert!(refused.is_empty(), "{} refused: {:?}", refused.len(), refused.first());
}
