//! Two claims of one login refresh by turns, without end: what is kept of them and what each refresh costs do not grow.

use std::collections::BTreeMap;
use std::time::Duration;

use refresh_coordinator::{Config, Metrics, RefreshCoordinator};

use crate::caller::Caller;
use crate::provider::Provider;
use crate::support::fleet::{Fleet, quick};
use crate::support::redis::RedisServer;

/// Whose token a claim comes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    /// That which it was given itself, and which the other has had rotated since.
    ItsOwn,
    /// The newest of the login, from a store that both share.
    Shared,
}

/// An answer is fresh for nobody who comes later, and the record of a flight is soon gone.
fn never_fresh() -> Config {
    let second = Duration::from_secs(1);
    let quick = quick().with_lease(second).with_store_timeout(second);
    quick.with_keep_outcome(Duration::ZERO).with_refresh_timeout(second).with_wait_timeout(second)
}

/// Rotations by turns, each at another pod.
async fn alternate(
    pods: &[RefreshCoordinator],
    callers: &mut [Caller; 2],
    keeps: Keeps,
    rotations: std::ops::Range<usize>,
) {
    for rotation in rotations {
        let turn = rotation % 2;
        callers[turn].goes_on(&pods[rotation % pods.len()]).await;
        if keeps == Keeps::Shared {
            callers[1 - turn].token = callers[turn].token.clone();
        }
    }
}

fn two(provider: &Provider) -> [Caller; 2] {
    ["mail", "files"].map(|scope| Caller::new(provider, scope, "f.1"))
}

/// What is kept of a namespace, when what passes by itself has passed.
#[derive(Debug)]
struct Kept {
    /// How many keys of each name.
    keys: BTreeMap<String, usize>,
    /// Without what is known of all callers, which is much and has one size.
    bytes: u64,
}

impl Kept {
    async fn at(redis: &RedisServer, config: &Config) -> Self {
        redis.wait(config.wait_timeout + Duration::from_millis(200)).await;
        let tag = format!("rc:{{{}}}:", config.namespace);
        let mut kept = Self { keys: BTreeMap::new(), bytes: 0 };
        for key in redis.keys(&format!("{tag}*")).await {
            let name = key[tag.len()..].split(':').next().expect("a name").to_owned();
            if !name.starts_with("known") {
                kept.bytes += redis.cli(&["MEMORY", "USAGE", &key]).await.parse::<u64>().unwrap_or(0);
            }
            *kept.keys.entry(name).or_default() += 1;
        }
        kept
    }
}

/// How often pods have called a script of a server that nobody else uses.
async fn scripts(redis: &RedisServer) -> u64 {
    let info = redis.cli(&["INFO", "commandstats"]).await;
    let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).expect("they have");
    line.split(',').next().expect("a number").parse().expect("a number")
}

/// How often the session was charged, over all accounts of its claims.
async fn charges(redis: &RedisServer, config: &Config) -> u64 {
    let mut sum = 0;
    for session in redis.keys(&format!("rc:{{{}}}:attempts:*", config.namespace)).await {
        let fields = redis.cli(&["HGETALL", &session]).await;
        let words: Vec<_> = fields.lines().collect();
        let counts = words.chunks(2).filter(|field| field[0].starts_with("attempts:"));
        sum += counts.map(|field| field[1].parse::<u64>().expect("a number")).sum::<u64>();
    }
    sum
}

async fn two_hundred_rotations_cost_as_twenty_do(keeps: Keeps) {
    let (redis, config) = (RedisServer::start_own(&[]).await, never_fresh());
    let (provider, mut pods) = (Provider::prompt(), Vec::new());
    for _ in 0..3 {
        pods.push(crate::support::fleet::connect(&redis, &config).await);
    }
    let mut callers = two(&provider);

    alternate(&pods, &mut callers, keeps, 0..10).await;
    let start = scripts(&redis).await;
    alternate(&pods, &mut callers, keeps, 10..20).await;
    let early_scripts = scripts(&redis).await - start;
    let early = Kept::at(&redis, &config).await;
    alternate(&pods, &mut callers, keeps, 20..190).await;
    let start = scripts(&redis).await;
    alternate(&pods, &mut callers, keeps, 190..200).await;
    let late_scripts = scripts(&redis).await - start;
    let late = Kept::at(&redis, &config).await;

    println!("{keeps:?}: after 20 rotations {early:?}, after 200 {late:?}");
    println!("{keeps:?}: scripts of ten rotations, before 20 {early_scripts}, before 200 {late_scripts}");
    assert_eq!((provider.twice(), provider.presented().len()), (vec![], 200));
    assert_eq!(late.keys, early.keys);
    assert!(late.bytes < early.bytes + early.bytes / 4, "{} bytes, then {}", early.bytes, late.bytes);
    // What a pod asks that lands something again, now and then.
    assert!(late_scripts <= early_scripts + 3, "{early_scripts} scripts, then {late_scripts}");
    let sum = |counter: fn(&Metrics) -> u64| pods.iter().map(|pod| counter(&pod.metrics())).sum::<u64>();
    let refused = sum(|pod| pod.refused_another_claim);
    assert_eq!((sum(|pod| pod.led), sum(|pod| pod.walks_over), sum(|pod| pod.reused), refused), (200, 0, 0, 0));
    // The first claim comes with the token of the login itself, and each one after that with one that was rotated.
    let walks = if keeps == Keeps::ItsOwn { 199 } else { 0 };
    assert_eq!(sum(|pod| pod.walks_led), walks);
    assert_eq!(charges(&redis, &config).await, 200, "one charge for each presentation");
    let third = Caller::new(&provider, "calendar", &provider.newest("f")).asks(&pods[0]).await;
    assert!(third.is_ok(), "there is room for a third claim: {third:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_claims_that_keep_their_own_tokens_cost_after_two_hundred_rotations_what_they_cost_after_twenty() {
    two_hundred_rotations_cost_as_twenty_do(Keeps::ItsOwn).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_claims_that_share_a_stored_token_cost_after_two_hundred_rotations_what_they_cost_after_twenty() {
    two_hundred_rotations_cost_as_twenty_do(Keeps::Shared).await;
}

#[tokio::test(start_paused = true)]
async fn two_claims_of_one_process_that_keep_their_own_tokens_go_on_for_fifty_rotations() {
    let (fleet, provider) = (Fleet::in_memory(1, &never_fresh()), Provider::prompt());
    let mut callers = two(&provider);

    alternate(&fleet.pods, &mut callers, Keeps::ItsOwn, 0..50).await;

    assert_eq!((provider.twice(), provider.presented().len()), (vec![], 50));
    let metrics = fleet.pods[0].metrics();
    assert_eq!((metrics.led, metrics.walks_led, metrics.walks_over, metrics.reused), (50, 49, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn two_claims_of_one_process_that_share_a_stored_token_leave_room_for_a_third_after_hundred_rotations() {
    let (fleet, provider) = (Fleet::in_memory(1, &never_fresh()), Provider::prompt());
    let mut callers = two(&provider);

    alternate(&fleet.pods, &mut callers, Keeps::Shared, 0..100).await;
    let mut third = Caller::new(&provider, "calendar", &provider.newest("f"));
    third.goes_on(&fleet.pods[0]).await;
    let [first, second] = &mut callers;
    for caller in [first, &mut third, second] {
        caller.goes_on(&fleet.pods[0]).await;
    }

    assert_eq!((provider.twice(), provider.presented().len()), (vec![], 104));
}
