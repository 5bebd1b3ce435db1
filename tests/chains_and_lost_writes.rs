//! A chain of tokens and a Redis that loses records in its middle: by a failover to a replica that lags, by FLUSHALL, by eviction.
//! Who comes with an older token is handed what is there, or presents its own token; no newer one that was presented already.

mod support;

use std::collections::HashSet;
use std::time::Duration;

use refresh_coordinator::{Config, RefreshCoordinator, Uncertain};
use support::endpoint::Endpoint;
use support::fleet::{connect_to, quick};
use support::redis::RedisServer;
use support::rotating::{Presented, Rotating};
use tokio::task::{JoinSet, LocalSet};

const POLICIES: [Uncertain; 2] = [Uncertain::Retry, Uncertain::Never];

/// Four tokens of a chain of three links, three of which were presented.
const TOKENS: [&str; 4] = ["f.1", "f.2", "f.3", "f.4"];

fn config(uncertain: Uncertain) -> Config {
    let second = Duration::from_secs(1);
    quick()
        .with_lease(2 * second)
        .with_store_timeout(2 * second)
        .with_uncertain(uncertain)
        .with_keep_outcome(Duration::ZERO)
        .with_refresh_timeout(5 * second)
        .with_wait_timeout(6 * second)
}

/// Pods, each with an endpoint of its own. The last one is there for what it leads, and may be gone when callers come.
struct Pods {
    ways: Vec<Endpoint>,
    pods: Vec<RefreshCoordinator>,
    provider: Rotating,
    config: Config,
}

impl Pods {
    async fn at(redis: &RedisServer, config: Config) -> Self {
        redis.in_use(&config.namespace).await;
        let mut pods = Self { ways: Vec::new(), pods: Vec::new(), provider: Rotating::new(0), config };
        for _ in 0..3 {
            let way = Endpoint::to(redis.url()).await;
            pods.pods.push(connect_to(&way.url(), &pods.config).await);
            pods.ways.push(way);
        }
        pods
    }

    /// One link more: the first by a direct caller, the second by a walker, the third by a direct caller.
    async fn link(&self, number: usize) {
        let asked = [TOKENS[0], TOKENS[0], TOKENS[2]][number - 1];
        // A caller that comes while the flight before is still landing is told what that one brought; on a busy machine it may
        // have to come again.
        let is_there = async || {
            let told = self.provider.refresh(&self.pods[2], asked).await;
            told.is_ok_and(|refreshed| refreshed.tokens().refresh_token() == Some(TOKENS[number]))
        };
        support::wait::until("one link more", is_there).await;
    }

    /// The pod that has led is gone, with what it would land again.
    fn leader_ends(&mut self) {
        self.pods.truncate(2);
    }

    /// Callers come at two pods: first with the oldest token, while nobody has come with a newer one, then with each at once.
    async fn come(&self) {
        for tokens in [&TOKENS[..1], &TOKENS[..], &TOKENS[..]] {
            let mut callers = JoinSet::new();
            for &token in tokens {
                for pod in &self.pods[..2] {
                    let (pod, provider) = (pod.clone(), self.provider.clone());
                    callers.spawn(async move { drop(provider.refresh(&pod, token).await) });
                }
            }
            callers.join_all().await;
        }
    }

    fn key(&self, name: &str, token: &str) -> String {
        let hash = sha256(token);
        format!("rc:{{{}}}:{name}:{hash}", self.config.namespace)
    }

    /// Answers what was presented that nobody may present: another token than the caller's own, which was presented before.
    fn wrong(&self, what: &str) -> Vec<String> {
        let mut presented = HashSet::new();
        let mut wrong = Vec::new();
        for Presented { asked, token } in self.provider.presented() {
            if !presented.insert(token.clone()) && asked != token {
                wrong.push(format!("{what}: {token} for a caller with {asked}"));
            }
        }
        assert!(presented.len() > 3, "{what}: nobody presented anything");
        wrong
    }
}

fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn nothing(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What the pod that has led the chain does when the server is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastLeader {
    Lives,
    Presents,
    IsGone,
}

/// The replica has the chain up to `known` links only, and takes over.
async fn failover(known: usize, uncertain: Uncertain, state: LastLeader) -> Vec<String> {
    let primary = RedisServer::start_own(&[]).await;
    let mut pods = Pods::at(&primary, config(uncertain)).await;
    let replica = primary.start_replica().await;
    for number in 1..=known {
        pods.link(number).await;
    }
    primary.detach(&replica).await;
    for number in known + 1..=3 {
        pods.link(number).await;
    }
    if state == LastLeader::Presents {
        let walker = walker_under_way(&pods).await;
        pods.ways.iter().for_each(|way| way.lead_to(replica.url()));
        drop(primary);
        tokio::join!(pods.come(), async {
            replica.wait(2 * pods.config.lease).await;
            pods.provider.release();
        });
        _ = walker.await;
    } else {
        if state == LastLeader::IsGone {
            pods.leader_ends();
        }
        pods.ways.iter().for_each(|way| way.lead_to(replica.url()));
        drop(primary);
    }
    pods.come().await;
    pods.wrong(&format!("replica with {known} links, {uncertain:?}, the leader {state:?}"))
}

async fn beside_each_other(known: &[usize], state: LastLeader) {
    let failovers = async {
        let mut runs = JoinSet::new();
        for uncertain in POLICIES {
            for known in known {
                runs.spawn_local(failover(*known, uncertain, state));
            }
        }
        nothing(runs.join_all().await.concat());
    };
    LocalSet::new().run_until(failovers).await;
}

/// A caller with the oldest token, for which the newest is being presented.
async fn walker_under_way(pods: &Pods) -> tokio::task::JoinHandle<()> {
    pods.provider.hold();
    let (pod, provider) = (pods.pods[0].clone(), pods.provider.clone());
    let before = provider.presented().len();
    let walker = tokio::spawn(async move { drop(provider.refresh(&pod, TOKENS[2]).await) });
    let is_presented = async || pods.provider.presented().len() > before;
    support::wait::until("the walker presents", is_presented).await;
    walker
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_that_lacks_links_of_a_chain_makes_no_walker_present_a_token_again() {
    beside_each_other(&[0, 1, 2, 3], LastLeader::Lives).await;
    beside_each_other(&[0, 1, 2, 3], LastLeader::IsGone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_that_takes_over_while_a_walker_presents_makes_nobody_present_that_token_again() {
    beside_each_other(&[1, 3], LastLeader::Presents).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushall_in_the_middle_of_a_chain_makes_no_walker_present_a_token_again() {
    let redis = RedisServer::start_own(&[]).await;
    for uncertain in POLICIES {
        for under_way in [false, true] {
            let pods = Pods::at(&redis, config(uncertain)).await;
            for number in 1..=3 {
                pods.link(number).await;
            }
            let walker = if under_way { Some(walker_under_way(&pods).await) } else { None };
            redis.cli(&["FLUSHALL"]).await;
            tokio::join!(pods.come(), async {
                redis.wait(2 * pods.config.lease).await;
                if under_way {
                    pods.provider.release();
                }
            });
            if let Some(walker) = walker {
                _ = walker.await;
            }
            pods.come().await;
            nothing(pods.wrong(&format!("FLUSHALL, {uncertain:?}, a walker under way: {under_way}")));
        }
    }
}

/// Each record of its own is taken away, as an eviction may: those of each token, and those of the namespace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_that_is_evicted_from_a_chain_makes_no_walker_present_a_token_again() {
    let redis = RedisServer::start_own(&[]).await;
    let of_namespace = ["fence", "incarnation", "held_until", "known", "meta", "permits", "budget", "circuit"];
    let mut wrong = Vec::new();
    for uncertain in POLICIES {
        let mut kinds: Vec<(&str, Option<&str>)> = of_namespace.into_iter().map(|name| (name, None)).collect();
        kinds.extend(["flight", "held"].into_iter().flat_map(|name| TOKENS.map(|token| (name, Some(token)))));
        for (name, token) in kinds {
            for links in [2, 3] {
                let pods = Pods::at(&redis, config(uncertain)).await;
                for number in 1..=links {
                    pods.link(number).await;
                }
                let key = match token {
                    Some(token) => pods.key(name, token),
                    None => format!("rc:{{{}}}:{name}", pods.config.namespace),
                };
                redis.cli(&["DEL", &key]).await;
                pods.come().await;
                wrong.extend(pods.wrong(&format!("DEL {name} of {token:?} after {links} links, {uncertain:?}")));
            }
        }
    }
    nothing(wrong);
}

/// A Redis that is too small evicts whatever it likes, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_that_evicts_makes_no_walker_present_a_token_again() {
    for policy in ["allkeys-random", "allkeys-lru", "volatile-ttl"] {
        let redis = RedisServer::start_own(&[]).await;
        for uncertain in POLICIES {
            let pods = Pods::at(&redis, config(uncertain)).await;
            for number in 1..=3 {
                pods.link(number).await;
            }
            let info = redis.cli(&["INFO", "memory"]).await;
            let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("it is told");
            let most = (used.trim().parse::<u64>().expect("a number") + 100_000).to_string();
            redis.cli(&["CONFIG", "SET", "maxmemory-policy", policy]).await;
            redis.cli(&["CONFIG", "SET", "maxmemory", &most]).await;
            let evicted = async || {
                let info = redis.cli(&["INFO", "stats"]).await;
                let line = info.lines().find_map(|line| line.strip_prefix("evicted_keys:").map(str::to_owned));
                line.expect("it is told").trim().parse::<u64>().expect("a number")
            };
            let before = evicted().await;
            let mut number = 0;
            while evicted().await < before + 20 {
                number += 1;
                let filler = format!("filler:{number}");
                _ = redis.tried(&["SET", &filler, &"x".repeat(2000), "EX", "600"]).await;
            }
            redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
            pods.come().await;
            nothing(pods.wrong(&format!("{policy}, {uncertain:?}")));
        }
    }
}
