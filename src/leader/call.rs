//! Step 3: calls the refresh function while the lease stands, and renews that until the call is over.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, debug_span, error};

use super::pauses::RENEWAL_RETRY;
use super::{Answer, Attempt, Leader, NotCalled, Renewal};
use crate::flight::LocalFlight;
use crate::metrics::{Stopwatch, Took};
use crate::outcome::{Outcome, ProviderFailure, ProviderHealth};
use crate::own_lease::LeaseAge;
use crate::store::Completion;
use crate::told::SPANS;

/// A call's task. Where its answer was not seen when this is dropped, it is left with the flight.
struct CallTask<C> {
    task: AbortOnDropHandle<Called<C>>,
    flight: Arc<LocalFlight>,
    is_over: bool,
}

impl<C> CallTask<C> {
    async fn ended(&mut self) -> Result<Called<C>, JoinError> {
        let ended = (&mut self.task).await;
        self.is_over = true;
        ended
    }
}

impl<C> Drop for CallTask<C> {
    fn drop(&mut self) {
        if !self.is_over
            && let Poll::Ready(Ok(Called::Answered(answer, _))) =
                Pin::new(&mut self.task).poll(&mut Context::from_waker(Waker::noop()))
        {
            self.flight.lease().leave_unseen(answer);
        }
    }
}

/// What becomes of a call's task.
enum Called<C> {
    Answered(Answer, Took),
    /// The lease was no longer young when the task came to run: the function was not called.
    NotYet(C, LeaseAge),
}

