//! A caller, from its question to its answer: it joins the flight of this pod or starts it, and waits.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::time::Instant;
use tracing::{Instrument, Span};
use uuid::Uuid;

use super::inner::{Inner, RETRY_AFTER};
use super::refusal_log::Refused;
use super::{spans, way};
use crate::error::RefreshError;
use crate::flight::before_told::BeforeTold;
use crate::flight::ending::Role;
use crate::flight::flights::Entered;
use crate::flight::guard::FlightGuard;
use crate::flight::refreshed::Refreshed;
use crate::flight::waiting::WaitingCaller;
use crate::identity::CheckedRequest;
use crate::leader::Attempt;
use crate::metrics::{Counters, Stopwatch};
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
    Waits { waiting: WaitingCaller, is_first: bool, gone: CountIfDropped<'a>, _span: Span },
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
            let span = spans::of_caller(inner);
            let (waiting, is_first) = inner.enter(refresh, call, before_told, context.waker(), &span)?;
            let will_be_woken = waiting.will_be_woken();
            *step = Step::Waits { waiting, is_first, gone: CountIfDropped(Some(&inner.counters)), _span: span };
            if will_be_woken {
                return Poll::Pending;
            }
        }
        let Step::Waits { waiting, is_first, gone, .. } = step else { panic!("a refresh was polled after its end") };
        let (arrived, is_first) = (waiting.arrived(), *is_first);
        let ending = ready!(waiting.poll_ending(context, &inner.config));
        gone.stayed();
        inner.time_caller(arrived, ending.and_then(|ending| ending.role_of_caller(is_first)));
        let told = match ending {
            Some(_) => Refreshed::told_by(waiting.hand_over(), arrived, is_first),
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
    /// Times a caller that is told now, for the recorder.
    fn time_caller(&self, arrived: Instant, role: Option<Role>) {
        let timings = &self.counters.timings;
        let waited = match role {
            Some(Role::Led) => &timings.led,
            Some(Role::JoinedHere) => &timings.joined_here,
            Some(Role::JoinedFleet) => &timings.joined_fleet,
            Some(Role::Latecomer) => &timings.latecomer,
            None => &timings.refused,
        };
        waited.took(Stopwatch::since(arrived).stop());
    }

    /// Tells the operator of what this caller is refused before or beside its flight.
    fn refused_to_caller(&self, error: RefreshError) -> RefreshError {
        if let Some(refused) = Refused::of(&error) {
            self.refusals.tell(refused, None);
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
        span: &Span,
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
        // A caller that may lead joins no flight that may not, and a waiting caller joins no background flight, which is refused sooner.
        let key = request.key();
        let (may_lead, is_background) = (call.is_some(), request.is_background());
        let own = match (may_lead, is_background) {
            (true, false) => key,
            (true, true) => key.of_the_background(),
            (false, _) => key.of_those_who_wait(),
        };
        let joined = (own != key).then(|| self.flights.join(&key, arrived, waker, &self.config)).flatten();
        let entered = joined.map_or_else(|| self.flights.enter(own, arrived, waker, &self.config), Entered::Joined);
        match entered {
            Entered::New(waiting) => {
                let guard = FlightGuard::new(Arc::clone(&self.flights), Arc::clone(waiting.flight()));
                let (newer_than, authentication) = (request.newer_than(), request.authentication());
                let identity = self.store.identity(request, &self.config);
                waiting.flight().progress().is_called(identity.flight);
                let span = spans::of_flight(self, span, &identity);
                let mut ask = Ask::new(identity, Uuid::new_v4());
                (ask.is_background, ask.newer_than, ask.authentication) = (is_background, newer_than, authentication);
                // Boxed: tokio moves what it spawns several times.
                let flight = way::fly(Arc::clone(self), guard, ask, call, before_told);
                self.tasks.spawn(Box::pin(flight.instrument(span)));
                Ok((waiting, true))
            }
            Entered::Joined(waiting) => {
                self.counters.joined_here.add_one();
                spans::joins(span, waiting.flight());
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
