//! Callers wherever tokio allows them to be: on other runtimes, on ones without timers or that end, in the tasks of strangers'
//! executors with wakers that own what they like and may panic. None of them is left hanging, and none harms another.

mod support;

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use refresh_coordinator::{Config, Refresh, RefreshCoordinator, RefreshError, Refreshed, Role, Uncertain};
use support::fleet::{connect, quick};
use support::provider::Provider;
use support::redis::RedisServer;
use support::stopwatch::Stopwatch;
use support::wait::until;
use tokio::runtime::{Builder, Runtime};

type Told = Result<Refreshed, RefreshError>;
type Caller = Pin<Box<dyn Future<Output = Told> + Send>>;

const LONG: Duration = Duration::from_secs(15);

fn caller(pod: &RefreshCoordinator, provider: &Provider) -> Caller {
    let (pod, call) = (pod.clone(), provider.refresh("t"));
    Box::pin(async move { pod.refresh(Refresh::new("t"), call).await })
}

fn poll(caller: &mut Caller, waker: &Waker) -> Poll<Told> {
    caller.as_mut().poll(&mut Context::from_waker(waker))
}

/// What `work` answers, in a thread of its own: a deadlock fails the test instead of hanging it.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, told) = channel();
    std::thread::spawn(move || _ = done.send(catch_unwind(AssertUnwindSafe(work))));
    told.recv_timeout(LONG).expect("deadlock or hang").unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn many_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker of a stranger's executor, on purpose")
    }
}

/// A task of a simple executor: its waker owns its future.
#[expect(dead_code, reason = "held to be dropped")]
struct Task(Mutex<Option<Caller>>);

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn joiner_whose_runtime_has_no_timers_harms_nobody_else() {
    in_time(|| {
        let pod = RefreshCoordinator::in_memory(quick()).expect("possible");
        let provider = Provider::held();
        let runtime = many_threads();
        let leading = runtime.spawn(caller(&pod, &provider));
        runtime.block_on(provider.asked(1));

        let joining = caller(&pod, &provider);
        let timeless =
            std::thread::spawn(move || Builder::new_current_thread().build().expect("a runtime").block_on(joining));
        let joined = timeless.join();

        provider.release(1);
        assert!(joined.is_err(), "tokio refuses timers there: {joined:?}");
        let led = runtime.block_on(leading).expect("told");
        assert_eq!(led.expect("tokens").role(), Role::Led);
    });
}

#[test]
fn waker_that_panics_keeps_no_other_caller_from_being_told() {
    in_time(|| {
        let pod = RefreshCoordinator::in_memory(quick()).expect("possible");
        let provider = Provider::held();
        let runtime = many_threads();
        let mut held = caller(&pod, &provider);
        {
            let _entered = runtime.enter();
            assert!(poll(&mut held, &Waker::from(Arc::new(Panics))).is_pending());
        }
        runtime.block_on(provider.asked(1));
        let joining = runtime.spawn(caller(&pod, &provider));
        while pod.metrics().joined_here == 0 {
            std::thread::yield_now();
        }

        provider.release(1);

        let told = runtime.block_on(joining).expect("told");
        assert_eq!(told.expect("tokens").role(), Role::JoinedHere);
    });
}

#[tokio::test(start_paused = true)]
async fn waker_that_panics_when_its_time_is_over_does_not_end_the_refresh() {
    let config = quick().with_keep_outcome(Duration::from_secs(600));
    let pod = RefreshCoordinator::in_memory(config).expect("possible");
    let provider = Provider::held();
    let mut held = caller(&pod, &provider);
    assert!(poll(&mut held, &Waker::from(Arc::new(Panics))).is_pending());
    provider.asked(1).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let joining = tokio::spawn(caller(&pod, &provider));
    tokio::time::sleep(Duration::from_secs(6)).await;

    provider.release(10);
    let told = joining.await.expect("told");

    told.expect("the tokens that the provider gave");
    assert_eq!(provider.presented("t"), 1);
}

