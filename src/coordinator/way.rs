//! The way of a refresh: what a flight does, from the first question to the store to its ending.
//!
//! [`Way::run`] is the table of contents: one loop, in which each answer of `begin` has a method of its own.

use std::future::poll_fn;
use std::ops::ControlFlow::{self, Break, Continue};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::give_back::{self, ToGiveBack};
use super::inner::{Inner, RETRY_AFTER};
use crate::error::{RefreshError, Refusal};
use crate::flight::Flight;
use crate::flight::ending::{Ending, Role};
use crate::flight::guard::FlightGuard;
use crate::joiner::{self, Waited};
use crate::leader::{Attempt, LeadEnd, Leader};
use crate::outcome::ProviderFailure;
use crate::store::{Ask, Begun, Joined, LeaderSeen, Lease, Queued, StoreError, StoredOutcome};
use crate::token_response::TokenResponse;

/// A refresh, once for all callers of this pod that ask the same: goes its way, keeps the callers' time beside it, and
/// ends the flight.
///
/// Why a block and not an async function: that would hold the call twice, as its argument and as its own.
pub(super) fn fly<C, F>(inner: Arc<Inner>, guard: FlightGuard, ask: Ask, call: C) -> impl Future<Output = ()> + Send
where
    C: FnOnce(Attempt) -> F + Send + 'static,
    F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
{
    let mut call = Some(call);
    async move {
        // Here and not where the task is made: that may be on a runtime that has ended, where tokio refuses timers.
        let now = Instant::now();
        inner.keep_early_timer(now);
        let mut way = Way::new(&inner, guard.flight(), &ask, &mut call);
        let ending = {
            let (mut way, mut clock) = (pin!(way.run()), pin!(guard.flight().keep_time(now, &inner.config)));
            poll_fn(|context| match way.as_mut().poll(context) {
                Poll::Pending => clock.as_mut().poll(context).map(|never| match never {}),
                ended => ended,
            })
            .await
        };
        if let Some(to_give_back) = way.to_give_back {
            let tasks = inner.tasks.clone();
            tasks.spawn(give_back::to_store(inner, ask, to_give_back));
        }
        guard.end(ending);
    }
}

/// How far a flight has come.
struct Way<'a, C> {
    inner: &'a Inner,
    flight: &'a Arc<Flight>,
    ask: &'a Ask,
    /// The refresh function. None once this flight has led and called it.
    call: &'a mut Option<C>,
    /// This flight waits for the outcome of this fence or a later one: of the leader that it joined, or of its own lead
    /// that was overtaken.
    awaited_fence: Option<u64>,
    has_joined: bool,
    queued_since: Option<Instant>,
    /// The last `begin` brought no answer, and it or one before it may have run.
    may_have_begun: bool,
    /// What its own call brought, for its callers in case the leader that overtook it brings nothing.
    overtaken: Option<Ending>,
    /// What the store is to have back when the way is over.
    to_give_back: Option<ToGiveBack>,
}

