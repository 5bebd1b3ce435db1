//! Claims that follow one chain, and a Redis that is emptied, or is followed by a replica without its last writes. Nobody hangs, and
//! no token is presented again while the pod lives that had it presented.

use std::collections::HashSet;
use std::time::Duration;

use refresh_coordinator::{Config, RefreshCoordinator, RefreshError, Refreshed};
use tokio::task::{JoinHandle, JoinSet, LocalSet};

use crate::caller::Caller;
use crate::provider::Provider;
use crate::support::endpoint::Endpoint;
use crate::support::fleet::{connect, quick};
use crate::support::redis::RedisServer;
use crate::support::wait::until;

const S: Duration = Duration::from_secs(1);

fn config(lease: Duration) -> Config {
    quick().with_keep_outcome(Duration::ZERO).with_lease(lease)
}

/// All come at once, each at another pod, and come again for as long as they are told to.
async fn at_once(pods: &[RefreshCoordinator], callers: &[Caller]) -> Vec<(Caller, Result<Refreshed, RefreshError>)> {
    let mut asked = JoinSet::new();
    for (number, caller) in callers.iter().cloned().enumerate() {
        let pod = pods[number % pods.len()].clone();
        asked.spawn(async move {
            let told = caller.told_at_last(&pod).await;
            (caller, told)
        });
    }
    asked.join_all().await
}

/// Each is served, and keeps what it is given.
async fn all_go_on(pods: &[RefreshCoordinator], callers: &mut Vec<Caller>) {
    let told = at_once(pods, callers).await.into_iter().map(|(mut caller, told)| {
        caller.keeps(&told);
        caller
    });
    *callers = told.collect();
}

fn ten(provider: &Provider) -> Vec<Caller> {
    (0..10).map(|n| Caller::new(provider, format!("scope-{n}"), "f.1")).collect()
}

async fn eight_pods(redis: &RedisServer, config: &Config) -> Vec<RefreshCoordinator> {
    let mut pods = Vec::new();
    for _ in 0..8 {
        pods.push(connect(redis, config).await);
    }
    pods
}

/// One leads, and the others wait for their turn, with the token of the login or with one of their own each.
async fn flushall_while_claims_wait(rounds_before: usize) {
    let (redis, config, provider) = (RedisServer::start_own(&[]).await, config(3 * S), Provider::prompt());
    let pods = eight_pods(&redis, &config).await;
    let mut callers = ten(&provider);
    for _ in 0..rounds_before {
        all_go_on(&pods, &mut callers).await;
    }
    let before = provider.presented().len();
    let joined = async || pods.iter().map(|pod| pod.metrics().joined_fleet).sum::<u64>();
    let joined_before = joined().await;
    provider.hold();
    let waiting: JoinHandle<_> = {
        let (pods, mut callers) = (pods.clone(), callers.clone());
        tokio::spawn(async move {
            all_go_on(&pods, &mut callers).await;
            callers
        })
    };
    provider.asked(before + 1).await;
    until("the others wait", async || joined().await >= joined_before + 9).await;

    redis.cli(&["FLUSHALL"]).await;
    // Until a claim that is let in too early has presented.
    redis.wait(2 * config.lease).await;
    let presented = provider.presented().split_off(before);
    assert_eq!(presented.len(), 1, "nobody presents beside the leader: {presented:?}");
    provider.release();
    callers = waiting.await.expect("each is served");
    all_go_on(&pods, &mut callers).await;

    assert_eq!((provider.twice(), provider.lost()), (vec![], vec![]));
    assert_eq!(provider.presented().len(), before + 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushall_while_claims_wait_with_the_token_of_the_login_costs_none_of_them_its_answer() {
    flushall_while_claims_wait(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushall_while_claims_wait_with_tokens_of_their_own_costs_none_of_them_its_answer() {
    flushall_while_claims_wait(1).await;
}

/// Pods that live land again what they know, for a lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushall_between_two_rounds_makes_nobody_present_a_token_again() {
    let (redis, config, provider) = (RedisServer::start_own(&[]).await, config(5 * S), Provider::prompt());
    let pods = eight_pods(&redis, &config).await;
    let mut callers = ten(&provider);
    all_go_on(&pods, &mut callers).await;

    for _ in 0..2 {
        redis.cli(&["FLUSHALL"]).await;
        all_go_on(&pods, &mut callers).await;
    }

    assert_eq!((provider.twice(), provider.lost()), (vec![], vec![]));
    assert_eq!(provider.presented().len(), 30);
}

/// What the pod does that has led since the replica was cut off, when the primary is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastLeader {
    Lives,
    IsGone,
}

const ROTATIONS: usize = 6;

/// Two claims go on by turns. The replica has so many of their rotations, and takes over.
async fn failover(known: usize, last_leader: LastLeader) {
    let what = format!("a replica with {known} rotations, the last leader {last_leader:?}");
    let (primary, config, provider) = (RedisServer::start_own(&[]).await, config(3 * S), Provider::prompt());
    primary.in_use(&config.namespace).await;
    let (mut ways, mut pods) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let way = Endpoint::to(primary.url()).await;
        pods.push(RefreshCoordinator::connect(&way.url(), config.clone()).await.expect("redis is there"));
        ways.push(way);
    }
    let replica = primary.start_replica().await;
    let mut callers = Caller::three(&provider, "f.1")[..2].to_vec();
    for rotation in 0..known {
        callers[rotation % 2].goes_on(&pods[2]).await;
    }
    primary.detach(&replica).await;
    let before = provider.presented().len();
    for rotation in known..ROTATIONS {
        callers[rotation % 2].goes_on(&pods[2]).await;
    }
    let forgotten: HashSet<_> =
        provider.presented()[before..].iter().map(|presented| presented.token.clone()).collect();
    let rotated = provider.presented().len();

    if last_leader == LastLeader::IsGone {
        pods.truncate(2);
    }
    ways.iter().for_each(|way| way.lead_to(replica.url()));
    drop(primary);
    for _ in 0..2 {
        for (caller, told) in at_once(&pods[..2], &callers).await {
            let number = callers.iter().position(|other| other.scope == caller.scope).expect("it is one of them");
            // Where nobody knows any more what was presented, its own token may go to the provider.
            if last_leader == LastLeader::Lives || told.is_ok() {
                callers[number].keeps(&told);
            }
        }
    }

    println!("{what}: {} presentations, twice {:?}", provider.presented().len() - rotated, provider.twice());
    match last_leader {
        LastLeader::Lives => assert_eq!((provider.twice(), provider.lost()), (vec![], vec![]), "{what}"),
        LastLeader::IsGone => {
            let again = provider.twice().into_iter().collect::<HashSet<_>>();
            assert!(again.is_subset(&forgotten), "{what}: {again:?}, of which {forgotten:?} were forgotten");
        }
    }
}

async fn beside_each_other(last_leader: LastLeader) {
    let failovers = async {
        let mut runs = JoinSet::new();
        for known in [0, 1, 2, 5, 6] {
            runs.spawn_local(failover(known, last_leader));
        }
        runs.join_all().await;
    };
    LocalSet::new().run_until(failovers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_that_lacks_rotations_makes_no_claim_present_a_token_again_while_their_pod_lives() {
    beside_each_other(LastLeader::Lives).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_that_lacks_rotations_of_a_pod_that_is_gone_makes_claims_present_no_other_token_again() {
    beside_each_other(LastLeader::IsGone).await;
}