/// A caller that waits in a task and owns another caller of the same flight. Nobody else holds the task's waker.
fn caller_whose_waker_owns_another(pod: &RefreshCoordinator, runtime: &Runtime) -> Caller {
    let provider = Provider::held();
    let _entered = runtime.enter();
    let (mut one, mut other) = (caller(pod, &provider), caller(pod, &provider));
    assert!(poll(&mut other, Waker::noop()).is_pending());
    runtime.block_on(provider.asked(1));
    let task = Waker::from(Arc::new(Task(Mutex::new(Some(other)))));
    assert!(poll(&mut one, &task).is_pending());
    one
}

#[test]
fn waker_that_owns_another_caller_is_dropped_where_that_one_can_leave() {
    in_time(|| {
        let (pod, runtime) = (RefreshCoordinator::in_memory(quick()).expect("possible"), many_threads());

        drop(caller_whose_waker_owns_another(&pod, &runtime));

        assert_eq!(pod.metrics().gone, 2);
    });
}

#[test]
fn caller_that_moves_leaves_a_waker_behind_that_owns_another_caller() {
    in_time(|| {
        let (pod, runtime) = (RefreshCoordinator::in_memory(quick()).expect("possible"), many_threads());
        let _entered = runtime.enter();
        let mut moves = caller_whose_waker_owns_another(&pod, &runtime);

        assert!(poll(&mut moves, Waker::noop()).is_pending());

        assert_eq!(pod.metrics().gone, 1);
    });
}

#[test]
fn caller_of_a_runtime_that_has_ended_is_told() {
    in_time(|| {
        let pod = RefreshCoordinator::in_memory(quick()).expect("possible");
        let provider = Provider::open();
        let runtime = many_threads();
        let handle = runtime.handle().clone();
        drop(runtime);
        let _entered = handle.enter();

        let told = poll(&mut caller(&pod, &provider), Waker::noop());

        assert!(matches!(&told, Poll::Ready(Err(error)) if error.is_transient()), "{told:?}");
        assert_eq!(pod.in_flight(), 0);
    });
}

#[test]
fn first_caller_that_was_handed_on_is_told_in_time_though_its_worker_is_blocked() {
    in_time(|| {
        let config = quick().with_refresh_timeout(Duration::from_millis(50));
        let pod = RefreshCoordinator::in_memory(config).expect("possible");
        let provider = Provider::open();
        let runtime = many_threads();
        let (unblock, blocked) = channel::<()>();
        let (hand_on, handed): (_, Receiver<Caller>) = channel();
        let mut first = caller(&pod, &provider);
        runtime.spawn(async move {
            assert!(poll(&mut first, Waker::noop()).is_pending());
            hand_on.send(first).expect("somebody takes it");
            // The flight's task is next on this worker, and no other worker can take it.
            _ = blocked.recv();
        });
        let first = handed.recv().expect("handed on");

        let told = runtime.block_on(first);

        assert!(matches!(told, Err(RefreshError::TimedOut { .. })), "{told:?}");
        drop(unblock);
    });
}

#[test]
fn caller_that_left_a_runtime_that_stands_still_is_told_in_time() {
    in_time(|| {
        let config = quick().with_refresh_timeout(Duration::from_millis(50));
        let pod = RefreshCoordinator::in_memory(config).expect("possible");
        let provider = Provider::held();
        let still = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut first = caller(&pod, &provider);
        still.block_on(async {
            assert!(poll(&mut first, Waker::noop()).is_pending());
            provider.asked(1).await;
        });

        let told = many_threads().block_on(first);

        assert!(matches!(told, Err(RefreshError::TimedOut { .. })), "{told:?}");
        drop(still);
    });
}

