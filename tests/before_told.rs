//! What an application wants done before anybody hears of new tokens is done before: after the tokens are stored, whether the
//! caller is there or not, and again where it fails or its pod is lost.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use refresh_coordinator::{Config, Refresh, RefreshCoordinator, RefreshError, Refreshed, Role};
use support::fleet::{connect, quick};
use support::mortal::MortalPod;
use support::provider::{Provider, rotated};
use support::redis::RedisServer;
use support::wait::until;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

const S: Duration = Duration::from_secs(1);

/// `printf t | sha256sum`
const T: &str = "e3b98a4da31a127d4bde6e43033f66ba274cab0eb7eb1c70ec41402bf6273dd8";

/// A session store: writes when it is let, after so many failures.
#[derive(Clone)]
struct Sessions(Arc<Inner>);

struct Inner {
    written: Mutex<Vec<String>>,
    tries: AtomicUsize,
    fails: usize,
    /// A permit for each try that may go on.
    may: Semaphore,
}

impl Sessions {
    fn new(may: usize, fails: usize) -> Self {
        Self(Arc::new(Inner { written: Mutex::default(), tries: AtomicUsize::new(0), fails, may: Semaphore::new(may) }))
    }

    fn open() -> Self {
        Self::new(Semaphore::MAX_PERMITS, 0)
    }

    fn shut() -> Self {
        Self::new(0, 0)
    }

    async fn write(self, refreshed: Refreshed) -> Result<(), &'static str> {
        let tries = self.0.tries.fetch_add(1, Ordering::SeqCst);
        self.0.may.acquire().await.expect("never closed").forget();
        if tries < self.0.fails {
            assert!(tries.is_multiple_of(2), "the other way to fail");
            return Err("the database is away");
        }
        let token = refreshed.tokens().refresh_token().expect("a refresh token").to_owned();
        self.0.written.lock().expect("no panics").push(token);
        Ok(())
    }

    fn tries(&self) -> usize {
        self.0.tries.load(Ordering::SeqCst)
    }

    fn written(&self) -> Vec<String> {
        self.0.written.lock().expect("no panics").clone()
    }

    async fn tried(&self) {
        until("the hook runs", async || self.tries() > 0).await;
    }
}

/// A caller, and what stood in the session store when it was told.
type Caller = JoinHandle<(Result<Refreshed, RefreshError>, Vec<String>)>;

fn caller(pod: &RefreshCoordinator, provider: &Provider, sessions: &Sessions) -> Caller {
    let (pod, provider, sessions) = (pod.clone(), provider.clone(), sessions.clone());
    tokio::spawn(refresh(pod, provider, sessions, Refresh::new("t")))
}

async fn refresh(
    pod: RefreshCoordinator,
    provider: Provider,
    sessions: Sessions,
    refresh: Refresh,
) -> (Result<Refreshed, RefreshError>, Vec<String>) {
    let store = sessions.clone();
    let call = provider.answering("t", |token| Ok(rotated(token)));
    let told = pod.refresh_with(refresh, call, move |refreshed| store.clone().write(refreshed)).await;
    (told, sessions.written())
}

