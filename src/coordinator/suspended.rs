//! A machine that is suspended while a refresh is under way: in memory, with paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::RefreshCoordinator;
use crate::config::Config;
use crate::error::RefreshError;
use crate::flight::ending::Role;
use crate::flight::refreshed::Refreshed;
use crate::leader::Attempt;
use crate::moment::suspend;
use crate::outcome::ProviderFailure;
use crate::own_lease::LeaseAge;
use crate::request::Refresh;
use crate::token_response::TokenResponse;

/// A provider that counts what is presented to it, and connects when it may.
#[derive(Default)]
struct Provider {
    presented: AtomicUsize,
    is_connecting: Notify,
    connects: Notify,
}

impl Provider {
    fn presented(&self) -> usize {
        self.presented.load(Ordering::Relaxed)
    }

    fn answer(&self) -> Result<TokenResponse, ProviderFailure> {
        self.presented.fetch_add(1, Ordering::Relaxed);
        Ok(TokenResponse::from_json(r#"{"access_token":"a","refresh_token":"r"}"#).expect("tokens"))
    }
}

type Told = Result<Refreshed, RefreshError>;

fn pod() -> RefreshCoordinator {
    RefreshCoordinator::in_memory(Config::default()).expect("the defaults")
}

/// A refresh that presents at once. The machine is suspended for `span` when the lead was given and before the call is
/// made: the call's task is behind the one that suspends. The caller waits, or has gone away by then.
async fn suspended_before_the_call(pod: &RefreshCoordinator, provider: &Arc<Provider>, span: Duration, waits: bool) {
    let presenting = Arc::clone(provider);
    let call = move |attempt: Attempt| async move {
        assert_eq!(attempt.flight().lease().age(), LeaseAge::Young);
        presenting.answer()
    };
    let mut refresh = Box::pin(pod.refresh(Refresh::new("t"), call));
    assert!(refresh.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let suspending = tokio::spawn(async move { suspend(span) });
    if waits {
        let told: Told = refresh.await;
        assert_eq!(told.expect("tokens").role(), Role::Led);
    } else {
        drop(refresh);
        while pod.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    }
    suspending.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn lease_that_has_grown_old_is_renewed_before_the_call() {
    let (pod, provider) = (pod(), Arc::<Provider>::default());

    suspended_before_the_call(&pod, &provider, Config::default().lease / 2, true).await;

    let metrics = pod.metrics();
    assert_eq!((provider.presented(), metrics.led, metrics.leases_over), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn lease_that_is_over_before_the_call_is_asked_for_again() {
    let (pod, provider) = (pod(), Arc::<Provider>::default());

    suspended_before_the_call(&pod, &provider, Config::default().lease, true).await;

    let metrics = pod.metrics();
    assert_eq!((provider.presented(), metrics.leases_over), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn lead_is_given_back_before_the_call_where_no_caller_waits() {
    let (pod, provider) = (pod(), Arc::<Provider>::default());

    suspended_before_the_call(&pod, &provider, Config::default().lease, false).await;

    assert_eq!((provider.presented(), pod.metrics().leases_over), (0, 0));
    // Nothing of it is left: the next caller leads at once.
    let presenting = Arc::clone(&provider);
    let told = pod.refresh(Refresh::new("t"), move |_| async move { presenting.answer() }).await.expect("tokens");
    assert_eq!((told.role(), provider.presented()), (Role::Led, 1));
}

/// What was renewed meanwhile has not moved tokio's clock: the renewal is asked for at once, not at its time.
#[tokio::test(start_paused = true)]
async fn lease_that_is_over_before_sending_is_renewed_at_once() {
    let (pod, provider) = (pod(), Arc::<Provider>::default());
    let presenting = Arc::clone(&provider);
    let call = |attempt: Attempt| async move {
        presenting.is_connecting.notify_one();
        presenting.connects.notified().await;
        attempt.before_sending().await?;
        presenting.answer()
    };
    let refreshing = tokio::spawn({
        let pod = pod.clone();
        async move { pod.refresh(Refresh::new("t"), call).await }
    });
    provider.is_connecting.notified().await;
    let start = Instant::now();

    suspend(Config::default().lease);
    provider.connects.notify_one();

    refreshing.await.expect("no panic").expect("tokens");
    assert_eq!((provider.presented(), start.elapsed()), (1, Duration::ZERO));
}

/// It was told of by the function itself, not by its leader: what it asks when its leader is done sends nothing.
#[tokio::test(start_paused = true)]
async fn function_that_outlives_its_call_sends_nothing() {
    let (pod, provider) = (pod(), Arc::<Provider>::default());
    let (sender, kept) = tokio::sync::oneshot::channel();
    let presenting = Arc::clone(&provider);
    let call = |attempt: Attempt| async move {
        sender.send(attempt).expect("the test waits");
        presenting.answer()
    };

    pod.refresh(Refresh::new("t"), call).await.expect("tokens");

    let failure = kept.await.expect("sent").before_sending().await.expect_err("its call is over");
    assert!(matches!(failure, ProviderFailure::NotSent { .. }), "{failure:?}");
}
