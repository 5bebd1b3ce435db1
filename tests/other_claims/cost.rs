//! What a claim asks Redis that waits for its turn among fifty: its own token, once more when it is its turn, and the newest one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::caller::Caller;
use crate::provider::Provider;
use crate::rounds::{TAKES, patient};
use crate::support::fleet::connect;
use crate::support::monitor::{Monitor, Sent};
use crate::support::redis::RedisServer;

const CLAIMS: usize = 50;

/// Each claim has a pod of its own, so that what a pod sends is what one request costs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claim_among_fifty_asks_redis_three_times() {
    let (redis, config) = (RedisServer::start().await, patient());
    let provider = Provider::new(Duration::from_secs(300), TAKES);
    let monitor = Monitor::start(&redis).await;
    let mut pods = Vec::new();
    for number in 0..CLAIMS {
        let pod = connect(&redis, &config).await;
        // So that its scripts are loaded.
        Caller::new(&provider, "warm-up", &format!("w{number}.1")).goes_on(&pod).await;
        pods.push(pod);
    }
    let mut callers: Vec<_> = (0..CLAIMS).map(|n| Caller::new(&provider, format!("scope-{n}"), "f.1")).collect();

    for round in ["with the token of the login", "with a token of its own each"] {
        monitor.caught_up(&redis).await;
        let start = monitor.mark();
        let mut asked = JoinSet::new();
        for (number, mut caller) in callers.drain(..).enumerate() {
            let pod = pods[number].clone();
            asked.spawn(async move {
                caller.goes_on(&pod).await;
                caller
            });
        }
        callers = asked.join_all().await;
        monitor.caught_up(&redis).await;

        let by_pod: Vec<_> =
            monitor.sent_since(start, &config.namespace).into_values().map(|sent| scripts(&sent)).collect();
        let mut begins: Vec<_> = by_pod.iter().map(|scripts| scripts.get("begin").copied().unwrap_or(0)).collect();
        begins.sort_unstable();
        let median = begins[CLAIMS / 2];
        println!("{round}: median of begins {median}, of {begins:?}; scripts for one claim, on average:");
        let names: BTreeSet<_> = by_pod.iter().flat_map(BTreeMap::keys).collect();
        for name in names {
            let calls: usize = by_pod.iter().filter_map(|scripts| scripts.get(name)).sum();
            println!("{:8.2} {name}", calls as f64 / CLAIMS as f64);
        }
        assert_eq!(by_pod.len(), CLAIMS, "pods that have asked");
        assert!(median <= 3, "{round}: {begins:?}");
    }
    assert_eq!((provider.twice(), provider.lost()), (vec![], vec![]));
}

/// How often each script was called.
fn scripts(sent: &[Sent]) -> BTreeMap<String, usize> {
    // The name of each is read from the scripts, which takes its time.
    let mut by_hash: HashMap<&[u8], (String, usize)> = HashMap::new();
    for sent in sent {
        if sent.words[0].eq_ignore_ascii_case(b"evalsha") {
            let name = || (sent.name().trim_start_matches("evalsha ").to_owned(), 0);
            by_hash.entry(&sent.words[1]).or_insert_with(name).1 += 1;
        }
    }
    by_hash.into_values().collect()
}
