//! Requests that somebody makes up, and that this provider fails at: it answers 500 to a NUL in `client_id`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::fleet::{Fleet, Request};
use crate::provider::Provider;

/// How many sessions of the honest client refresh, and how often.
const SESSIONS: usize = 12;
const ROTATIONS: usize = 8;
/// Between two made-up requests at each of three pods.
const PAUSE: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread")]
async fn made_up_requests_that_the_provider_answers_with_500_refuse_no_honest_client_and_move_no_circuit() {
    let Some(provider) = Provider::shared() else { return };
    let fleet = Arc::new(Fleet::start(provider, "strangers", &[]).await);
    // Each pod has seen the honest client succeed.
    for family in provider.families("app", 3) {
        let answers = fleet.answers(&Request::refresh(&family.refresh_token), 3).await;
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    }
    let (is_over, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut strangers = JoinSet::new();
    for number in 0..3_usize {
        let (fleet, is_over, failed) = (Arc::clone(&fleet), Arc::clone(&is_over), Arc::clone(&failed));
        strangers.spawn(async move {
            for made_up in (number..).step_by(3) {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let token = format!("made-up-{made_up}");
                let form = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
                // As client_id=a%00b would be.
                let request = Request::new("app", &form).client(&format!("a\0b{made_up}"), "guessed");
                let answer = fleet.answers(&request, 1).await;
                failed.fetch_add(usize::from(answer[0].status == 500), Ordering::SeqCst);
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    crate::fleet::until(async || failed.load(Ordering::SeqCst) >= 3).await;

    let mut honest = JoinSet::new();
    for family in provider.families("app", SESSIONS) {
        let fleet = Arc::clone(&fleet);
        honest.spawn(async move {
            let (mut token, mut refused) = (family.refresh_token.clone(), 0);
            for _ in 0..ROTATIONS {
                let answer = fleet.answers(&Request::refresh(&token), 1).await.remove(0);
                refused += usize::from(answer.status != 200);
                token = answer.field("refresh_token").unwrap_or(token);
            }
            (refused, family)
        });
    }
    let told = honest.join_all().await;
    is_over.store(true, Ordering::SeqCst);
    strangers.join_all().await;

    let refused: usize = told.iter().map(|(refused, _)| refused).sum();
    println!(
        "{refused} of {} honest refreshes refused, beside {} requests that the provider answered with 500",
        SESSIONS * ROTATIONS,
        failed.load(Ordering::SeqCst)
    );
    assert_eq!(refused, 0);
    // Each stranger is another one, so no breaker of a pod has refused any of them either.
    assert_eq!(fleet.sum("refreshd_refused_circuit_open_total").await, 0);
    assert!(told.iter().all(|(_, family)| provider.is_alive(family)));
}
