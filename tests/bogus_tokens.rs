//! A flood of tokens that never were: the provider refuses each, what the fleet remembers of them is bounded by time
//! and soon gone, and honest callers are served meanwhile.
//!
//! `BOGUS_TOKENS=100000 cargo test --test bogus_tokens -- --nocapture` runs the large one, and then waits until
//! everything is forgotten.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use refresh_coordinator::{Config, ProviderFailure, Refresh, RefreshCoordinator, RefreshError, Refusal};
use support::fleet::{connect, quick};
use support::provider::rotated;
use support::redis::RedisServer;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How many in a run that everybody waits for.
const FEW: usize = 5_000;

async fn used_memory(redis: &RedisServer) -> u64 {
    let info = redis.cli(&["INFO", "memory"]).await;
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("redis tells it");
    line.trim().parse().expect("a number")
}

async fn keys(redis: &RedisServer) -> u64 {
    redis.cli(&["DBSIZE"]).await.parse().expect("a number")
}

/// What the flood does to Redis, as seen every 50 ms.
#[derive(Debug, Default)]
struct Peak {
    memory: u64,
    keys: u64,
}

/// What Redis has left of the flood.
#[derive(Debug, Default)]
struct Left {
    keys: usize,
    /// How long any of them still lives, but for the fixed ones.
    longest: Duration,
    /// What is remembered of refused tokens, and the bytes it takes.
    refused: u64,
    refused_bytes: u64,
}

