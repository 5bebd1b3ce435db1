//! New tokens are held until somebody has used them: callers that went away, or lost the answer, and come again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use refresh_coordinator::{
    Attempt, Config, ProviderFailure, Refresh, RefreshCoordinator, RefreshError, Refreshed, TokenResponse,
};

const S: Duration = Duration::from_secs(1);

/// Rotates, and revokes the family of a token that comes twice.
#[derive(Clone, Default)]
struct Provider(Arc<Mutex<Books>>);

#[derive(Default)]
struct Books {
    presented: Vec<String>,
    generations: HashMap<String, u32>,
    revoked: Vec<String>,
}

impl Provider {
    /// Tokens are `<family>.<generation>`.
    fn present(&self, token: &str) -> Result<TokenResponse, ProviderFailure> {
        let mut books = self.0.lock().expect("no panics");
        books.presented.push(token.to_owned());
        let (family, generation) = token.split_once('.').expect("a token");
        let generation: u32 = generation.parse().expect("a number");
        let newest = *books.generations.entry(family.to_owned()).or_insert(1);
        if newest != generation || books.revoked.iter().any(|revoked| revoked == family) {
            books.revoked.push(family.to_owned());
            return Err(ProviderFailure::denied("invalid_grant"));
        }
        let next = generation + 1;
        books.generations.insert(family.to_owned(), next);
        let body =
            format!(r#"{{"access_token":"of {family}.{next}","expires_in":300,"refresh_token":"{family}.{next}"}}"#);
        Ok(TokenResponse::from_json(body).expect("tokens"))
    }

    fn presentations(&self) -> usize {
        self.0.lock().expect("no panics").presented.len()
    }

    fn twice(&self) -> Vec<String> {
        let mut presented = self.0.lock().expect("no panics").presented.clone();
        presented.sort();
        presented.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone()).collect()
    }

    fn revoked(&self) -> Vec<String> {
        self.0.lock().expect("no panics").revoked.clone()
    }
}

fn coordinator() -> RefreshCoordinator {
    RefreshCoordinator::in_memory(Config::default()).expect("possible settings")
}

async fn refresh(
    coordinator: &RefreshCoordinator,
    provider: &Provider,
    token: &str,
) -> Result<Refreshed, RefreshError> {
    let asked = provider.clone();
    let refresh = Refresh::new(token).session("s").client("app", "pw").token_from_attempt();
    coordinator.refresh(refresh, async move |attempt: Attempt| asked.present(attempt.token())).await
}

fn new_token(refreshed: &Result<Refreshed, RefreshError>) -> String {
    let refreshed = refreshed.as_ref().unwrap_or_else(|error| panic!("logged out: {error}"));
    refreshed.tokens().refresh_token().expect("a refresh token").to_owned()
}