#[test]
fn caller_that_left_a_runtime_that_ended_is_told() {
    in_time(|| {
        let pod = RefreshCoordinator::in_memory(quick()).expect("possible");
        let provider = Provider::held();
        let (runtime, ends) = (many_threads(), many_threads());
        let leading = runtime.spawn(caller(&pod, &provider));
        runtime.block_on(provider.asked(1));
        let mut moves = caller(&pod, &provider);
        ends.block_on(async { assert!(poll(&mut moves, Waker::noop()).is_pending()) });
        drop(ends);
        let joining = runtime.spawn(moves);
        provider.release(1);

        for told in [leading, joining] {
            runtime.block_on(told).expect("told").expect("tokens");
        }
    });
}

/// When it wakes, it drops somebody's caller and polls another.
struct Meddles {
    drops: Mutex<Option<Caller>>,
    polls: Mutex<Option<Caller>>,
}

impl Wake for Meddles {
    fn wake(self: Arc<Self>) {
        self.drops.lock().expect("not poisoned").take();
        if let Some(mut caller) = self.polls.lock().expect("not poisoned").take() {
            _ = poll(&mut caller, Waker::noop());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn waker_may_drop_and_poll_other_callers_of_the_flight() {
    for released in [true, false] {
        let pod = RefreshCoordinator::in_memory(quick()).expect("possible");
        let provider = Provider::held();
        let mut dropped = caller(&pod, &provider);
        assert!(poll(&mut dropped, Waker::noop()).is_pending());
        let meddles = Meddles { drops: Mutex::new(Some(dropped)), polls: Mutex::new(Some(caller(&pod, &provider))) };
        let mut first = caller(&pod, &provider);
        assert!(poll(&mut first, &Waker::from(Arc::new(meddles))).is_pending());
        let last = tokio::spawn(caller(&pod, &provider));
        provider.asked(1).await;
        if released {
            provider.release(10);
        }

        let told = last.await.expect("told");

        assert_eq!(told.is_ok(), released);
    }
}

#[test]
fn nobody_is_overlooked_however_callers_and_endings_meet() {
    let pod = RefreshCoordinator::in_memory(quick().with_keep_outcome(Duration::ZERO)).expect("possible");
    let runtimes = [many_threads(), many_threads()];
    let mut tasks = Vec::new();
    for at in 0..8 {
        let pod = pod.clone();
        tasks.push(runtimes[at % 2].spawn(async move {
            for turn in 0..4000 {
                let token = format!("t{}", turn / 4);
                let call = |_| async { Err(refresh_coordinator::ProviderFailure::denied("slow_down")) };
                let mut waiting = Box::pin(pod.refresh(Refresh::new(token.as_str()), call));
                let mut told = Poll::Pending;
                if (turn + at) % 7 == 0 {
                    told = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                    if told.is_pending() && (turn + at) % 2 == 0 {
                        continue;
                    }
                }
                let told = match told {
                    Poll::Ready(told) => told,
                    Poll::Pending => waiting.await,
                };
                assert!(matches!(told, Err(RefreshError::Provider { .. })), "{told:?}");
            }
        }));
    }
    for task in tasks {
        runtimes[0].block_on(task).expect("told");
    }
    assert_eq!(pod.metrics().timed_out, 0);
    // Of the callers that went away: their flights go on.
    while pod.in_flight() > 0 {
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn success_in_hand_is_told_when_the_runtime_of_the_leader_ends() {
    let redis = RedisServer::start_own(&[]).await;
    let (pod, provider) = (connect(&redis, &quick()).await, Provider::held());
    let leads = many_threads();
    leads.spawn(caller(&pod, &provider));
    provider.asked(1).await;
    let joining = tokio::spawn(caller(&pod, &provider));
    while pod.metrics().joined_here == 0 {
        tokio::task::yield_now().await;
    }
    // Redis takes the completion and does not answer yet.
    redis.cli(&["CLIENT", "PAUSE", "60000", "ALL"]).await;
    provider.release(1);
    while pod.metrics().successes == 0 {
        tokio::task::yield_now().await;
    }

    leads.shutdown_background();

    let told = joining.await.expect("told");
    assert_eq!(told.expect("the tokens that the provider gave").role(), Role::JoinedHere);
}

/// Redis takes no writes from now on, or takes them again.
async fn takes_writes(redis: &RedisServer, replicas_to_write: &str) {
    redis.cli(&["CONFIG", "SET", "min-replicas-to-write", replicas_to_write]).await;
}

/// Until another pod is told tokens of this provider, or the token was presented again.
async fn tokens_at_another_pod(pod: &RefreshCoordinator, provider: &Provider) {
    let told = until_told(|| async { pod.refresh(Refresh::new("t"), provider.refresh("t")).await }).await;
    assert!(told.is_ok(), "{told:?}");
}

/// Comes again while the answer is that this helps.
async fn until_told<F: Future<Output = Told>>(refresh: impl Fn() -> F) -> Told {
    let started = Stopwatch::start();
    loop {
        match refresh().await {
            Err(error) if error.is_transient() && started.elapsed() < LONG => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            told => return told,
        }
    }
}

/// As a synchronous wrapper has it, whose runtime ends when its caller was told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn success_in_hand_lands_though_its_runtime_ended() {
    let (redis, config) = (RedisServer::start_own(&[]).await, quick());
    let (pod, other) = (connect(&redis, &config).await, connect(&redis, &config).await);
    let provider = Provider::held();
    let leading = caller(&pod, &provider);
    let runtime = many_threads();
    let told = runtime.spawn(leading);
    provider.asked(1).await;
    takes_writes(&redis, "1").await;
    provider.release(1);
    told.await.expect("told").expect("tokens");

    runtime.shutdown_background();

    takes_writes(&redis, "0").await;
    provider.release(9);
    tokens_at_another_pod(&other, &provider).await;
    assert_eq!(provider.presented("t"), 1);
}

/// Each task in turn, and the future of `block_on` between any two of them.
fn one_by_one() -> Runtime {
    Builder::new_current_thread().event_interval(1).enable_all().build().expect("a runtime")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answer_that_its_leader_had_not_seen_when_its_runtime_ended_is_told_and_lands() {
    let (redis, config) = (RedisServer::start_own(&[]).await, quick());
    let (pod, other) = (connect(&redis, &config).await, connect(&redis, &config).await);
    let (provider, answered) = (Provider::open(), Arc::new(AtomicBool::new(false)));
    let (call, has_answered) = (provider.refresh("t"), Arc::clone(&answered));
    let (mut leading, told) = (
        Box::pin({
            let pod = pod.clone();
            async move {
                let call = |attempt| async move {
                    let answer = call(attempt).await;
                    has_answered.store(true, Ordering::SeqCst);
                    answer
                };
                pod.refresh(Refresh::new("t"), call).await
            }
        }),
        channel(),
    );
    let moves = std::thread::spawn(move || {
        one_by_one().block_on(async {
            assert!(poll_fn(|context| Poll::Ready(leading.as_mut().poll(context).is_pending())).await);
            while !answered.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
        });
        told.0.send(leading).expect("somebody waits");
    });
    moves.join().expect("no panic");

    let told = told.1.recv().expect("handed on").await;

    assert_eq!(told.expect("the tokens that the provider gave").role(), Role::Led);
    assert_eq!(pod.metrics().unknown, 0);
    tokens_at_another_pod(&other, &provider).await;
    assert_eq!(provider.presented("t"), 1);
}

/// Of callers that are still on the way when their runtime ends, which is as soon as `is_time` says so.
fn leave_on_the_way(pod: &RefreshCoordinator, provider: &Provider, is_time: impl Fn() -> bool + Send + 'static) {
    let leading = caller(pod, provider);
    let left = std::thread::spawn(move || {
        one_by_one().block_on(async {
            tokio::spawn(leading);
            while !is_time() {
                tokio::task::yield_now().await;
            }
        });
    });
    left.join().expect("no panic");
}

on_both_stores! {
    /// Else the session would be lost, though its token was never sent.
    async fn lead_that_was_never_called_is_given_back_though_its_runtime_ended(
        fleet: [2], quick().with_lease(Duration::from_secs(10)).with_uncertain(Uncertain::Never)
    ) {
        let [pod, other] = &*fleet.pods else { panic!("two") };
        let provider = Provider::open();
        let led = pod.clone();

        leave_on_the_way(pod, &provider, move || led.metrics().led == 1);

        assert_eq!(provider.presented("t"), 0);
        // What is left behind is withdrawn beside the next flight.
        pod.refresh(Refresh::new("another"), provider.refresh("another")).await.expect("tokens");
        let told = other.refresh(Refresh::new("t"), provider.refresh("t")).await;
        assert_eq!(told.expect("tokens").role(), Role::Led);
    }

    /// It does not count as lost until its lease is over.
    async fn call_that_ends_with_its_runtime_lands_as_unknown(
        fleet: [2], quick().with_lease(Duration::from_secs(10))
    ) {
        let [pod, other] = &*fleet.pods else { panic!("two") };
        let (provider, asked) = (Provider::held(), Provider::open());
        let sees = provider.clone();

        leave_on_the_way(pod, &provider, move || sees.presented("t") == 1);

        let told = until_told(|| async { other.refresh(Refresh::new("t"), asked.refresh("t")).await }).await;
        assert_eq!(told.expect("tokens").role(), Role::Led);
        assert_eq!((pod.metrics().unknown, other.metrics().taken_over), (1, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_hears_of_tokens_whose_hook_ended_with_its_runtime_before_another_hook_ran() {
    let (redis, config) = (RedisServer::start_own(&[]).await, quick());
    let (pod, provider) = (connect(&redis, &config).await, Provider::held());
    let hooks = Arc::new(AtomicUsize::new(0));
    let refresh = || {
        let (pod, call, hooks) = (pod.clone(), provider.refresh("t"), Arc::clone(&hooks));
        async move {
            let hook = move |_| {
                hooks.fetch_add(1, Ordering::SeqCst);
                async { Ok::<_, std::io::Error>(()) }
            };
            pod.refresh_with(Refresh::new("t"), call, hook).await
        }
    };
    let leads = many_threads();
    leads.spawn(refresh());
    provider.asked(1).await;
    let joining = tokio::spawn(refresh());
    while pod.metrics().joined_here == 0 {
        tokio::task::yield_now().await;
    }
    takes_writes(&redis, "1").await;
    provider.release(1);
    while pod.metrics().successes == 0 {
        tokio::task::yield_now().await;
    }

    leads.shutdown_background();

    let told = joining.await.expect("told");
    assert!(told.as_ref().is_err_and(RefreshError::is_transient), "{told:?}");
    assert_eq!(hooks.load(Ordering::SeqCst), 0);
    takes_writes(&redis, "0").await;
    provider.release(9);
    until_told(refresh).await.expect("tokens");
    assert_eq!((hooks.load(Ordering::SeqCst), provider.presented("t")), (1, 1));
}

/// Settings with which it is soon noticed that a runtime stands still.
fn noticed_soon() -> Config {
    let second = Duration::from_secs(1);
    quick().with_lease(second).with_store_timeout(second)
}

/// Redis is away for a moment, and is noticed to be.
async fn outage(redis: &RedisServer, pod: RefreshCoordinator) {
    takes_writes(redis, "1").await;
    let told = pod.refresh(Refresh::new("away"), Provider::open().refresh("away")).await;
    assert!(matches!(told, Err(RefreshError::StoreOutage { .. })), "{told:?}");
    takes_writes(redis, "0").await;
}

#[test]
fn pod_whose_first_runtime_stands_still_hears_of_others_and_is_back_after_an_outage() {
    let (first, second) = (one_by_one(), many_threads());
    let (redis, config) = (second.block_on(RedisServer::start_own(&[])), noticed_soon());
    let pod = first.block_on(connect(&redis, &config));
    second.block_on(async {
        let (other, provider) = (connect(&redis, &config).await, Provider::held());
        let leading = tokio::spawn(caller(&other, &provider));
        provider.asked(1).await;
        let joining = tokio::spawn(caller(&pod, &provider));
        until("it joins", async || pod.metrics().joined_fleet == 1).await;
        provider.release(9);
        leading.await.expect("told").expect("tokens");
        let told = joining.await.expect("told");
        assert_eq!(told.expect("the tokens of the other pod").role(), Role::JoinedFleet);

        outage(&redis, pod.clone()).await;

        let told = until_told(|| async { pod.refresh(Refresh::new("u"), provider.refresh("u")).await }).await;
        assert_eq!(told.expect("tokens").role(), Role::Led);
        assert_eq!((provider.presented("t"), provider.presented("u")), (1, 1));
        pod.close(LONG).await;
        other.close(LONG).await;
    });
    // What stood still goes on, and finds that others have taken over.
    first.block_on(async { tokio::time::sleep(Duration::from_millis(50)).await });
}

#[test]
fn pod_with_a_runtime_for_each_call_is_back_after_an_outage() {
    let main = many_threads();
    let (redis, config) = (main.block_on(RedisServer::start_own(&[])), noticed_soon());
    let pod = many_threads().block_on(connect(&redis, &config));
    many_threads().block_on(outage(&redis, pod.clone()));
    let provider = Provider::open();

    let told = many_threads().block_on(pod.refresh(Refresh::new("t"), provider.refresh("t")));

    assert_eq!(told.expect("tokens").role(), Role::Led);
    many_threads().block_on(pod.close(LONG));
}

#[test]
fn nobody_is_overlooked_when_all_run_out_of_time() {
    let store = refresh_coordinator::MemoryStore::new();
    let short = Duration::from_millis(10);
    // Two runtimes: whichever of them stands still longer, nobody is to take over.
    let shared = quick().with_lease(Duration::from_secs(30));
    let leads = RefreshCoordinator::in_memory_shared(&store, shared.clone()).expect("possible");
    let provider = Provider::held();
    let runtimes = [many_threads(), many_threads(), many_threads()];
    let leading = runtimes[2].spawn(caller(&leads, &provider));
    runtimes[2].block_on(provider.asked(1));
    let config = shared.with_refresh_timeout(short).with_wait_timeout(short).with_budget_wait(Some(short));
    let pod = RefreshCoordinator::in_memory_shared(&store, config).expect("possible");
    let mut tasks = Vec::new();
    for at in 0..12u64 {
        let (pod, provider) = (pod.clone(), provider.clone());
        tasks.push(runtimes[(at % 2) as usize].spawn(async move {
            let mut slowest = Duration::ZERO;
            for turn in 0..60u64 {
                let start = Stopwatch::start();
                let mut waiting = caller(&pod, &provider);
                match (turn * 7 + at) % 5 {
                    0 => {
                        _ = poll(&mut waiting, Waker::noop());
                        std::mem::forget(waiting);
                    }
                    // Goes away, sooner or later.
                    1 => _ = tokio::time::timeout(Duration::from_millis(turn % 10), waiting).await,
                    _ => {
                        let told = waiting.await;
                        assert!(matches!(told, Err(RefreshError::TimedOut { .. })), "{told:?}");
                        slowest = slowest.max(start.elapsed());
                    }
                }
            }
            slowest
        }));
    }
    for task in tasks {
        let slowest = runtimes[2].block_on(task).expect("told");
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    }
    while pod.in_flight() > 0 {
        std::thread::yield_now();
    }
    provider.release(1);
    runtimes[2].block_on(leading).expect("told").expect("tokens");
    assert_eq!(provider.presented("t"), 1);
}
