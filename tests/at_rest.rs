//! Promise 9: every key has an end of life or is one of the few fixed ones, and a namespace at rest holds nothing
//! else. And a flight's record outlives its lock, or a dead leader would be forgotten.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use refresh_coordinator::{Config, ProviderFailure, Refresh, RefreshCoordinator, RefreshError, Uncertain};
use support::fleet::{connect, quick};
use support::mortal::MortalPod;
use support::provider::Provider;
use support::redis::RedisServer;
use support::wait::until;
use tokio::task::{JoinHandle, JoinSet};

/// Settings under which everything is over soon.
fn brief() -> Config {
    quick()
        .with_refresh_timeout(Duration::from_secs(2))
        .with_wait_timeout(Duration::from_secs(3))
        .with_call_limit(Some(Duration::from_secs(2)))
        .with_lease(Duration::from_millis(600))
        .with_store_timeout(Duration::from_millis(600))
        .with_keep_outcome(Duration::from_millis(200))
        .with_keep_failure(Duration::from_millis(50))
        .with_uncertain_memory(Duration::from_secs(2))
        // Also what the rules of admission remember: some flights queue, none is refused.
        .with_refresh_attempt_window(Duration::from_secs(1))
        .with_max_concurrent_refreshes(3)
        .with_budget_wait(Some(Duration::from_secs(2)))
        .with_breaker(quick().breaker.with_open_duration(Duration::from_millis(100)))
}

/// Looks at all keys of a namespace again and again, each time in one step.
struct Watch {
    stop: Arc<AtomicBool>,
    /// How many keys with an end it has seen.
    seen: Arc<AtomicU64>,
    watcher: JoinHandle<()>,
}

