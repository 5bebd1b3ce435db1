//! The way of a refresh, from the caller to the caller.

use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};
use uuid::Uuid;

use super::{Inner, Refreshed};
use crate::admission::Terms;
use crate::config::Config;
use crate::error::{RefreshError, Refusal};
use crate::flight::{Ending, Entered, Flight, Landing, Role, Waiting};
use crate::identity::Request;
use crate::joiner::{self, Waited};
use crate::leader::{Attempt, Leader, Led};
use crate::metrics::Counters;
use crate::outcome::{Outcome, ProviderFailure, TokenResponse};
use crate::request::Refresh;
use crate::store::{Ask, Begun, Joined, Landed, LeaderSeen, Lease, Queued, StoreError};

/// A pause that is short for a person and long for a store or a flight that is in trouble.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Nobody waits for a Redis for longer, should the coordinator never be closed.
const LONGEST_OUTAGE: Duration = Duration::from_secs(24 * 60 * 60);

/// A caller, from its question to its answer.
///
/// Why not an async function: that holds its arguments to the end. Here what only the first caller needs is handed over
/// or dropped before anything is waited for, the token too.
pub(super) struct Caller<'a, C> {
    inner: &'a Arc<Inner>,
    step: Step<'a, C>,
}

enum Step<'a, C> {
    Asks { refresh: Refresh, call: C },
    Waits { waiting: Waiting, is_first: bool, gone: Gone<'a> },
    Told,
}

impl<'a, C> Caller<'a, C> {
    pub(super) fn new(inner: &'a Arc<Inner>, refresh: Refresh, call: C) -> Self {
        Self { inner, step: Step::Asks { refresh, call } }
    }
}

/// Nothing of it is pinned.
impl<C> Unpin for Caller<'_, C> {}

impl<C, F> Future for Caller<'_, C>
where
    C: FnOnce(Attempt) -> F + Send + 'static,
    F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
{
    type Output = Result<Refreshed, RefreshError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { inner, step } = &mut *self;
        if let Step::Asks { .. } = step
            && let Step::Asks { refresh, call } = mem::replace(step, Step::Told)
        {
            let (waiting, is_first) = inner.enter(refresh, call, context.waker())?;
            *step = Step::Waits { waiting, is_first, gone: Gone(Some(&inner.counters)) };
        }
        let Step::Waits { waiting, is_first, gone } = step else { panic!("a refresh was polled after its end") };
        let (arrived, is_first) = (waiting.arrived(), *is_first);
        let ending = ready!(waiting.poll_ending(context, &inner.config));
        gone.stayed();
        let told = match ending {
            Some(ending) => ending.for_caller(arrived, is_first),
            None => {
                inner.counters.timed_out.add_one();
                Err(RefreshError::TimedOut { retry_after: RETRY_AFTER })
            }
        };
        *step = Step::Told;
        Poll::Ready(told)
    }
}

impl Inner {
    /// Joins the flight of this pod, or starts it. Answers whether it was started.
    fn enter<C, F>(self: &Arc<Self>, refresh: Refresh, call: C, waker: &Waker) -> Result<(Waiting, bool), RefreshError>
    where
        C: FnOnce(Attempt) -> F + Send + 'static,
        F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
    {
        let arrived = Instant::now();
        self.counters.callers.add_one();
        let request = Request::checked(refresh).inspect_err(|_| {
            self.counters.refused_invalid.add_one();
        })?;
        if self.is_closing.load(Ordering::SeqCst) {
            self.counters.refused_closing.add_one();
            return Err(closing().into());
        }
        match self.flights.enter(request.key(), arrived, waker, &self.config) {
            Entered::New(waiting) => {
                let landing = Landing::new(Arc::clone(&self.flights), Arc::clone(waiting.flight()));
                let identity = self.store.identity(request, self.config.pepper.as_ref());
                let ask = Ask { identity, attempt: Uuid::new_v4() };
                // Boxed: tokio moves what it spawns several times.
                self.tasks.spawn(Box::pin(fly(Arc::clone(self), landing, ask, call)));
                Ok((waiting, true))
            }
            Entered::Joined(waiting) => {
                self.counters.joined_here.add_one();
                Ok((waiting, false))
            }
        }
    }
}

