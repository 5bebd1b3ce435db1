//! A pod presents only while its lease stands by its own clock: pods on a real Redis that are stopped between the lead
//! and the call, and between connecting and sending.

mod support;

use std::future::poll_fn;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;

use refresh_coordinator::{Attempt, Config, Refresh, RefreshError, Refreshed, Role, Uncertain};
use support::fleet::{connect, connect_to, quick};
use support::mortal::MortalPod;
use support::provider::Provider;
use support::redis::RedisServer;
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// `printf t | sha256sum`
const T: &str = "e3b98a4da31a127d4bde6e43033f66ba274cab0eb7eb1c70ec41402bf6273dd8";

fn lock_of(config: &Config) -> String {
    format!("rc:{{{}}}:lock:{T}", config.namespace)
}

/// Until a pod waits for the flight of this leader, which may have waited itself for the one before.
async fn until_waited_for(redis: &RedisServer, config: &Config, leader: &str) {
    let waits = format!("rc:{{{}}}:waits:{T}", config.namespace);
    let is_other = |pod: &str| !pod.is_empty() && pod != leader;
    redis.until_so(&["HKEYS", &waits], |pods| pods.lines().any(is_other)).await;
}

/// A pod whose refresh function has connected, and which was stopped for longer than its lease before it sends.
struct Connected {
    redis: Arc<RedisServer>,
    config: Config,
    pod: MortalPod,
    provider: Provider,
    sends: Arc<Notify>,
    told: JoinHandle<Result<Refreshed, RefreshError>>,
}

impl Connected {
    async fn new() -> Self {
        let (redis, config, provider) = (Arc::new(RedisServer::start().await), quick(), Provider::open());
        // Else it waits for its first lead, and what waits for it could not be told from what has joined later.
        redis.in_use(&config.namespace).await;
        let mut pod = MortalPod::connect(redis.url(), &config).await;
        let (connected, sends) = (Arc::<Notify>::default(), Arc::<Notify>::default());
        let call = {
            let (present, connected, sends) = (provider.refresh("t"), Arc::clone(&connected), Arc::clone(&sends));
            |attempt: Attempt| async move {
                connected.notify_one();
                sends.notified().await;
                attempt.before_sending().await?;
                present(attempt).await
            }
        };
        let told = pod.spawn(|pod| async move { pod.refresh(Refresh::new("t"), call).await });
        connected.notified().await;
        pod.stop().await;
        redis.until(&["EXISTS", &lock_of(&config)], "0").await;
        Self { redis, config, pod, provider, sends, told }
    }

    async fn wakes_and_sends(mut self) -> Result<Refreshed, RefreshError> {
        self.sends.notify_one();
        self.pod.wake();
        self.told.await.expect("no panic")
    }
}

#[tokio::test]
async fn pod_that_was_stopped_before_sending_sends_nothing_beside_the_leader_that_took_over() {
    let stopped = Connected::new().await;
    let (redis, config, provider) = (Arc::clone(&stopped.redis), stopped.config.clone(), stopped.provider.clone());
    let other = connect(&redis, &config).await;
    let other_name = other.pod().to_owned();
    let held = Provider::held();
    let call = held.refresh("t");
    let second = tokio::spawn(async move { other.refresh(Refresh::new("t"), call).await });
    held.asked(1).await;

    let first = tokio::spawn(stopped.wakes_and_sends());
    until_waited_for(&redis, &config, &other_name).await;
    held.release(1);

    let (first, second) = (first.await.expect("no panic").expect("tokens"), second.await.expect("no panic"));
    assert_eq!((first.role(), first.fence()), (Role::JoinedFleet, second.expect("tokens").fence()));
    assert_eq!((provider.total(), held.presented("t")), (0, 1));
}

#[tokio::test]
async fn pod_that_was_stopped_before_sending_sends_where_nobody_took_over() {
    let stopped = Connected::new().await;
    let provider = stopped.provider.clone();

    let told = stopped.wakes_and_sends().await.expect("tokens");

    assert_eq!((told.role(), provider.presented("t")), (Role::Led, 1));
}

/// A pod on a thread of its own, which stands still when the pod was given the lead and before its call is made, until
/// `wake` is dropped.
struct Led {
    wake: mpsc::Sender<()>,
    told: thread::JoinHandle<Result<Refreshed, RefreshError>>,
}

impl Led {
    fn start(url: &str, config: &Config, provider: &Provider) -> Self {
        let (wake, until) = mpsc::channel();
        let (url, config, call) = (url.to_owned(), config.clone(), provider.refresh("t"));
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let told = thread::spawn(move || {
            runtime.block_on(async move {
                let pod = connect_to(&url, &config).await;
                let leading = pod.clone();
                // In the queue of tasks whenever another runs, so it comes before the call's task.
                let stopping = tokio::spawn(poll_fn(move |context| {
                    if leading.metrics().led == 0 {
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    // Either woken, or the test is over.
                    _ = until.recv();
                    Poll::Ready(())
                }));
                let told = pod.refresh(Refresh::new("t"), call).await;
                stopping.await.expect("no panic");
                told
            })
        });
        Self { wake, told }
    }

    async fn wakes(self) -> Result<Refreshed, RefreshError> {
        drop(self.wake);
        tokio::task::spawn_blocking(|| self.told.join()).await.expect("no panic").expect("no panic")
    }
}

#[tokio::test]
async fn pod_that_was_stopped_before_its_call_waits_for_the_leader_that_took_over() {
    let (redis, config) = (RedisServer::start().await, quick());
    let (unused, held) = (Provider::open(), Provider::held());
    redis.in_use(&config.namespace).await;
    let stopped = Led::start(redis.url(), &config, &unused);
    redis.until(&["EXISTS", &lock_of(&config)], "1").await;
    redis.until(&["EXISTS", &lock_of(&config)], "0").await;
    let (other, call) = (connect(&redis, &config).await, held.refresh("t"));
    let other_name = other.pod().to_owned();
    let second = tokio::spawn(async move { other.refresh(Refresh::new("t"), call).await });
    held.asked(1).await;

    let first = tokio::spawn(stopped.wakes());
    until_waited_for(&redis, &config, &other_name).await;
    held.release(1);

    let (first, second) = (first.await.expect("no panic").expect("tokens"), second.await.expect("no panic"));
    assert_eq!((first.role(), first.fence()), (Role::JoinedFleet, second.expect("tokens").fence()));
    assert_eq!((unused.total(), held.presented("t")), (0, 1));
}

#[tokio::test]
async fn pod_that_was_stopped_before_its_call_leads_anew_where_nobody_took_over() {
    // Under `never` a leader that was lost would end the session.
    let (redis, config) = (RedisServer::start().await, quick().with_uncertain(Uncertain::Never));
    let provider = Provider::open();
    redis.in_use(&config.namespace).await;
    let stopped = Led::start(redis.url(), &config, &provider);
    redis.until(&["EXISTS", &lock_of(&config)], "1").await;
    redis.until(&["EXISTS", &lock_of(&config)], "0").await;

    let told = stopped.wakes().await.expect("tokens");

    assert_eq!((told.role(), provider.presented("t")), (Role::Led, 1));
    assert!(told.fence() > 1, "under a lease of its own: {}", told.fence());
}
