//! Promise 2: everybody in a flight gets the same outcome, or a clear error, before `wait_timeout`; nobody hangs.

mod support;

use std::collections::BTreeSet;
use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use refresh_coordinator::{
    Attempt, Config, ProviderFailure, Refresh, RefreshCoordinator, RefreshError, Refusal, Role, TokenResponse,
};
use support::fleet::quick;
use support::provider::Provider;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

type Told = Result<refresh_coordinator::Refreshed, RefreshError>;

fn spawn_caller(pod: &RefreshCoordinator, provider: &Provider) -> JoinHandle<Told> {
    let (pod, call) = (pod.clone(), provider.refresh("t"));
    tokio::spawn(async move { pod.refresh(Refresh::new("t"), call).await })
}

/// A refresh function that panics when it is called, before there is a future to poll.
fn panics_before_polling(_: Attempt) -> std::future::Ready<Result<TokenResponse, ProviderFailure>> {
    panic!("on purpose")
}

on_both_stores! {
    async fn refresh_goes_on_when_the_first_caller_goes_away(fleet: [2], quick()) {
        let provider = Provider::held();
        let first = spawn_caller(&fleet.pods[0], &provider);
        provider.asked(1).await;
        let second = spawn_caller(&fleet.pods[1], &provider);
        first.abort();
        first.await.expect_err("dropped");
        provider.release(1);

        let refreshed = second.await.expect("told").expect("tokens");

        assert_ne!(refreshed.role(), Role::Led);
        assert_eq!(provider.presented("t"), 1);
        assert_eq!(fleet.pods[0].metrics().gone, 1);
    }

    async fn outcome_is_there_for_the_next_when_all_callers_went_away(fleet: [2], quick()) {
        let provider = Provider::held();
        let callers = [spawn_caller(&fleet.pods[0], &provider), spawn_caller(&fleet.pods[0], &provider)];
        provider.asked(1).await;
        for caller in callers {
            caller.abort();
            caller.await.expect_err("dropped");
        }
        provider.release(1);

        let next = spawn_caller(&fleet.pods[1], &provider).await.expect("told").expect("tokens");

        assert_eq!(next.tokens().access_token(), "access-for-t");
        assert_eq!(provider.presented("t"), 1);
    }

    async fn future_that_is_never_polled_starts_nothing(fleet: [1], quick()) {
        let provider = Provider::open();

        drop(fleet.pods[0].refresh(Refresh::new("t"), provider.refresh("t")));

        assert_eq!((fleet.pods[0].metrics().callers, fleet.pods[0].in_flight()), (0, 0));
    }

    async fn failure_reaches_everybody_who_joined(fleet: [3], quick()) {
        let provider = Provider::held();
        let mut callers = JoinSet::new();
        for pod in &fleet.pods {
            for _ in 0..5 {
                let call = provider.answering("t", |_| Err(ProviderFailure::denied("invalid_grant")));
                let pod = pod.clone();
                callers.spawn(async move { pod.refresh(Refresh::new("t"), call).await });
            }
        }
        provider.asked(1).await;
        provider.release(100);

        let mut fences = BTreeSet::new();
        for told in callers.join_all().await {
            let error = told.expect_err("refused");
            assert!(!error.is_transient());
            let RefreshError::Provider { failure: ProviderFailure::Denied { error, .. }, fence } = error else {
                panic!("{error:?}")
            };
            assert_eq!(error, "invalid_grant");
            fences.insert(fence);
        }
        assert_eq!(fences.len(), 1, "{fences:?}");
        assert_eq!(provider.presented("t"), 1);
    }

    async fn panic_reaches_the_waiters_as_an_error(fleet: [2], quick()) {
        let provider = Provider::held();
        let call = provider.answering("t", |_| panic!("on purpose"));
        let pod = fleet.pods[0].clone();
        let leading = tokio::spawn(async move { pod.refresh(Refresh::new("t"), call).await });
        provider.asked(1).await;
        let joining = spawn_caller(&fleet.pods[1], &provider);
        let here = spawn_caller(&fleet.pods[0], &provider);
        while fleet.pods[1].metrics().joined_fleet == 0 || fleet.pods[0].metrics().joined_here == 0 {
            tokio::task::yield_now().await;
        }
        provider.release(1);

        for told in [leading.await, joining.await, here.await] {
            let error = told.expect("told").expect_err("a panic");
            assert!(matches!(error, RefreshError::Provider { failure: ProviderFailure::Unknown { .. }, .. }), "{error:?}");
        }
        assert_eq!(fleet.pods[0].metrics().panics, 1);
    }

    async fn function_that_panics_before_it_returns_a_future_may_have_sent(
        fleet: [2],
        quick().with_keep_failure(Duration::ZERO)
    ) {
        let provider = Provider::open();

        let error = fleet.pods[0].refresh(Refresh::new("t"), panics_before_polling).await.expect_err("a panic");
        let next = spawn_caller(&fleet.pods[1], &provider).await.expect("told").expect("tokens");

        assert!(matches!(error, RefreshError::Provider { failure: ProviderFailure::Unknown { .. }, .. }), "{error:?}");
        assert_eq!((next.role(), provider.presented("t")), (Role::Led, 1));
    }

    async fn caller_stops_waiting_by_its_own_clock_and_the_refresh_goes_on(
        fleet: [2],
        quick().with_refresh_timeout(Duration::from_millis(300)).with_wait_timeout(Duration::from_millis(400)).with_budget_wait(Some(Duration::ZERO)).with_call_limit(Some(Duration::from_secs(10)))
    ) {
        let provider = Provider::held();
        let told = [spawn_caller(&fleet.pods[0], &provider), spawn_caller(&fleet.pods[1], &provider)];

        for told in told {
            let error = told.await.expect("told").expect_err("no answer yet");
            assert!(matches!(error, RefreshError::TimedOut { .. }), "{error:?}");
            assert!(error.is_transient() && error.retry_after().is_some());
        }
        provider.release(1);
        let next = spawn_caller(&fleet.pods[1], &provider).await.expect("told").expect("tokens");

        assert_eq!((next.tokens().access_token(), provider.presented("t")), ("access-for-t", 1));
    }

    async fn call_that_runs_longer_than_its_limit_is_dropped_as_unknown(
        fleet: [2],
        quick().with_refresh_timeout(Duration::from_millis(300)).with_call_limit(Some(Duration::from_millis(300)))
    ) {
        let provider = Provider::held();

        let told = spawn_caller(&fleet.pods[0], &provider).await.expect("told");
        while fleet.pods[0].metrics().unknown == 0 {
            tokio::task::yield_now().await;
        }

        assert!(told.is_err());
        assert_eq!(provider.presented("t"), 1);
    }

    async fn closing_finishes_what_is_led_and_admits_nothing_new(fleet: [2], quick()) {
        let provider = Provider::held();
        let leading = spawn_caller(&fleet.pods[0], &provider);
        provider.asked(1).await;
        let joining = spawn_caller(&fleet.pods[1], &provider);
        let closing = tokio::spawn({
            let pod = fleet.pods[0].clone();
            async move {
                pod.close(Duration::from_secs(5)).await;
                pod.close(Duration::from_secs(5)).await;
            }
        });
        loop {
            let refused = fleet.pods[0].refresh(Refresh::new("other"), provider.refresh("other"));
            // Polled once: either it is refused by now, or it waits for the provider and is dropped.
            let mut refused = Box::pin(refused);
            match refused.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(told) => {
                    assert!(matches!(told, Err(RefreshError::Refused(_))), "{told:?}");
                    break;
                }
                Poll::Pending => tokio::task::yield_now().await,
            }
        }
        provider.release(100);

        closing.await.expect("closed");

        let led = leading.await.expect("told").expect("tokens");
        assert_eq!(joining.await.expect("told").expect("tokens").fence(), led.fence());
        assert_eq!(provider.presented("t"), 1);
    }

    async fn closing_gives_up_what_does_not_end_in_time(fleet: [2], quick()) {
        let provider = Provider::held();
        let leading = spawn_caller(&fleet.pods[0], &provider);
        provider.asked(1).await;
        let joining = spawn_caller(&fleet.pods[1], &provider);
        while fleet.pods[1].metrics().joined_fleet == 0 {
            tokio::task::yield_now().await;
        }

        fleet.pods[0].close(Duration::from_millis(50)).await;

        for told in [leading.await, joining.await] {
            let error = told.expect("told").expect_err("given up");
            assert!(matches!(error, RefreshError::Provider { failure: ProviderFailure::Unknown { .. }, .. }), "{error:?}");
        }
        assert_eq!(fleet.pods[0].in_flight(), 0);
    }
}