impl Leader<'_> {
    /// Runs the refresh function while the lease stands. The leader has looked; the call's task looks, too, as late as it
    /// can be: it may have waited for a thread, and the process may have been stopped.
    pub(super) async fn call_with_lease<C, F>(&mut self, call: &mut Option<C>) -> Result<Completion, NotCalled>
    where
        C: FnOnce(Attempt) -> F + Send + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let deadline = self.lease.granted + self.config.call_limit();
        loop {
            let token = self.ask.identity.entitlement.token.clone();
            let passed = self.ask.passed.clone();
            let attempt = Attempt::new(deadline, self.lease, Arc::clone(self.flight), token, passed);
            // By reference until here: whatever a function is handed by value, its future holds twice.
            let unspent = call.take().expect("BUG: a call that is spent was led");
            // Within the span of the flight, whose task this is: the call's is another one.
            let span =
                debug_span!(target: SPANS, "provider_call", flight = %self.lease.flight, fence = self.lease.fence);
            let called = call_if_it_may(unspent, attempt).instrument(span);
            let task = AbortOnDropHandle::new(tokio::spawn(called));
            let mut task = CallTask { task, flight: Arc::clone(self.flight), is_over: false };
            match self.keep_lease(&mut task, deadline, Stopwatch::start()).await? {
                Ok(completion) => return Ok(completion),
                Err((unspent, age)) => {
                    *call = Some(unspent);
                    self.may_call(age).await?;
                }
            }
        }
    }

    /// Whether the call may be made under this lease, of which this is the age that was seen last. One that is old is
    /// renewed first: that buys time for the call. Then the store is asked whether the server that gave it still decides.
    ///
    /// # Errors
    ///
    /// Why it may not.
    pub(super) async fn may_call(&mut self, mut age: LeaseAge) -> Result<(), NotCalled> {
        while age == LeaseAge::Old {
            match self.renew().await {
                Renewal::Granted => {}
                Renewal::Superseded => return Err(NotCalled::LeaseOver),
                Renewal::Failed => {
                    let pause = self.overdue.run_until_cancelled(tokio::time::sleep(RENEWAL_RETRY));
                    pause.await.ok_or(NotCalled::Cancelled("the coordinator was closed meanwhile"))?;
                }
            }
            age = self.lease.own.age();
        }
        if age == LeaseAge::Over {
            return Err(NotCalled::LeaseOver);
        }
        match self.store.is_current(self.lease).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(NotCalled::ServerReplaced),
            Err(error) => Err(NotCalled::Outage(error)),
        }
    }

    /// Renews the lease until the call is over. The call is given back where it was not made.
    async fn keep_lease<C>(
        &mut self,
        task: &mut CallTask<C>,
        deadline: Instant,
        asked: Stopwatch,
    ) -> Result<Result<Completion, (C, LeaseAge)>, NotCalled> {
        let mut next_renewal = self.lease.own.renew_at();
        let mut gaps = self.store.gaps();
        loop {
            tokio::select! {
                biased;
                ended = task.ended() => {
                    return match ended {
                        Ok(Called::NotYet(call, age)) => Ok(Err((call, age))),
                        Ok(Called::Answered(answer, took)) => match (&answer, self.flight.lease().given_back()) {
                            // No outcome: a caller that comes again a moment later leads at once.
                            (Err(ProviderFailure::NotSent { .. }), Some(why)) => Err(NotCalled::Cancelled(why)),
                            _ => Ok(Ok(self.answered(answer, took))),
                        },
                        Err(error) => self.call_broke(&error, asked).map(Ok),
                    };
                }
                () = tokio::time::sleep_until(deadline.min(next_renewal)) => {
                    if deadline <= Instant::now() {
                        return self
                            .give_up("the refresh function ran longer than call_limit", ProviderHealth::Failing, asked)
                            .map(Ok);
                    }
                }
                () = self.overdue.cancelled() => {
                    return self.give_up("the coordinator was closed meanwhile", ProviderHealth::Neutral, asked).map(Ok);
                }
                // The store may have forgotten the lease.
                () = gaps.passed() => {}
                // The call is about to send, and the process was stopped for longer than the lease.
                () = self.flight.lease().renewal_wanted() => {}
            }
            // Awaited, not raced: a renewal still on its way could arrive after the completion.
            next_renewal = match self.renew().await {
                Renewal::Granted => self.lease.own.renew_at(),
                // Nothing to renew any more, but the call goes on: it may have rotated the token.
                Renewal::Superseded => deadline,
                Renewal::Failed => Instant::now() + RENEWAL_RETRY,
            };
        }
    }

    /// The call has brought an answer.
    fn answered(&self, answer: Answer, took: Took) -> Completion {
        let outcome = self.outcome_of(answer);
        self.counters.timings.provider(outcome.class()).took(took);
        self.see_reach(&outcome);
        self.see_lifetime(&outcome);
        self.see_reuse(&outcome);
        let health = outcome.health();
        Completion { outcome: Arc::new(outcome), health, age: Duration::ZERO, is_untold: false }
    }

    /// The call's task has ended without one.
    fn call_broke(&self, error: &JoinError, asked: Stopwatch) -> Result<Completion, NotCalled> {
        if !error.is_panic() {
            return self.give_up("the runtime is shutting down", ProviderHealth::Neutral, asked);
        }
        self.counters.panics.add_one();
        // Its message may quote a token, so it is not repeated here.
        error!(flight = %self.lease.flight, fence = self.lease.fence, "the refresh function panicked");
        self.give_up("the refresh function panicked", ProviderHealth::Neutral, asked)
    }

    /// Ends the call without an answer: nobody knows what the provider did, unless the function was never called. `health`
    /// is what that says of the provider.
    fn give_up(&self, why: &'static str, health: ProviderHealth, asked: Stopwatch) -> Result<Completion, NotCalled> {
        // The intent is declared from the flight's start; it can be cancelled only until the function is called.
        match self.flight.intent().cancel() {
            Ok(()) => Err(NotCalled::Cancelled(why)),
            Err(_started) => {
                let outcome = Arc::new(Outcome::Failure(ProviderFailure::unknown(why)));
                self.counters.timings.provider(outcome.class()).took(asked.stop());
                Ok(Completion { outcome, health, age: Duration::ZERO, is_untold: false })
            }
        }
    }
}

/// Calls the function, unless the lease is no longer young or the leader has given the call up. First the mark, then the
/// call: a function that sends before it returns its future has sent, too.
#[expect(clippy::manual_async_fn, reason = "an async function would hold the call twice: as argument and as its own")]
fn call_if_it_may<C, F>(call: C, attempt: Attempt) -> impl Future<Output = Called<C>>
where
    C: FnOnce(Attempt) -> F,
    F: Future<Output = Answer>,
{
    async move {
        let age = attempt.flight().lease().age();
        if age != LeaseAge::Young {
            return Called::NotYet(call, age);
        }
        if attempt.flight().intent().start() {
            let asked = Stopwatch::start();
            let answer = call(attempt).await;
            Called::Answered(answer, asked.stop())
        } else {
            Called::Answered(Err(ProviderFailure::not_sent("the refresh was given up")), Stopwatch::start().stop())
        }
    }
}
