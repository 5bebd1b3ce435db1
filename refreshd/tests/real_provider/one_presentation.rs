//! One presentation per token, whatever the number of callers and pods, and what happens without.

use futures_util::future::join_all;

use crate::fleet::{CALLERS, Fleet, Request, answers};
use crate::provider::{Family, Provider};

const ROTATIONS: usize = 5;
const FAMILIES: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn each_token_of_a_chain_is_presented_once_and_its_family_lives() {
    let Some(provider) = Provider::shared() else { return };
    let fleet = Fleet::start(provider, "chain", &[]).await;
    let families = provider.families("app", FAMILIES);

    let chains = join_all(families.iter().map(|family| refresh_along_a_chain(&fleet, family))).await;

    for (family, tokens) in families.iter().zip(chains) {
        let presentations: Vec<usize> = tokens.iter().map(|token| provider.presentations(token)).collect();
        // The last one was given to everybody and used by nobody.
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
async fn callers_of_all_pods_get_the_same_bytes() {
    let Some(provider) = Provider::shared() else { return };
    let fleet = Fleet::start(provider, "bytes", &[]).await;
    let family = provider.family("app");

    let held = provider.hold(&family.refresh_token);
    let callers = fleet.ask(&Request::refresh(&family.refresh_token), CALLERS);
    fleet.has_callers(CALLERS).await;
    drop(held);
    let answers = answers(callers).await;

    assert_eq!(answers[0].status, 200);
    assert_eq!(answers[0].content_type.as_deref(), Some("application/json"));
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(provider.presentations(&family.refresh_token), 1);
    assert!(provider.is_alive(&family));
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_token_is_presented_once_and_everybody_hears_why() {
    let Some(provider) = Provider::shared() else { return };
    let fleet = Fleet::start(provider, "unknown", &[]).await;
    let request = Request::refresh("nobody-was-ever-given-this");

    let mut answers = fleet.answers(&request, CALLERS).await;
    answers.extend(fleet.answers(&request, 3).await);

    assert_eq!(provider.presentations("nobody-was-ever-given-this"), 1);
    let directly = request.send(provider.url()).await;
    assert_eq!((directly.status, directly.field("error").as_deref()), (400, Some("invalid_grant")));
    assert!(answers.iter().all(|answer| *answer == directly), "{answers:?}");
}

/// The control: what the same callers do at the same provider by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn without_coordination_the_same_callers_lose_families() {
    let Some(provider) = Provider::shared() else { return };
    let families = provider.families("app", FAMILIES);

    join_all(families.iter().map(async |family| {
        let mut token = family.refresh_token.clone();
        for _ in 0..ROTATIONS {
            let caller = |_| tokio::spawn(Request::refresh(&token).send(provider.url()));
            let answers = answers((0..CALLERS).map(caller).collect()).await;
            // The session store of such callers: the last one writes.
            match answers.iter().rev().find_map(|answer| answer.field("refresh_token")) {
                Some(next) => token = next,
                None => break,
            }
        }
    }))
    .await;

    assert!(families.iter().all(|family| provider.presentations(&family.refresh_token) == CALLERS));
    assert!(families.iter().any(|family| !provider.is_alive(family)), "no family died: this provider proves nothing");
}
