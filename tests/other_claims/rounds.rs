//! Many claims come at once, again and again, each with the token that it was given last: each is served, by a presentation of its own.

use std::time::Duration;

use refresh_coordinator::{Config, Metrics, RefreshCoordinator};
use tokio::task::JoinSet;

use crate::caller::Caller;
use crate::provider::{Provider, generation_of};
use crate::support::fleet::{Fleet, quick};

const ROUNDS: usize = 3;

/// How long the provider takes for an answer.
pub(crate) const TAKES: Duration = Duration::from_millis(50);

/// For fifty that come one after the other on a busy machine.
pub(crate) fn patient() -> Config {
    let span = Duration::from_secs(60);
    quick().with_refresh_timeout(span).with_wait_timeout(span)
}

/// Three rounds. In each the answers to one claim in ten get lost, so that it comes again with the token that it had.
async fn rounds(pods: &[RefreshCoordinator], claims: usize) {
    let provider = Provider::new(Duration::from_secs(300), TAKES);
    let mut callers: Vec<_> = (0..claims).map(|n| Caller::new(&provider, format!("scope-{n}"), "f.1")).collect();
    let mut answers = 0;
    let mut lost: Vec<(usize, String)> = Vec::new();
    for round in 0..ROUNDS {
        let before = std::mem::take(&mut lost);
        for (number, caller, had) in at_once(pods, callers.clone(), round).await {
            answers += 1;
            if let Some((_, answer)) = before.iter().find(|(loser, _)| *loser == number) {
                let (lost, given) = (generation_of(answer), generation_of(&caller.token));
                assert!(given >= lost, "{} with {had}: {given} after {lost}, which got lost", caller.scope);
            }
            if number % 10 == round {
                lost.push((number, caller.token));
            } else {
                callers[number].token = caller.token;
            }
        }
    }

    let sum = |counter: fn(&Metrics) -> u64| pods.iter().map(|pod| counter(&pod.metrics())).sum::<u64>();
    assert_eq!((provider.twice(), provider.lost()), (vec![], vec![]));
    assert_eq!(answers, ROUNDS * claims);
    assert_eq!((sum(|pod| pod.refused_another_claim), sum(|pod| pod.timed_out), sum(|pod| pod.reused)), (0, 0, 0));
    // Only a claim whose answer got lost may be handed what it was given already.
    let handed = answers - provider.presented().len();
    assert!(handed <= 2 * claims.div_ceil(10), "{handed} answers without a presentation");
}

/// All callers come with what they have. Answers each by its number, with the token that it was given and the one that it had.
async fn at_once(pods: &[RefreshCoordinator], callers: Vec<Caller>, round: usize) -> Vec<(usize, Caller, String)> {
    let mut asked = JoinSet::new();
    for (number, mut caller) in callers.into_iter().enumerate() {
        let pod = pods[(number + round) % pods.len()].clone();
        asked.spawn(async move {
            let had = caller.token.clone();
            caller.goes_on(&pod).await;
            (number, caller, had)
        });
    }
    asked.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_scopes_of_one_login_at_eight_pods_are_each_served_in_three_rounds() {
    let fleet = Fleet::on_redis(8, &patient()).await;
    rounds(&fleet.pods, 50).await;
}

#[tokio::test(start_paused = true)]
async fn twenty_scopes_of_one_login_in_one_process_are_each_served_in_three_rounds() {
    let fleet = Fleet::in_memory(1, &patient());
    rounds(&fleet.pods, 20).await;
}
