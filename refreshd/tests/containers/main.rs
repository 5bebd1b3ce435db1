//! The fleets of docker-compose.yml, broken as containers break: killed, paused, cut off from their network, and brought
//! back, under load. Run by `tests/run containers`, which makes the images; each profile is a test.
//!
//! Fleets run with `uncertain = never`, so the judge is simple: whatever happens, the provider never sees a token again
//! that it has used up. Callers get tokens or are told to come again, and every session goes on after each fault.

mod callers;
mod compose;
mod faults;
mod judge;

use compose::{Project, Store};
use faults::Fault;

/// A storm through the fleet, then every fault of this profile, one after another.
async fn fleet(profile: &str, store: Store) {
    let project = Project::up(profile, store).await;
    project.storm();

    let provider = judge::Provider::of(&project);
    let mut callers = callers::Callers::start(&project, &provider).await;
    for fault in Fault::all(store) {
        callers.all_served_again().await;
        callers.count_anew();
        fault.happen(&project).await;
        // From the moment on at which it is brought back, well or not.
        let recovery = callers.all_served_again().await;
        println!("{profile:>10}  {:<40} {recovery}", fault.to_string());
        callers.judge(&fault);
        project.until_well().await;
    }
    let counts = provider.counts(callers.batches()).await;
    println!("{profile:>10}  {counts:?}");
    assert_eq!(counts.families_revoked, 0, "a token was presented again: {counts:?}");
    assert!(counts.rotations > 100, "there was a load: {counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs images: `tests/run containers`"]
async fn standalone() {
    fleet("standalone", Store::Alone("redis")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs images: `tests/run containers`"]
async fn tls() {
    fleet("tls", Store::Alone("redis-tls")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs images: `tests/run containers`"]
async fn sentinel() {
    fleet("sentinel", Store::Sentinel).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs images: `tests/run containers`"]
async fn cluster() {
    fleet("cluster", Store::Cluster).await;
}