#[tokio::test]
async fn nobody_hangs_when_the_runtime_of_the_leader_ends() {
    let pod = RefreshCoordinator::in_memory(quick()).expect("possible");
    let provider = Provider::held();
    let (leading, asked) = (pod.clone(), provider.clone());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.spawn(async move { leading.refresh(Refresh::new("t"), asked.refresh("t")).await });
    provider.asked(1).await;
    let waiting = spawn_caller(&pod, &provider);
    while pod.metrics().joined_here == 0 {
        tokio::task::yield_now().await;
    }

    runtime.shutdown_background();

    let error = waiting.await.expect("told").expect_err("nobody flies it any more");
    assert!(error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn flight_whose_task_is_never_polled_does_not_keep_its_token() {
    let pod = RefreshCoordinator::in_memory(quick()).expect("possible");
    let provider = Provider::open();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    {
        let _entered = runtime.enter();
        let mut caller = Box::pin(pod.refresh(Refresh::new("t"), provider.refresh("t")));
        assert!(caller.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    runtime.shutdown_background();

    let refreshed = spawn_caller(&pod, &provider).await.expect("told").expect("tokens");

    assert_eq!((refreshed.role(), pod.in_flight()), (Role::Led, 0));
}

/// A caller that notes when it is told, too.
fn spawn_timed(pod: &RefreshCoordinator, provider: &Provider) -> JoinHandle<(Instant, Told)> {
    let (pod, call) = (pod.clone(), provider.refresh("t"));
    tokio::spawn(async move {
        let told = pod.refresh(Refresh::new("t"), call).await;
        (Instant::now(), told)
    })
}

#[tokio::test(start_paused = true)]
async fn running_call_of_a_refresh_that_timed_out_makes_way_for_others() {
    let second = Duration::from_secs(1);
    let config = Config::default()
        .with_refresh_timeout(second)
        .with_call_limit(Some(10 * second))
        .with_max_concurrent_refreshes(1)
        .with_budget_wait(Some(Duration::ZERO));
    let pod = RefreshCoordinator::in_memory(config).expect("possible");
    let (hanging, provider) = (Provider::held(), Provider::open());
    let start = Instant::now();
    let told = pod.refresh(Refresh::new("hangs"), hanging.refresh("hangs")).await;
    assert!(matches!(told, Err(RefreshError::TimedOut { .. })), "{told:?}");
    let ask = || pod.refresh(Refresh::new("t"), provider.refresh("t"));

    let told = ask().await;
    assert!(matches!(told, Err(RefreshError::Refused(Refusal::Budget { .. }))), "{told:?}");
    // The next renewal of its lease.
    tokio::time::sleep_until(start + 4 * second).await;

    assert_eq!(ask().await.expect("there is a permit").role(), Role::Led);
}

#[tokio::test(start_paused = true)]
async fn each_of_many_callers_is_told_when_its_own_time_is_over() {
    let second = Duration::from_secs(1);
    let config = Config::default().with_refresh_timeout(14 * second).with_wait_timeout(14 * second);
    let pod = RefreshCoordinator::in_memory(config).expect("possible");
    let (provider, start) = (Provider::held(), Instant::now());
    let mut callers = Vec::new();
    for _ in 0..5 {
        callers.push(spawn_timed(&pod, &provider));
        tokio::time::sleep(3 * second).await;
    }
    callers.remove(1).abort();
    tokio::time::sleep(6 * second).await;
    provider.release(1);

    let mut told = Vec::new();
    for caller in callers {
        let (at, told_then) = caller.await.expect("told");
        told.push((at.duration_since(start).as_secs(), told_then.is_ok()));
    }

    assert_eq!(told, [(14, false), (20, false), (21, true), (21, true)]);
    assert_eq!((pod.metrics().timed_out, pod.metrics().gone), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn caller_is_told_in_time_though_the_runtime_of_the_flight_stands_still() {
    let pod = RefreshCoordinator::in_memory(quick()).expect("possible");
    let provider = Provider::held();
    let (leading, asked) = (pod.clone(), provider.clone());
    // Driven until the provider was asked, and never again.
    let still = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let call = asked.refresh("t");
            tokio::spawn(async move { leading.refresh(Refresh::new("t"), call).await });
            asked.asked(1).await;
        });
        runtime
    });
    let still = still.join().expect("asked");
    let start = Instant::now();

    let (at, told) = spawn_timed(&pod, &provider).await.expect("told");

    assert!(matches!(told, Err(RefreshError::TimedOut { .. })), "{told:?}");
    assert_eq!((at.duration_since(start).as_secs(), pod.metrics().joined_here), (10, 1));
    still.shutdown_background();
}

#[test]
fn joiner_is_told_in_time_though_the_first_caller_blocks_the_worker_of_the_flight() {
    let config = quick().with_refresh_timeout(Duration::from_millis(50));
    let pod = RefreshCoordinator::in_memory(config).expect("possible");
    let provider = Provider::open();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let (leading, call) = (pod.clone(), provider.refresh("t"));
    let first = runtime.spawn(async move {
        let mut caller = Box::pin(leading.refresh(Refresh::new("t"), call));
        assert!(caller.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        // The flight's task is next on this worker, and no other worker can take it.
        blocked.recv().expect("told to go on");
        caller.await
    });
    while pod.in_flight() == 0 {
        std::thread::yield_now();
    }

    let told = runtime.block_on(pod.refresh(Refresh::new("t"), provider.refresh("t")));

    assert!(matches!(told, Err(RefreshError::TimedOut { .. })), "{told:?}");
    unblock.send(()).expect("it waits");
    let first = runtime.block_on(first).expect("told");
    assert!(matches!(first, Err(RefreshError::TimedOut { .. }) | Ok(_)), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn caller_may_stop_polling_and_the_others_are_told_in_time_all_the_same() {
    let pod = RefreshCoordinator::in_memory(quick()).expect("possible");
    let provider = Provider::held();
    let mut held = Box::pin(pod.refresh(Refresh::new("t"), provider.refresh("t")));
    assert!(held.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let start = Instant::now();

    let (at, told) = spawn_timed(&pod, &provider).await.expect("told");

    assert!(matches!(told, Err(RefreshError::TimedOut { .. })), "{told:?}");
    assert_eq!((at.duration_since(start).as_secs(), pod.metrics().joined_here), (10, 1));
}