on_both_stores! {
    async fn callers_of_all_pods_hear_only_after_the_hook_also_when_the_first_has_gone(fleet: [3], quick()) {
        let (provider, sessions) = (Provider::open(), Sessions::shut());
        let [a, b, c] = &fleet.pods[..] else { panic!("three pods") };
        let first = caller(a, &provider, &sessions);
        sessions.tried().await;
        let others = [caller(a, &provider, &sessions), caller(b, &provider, &sessions), caller(c, &provider, &sessions)];
        until("the others have joined", async || b.metrics().joined_fleet + c.metrics().joined_fleet == 2).await;
        first.abort();
        // The leader is heard of for longer than a lease.
        tokio::time::sleep(a.config().lease + S).await;
        assert!(others.iter().all(|other| !other.is_finished()), "told before the hook was over");
        sessions.0.may.add_permits(1);

        for other in others {
            let (told, written) = other.await.expect("no panic");
            assert_eq!(told.expect("tokens").tokens().refresh_token(), Some("t'"));
            assert_eq!(written, ["t'"]);
        }
        assert_eq!((provider.total(), sessions.tries()), (1, 1));
        let late = caller(c, &provider, &sessions).await.expect("no panic").0.expect("tokens");
        assert_eq!((late.role(), sessions.tries()), (Role::Latecomer, 1));
    }

    async fn hook_that_fails_or_panics_is_tried_again_before_anybody_hears(fleet: [1], quick()) {
        let (provider, sessions) = (Provider::open(), Sessions::new(Semaphore::MAX_PERMITS, 4));

        let (told, written) = caller(&fleet.pods[0], &provider, &sessions).await.expect("no panic");

        told.expect("tokens");
        assert_eq!(written, ["t'"]);
        assert_eq!((provider.total(), sessions.tries(), fleet.pods[0].metrics().hooks_failed), (1, 5, 4));
    }

    async fn hook_that_does_not_succeed_in_time_is_left_to_pods_that_wait(
        fleet: [2],
        quick().with_refresh_timeout(2 * S).with_wait_timeout(3 * S).with_budget_wait(Some(S))
    ) {
        let (provider, shut, open) = (Provider::open(), Sessions::shut(), Sessions::open());
        let first = caller(&fleet.pods[0], &provider, &shut);
        shut.tried().await;
        // Its callers wait for as long as the first pod's; one of them comes when that one has nearly given up.
        let mut second = caller(&fleet.pods[1], &provider, &open).await.expect("no panic");
        while second.0.is_err() {
            second = caller(&fleet.pods[1], &provider, &open).await.expect("no panic");
        }

        assert_eq!(second.0.expect("tokens").tokens().refresh_token(), Some("t'"));
        assert_eq!((second.1.as_slice(), shut.written().len()), (&["t'".to_owned()][..], 0));
        assert_eq!(provider.total(), 1);
        _ = first.await.expect("no panic");
    }
}

/// Killed between storing and telling.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pod_that_is_killed_while_its_hook_runs_loses_nothing_and_the_next_one_runs_its_own() {
    let (redis, config) = (RedisServer::start_own(&[]).await, quick());
    redis.in_use(&config.namespace).await;
    let (provider, shut, open) = (Provider::open(), Sessions::shut(), Sessions::open());
    let mortal = MortalPod::connect(redis.url(), &config).await;
    let (called, sessions) = (provider.clone(), shut.clone());
    mortal.spawn(|pod| refresh(pod, called, sessions, Refresh::new("t")));
    shut.tried().await;
    let record = format!("rc:{{{}}}:flight:{T}", config.namespace);
    assert_eq!(redis.cli(&["HGET", &record, "state"]).await, "landed");
    let pod = connect(&redis, &config).await;
    let joined = caller(&pod, &provider, &open);
    redis.until_so(&["EXISTS", &record.replace("flight:", "waits:")], |there| there == "1").await;

    mortal.die();

    let (told, written) = joined.await.expect("no panic");
    assert_eq!(told.expect("tokens").tokens().refresh_token(), Some("t'"));
    assert_eq!((written, provider.total(), shut.written().len()), (vec!["t'".to_owned()], 1, 0));
    until("its flight is over", async || pod.in_flight() == 0).await;
    let (late, _) = caller(&pod, &provider, &open).await.expect("no panic");
    assert_eq!((late.expect("tokens").role(), open.tries()), (Role::Latecomer, 1));
}

/// The same, and nobody comes before the answer is no longer fresh: it is held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_no_hook_has_seen_are_held_and_count_as_used_when_one_has() {
    let config = quick()
        .with_lease(S)
        .with_store_timeout(S)
        .with_keep_outcome(S)
        .with_refresh_timeout(S)
        .with_wait_timeout(S)
        .with_budget_wait(Some(S / 2));
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use(&config.namespace).await;
    let (provider, shut, open) = (Provider::open(), Sessions::shut(), Sessions::open());
    let with_credential = || Refresh::new("t").client("app", "pw").token_from_attempt();
    let mortal = MortalPod::connect(redis.url(), &config).await;
    let (called, sessions) = (provider.clone(), shut.clone());
    mortal.spawn(move |pod| refresh(pod, called, sessions, with_credential()));
    shut.tried().await;
    mortal.die();
    redis.until(&["EXISTS", &format!("rc:{{{}}}:flight:{T}", config.namespace)], "0").await;

    let pod = connect(&redis, &config).await;
    let (held, written) = refresh(pod.clone(), provider.clone(), open.clone(), with_credential()).await;

    assert_eq!(held.expect("tokens").tokens().refresh_token(), Some("t'"));
    assert_eq!((written, provider.total()), (vec!["t'".to_owned()], 1));
    // A flight takes callers until it is taken down, a moment after the first was told.
    until("the flight is over", async || pod.in_flight() == 0).await;
    let (again, _) = refresh(pod.clone(), provider.clone(), open, with_credential()).await;
    assert_eq!((again.expect("the provider's answer").role(), provider.total()), (Role::Led, 2), "it was used");
}

