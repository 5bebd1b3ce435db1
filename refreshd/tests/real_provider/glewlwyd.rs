//! Glewlwyd: refresh tokens are for one use, a second presentation ends the family, and so does a live token with a wrong
//! secret; every error is a 400 without a word.

use futures_util::future::join_all;

use crate::fleet::{Answer, CALLERS, Fleet, Request, answers, until};
use crate::provider::{Family, Provider};

const ROTATIONS: usize = 5;
const FAMILIES: usize = 4;

fn refused_without_a_word(answer: &Answer) -> bool {
    answer.status == 400 && answer.body.is_empty() && answer.content_type.is_none() && answer.retry_after.is_none()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_token_for_one_use_is_presented_once_along_a_chain_and_its_family_lives() {
    let Some(provider) = Provider::glewlwyd() else { return };
    let fleet = Fleet::start(provider, "one-use", &[]).await;
    let families = provider.families("app", FAMILIES);

    let chains = join_all(families.iter().map(|family| refresh_along_a_chain(&fleet, family))).await;

    for (family, tokens) in families.iter().zip(chains) {
        let presentations: Vec<usize> = tokens.iter().map(|token| provider.presentations(token)).collect();
        assert_eq!(presentations, [1, 1, 1, 1, 1, 0]);
        assert!(provider.is_alive(family));
    }
    assert!(fleet.sum("refreshd_joined_fleet_total").await > 0, "the pods shared nothing");
}

/// All tokens of the chain, the first and the unused last one included.
async fn refresh_along_a_chain(fleet: &Fleet, family: &Family) -> Vec<String> {
    let mut tokens = vec![family.refresh_token.clone()];
    for rotation in 0..ROTATIONS {
        let answers = fleet.answers(&Request::refresh(&tokens[rotation]), CALLERS).await;
        assert_eq!(answers[0].status, 200, "{answers:?}");
        assert!(answers.iter().all(|answer| answer.ageless() == answers[0].ageless()), "{answers:?}");
        tokens.push(answers[0].field("refresh_token").expect("it rotates"));
    }
    tokens
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_of_all_pods_get_the_bytes_of_one_presentation() {
    let Some(provider) = Provider::glewlwyd() else { return };
    let fleet = Fleet::start(provider, "one-use-bytes", &[]).await;
    let family = provider.family("app");

    let held = provider.hold(&family.refresh_token);
    let callers = fleet.ask(&Request::refresh(&family.refresh_token), CALLERS);
    fleet.has_callers(CALLERS).await;
    drop(held);
    let answers = answers(callers).await;

    assert_eq!(answers[0].status, 200);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(provider.presentations(&family.refresh_token), 1);
    assert!(provider.is_alive(&family));
}

#[tokio::test(flavor = "multi_thread")]
async fn error_without_a_word_reaches_everybody_as_it_is_from_one_presentation() {
    let Some(provider) = Provider::glewlwyd() else { return };
    let fleet = Fleet::start(provider, "no-word", &[]).await;
    let request = Request::refresh("nobody-was-ever-given-this");

    let answers = fleet.answers(&request, CALLERS).await;

    assert_eq!(provider.presentations("nobody-was-ever-given-this"), 1);
    let directly = request.send(provider.url()).await;
    assert!(refused_without_a_word(&directly), "{directly:?}");
    assert!(answers.iter().all(|answer| *answer == directly), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_secret_is_not_sent_with_a_token_that_was_just_rotated() {
    let Some(provider) = Provider::glewlwyd() else { return };
    let fleet = Fleet::start(provider, "guess-after", &[]).await;
    let family = provider.family("app");
    let token = &family.refresh_token;
    let rotated = fleet.answers(&Request::refresh(token), 3).await;

    let guesses = fleet.answers(&Request::refresh(token).client("app", "a guess"), 9).await;

    assert!(rotated.iter().all(|answer| answer.status == 200), "{rotated:?}");
    for answer in &guesses {
        assert_eq!((answer.status, answer.retry_after), (503, Some(1)), "{answer:?}");
    }
    assert_eq!(provider.presentations(token), 1);
    assert!(provider.is_alive(&family));
}

/// The provider ends the family for it: nobody can prevent that who does not check secrets, but it is sent once.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_secret_is_passed_on_once_and_those_with_the_right_one_hear_what_became_of_it() {
    let Some(provider) = Provider::glewlwyd() else { return };
    let fleet = Fleet::start(provider, "guess-first", &[]).await;
    let family = provider.family("app");
    let token = &family.refresh_token;

    let held = provider.hold(token);
    let guesses = fleet.ask(&Request::refresh(token).client("app", "a guess"), 9);
    until(async || provider.presentations(token) == 1).await;
    let waiting = fleet.ask(&Request::refresh(token), 9);
    fleet.has_callers(18).await;
    drop(held);
    let (guesses, waiting) = (answers(guesses).await, answers(waiting).await);

    assert!(guesses.iter().chain(&waiting).all(refused_without_a_word), "{guesses:?} {waiting:?}");
    // The guess, and one of those with the right secret: what the provider says to one claim is told to no other.
    assert_eq!(provider.presentations(token), 2);
    assert!(!provider.is_alive(&family), "this provider proves nothing");
}

/// The control: what the same callers do at the same provider by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn without_coordination_tokens_for_one_use_lose_their_families() {
    let Some(provider) = Provider::glewlwyd() else { return };
    let families = provider.families("app", FAMILIES);

    join_all(families.iter().map(async |family| {
        let caller = |_| tokio::spawn(Request::refresh(&family.refresh_token).send(provider.url()));
        answers((0..CALLERS).map(caller).collect()).await
    }))
    .await;

    assert!(families.iter().all(|family| provider.presentations(&family.refresh_token) == CALLERS));
    assert!(families.iter().any(|family| !provider.is_alive(family)), "no family died: this provider proves nothing");
}