/// A refresh, once for all callers of this pod who ask the same: flies, keeps their time meanwhile, and lands.
///
/// Why a block and not an async function: that would hold the call twice, as its argument and as its own.
fn fly<C, F>(inner: Arc<Inner>, landing: Landing, ask: Ask, call: C) -> impl Future<Output = ()> + Send
where
    C: FnOnce(Attempt) -> F + Send + 'static,
    F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
{
    let mut call = Some(call);
    async move {
        // Here and not where the task is made: that may be on a runtime that has ended, where tokio refuses timers.
        let Config { refresh_timeout, lease, store_timeout, .. } = &*inner.config;
        let now = Instant::now();
        inner.pace.keep(now, (*refresh_timeout).min(*lease / 3).min(*store_timeout));
        let mut left_behind = None;
        let ending = {
            let flight = landing.flight();
            let flying = pin!(inner.way(flight, &ask, &mut call, &mut left_behind));
            flight.keep_time(now, &inner.config, flying).await
        };
        if let Some(LeftBehind { queued_since }) = left_behind {
            let tasks = inner.tasks.clone();
            tasks.spawn(async move { inner.disown(&ask, queued_since).await });
        }
        landing.end(ending);
    }
}

/// A `begin` that may still arrive, a lead that was not given back, or a place in the queue.
#[derive(Default)]
struct LeftBehind {
    queued_since: Option<Instant>,
}

