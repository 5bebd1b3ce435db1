//! What a refresh costs Redis wherever that is: two commands of the pod that leads, one of each pod that joins, over connections
//! that are there; not one more behind Sentinel or on a Cluster.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use refresh_coordinator::{Config, Refresh, RefreshCoordinator};
use support::fleet::quick;
use support::provider::Provider;
use support::redis::RedisServer;
use support::redis::topology::{Cluster, Group};
use support::wait::until;

fn config() -> Config {
    // Nothing is due by itself while a test runs.
    let minutes = Duration::from_secs(300);
    quick()
        .with_lease(minutes)
        .with_keep_outcome(minutes)
        .with_wait_timeout(minutes)
        .with_store_timeout(Duration::from_secs(9))
}

/// What clients have sent so far, by command. What scripts call has other names.
async fn sent(servers: &[&RedisServer]) -> BTreeMap<String, u64> {
    let mut sent = BTreeMap::new();
    for server in servers {
        let info = server.cli(&["INFO", "commandstats"]).await;
        for line in info.lines().filter_map(|line| line.trim().strip_prefix("cmdstat_")) {
            let Some((name, rest)) = line.split_once(":calls=") else { continue };
            let of_pods = ["eval", "script|", "cluster|", "subscribe", "ssubscribe", "hello", "auth"];
            if of_pods.iter().any(|command| name.starts_with(command)) {
                let calls: u64 = rest.split(',').next().expect("a number").parse().expect("a number");
                *sent.entry(name.to_owned()).or_default() += calls;
            }
        }
    }
    sent
}

/// What was sent between the two, without what was not.
fn more(before: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let more = now.iter().map(|(name, calls)| (name.clone(), calls - before.get(name).unwrap_or(&0)));
    more.filter(|(_, calls)| *calls > 0).collect()
}

async fn costs_two_to_lead_and_one_to_join(url: &str, config: Config, decides: &RedisServer, servers: &[&RedisServer]) {
    decides.in_use(&config.namespace).await;
    let mut pods = Vec::new();
    for _ in 0..3 {
        pods.push(RefreshCoordinator::connect(url, config.clone()).await.expect("the node is found"));
    }
    // So that the scripts are loaded.
    let open = Provider::open();
    pods[0].refresh(Refresh::new("warm-up"), open.refresh("warm-up")).await.expect("tokens");
    // The least of three flights: a pod that looks whether its server is still the one may land again what it keeps, which only adds.
    let mut least: Option<Costs> = None;
    for flight in 1..=3 {
        let costs = costs_of(&format!("t{flight}"), flight, &pods, servers).await;
        least = least.into_iter().chain([costs]).min_by_key(|costs| costs.over.values().sum::<u64>());
    }

    let scripts = |count: u64| BTreeMap::from([("evalsha".to_owned(), count)]);
    let least = least.expect("there are three");
    assert_eq!(
        (least.begun, least.over),
        (scripts(1 + 2), scripts(2 + 2)),
        "of a leader, then of two pods that joined"
    );
}

/// What was sent for a flight, up to the provider's answer and up to the last caller's.
struct Costs {
    begun: BTreeMap<String, u64>,
    over: BTreeMap<String, u64>,
}

/// The first pod leads, the others join, each with two callers. It is the pods' flight of this number.
async fn costs_of(token: &str, flight: u64, pods: &[RefreshCoordinator], servers: &[&RedisServer]) -> Costs {
    let come = |pod: &RefreshCoordinator, provider: &Provider| {
        let (pod, call, refresh) = (pod.clone(), provider.refresh(token), Refresh::new(token));
        tokio::spawn(async move { pod.refresh(refresh, call).await.expect("tokens") })
    };
    let (before, held) = (sent(servers).await, Provider::held());

    let led = come(&pods[0], &held);
    held.asked(1).await;
    let mut joined = Vec::new();
    for pod in &pods[1..] {
        // A pod asks once for all of its callers.
        joined.push(come(pod, &held));
        until("it is joined", async || pod.metrics().joined_fleet == flight).await;
        joined.push(come(pod, &held));
    }
    let begun = more(&before, &sent(servers).await);
    held.release(1);
    led.await.expect("no panic");
    for joined in joined {
        joined.await.expect("no panic");
    }
    assert_eq!(held.presented(token), 1);
    Costs { begun, over: more(&before, &sent(servers).await) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refresh_costs_two_commands_and_one_for_each_pod_that_joins_on_one_server() {
    let redis = RedisServer::start_own(&[]).await;
    costs_two_to_lead_and_one_to_join(redis.url(), config(), &redis, &[&redis]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refresh_costs_the_same_behind_sentinels() {
    let group = Group::start(Duration::from_secs(30)).await;
    let master = &group.servers[0];
    costs_two_to_lead_and_one_to_join(&group.url(), config(), master, &[master]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refresh_costs_the_same_on_a_cluster_and_nothing_at_other_nodes() {
    let (cluster, config) = (Cluster::start().await, config());
    let owner = cluster.owner(&config.namespace).await;
    let nodes: Vec<_> = cluster.masters.iter().map(AsRef::as_ref).collect();
    costs_two_to_lead_and_one_to_join(&cluster.url(), config, &owner, &nodes).await;
}
