//! A refresh function that finds nothing to send gives its lead back.

use refresh_coordinator::{Attempt, Config, Refresh, RefreshCoordinator, RefreshError, TokenResponse};

#[tokio::test(start_paused = true)]
async fn lead_that_is_given_back_is_not_charged_kept_or_counted() {
    let coordinator = RefreshCoordinator::in_memory(Config::default()).expect("possible settings");
    let refresh = || Refresh::new("r1").session("s").client("app", "pw");

    for _ in 0..20 {
        let told = coordinator.refresh(refresh(), async |attempt: Attempt| Err(attempt.give_back("not now"))).await;
        let RefreshError::Provider { failure, .. } = told.expect_err("no tokens") else { panic!("no failure") };
        assert_eq!(failure.to_string(), "nothing was sent to the provider: not now");
    }
    let tokens = TokenResponse::from_json(r#"{"access_token":"a","refresh_token":"r2"}"#).expect("tokens");
    coordinator.refresh(refresh(), async |_| Ok(tokens)).await.expect("it leads at once");

    let metrics = coordinator.metrics();
    assert_eq!((metrics.not_sent, metrics.refused_not_reaching, metrics.refused_cooling_down), (0, 0, 0));
}
