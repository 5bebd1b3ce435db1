//! A caller, from its question to its answer: it joins the flight of this pod or starts it, and waits.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::time::Instant;
use uuid::Uuid;

use super::inner::{Inner, RETRY_AFTER};
use super::refusal_log::Refused;
use super::way;
use crate::error::RefreshError;
use crate::flight::before_told::BeforeTold;
use crate::flight::ending::Refreshed;
use crate::flight::flights::Entered;
use crate::flight::guard::FlightGuard;
use crate::flight::waiting::WaitingCaller;
use crate::identity::CheckedRequest;
use crate::leader::Attempt;
use crate::metrics::Counters;
use crate::outcome::ProviderFailure;
use crate::request::Refresh;
use crate::store::Ask;
use crate::token_response::TokenResponse;

/// What `refresh` returns.
///
/// Why not an async function: that holds its arguments to the end. Here what only the first caller needs is handed over
/// or dropped before anything is waited for, the token too.
pub(super) struct RefreshFuture<'a, C> {
    inner: &'a Arc<Inner>,
    step: Step<'a, C>,
}

enum Step<'a, C> {
    Asks { refresh: Refresh, call: Option<C>, before_told: Option<Arc<BeforeTold>> },
    Waits { waiting: WaitingCaller, is_first: bool, gone: CountIfDropped<'a> },
    Told,
}

impl<'a, C> RefreshFuture<'a, C> {
    /// Without a function it waits for what is under way, and leads nothing.
    pub(super) fn new(
        inner: &'a Arc<Inner>,
        refresh: Refresh,
        call: Option<C>,
        before_told: Option<Arc<BeforeTold>>,
    ) -> Self {
        Self { inner, step: Step::Asks { refresh, call, before_told } }
    }
}

/// Nothing of it is pinned.
impl<C> Unpin for RefreshFuture<'_, C> {}

impl<C, F> Future for RefreshFuture<'_, C>
where
    C: FnOnce(Attempt) -> F + Send + 'static,
    F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
{
    type Output = Result<Refreshed, RefreshError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { inner, step } = &mut *self;
        if let Step::Asks { .. } = step
            && let Step::Asks { refresh, call, before_told } = mem::replace(step, Step::Told)
        {
            let (waiting, is_first) = inner.enter(refresh, call, before_told, context.waker())?;
            *step = Step::Waits { waiting, is_first, gone: CountIfDropped(Some(&inner.counters)) };
        }
        let Step::Waits { waiting, is_first, gone } = step else { panic!("a refresh was polled after its end") };
        let (arrived, is_first) = (waiting.arrived(), *is_first);
        let ending = ready!(waiting.poll_ending(context, &inner.config));
        gone.stayed();
        let told = match ending {
            Some(ending) => ending.for_caller(arrived, is_first),
            None => {
                inner.counters.timed_out.add_one();
                Err(inner.refused_to_caller(RefreshError::TimedOut { retry_after: RETRY_AFTER }))
            }
        };
        *step = Step::Told;
        Poll::Ready(told)
    }
}

impl Inner {
    /// Tells the operator of what this caller is refused before or beside its flight.
    fn refused_to_caller(&self, error: RefreshError) -> RefreshError {
        if let Some(refused) = Refused::of(&error) {
            self.refusals.tell(refused, None, &self.pod);
        }
        error
    }

    /// Joins the flight of this pod, or starts it. Answers whether it was started.
    fn enter<C, F>(
        self: &Arc<Self>,
        refresh: Refresh,
        call: Option<C>,
        before_told: Option<Arc<BeforeTold>>,
        waker: &Waker,
    ) -> Result<(WaitingCaller, bool), RefreshError>
    where
        C: FnOnce(Attempt) -> F + Send + 'static,
        F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
    {
        let arrived = Instant::now();
        self.counters.callers.add_one();
        let request = CheckedRequest::of(refresh, self.config.max_token).map_err(|invalid| {
            self.counters.refused_invalid.add_one();
            self.refused_to_caller(invalid.into())
        })?;
        if self.is_closing() {
            return Err(self.refused_to_caller(self.count_closing()));
        }
        // Who may lead does not join one that may not.
        let is_led_here = call.is_some() || self.flights.has(&request.key());
        let key = if is_led_here { request.key() } else { request.key().of_those_who_wait() };
        match self.flights.enter(key, arrived, waker, &self.config) {
            Entered::New(waiting) => {
                let guard = FlightGuard::new(Arc::clone(&self.flights), Arc::clone(waiting.flight()));
                let identity = self.store.identity(request, &self.config);
                let ask = Ask::new(identity, Uuid::new_v4());
                // Boxed: tokio moves what it spawns several times.
                self.tasks.spawn(Box::pin(way::fly(Arc::clone(self), guard, ask, call, before_told)));
                Ok((waiting, true))
            }
            Entered::Joined(waiting) => {
                self.counters.joined_here.add_one();
                Ok((waiting, false))
            }
        }
    }
}

/// Counts a caller that goes away before its flight ends.
struct CountIfDropped<'a>(Option<&'a Counters>);

impl CountIfDropped<'_> {
    fn stayed(&mut self) {
        self.0 = None;
    }
}

impl Drop for CountIfDropped<'_> {
    fn drop(&mut self) {
        if let Some(counters) = self.0 {
            counters.gone.add_one();
        }
    }
}