impl Inner {
    /// The way of a refresh. What waits for others is boxed: a flight that is led at once is not to be as large.
    async fn way<C, F>(
        &self,
        flight: &Arc<Flight>,
        ask: &Ask,
        call: &mut Option<C>,
        left_behind: &mut Option<LeftBehind>,
    ) -> Ending
    where
        C: FnOnce(Attempt) -> F + Send + 'static,
        F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
    {
        let Self { config, store, counters, reach, overdue, .. } = self;
        let mut overtaken = None;
        let mut joined_before = false;
        let mut fence = None;
        let mut queued_since = None;
        let mut may_have_begun = false;

        loop {
            // Whose call is spent can use no permit: it does not queue for one.
            let terms = if call.is_some() { self.terms(queued_since) } else { self.terms(None).without_queueing() };
            let begun = store.begin(ask, fence, &terms).await;
            may_have_begun = begun.as_ref().is_err_and(|error| may_have_begun || error.may_have_run);
            match begun {
                Ok(Begun::Landed(landed)) => break self.landed(landed, joined_before || queued_since.is_some()),
                // Whoever leads what was joined puts it back at its next renewal, and who queued has waited already.
                Ok(Begun::Rejected(Refusal::Recovering { retry_after }))
                    if (joined_before || queued_since.is_some()) && self.may_try_again(flight) =>
                {
                    self.pause(retry_after.min(RETRY_AFTER)).await;
                }
                Ok(Begun::Rejected(refusal)) => {
                    break overtaken.unwrap_or_else(|| Ending::failed(self.refused(refusal)));
                }
                Ok(Begun::Lead(lease)) => {
                    queued_since = None;
                    let leader = Leader { store, config, counters, reach, overdue };
                    if self.is_closing.load(Ordering::SeqCst) {
                        *left_behind = self.give_back(&lease, ask).await;
                        break overtaken.unwrap_or_else(|| Ending::failed(self.refused(closing())));
                    }
                    if call.is_none() {
                        // It has been called, and whoever overtook it is gone: what it brought is all there is.
                        *left_behind = self.give_back(&lease, ask).await;
                        break overtaken.expect("BUG: a call that is spent was led or overtaken");
                    }
                    match leader.lead(&lease, ask, flight, call).await {
                        Led::Ended(ending) => break ending,
                        Led::Untouched(ending) => {
                            *left_behind = self.give_back(&lease, ask).await;
                            break ending;
                        }
                        Led::Overtaken(ending) => {
                            overtaken = Some(ending);
                            fence = Some(lease.fence);
                        }
                    }
                }
                Ok(Begun::Queued(Queued { since, mut news })) => {
                    flight.hold_up();
                    if queued_since.is_none() {
                        counters.queued.add_one();
                        debug!(flight = %ask.identity.flight, "queued");
                    }
                    queued_since = Some(since);
                    let patience_until = Some(since + config.budget_wait);
                    match Box::pin(joiner::wait(&mut news, patience_until, flight, &self.closing)).await {
                        // Also when nobody called and the patience is over: it may have landed meanwhile.
                        Waited::Landed(_) | Waited::Look => {}
                        Waited::Over => {
                            *left_behind = Some(LeftBehind { queued_since });
                            break overtaken.unwrap_or_else(|| Ending::failed(self.over()));
                        }
                    }
                }
                Ok(Begun::Join(Joined { fence: led, leader, mut news })) => {
                    queued_since = None;
                    if leader == LeaderSeen::Lost || led.is_none() {
                        flight.hold_up();
                    }
                    if !joined_before {
                        counters.joined_fleet.add_one();
                        debug!(flight = %ask.identity.flight, fence = led, "joined");
                    }
                    joined_before = true;
                    fence = led.or(fence);
                    match Box::pin(joiner::wait(&mut news, None, flight, overdue)).await {
                        Waited::Landed(landed) => break self.landed(landed, joined_before),
                        Waited::Look => {}
                        Waited::Over => break overtaken.unwrap_or_else(|| Ending::failed(self.over())),
                    }
                }
                // Somebody else has the token in hand: waiting loses nothing.
                Err(error) if joined_before && self.may_try_again(flight) => {
                    warn!(flight = %ask.identity.flight, %error, "waiting for a flight while the store is out of reach");
                    self.pause(RETRY_AFTER).await;
                }
                Err(error) => {
                    if may_have_begun || queued_since.is_some() {
                        *left_behind = Some(LeftBehind { queued_since });
                    }
                    break overtaken.unwrap_or_else(|| Ending::failed(self.outage(error)));
                }
            }
        }
    }
}

impl Inner {
    /// Whether somebody waits for long enough still, and may.
    fn may_try_again(&self, flight: &Flight) -> bool {
        let has_time = flight.deadline().is_some_and(|deadline| Instant::now() + RETRY_AFTER < deadline);
        has_time && !self.overdue.is_cancelled()
    }

    async fn pause(&self, span: Duration) {
        _ = self.overdue.run_until_cancelled(tokio::time::sleep(span)).await;
    }

    /// Gives back a lead that left the token as it was. Answers what is to be disowned where it could not be given back.
    async fn give_back(&self, lease: &Lease, ask: &Ask) -> Option<LeftBehind> {
        let error = self.store.abandon(lease, ask).await.err()?;
        warn!(flight = %lease.flight, fence = lease.fence, %error, "the lead could not be given back yet");
        Some(LeftBehind::default())
    }

    /// A `begin` that was given up may still arrive; the attempt is then to find itself abandoned. A place in the queue
    /// is given up with it.
    ///
    /// However long Redis is out of reach, up to a day: one that hangs runs what it was sent when it goes on, and what
    /// the attempt takes then counts as a lost leader until it is given back.
    async fn disown(&self, ask: &Ask, queued_since: Option<Instant>) {
        let mut gaps = self.store.gaps();
        let patience = self.config.lease.max(self.config.retry_lost_after());
        let (mut until, last) = (Instant::now() + patience, Instant::now() + LONGEST_OUTAGE);
        while let Err(error) = self.store.disown(ask, queued_since).await {
            let is_away = self.store.is_out_of_reach();
            let end = if is_away { last } else { until };
            if Instant::now() >= end || self.overdue.is_cancelled() {
                warn!(flight = %ask.identity.flight, %error, "an attempt could not be taken back; its lease will end");
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(if is_away { last } else { Instant::now() + RETRY_AFTER }) => {}
                // The store is back.
                () = gaps.passed() => until = Instant::now() + patience,
                () = self.overdue.cancelled() => {}
            }
        }
    }
}