async fn left(redis: &RedisServer, config: &Config) -> Left {
    let (mut cursor, mut longest, mut left) = ("0".to_owned(), 0, Left::default());
    // In parts, so that nobody waits for it.
    let script = "local page = redis.call('SCAN', ARGV[1], 'COUNT', 500)
        local longest, refused, bytes = -2, 0, 0
        for _, key in ipairs(page[2]) do
            local left = redis.call('PTTL', key)
            local name = string.sub(key, #ARGV[2] + 1)
            if left == -1 and name ~= 'fence' and name ~= 'incarnation' then return redis.error_reply(key .. ' never ends') end
            -- The pods that live write themselves into it again and again; who is known stays so.
            if name ~= 'meta' and string.sub(name, 1, 5) ~= 'known' then longest = math.max(longest, left) end
            if string.sub(name, 1, 7) == 'flight:' and redis.call('HGET', key, 'class') == 'denied' then
                refused = refused + 1
                -- All fields are weighed: by default Redis weighs five, which are the same in all hashes of one server.
                bytes = bytes + (redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 0) or 0)
            end
        end
        return {page[1], #page[2], longest, refused, bytes}";
    loop {
        let page = redis.cli(&["EVAL", script, "0", &cursor, &format!("rc:{{{}}}:", config.namespace)]).await;
        let [next, numbers @ ..] = &page.lines().collect::<Vec<_>>()[..] else { panic!("{page}") };
        let numbers: Vec<i64> = numbers.iter().map(|number| number.parse().expect("a number")).collect();
        let [keys, lives, refused, bytes] = numbers[..] else { panic!("{page}") };
        left.keys += usize::try_from(keys).expect("so many");
        left.refused += refused.unsigned_abs();
        left.refused_bytes += bytes.unsigned_abs();
        longest = longest.max(lives);
        if *next == "0" {
            left.longest = Duration::from_millis(longest.try_into().expect("something ends"));
            return left;
        }
        cursor = (*next).to_owned();
    }
}

async fn present_bogus(pod: &RefreshCoordinator, number: usize) {
    let call = async |_| Err(ProviderFailure::denied("invalid_grant"));
    // Nothing in it is twice the same.
    let refresh = Refresh::new(format!("bogus-{number}")).public_client(format!("client-{number}"));
    let refresh = refresh.parameters([(format!("name-{number}"), format!("value-{number}"))]);
    let told = pod.refresh(refresh, call).await;
    // Nobody knows who it is, so it queues behind honest callers: where the flood is large it may wait in vain.
    let is_refused = matches!(&told, Err(RefreshError::Refused(Refusal::Budget { .. })));
    assert!(is_refused || matches!(&told, Err(error) if error.is_session_over()), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flood_of_bogus_tokens_is_soon_forgotten_and_delays_honest_callers_only_a_little() {
    const PODS: usize = 8;
    const FLOODERS: usize = 400;
    let bogus: usize = std::env::var("BOGUS_TOKENS").map_or(FEW, |number| number.parse().expect("a number"));
    let defaults = Config::default();
    // As they come, but for what is remembered of honest callers' tokens.
    let config = defaults
        .with_namespace(quick().namespace)
        .with_keep_outcome(Duration::from_secs(1))
        .with_wait_timeout(Duration::from_secs(10))
        .with_refresh_timeout(Duration::from_secs(10))
        .with_refresh_attempt_window(Duration::from_secs(5))
        // Nobody's honest refresh is to fail because the machine stands still.
        .with_store_timeout(Duration::from_secs(5));
    // Of the test's own: its memory is measured.
    let redis = Arc::new(RedisServer::start_own(&[]).await);
    let mut pods = Vec::new();
    for _ in 0..PODS {
        pods.push(connect(&redis, &config).await);
    }
    // So that the first of them does not pay for what every pod needs.
    for (index, pod) in pods.iter().enumerate() {
        present_bogus(pod, usize::MAX - index).await;
    }
    let (memory_before, start) = (used_memory(&redis).await, Instant::now());
    let is_over = Arc::new(AtomicBool::new(false));

    let watcher = tokio::spawn({
        let (redis, is_over) = (Arc::clone(&redis), Arc::clone(&is_over));
        async move {
            let mut peak = Peak::default();
            while !is_over.load(Ordering::Relaxed) {
                peak.memory = peak.memory.max(used_memory(&redis).await);
                peak.keys = peak.keys.max(keys(&redis).await);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            peak
        }
    });
    let mut honest = JoinSet::new();
    for user in 0..8 {
        let (pods, is_over) = (pods.clone(), Arc::clone(&is_over));
        honest.spawn(async move {
            let (mut waited, mut token) = (Vec::new(), format!("user-{user}"));
            while !is_over.load(Ordering::Relaxed) {
                let (start, presented) = (Instant::now(), token.clone());
                let pod = &pods[waited.len() % PODS];
                let call = move |_| async move { Ok(rotated(&presented)) };
                let refreshed = pod.refresh(Refresh::new(token.as_str()), call).await.expect("tokens");
                token = refreshed.tokens().refresh_token().expect("a successor").to_owned();
                if token.len() > 1000 {
                    token = format!("user-{user}-{}", waited.len());
                }
                waited.push(start.elapsed());
            }
            waited
        });
    }
    let next = Arc::new(AtomicUsize::new(0));
    let mut flood = JoinSet::new();
    for flooder in 0..FLOODERS {
        let (pod, next) = (pods[flooder % PODS].clone(), Arc::clone(&next));
        flood.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= bogus {
                    return;
                }
                present_bogus(&pod, number).await;
            }
        });
    }
    flood.join_all().await;
    let took = start.elapsed();
    is_over.store(true, Ordering::Relaxed);
    let mut waited: Vec<Duration> = honest.join_all().await.into_iter().flatten().collect();
    let peak = watcher.await.expect("it watches to the end");
    let Left { keys, longest, refused, refused_bytes } = left(&redis, &config).await;

    waited.sort();
    let (median, slowest) = (waited[waited.len() / 2], waited[waited.len() - 1]);
    // Of the flood, Redis holds what the last minute brought: the honest callers' records, which hold answers, are larger.
    assert!(refused > 0, "the last minute's are there");
    let per_token = refused_bytes / refused;
    println!(
        "{bogus} bogus tokens through {PODS} pods in {took:.1?}: up to {} keys and {:.1} MB more than before, {per_token} \
         bytes for each of {refused} refused tokens; {keys} keys left, all gone within {longest:.1?}; {} honest refreshes \
         meanwhile, median {median:.0?}, slowest {slowest:.0?}",
        peak.keys,
        (peak.memory - memory_before) as f64 / 1e6,
        waited.len()
    );
    assert!(longest <= Duration::from_secs(60), "{longest:?}");
    assert!(per_token < 2_000, "{per_token} bytes for each refused token");
    assert!(slowest < config.budget_wait(), "an honest caller waited for {slowest:?}");
    assert!(waited.len() > 8, "{} honest refreshes", waited.len());
    if bogus > FEW {
        is_forgotten(&redis, &config, memory_before, longest).await;
    }
}

async fn is_forgotten(redis: &RedisServer, config: &Config, memory_before: u64, longest: Duration) {
    let deadline = Instant::now() + longest + Duration::from_secs(10);
    let fixed = ["fence", "incarnation", "meta"].map(|name| format!("rc:{{{}}}:{name}", config.namespace));
    // KEYS skips what is over, though redis may not have taken it away yet.
    // Besides, who is known: the honest callers of the flood.
    let left = async || redis.keys("*").await.into_iter().filter(|key| !key.contains(":known")).collect::<Vec<_>>();
    while left().await != fixed {
        assert!(Instant::now() < deadline, "{} keys are left", keys(redis).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let memory = used_memory(redis).await;
    println!("forgotten: the memory used is {:.1} kB more than before", (memory as f64 - memory_before as f64) / 1e3);
    assert!(memory < memory_before + 2_000_000, "{memory_before} bytes before, {memory} now");
}