impl Watch {
    /// Redis may have ended a key and still name it: -2 is no key.
    const SCRIPT: &str = "
        local tag, wrong, seen = ARGV[1], {}, 0
        for _, key in ipairs(redis.call('KEYS', tag .. '*')) do
            local name, left = string.sub(key, #tag + 1), redis.call('PTTL', key)
            if name == 'fence' or name == 'incarnation' then
                if left ~= -1 then wrong[#wrong + 1] = name .. ' ends in ' .. left end
            elseif left == -1 then
                wrong[#wrong + 1] = name .. ' never ends'
            elseif left >= 0 then
                seen = seen + 1
                local flight = string.match(name, '^lock:(.*)$')
                if flight and redis.call('PTTL', tag .. 'flight:' .. flight) < left then
                    wrong[#wrong + 1] = name .. ' outlives its record'
                end
            end
        end
        return {tostring(seen), table.concat(wrong, ', ')}";

    async fn start(redis: &Arc<RedisServer>, namespace: &str) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&seen));
        let (redis, tag) = (Arc::clone(redis), tag(namespace));
        let watcher = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let reply = redis.cli(&["EVAL", Self::SCRIPT, "0", &tag]).await;
                let (seen, wrong) = reply.split_once('\n').expect("a number and what is wrong");
                assert_eq!(wrong, "");
                count.fetch_add(seen.parse().expect("a number"), Ordering::Relaxed);
                // Every look keeps redis from its work for a moment.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Self { stop, seen, watcher }
    }

    /// What was wrong at any moment is told here.
    async fn saw_nothing_wrong(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.watcher.await.expect("at every moment, keys have an end");
        assert!(self.seen.load(Ordering::Relaxed) > 0, "there was nothing to see");
    }
}

fn tag(namespace: &str) -> String {
    format!("rc:{{{namespace}}}:")
}

/// Waits until only the fixed keys are left.
async fn at_rest(redis: &RedisServer, namespace: &str) {
    let tag = tag(namespace);
    let fixed = ["fence", "incarnation", "meta"].map(|name| format!("{tag}{name}"));
    // Who is known stays so.
    let is_known = |key: &String| key.starts_with(&format!("{tag}known"));
    let left =
        async || redis.keys(&format!("{tag}*")).await.into_iter().filter(|key| !is_known(key)).collect::<Vec<_>>();
    until("the namespace is at rest", async || left().await == fixed).await;
}

async fn fleet(pods: usize, config: &Config) -> (Arc<RedisServer>, Vec<RefreshCoordinator>) {
    let redis = Arc::new(RedisServer::start().await);
    let mut fleet = Vec::new();
    for _ in 0..pods {
        fleet.push(connect(&redis, config).await);
    }
    (redis, fleet)
}

type Answer = Result<refresh_coordinator::TokenResponse, ProviderFailure>;

/// All callers of all pods ask for some tokens at once, so that some lead and some join.
async fn storm(pods: &[RefreshCoordinator], provider: &Provider, answer: fn(&str) -> Answer) {
    let mut callers = JoinSet::new();
    for token in 0..10 {
        let token = format!("t{token}");
        for pod in pods {
            for _ in 0..2 {
                let (pod, refresh) = (pod.clone(), Refresh::new(token.as_str()));
                let call = provider.answering(&token, answer);
                callers.spawn(async move { drop(pod.refresh(refresh, call).await) });
            }
        }
    }
    callers.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn successes_leave_nothing() {
    let config = brief();
    let (redis, pods) = fleet(3, &config).await;
    let watch = Watch::start(&redis, &config.namespace).await;

    storm(&pods, &Provider::open(), |token| Ok(support::provider::rotated(token))).await;

    at_rest(&redis, &config.namespace).await;
    watch.saw_nothing_wrong().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_of_every_class_leave_nothing() {
    for uncertain in [Uncertain::Retry, Uncertain::Never] {
        let config = brief().with_uncertain(uncertain);
        let (redis, pods) = fleet(3, &config).await;
        let watch = Watch::start(&redis, &config.namespace).await;

        storm(&pods, &Provider::open(), |token| {
            Err(match token {
                // An invalid_grant is remembered for a minute: too long to wait for here.
                "t0" | "t1" => ProviderFailure::denied("invalid_scope"),
                "t2" | "t3" => ProviderFailure::denied("use_dpop_nonce"),
                "t4" | "t5" => ProviderFailure::busy(Some(Duration::from_secs(1))),
                "t6" => ProviderFailure::not_sent("no address"),
                "t7" => panic!("no answer"),
                _ => ProviderFailure::unknown("reset"),
            })
        })
        .await;

        at_rest(&redis, &config.namespace).await;
        watch.saw_nothing_wrong().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_token_is_remembered_for_a_minute_at_most() {
    let config = brief();
    let (redis, pods) = fleet(1, &config).await;

    let call = Provider::open().answering("t", |_| Err(ProviderFailure::denied("invalid_grant")));
    pods[0].refresh(Refresh::new("t"), call).await.expect_err("denied");

    let [flight] = &redis.keys(&format!("{}flight:*", tag(&config.namespace))).await[..] else { panic!("one flight") };
    let left: u64 = redis.cli(&["PTTL", flight]).await.parse().expect("ms");
    assert!((1..=60_000).contains(&left), "{left} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewed_and_joined_flights_leave_nothing() {
    let (lease, long) = (Duration::from_secs(3), Duration::from_secs(10));
    let config = brief()
        .with_max_concurrent_refreshes(10)
        .with_lease(lease)
        .with_store_timeout(lease)
        .with_refresh_timeout(long)
        .with_call_limit(Some(long))
        .with_wait_timeout(long);
    let (redis, pods) = fleet(3, &config).await;
    let watch = Watch::start(&redis, &config.namespace).await;
    let provider = Provider::held();
    let (pods_then, held) = (pods.clone(), provider.clone());
    let flying = tokio::spawn(async move {
        storm(&pods_then, &held, |token| Ok(support::provider::rotated(token))).await;
    });
    provider.asked(10).await;

    redis.wait(2 * config.lease).await;
    provider.release(10);
    flying.await.expect("no panic");

    assert_eq!(provider.total(), 10, "every lease was renewed");
    at_rest(&redis, &config.namespace).await;
    watch.saw_nothing_wrong().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_that_panic_leave_nothing() {
    let config = brief();
    let (redis, pods) = fleet(2, &config).await;
    let watch = Watch::start(&redis, &config.namespace).await;

    let mut callers = JoinSet::new();
    for token in 0..10 {
        for pod in &pods {
            let (pod, refresh) = (pod.clone(), Refresh::new(format!("t{token}")));
            callers.spawn(async move {
                pod.refresh(refresh, |_| -> std::future::Ready<Answer> { panic!("no future") }).await
            });
        }
    }
    let answers = callers.join_all().await;

    assert!(
        answers.iter().all(|answer| matches!(
            answer,
            Err(RefreshError::Provider { failure: ProviderFailure::Unknown { .. }, .. })
        )),
        "{answers:?}"
    );
    at_rest(&redis, &config.namespace).await;
    watch.saw_nothing_wrong().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_that_arrive_after_they_were_given_up_leave_nothing() {
    let config = brief();
    let redis = Arc::new(RedisServer::start_own(&[]).await);
    let pod = connect(&redis, &config).await;
    let provider = Provider::open();
    pod.refresh(Refresh::new("before"), provider.refresh("before")).await.expect("tokens");

    // Scripts that write wait until the pause is over, longer than the pod does.
    redis.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]).await;
    let mut callers = JoinSet::new();
    for token in 0..10 {
        let (pod, call) = (pod.clone(), provider.refresh("t"));
        callers.spawn(async move { pod.refresh(Refresh::new(format!("t{token}")), call).await });
    }
    let answers = callers.join_all().await;
    redis.cli(&["CLIENT", "UNPAUSE"]).await;
    until("attempts have arrived, or are marked as given up", async || {
        redis.keys(&format!("{}flight:*", tag(&config.namespace))).await.len() > 1
    })
    .await;
    let watch = Watch::start(&redis, &config.namespace).await;

    assert!(answers.iter().all(|answer| matches!(answer, Err(RefreshError::StoreOutage { .. }))), "{answers:?}");
    assert_eq!(provider.total(), 1, "no attempt that was given up asks the provider");
    at_rest(&redis, &config.namespace).await;
    watch.saw_nothing_wrong().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_leaders_leave_nothing() {
    for uncertain in [Uncertain::Retry, Uncertain::Never] {
        let config = brief().with_uncertain(uncertain);
        let (redis, pods) = fleet(1, &config).await;
        let watch = Watch::start(&redis, &config.namespace).await;
        let leader = MortalPod::connect(redis.url(), &config).await;
        let provider = Provider::held();
        for token in ["t1", "t2"] {
            let call = provider.refresh(token);
            leader.spawn(|pod| async move { pod.refresh(Refresh::new(token), call).await });
        }
        provider.asked(2).await;
        let (joiner, call) = (pods[0].clone(), Provider::open().refresh("t1"));
        let joined = tokio::spawn(async move { joiner.refresh(Refresh::new("t1"), call).await });
        until("t1 is joined", async || pods[0].metrics().joined_fleet == 1).await;

        leader.die();
        let answer = joined.await.expect("no panic");

        match uncertain {
            Uncertain::Never => assert!(matches!(answer, Err(RefreshError::Lost { .. })), "{answer:?}"),
            _ => assert!(answer.is_ok(), "{answer:?}"),
        }
        at_rest(&redis, &config.namespace).await;
        watch.saw_nothing_wrong().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_another_claim_leave_nothing() {
    let config = brief();
    let (redis, pods) = fleet(2, &config).await;
    let watch = Watch::start(&redis, &config.namespace).await;
    let provider = Provider::held();
    let mut callers = JoinSet::new();
    for (pod, secret) in [(0, "pw1"), (1, "pw1"), (0, "pw2"), (1, "pw2")] {
        let (pod, call) = (pods[pod].clone(), provider.refresh("t"));
        callers.spawn(async move { drop(pod.refresh(Refresh::new("t").client("app", secret), call).await) });
    }
    until("three wait", async || pods.iter().map(|pod| pod.metrics().joined_fleet).sum::<u64>() == 3).await;
    provider.release(10);
    callers.join_all().await;

    at_rest(&redis, &config.namespace).await;
    watch.saw_nothing_wrong().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespace_that_redis_forgot_comes_to_rest() {
    let config = brief();
    let redis = Arc::new(RedisServer::start_own(&[]).await);
    let pod = connect(&redis, &config).await;
    let provider = Provider::held();
    for token in ["t1", "t2"] {
        let (pod, call) = (pod.clone(), provider.refresh(token));
        tokio::spawn(async move { drop(pod.refresh(Refresh::new(token), call).await) });
    }
    provider.asked(2).await;
    redis.cli(&["FLUSHALL"]).await;
    let watch = Watch::start(&redis, &config.namespace).await;
    // The leaders renew, and find out.
    let record = format!("{}flight:*", tag(&config.namespace));
    until("the flights are put back", async || redis.keys(&record).await.len() == 2).await;

    provider.release(2);

    at_rest(&redis, &config.namespace).await;
    watch.saw_nothing_wrong().await;
}