#[tokio::test(start_paused = true)]
async fn hook_that_succeeded_counts_as_used_and_one_that_did_not_leaves_the_answer_held() {
    for (fails, presented) in [(0, 2), (usize::MAX, 1)] {
        let pod = RefreshCoordinator::in_memory(Config::default()).expect("possible settings");
        let (provider, sessions) = (Provider::open(), Sessions::new(Semaphore::MAX_PERMITS, fails));
        let with_credential = || Refresh::new("t").client("app", "pw").token_from_attempt();
        refresh(pod.clone(), provider.clone(), sessions.clone(), with_credential()).await.0.expect("tokens");

        tokio::time::sleep(100 * S).await;
        refresh(pod, provider.clone(), Sessions::open(), with_credential()).await.0.expect("tokens");

        assert_eq!(provider.total(), presented, "{fails} failures");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hook_runs_also_where_redis_is_away_by_then_and_the_outcome_lands_when_it_is_back() {
    let config = quick().with_store_timeout(S / 2);
    let redis = RedisServer::start_own(&[]).await;
    let (a, b) = (connect(&redis, &config).await, connect(&redis, &config).await);
    let (provider, sessions) = (Provider::held(), Sessions::open());
    let first = caller(&a, &provider, &sessions);
    provider.asked(1).await;
    redis.signal("-STOP");
    provider.release(1);

    let (told, written) = first.await.expect("no panic");

    told.expect("tokens");
    assert_eq!(written, ["t'"]);
    redis.signal("-CONT");
    let late = async || caller(&b, &provider, &Sessions::open()).await.expect("no panic").0.is_ok();
    until("the outcome is there", late).await;
    assert_eq!(provider.total(), 1);
}

/// A leader that stood still for longer than its lease, and whose answer comes when the one that took over has landed a second success,
/// which nobody was told of yet. Then Redis is gone: what its own call brought is all that its callers can be given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_success_is_handed_out_after_its_own_hook_where_the_first_is_out_of_reach() {
    let (redis, config) = (RedisServer::start_own(&[]).await, quick());
    redis.in_use(&config.namespace).await;
    let mut stopped = MortalPod::connect(redis.url(), &config).await;
    let (slow, own) = (Provider::held(), Sessions::new(0, 1));
    let (called, sessions) = (slow.clone(), own.clone());
    let first = stopped.spawn(|pod| refresh(pod, called, sessions, Refresh::new("t")));
    slow.asked(1).await;
    stopped.stop().await;
    redis.until(&["EXISTS", &format!("rc:{{{}}}:lock:{T}", config.namespace)], "0").await;
    let (pod, shut) = (connect(&redis, &config).await, Sessions::shut());
    let (store, call) = (shut.clone(), Provider::open().answering("t", |_| Ok(rotated("taken over"))));
    let second = tokio::spawn(async move {
        pod.refresh_with(Refresh::new("t"), call, move |refreshed| store.clone().write(refreshed)).await
    });
    shut.tried().await;

    stopped.wake();
    slow.release(1);
    let waits = format!("rc:{{{}}}:waits:{T}", config.namespace);
    redis.until_so(&["EXISTS", &waits], |there| there == "1").await;
    assert_eq!(own.tries(), 0, "the first success has a leader");
    redis.kill();
    own.tried().await;
    assert!(!first.is_finished(), "told before the hook was over");
    own.0.may.add_permits(2);

    let (told, written) = first.await.expect("no panic");
    let told = told.expect("tokens, instead of an outage");
    assert_eq!((told.tokens().refresh_token(), told.role()), (Some("t'"), Role::Led));
    assert_eq!((written, own.tries()), (vec!["t'".to_owned()], 2));
    second.abort();
}
