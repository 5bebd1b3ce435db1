//! How far a flight goes along answers that are held one after the other: over 64 tokens, and no further. The bound is the coordinator's,
//! whatever store it has.

use std::sync::Mutex;

use super::stage::*;
use crate::coordinator::RefreshCoordinator;
use crate::error::RefreshError;
use crate::identity::CheckedRequest;
use crate::store::Coming;

const LONGEST: usize = 64;

fn refresh(token: usize, scope: &str) -> Refresh {
    let refresh = Refresh::new(token.to_string()).client("app", "pw").token_from_attempt();
    refresh.parameters([("scope", scope)])
}

/// Its access token is over at once, so that whoever finds it goes on.
fn to(next: usize) -> Arc<Outcome> {
    let body = format!(r#"{{"access_token":"a","expires_in":0,"refresh_token":"{next}"}}"#);
    Arc::new(Outcome::Success(TokenResponse::from_json(body).expect("tokens").keeping(false)))
}

/// What a caller presents and is told that comes with the first of so many tokens whose answers are held, and nobody has used.
async fn comes_with_the_first_of(answers: usize, scope: &str) -> (Vec<String>, Result<(), RefreshError>) {
    let (store, config) = (MemoryStore::new(), Config { max_refresh_attempts: 1000, ..Config::default() });
    let pod = Store::Memory(store.pod(Arc::new(config.clone())));
    for token in 1..=answers {
        let request = CheckedRequest::of(refresh(token, "a"), 1024).expect("valid");
        let mut ask = Ask::new(pod.identity(request, &config), Uuid::new_v4());
        ask.coming = if token == 1 { Coming::Directly } else { Coming::Walking { from: 1 } };
        assert!(matches!(fly(&pod, &ask, &to(token + 1)).await, Standing::Ours));
        // No longer fresh.
        tokio::time::advance(config.keep_outcome + S).await;
    }
    let coordinator = RefreshCoordinator::in_memory_shared(&store, config).expect("possible settings");
    let presented = Arc::new(Mutex::new(Vec::new()));

    let asked = Arc::clone(&presented);
    let refreshed = coordinator.refresh(refresh(1, scope), async move |attempt| {
        asked.lock().expect("nobody panicked").push(attempt.token().to_owned());
        Ok(TokenResponse::from_json(r#"{"access_token":"new","refresh_token":"newest"}"#).expect("tokens"))
    });
    let told = refreshed.await.map(drop);

    let presented = presented.lock().expect("nobody panicked").clone();
    (presented, told)
}

#[tokio::test(start_paused = true)]
async fn caller_goes_along_sixty_four_answers_and_where_there_are_more_its_own_token_goes_to_the_provider() {
    let (presented, told) = comes_with_the_first_of(LONGEST, "a").await;
    assert_eq!((presented, told.is_ok()), (vec![(LONGEST + 1).to_string()], true));

    let (presented, _) = comes_with_the_first_of(LONGEST + 1, "a").await;
    assert_eq!(presented, ["1"]);
}

#[tokio::test(start_paused = true)]
async fn another_claim_is_led_over_sixty_four_tokens_and_where_there_are_more_it_is_refused_and_presents_none() {
    let (presented, told) = comes_with_the_first_of(LONGEST, "b").await;
    assert_eq!((presented, told.is_ok()), (vec![(LONGEST + 1).to_string()], true));

    let (presented, told) = comes_with_the_first_of(LONGEST + 1, "b").await;
    assert_eq!(presented, Vec::<String>::new());
    assert!(matches!(told, Err(RefreshError::Refused(Refusal::AnotherClaim { .. }))), "{told:?}");
}