#[tokio::test(start_paused = true)]
async fn caller_that_went_away_is_handed_what_it_missed_and_what_followed_when_that_is_over() {
    let (coordinator, provider) = (coordinator(), Provider::default());
    new_token(&refresh(&coordinator, &provider, "f.1").await);

    tokio::time::sleep(100 * S).await;
    let soon = refresh(&coordinator, &provider, "f.1").await;
    assert_eq!((new_token(&soon).as_str(), provider.presentations()), ("f.2", 1));
    assert_eq!(soon.expect("tokens").tokens().expires_in(), Some(200 * S));

    tokio::time::sleep(300 * S).await;
    let late = refresh(&coordinator, &provider, "f.1").await;
    assert_eq!((new_token(&late).as_str(), provider.presentations()), ("f.3", 2));
    let passed: Vec<_> = late.expect("tokens").passed().iter().map(|token| token.expose().to_owned()).collect();
    assert_eq!(passed, ["f.2"]);

    tokio::time::sleep(100 * S).await;
    assert_eq!(new_token(&refresh(&coordinator, &provider, "f.1").await), "f.3");
    assert_eq!((provider.twice().len(), provider.presentations()), (0, 2));
    let metrics = coordinator.metrics();
    assert_eq!((metrics.held_served, metrics.walks_led, metrics.reused), (2, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn old_token_reaches_the_provider_once_the_new_one_was_used_and_the_family_is_revoked() {
    let (coordinator, provider) = (coordinator(), Provider::default());
    new_token(&refresh(&coordinator, &provider, "f.1").await);
    tokio::time::sleep(100 * S).await;
    new_token(&refresh(&coordinator, &provider, "f.2").await);

    let thief = refresh(&coordinator, &provider, "f.1").await;

    assert!(matches!(thief, Err(RefreshError::Provider { .. })), "{thief:?}");
    assert_eq!(provider.revoked(), ["f"]);
}

#[tokio::test(start_paused = true)]
async fn two_tabs_without_a_shared_store_go_on_for_twenty_rotations() {
    let (coordinator, provider) = (coordinator(), Provider::default());
    let (mut quick, mut lags) = ("f.1".to_owned(), "f.1".to_owned());
    for round in 0..20 {
        // The answer to one of them is lost: it comes again with what it has.
        if round % 2 == 0 {
            new_token(&refresh(&coordinator, &provider, &lags).await);
        }
        tokio::time::sleep(100 * S).await;
        quick = new_token(&refresh(&coordinator, &provider, &quick).await);
        tokio::time::sleep(100 * S).await;
        lags = new_token(&refresh(&coordinator, &provider, &lags).await);
        tokio::time::sleep(200 * S).await;
    }

    assert_eq!(provider.twice(), Vec::<String>::new());
    assert_eq!(quick, lags);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_rotations_always_one_token_late_present_each_token_once() {
    let (coordinator, provider) = (coordinator(), Provider::default());
    let (mut before, mut newest) = ("f.1".to_owned(), new_token(&refresh(&coordinator, &provider, "f.1").await));
    for _ in 0..200 {
        tokio::time::sleep(301 * S).await;
        let next = new_token(&refresh(&coordinator, &provider, &before).await);
        before = std::mem::replace(&mut newest, next);
    }

    assert_eq!((provider.twice().len(), provider.presentations()), (0, 201));
    let metrics = coordinator.metrics();
    assert_eq!((metrics.walks_led, metrics.walks_over, metrics.refused_cooling_down), (200, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn public_clients_and_functions_with_a_token_of_their_own_have_what_they_had() {
    let (coordinator, provider) = (coordinator(), Provider::default());
    for refresh in
        [Refresh::new("f.1").public_client("app").token_from_attempt(), Refresh::new("g.1").client("app", "pw")]
    {
        for _ in 0..2 {
            let asked = provider.clone();
            let call = async move |attempt: Attempt| asked.present(attempt.token());
            _ = coordinator.refresh(refresh.clone(), call).await;
            tokio::time::sleep(100 * S).await;
        }
    }

    assert_eq!(provider.twice(), ["f.1", "g.1"]);
    assert_eq!(coordinator.metrics().held_served, 0);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_callers_that_go_away_in_mid_request_are_not_logged_out() {
    let (coordinator, provider) = (coordinator(), Provider::default());
    let tokens: Vec<String> = (0..200).map(|n| format!("{n}.1")).collect();
    let call = |token: &str| {
        let asked = provider.clone();
        let refresh = Refresh::new(token).client("app", "pw").token_from_attempt();
        coordinator.refresh(refresh, async move |attempt: Attempt| {
            tokio::time::sleep(S).await;
            asked.present(attempt.token())
        })
    };
    for token in &tokens {
        // The tab is closed.
        _ = tokio::time::timeout(S / 10, call(token)).await;
    }
    for wait in [34 * S, 301 * S, 34 * S] {
        tokio::time::sleep(wait).await;
        for token in &tokens {
            call(token).await.unwrap_or_else(|error| panic!("{token} is logged out: {error}"));
        }
    }

    assert_eq!((provider.twice().len(), provider.presentations()), (0, 400));
}
