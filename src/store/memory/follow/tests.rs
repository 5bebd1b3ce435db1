//! Claims that come at once from many threads.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Barrier;

use crate::config::Config;
use crate::coordinator::RefreshCoordinator;
use crate::leader::Attempt;
use crate::outcome::ProviderFailure;
use crate::request::Refresh;
use crate::store::suite::chains::{held, to};
use crate::store::suite::claims::turn::{Turn, claim, comes};
use crate::store::suite::stage::{S, Stage, Store, fly};
use crate::store::{Coming, Followed};
use crate::token_response::TokenResponse;

const CLAIMS: usize = 6;
const ROUNDS: usize = 60;

/// It takes each token once.
async fn present(rotations: Arc<Mutex<u64>>, attempt: Attempt) -> Result<TokenResponse, ProviderFailure> {
    tokio::task::yield_now().await;
    let mut rotations = rotations.lock().expect("nobody panicked");
    if attempt.token() != rotations.to_string() {
        return Err(ProviderFailure::denied("invalid_grant"));
    }
    *rotations += 1;
    let body = format!(r#"{{"access_token":"a","expires_in":0,"refresh_token":"{rotations}"}}"#);
    Ok(TokenResponse::from_json(body).expect("tokens"))
}

/// Every second claim keeps the token of the login; the others come with what they were given last.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn claims_that_come_at_once_from_many_threads_present_no_token_twice_and_wait_for_nobody_in_vain() {
    let config = Config { max_refresh_attempts: 100_000, store_timeout: Duration::from_secs(10), ..Config::default() };
    // A claim that keeps the token of the login may be the one that presents it: it would be given the same answer again.
    let config = config.with_keep_outcome(Duration::ZERO);
    let pod = RefreshCoordinator::in_memory(config).expect("possible settings");
    let (rotations, all_known) = (Arc::new(Mutex::new(0)), Arc::new(Barrier::new(CLAIMS)));
    let claims = (0..CLAIMS).map(|claim| {
        let (pod, rotations, all_known) = (pod.clone(), Arc::clone(&rotations), Arc::clone(&all_known));
        tokio::spawn(async move {
            let mut token = "0".to_owned();
            for round in 0..ROUNDS {
                let refresh = Refresh::new(token.clone()).client("app", "pw").token_from_attempt();
                let refresh = refresh.parameters([("scope", claim.to_string())]);
                let rotations = Arc::clone(&rotations);
                let refreshed = pod.refresh(refresh, move |attempt| present(rotations, attempt)).await;
                let refreshed = refreshed.unwrap_or_else(|error| panic!("claim {claim}, round {round}: {error}"));
                if round == 0 {
                    all_known.wait().await;
                }
                if claim % 2 == 0 {
                    token = refreshed.tokens().refresh_token().expect("rotated").to_owned();
                }
            }
        })
    });
    let claims: Vec<_> = claims.collect();

    let all = async {
        for claim in claims {
            claim.await.expect("served every time");
        }
    };

    // Who waits in vain is not called before the ten seconds are over for which a turn is kept.
    tokio::time::timeout(Duration::from_secs(9), all).await.expect("nobody waits in vain");
    assert_eq!(*rotations.lock().expect("nobody panicked"), (CLAIMS * ROUNDS) as u64);
}

#[tokio::test]
async fn claim_that_its_turn_led_to_a_token_takes_no_room_in_the_login_of_that() {
    let stage = Stage::in_memory(held());
    let Store::Memory(pod) = &stage.b else { panic!("in memory") };
    let entries = || pod.namespace.families.iter().map(|family| family.lock().entries.len()).sum::<usize>();
    fly(&stage.a, &claim(&stage, "one", "a"), &to("two")).await;
    stage.pass(3 * S).await;
    // It belongs to a login already, which is another than that of the token before.
    assert!(matches!(comes(&stage, &mut claim(&stage, "two", "c")).await, Followed::Own(_)));
    let mut own = claim(&stage, "one", "b");
    let Followed::Newest { origin, .. } = comes(&stage, &mut own).await else { panic!("nothing follows") };
    let mut next = claim(&stage, "two", "b");
    (next.coming, next.origin) = (Coming::Claiming { from: 1 }, Some(origin));
    let before = entries();

    stage.b.follow(&next, Some(&own), true).await.expect("an answer");

    assert_eq!(entries(), before);
}

/// As a replica that takes over may lack that the second claim has come.
#[tokio::test]
async fn claim_that_a_token_was_given_to_is_owed_what_followed_where_that_another_came_is_forgotten() {
    let stage = Stage::in_memory(held());
    let Store::Memory(pod) = &stage.b else { panic!("in memory") };
    fly(&stage.a, &claim(&stage, "one", "a"), &to("two")).await;
    stage.pass(3 * S).await;
    let turn = Turn::at_once(&stage, "two", "b").await;
    pod.namespace.families.clear();

    turn.lands(&stage, &to("three")).await;
    stage.pass(3 * S).await;
    Turn::at_once(&stage, "three", "b").await.lands(&stage, &to("four")).await;
    stage.pass(3 * S).await;

    assert_eq!(Turn::at_once(&stage, "two", "a").await.token(), "four");
}
