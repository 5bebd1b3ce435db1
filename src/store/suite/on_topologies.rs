//! The fixed histories behind sentinels and on a cluster: where Redis is makes no difference to what a store promises.

use std::rc::Rc;

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

use super::stage::*;
use super::{
    astray, background, budget, chains, circuit, claim_ends, claims, claims_attacked, claims_besieged, claims_crowded,
    claims_joining, claims_named, claims_places, claims_remembered, claims_walking, ended, flights, sessions,
    strangers, untold,
};
use crate::test_redis::topology::{Cluster, Group};

/// More at once, and a busy machine is late for their leases.
const AT_ONCE: usize = 4;

/// Tells all histories, each in a namespace of its own, on the stage that this sets up. Names those that do not hold.
async fn all_hold<S>(stage: impl Fn(Config) -> S + 'static)
where
    S: Future<Output = Stage> + 'static,
{
    let promises = [
        flights::promises(),
        sessions::promises(),
        budget::promises(),
        background::promises(),
        circuit::promises(),
        chains::promises(),
        claims::promises(),
        claim_ends::promises(),
        claims_attacked::promises(),
        claims_crowded::promises(),
        claims_joining::promises(),
        claims_remembered::promises(),
        claims_walking::promises(),
        claims_besieged::promises(),
        claims_named::promises(),
        claims_places::promises(),
        astray::promises(),
        strangers::promises(),
        untold::promises(),
        ended::promises(),
    ]
    .concat();
    assert!(promises.len() > 50, "only {} histories", promises.len());
    let (stage, places, local, mut told) =
        (Rc::new(stage), Rc::new(Semaphore::new(AT_ONCE)), LocalSet::new(), JoinSet::new());
    let mut names = std::collections::HashMap::new();
    for Promise { name, config, holds } in promises {
        let (stage, places) = (Rc::clone(&stage), Rc::clone(&places));
        let history = async move {
            let _place = places.acquire().await.expect("never closed");
            holds(stage(config()).await).await;
        };
        names.insert(told.spawn_local_on(history, &local).id(), name);
    }
    let mut broken = Vec::new();
    let all = async {
        while let Some(told) = told.join_next_with_id().await {
            if let Err(panicked) = told {
                broken.push(names[&panicked.id()]);
            }
        }
    };
    local.run_until(all).await;
    assert_eq!(broken, [""; 0]);
}

#[tokio::test]
async fn every_promise_holds_behind_sentinels() {
    let group = Rc::new(Group::start(30 * S).await);
    all_hold(move |config| {
        let group = Rc::clone(&group);
        async move { Stage::at(&group.url(), Arc::clone(&group.servers[0]), config).await }
    })
    .await;
}

#[tokio::test]
async fn every_promise_holds_on_a_cluster() {
    let cluster = Rc::new(Cluster::start().await);
    all_hold(move |config| {
        let cluster = Rc::clone(&cluster);
        async move {
            let owner = cluster.owner(&config.namespace).await;
            Stage::at(&cluster.url(), owner, config).await
        }
    })
    .await;
}