impl<'a, C, F> Way<'a, C>
where
    C: FnOnce(Attempt) -> F + Send + 'static,
    F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
{
    fn new(inner: &'a Inner, flight: &'a Arc<Flight>, ask: &'a Ask, call: &'a mut Option<C>) -> Self {
        Self {
            inner,
            flight,
            ask,
            call,
            awaited_fence: None,
            has_joined: false,
            queued_since: None,
            may_have_begun: false,
            overtaken: None,
            to_give_back: None,
        }
    }

    /// Asks the store and does what it says, until there is an ending. What waits for others is boxed: a flight that is
    /// led at once is not to be as large.
    async fn run(&mut self) -> Ending {
        loop {
            let step = match self.begin().await {
                Ok(Begun::Landed(landed)) => Break(self.landed(landed)),
                Ok(Begun::Lead(lease)) => self.lead(&lease).await,
                Ok(Begun::Join(joined)) => Box::pin(self.join(joined)).await,
                Ok(Begun::Queued(queued)) => Box::pin(self.queue(queued)).await,
                Ok(Begun::Rejected(refusal)) => self.rejected(refusal).await,
                Err(error) => self.unanswered(error).await,
            };
            if let Break(ending) = step {
                return ending;
            }
        }
    }

    async fn begin(&mut self) -> Result<Begun, StoreError> {
        let inner = self.inner;
        // A flight that has made its call can use no permit: it does not queue for one.
        let terms =
            if self.call.is_some() { inner.terms(self.queued_since) } else { inner.terms(None).without_queueing() };
        let begun = inner.store.begin(self.ask, self.awaited_fence, &terms).await;
        self.may_have_begun = begun.as_ref().is_err_and(|error| self.may_have_begun || error.may_have_run);
        begun
    }

    /// The outcome is known.
    fn landed(&self, landed: StoredOutcome) -> Ending {
        let role = if self.has_waited() { Role::JoinedFleet } else { Role::Latecomer };
        if role == Role::Latecomer {
            self.inner.counters.latecomers.add_one();
        }
        Ending::with(landed.outcome, landed.fence, role, landed.age)
    }

    /// This flight leads.
    async fn lead(&mut self, lease: &Lease) -> ControlFlow<Ending> {
        self.queued_since = None;
        let Inner { store, config, counters, reach, overdue, .. } = self.inner;
        if self.inner.is_closing() {
            self.give_back(lease).await;
            return self.fail(Inner::closed);
        }
        if self.call.is_none() {
            self.give_back(lease).await;
            // The leader that overtook this flight is gone. What its own call brought is all there is.
            return Break(self.overtaken.take().expect("BUG: a flight without its call has led and was overtaken"));
        }
        let leader = Leader { store, config, counters, reach, overdue, lease, ask: self.ask, flight: self.flight };
        match leader.lead(self.call).await {
            LeadEnd::Ended(ending) => Break(ending),
            LeadEnd::Untouched(ending) => {
                self.give_back(lease).await;
                Break(ending)
            }
            LeadEnd::Overtaken(ending) => {
                self.overtaken = Some(ending);
                self.awaited_fence = Some(lease.fence);
                Continue(())
            }
        }
    }

    /// Another flight leads this token: waits for its outcome, or, where its claim is another, for its end.
    async fn join(&mut self, joined: Joined) -> ControlFlow<Ending> {
        let Joined { fence, leader, mut news } = joined;
        self.queued_since = None;
        if leader == LeaderSeen::Lost || fence.is_none() {
            self.flight.allow_wait_timeout();
        }
        if !self.has_joined {
            self.inner.counters.joined_fleet.add_one();
            debug!(flight = %self.ask.identity.flight, fence, "joined");
        }
        self.has_joined = true;
        self.awaited_fence = fence.or(self.awaited_fence);
        match joiner::wait(&mut news, None, self.flight, &self.inner.overdue).await {
            Waited::Landed(landed) => Break(self.landed(landed)),
            Waited::BeginAgain => Continue(()),
            Waited::Over => self.fail(Inner::over),
        }
    }

    /// All permits are out: waits to be called.
    async fn queue(&mut self, queued: Queued) -> ControlFlow<Ending> {
        let Queued { since, mut news } = queued;
        self.flight.allow_wait_timeout();
        if self.queued_since.is_none() {
            self.inner.counters.queued.add_one();
            debug!(flight = %self.ask.identity.flight, "queued");
        }
        self.queued_since = Some(since);
        let patience_until = Some(since + self.inner.config.budget_wait);
        match joiner::wait(&mut news, patience_until, self.flight, &self.inner.closing).await {
            // Also when it was not called and its patience is over: the outcome may have landed meanwhile.
            Waited::Landed(_) | Waited::BeginAgain => Continue(()),
            Waited::Over => {
                self.to_give_back = Some(ToGiveBack::QueuePlace { since });
                self.fail(Inner::over)
            }
        }
    }

    async fn rejected(&mut self, refusal: Refusal) -> ControlFlow<Ending> {
        match refusal {
            // A leader that this flight joined puts its flight back at its next renewal; and a flight that queued is
            // not sent away for what Redis has forgotten.
            Refusal::Recovering { retry_after } if self.has_waited() && self.may_try_again() => {
                self.inner.pause(retry_after.min(RETRY_AFTER)).await;
                Continue(())
            }
            refusal => self.fail(|inner| inner.refused(refusal)),
        }
    }

    /// The store gave no answer.
    async fn unanswered(&mut self, error: StoreError) -> ControlFlow<Ending> {
        // Another flight has the token in hand: waiting loses nothing.
        if self.has_joined && self.may_try_again() {
            warn!(flight = %self.ask.identity.flight, %error, "waiting for a flight while the store is out of reach");
            self.inner.pause(RETRY_AFTER).await;
            return Continue(());
        }
        self.to_give_back = match self.queued_since {
            Some(since) => Some(ToGiveBack::QueuePlace { since }),
            None => self.may_have_begun.then_some(ToGiveBack::UnansweredBegin),
        };
        self.fail(|inner| inner.outage(error))
    }

    /// Ends with what this flight's own call brought, where it was overtaken, else with an error.
    fn fail(&mut self, error: impl FnOnce(&Inner) -> RefreshError) -> ControlFlow<Ending> {
        Break(self.overtaken.take().unwrap_or_else(|| Ending::failed(error(self.inner))))
    }

    /// Gives back a lead that left the token as it was.
    async fn give_back(&mut self, lease: &Lease) {
        if let Err(error) = self.inner.store.abandon(lease, self.ask).await {
            warn!(flight = %lease.flight, fence = lease.fence, %error, "the lead could not be given back yet");
            self.to_give_back = Some(ToGiveBack::Lead);
        }
    }

    /// Whether it joined another flight or queued: the outcome did not lie there when it came.
    fn has_waited(&self) -> bool {
        self.has_joined || self.queued_since.is_some()
    }

    /// Whether a caller waits for long enough still, and no close has given up what is under way.
    fn may_try_again(&self) -> bool {
        let has_time = self.flight.deadline().is_some_and(|deadline| Instant::now() + RETRY_AFTER < deadline);
        has_time && !self.inner.overdue.is_cancelled()
    }
}