impl Inner {
    /// What a flight brings along when it begins.
    fn terms(&self, queued_since: Option<Instant>) -> Terms {
        let now = Instant::now();
        let pod_refuses = if self.pressure.is_high(now) {
            Some(Refusal::MemoryPressure { retry_after: RETRY_AFTER })
        } else {
            self.reach.judge(now)
        };
        let patience = match queued_since {
            None => self.config.budget_wait,
            Some(since) => (since + self.config.budget_wait).saturating_duration_since(now),
        };
        Terms { pod_refuses, patience, queued_since }
    }

    fn landed(&self, landed: Landed, joined_before: bool) -> Ending {
        let role = if joined_before { Role::JoinedFleet } else { Role::Latecomer };
        if role == Role::Latecomer {
            self.counters.latecomers.add_one();
        }
        Ending { result: Ok(landed.outcome), fence: landed.fence, role, age: landed.age, at: Instant::now() }
    }

    fn refused(&self, refusal: Refusal) -> RefreshError {
        let counter = match &refusal {
            Refusal::AnotherClaim { .. } => &self.counters.refused_another_claim,
            Refusal::Recovering { .. } => &self.counters.refused_recovering,
            Refusal::CoolingDown { .. } => &self.counters.refused_cooling_down,
            Refusal::Limited { .. } => &self.counters.refused_limited,
            Refusal::Budget { .. } => &self.counters.refused_budget,
            Refusal::CircuitOpen { .. } => &self.counters.refused_circuit_open,
            Refusal::NotReaching { .. } => &self.counters.refused_not_reaching,
            Refusal::MemoryPressure { .. } => &self.counters.refused_memory_pressure,
            Refusal::Closing { .. } => &self.counters.refused_closing,
        };
        counter.add_one();
        refusal.into()
    }

    pub(super) fn outage(&self, error: StoreError) -> RefreshError {
        self.counters.store_outages.add_one();
        RefreshError::StoreOutage { reason: error.reason, retry_after: RETRY_AFTER }
    }

    /// A flight that nobody waits for any more, or that a close has given up.
    fn over(&self) -> RefreshError {
        if self.closing.is_cancelled() {
            self.refused(closing())
        } else {
            RefreshError::TimedOut { retry_after: RETRY_AFTER }
        }
    }
}

fn closing() -> Refusal {
    Refusal::Closing { retry_after: RETRY_AFTER }
}

impl Ending {
    fn for_caller(&self, arrived: Instant, first: bool) -> Result<Refreshed, RefreshError> {
        let role = if first { self.role } else { Role::JoinedHere };
        let age = self.age + arrived.saturating_duration_since(self.at);
        match self.result.as_ref().map_err(RefreshError::clone)?.as_ref() {
            Outcome::Success(tokens) => {
                // Within a second the provider's own bytes are right, and everybody of a flight gets the same.
                let tokens = if age > Duration::from_secs(1) { tokens.aged(age) } else { tokens.clone() };
                Ok(Refreshed { tokens, fence: self.fence, role, age })
            }
            Outcome::Failure(failure) => Err(RefreshError::Provider { failure: failure.aged(age), fence: self.fence }),
            Outcome::Lost(response) => Err(RefreshError::Lost { response: response.clone() }),
        }
    }
}

/// Counts a caller that goes away before its flight ends.
struct Gone<'a>(Option<&'a Counters>);

impl Gone<'_> {
    fn stayed(&mut self) {
        self.0 = None;
    }
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        if let Some(counters) = self.0 {
            counters.gone.add_one();
        }
    }
}
