//! The way of a refresh: what a flight does, from the first question to the store to its ending.
//!
//! [`Way::run`] is the table of contents: one loop, in which each answer of `begin` has a method of its own.

use std::future::poll_fn;
use std::ops::ControlFlow::{self, Break, Continue};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::time::Instant;
use tracing::warn;

use super::inner::{Inner, RETRY_AFTER};
use super::refusal_log::Refused;
use super::revocation;
use super::walk::{TipOrEnd, Walk};
use super::withdrawal::{self, Left, Withdrawal};
use crate::flight::LocalFlight;
use crate::flight::before_told::BeforeTold;
use crate::flight::ending::{Ending, Role};
use crate::flight::guard::FlightGuard;
use crate::flight::stage::FlightStage;
use crate::identity::Hash;
use crate::leader::{Attempt, Hook, InHand, LeadEnd, Leader};
use crate::outcome::{Outcome, ProviderFailure};
use crate::store::{Ask, AttemptId, Begun, Coming, Lease, StoreError, StoredOutcome};
use crate::token_response::TokenResponse;

mod along;
mod claims;
mod left;
mod past;
mod refused;
mod waits;

/// A refresh, once for all callers of this pod that ask the same: goes its way, keeps the callers' time beside it, and
/// ends the flight.
///
/// Why a block and not an async function: that would hold the call twice, as its argument and as its own.
pub(super) fn fly<C, F>(
    inner: Arc<Inner>,
    guard: FlightGuard,
    ask: Ask,
    call: Option<C>,
    before_told: Option<Arc<BeforeTold>>,
) -> impl Future<Output = ()> + Send
where
    C: FnOnce(Attempt) -> F + Send + 'static,
    F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
{
    let (mut ask, mut call) = (ask, call);
    async move {
        // Here and not where the task is made: that may be on a runtime that has ended, where tokio refuses timers.
        let now = Instant::now();
        let _in_flight = inner.counters.timings.fly();
        inner.keep_early_timer(now);
        withdrawal::keep_working(&inner);
        let mut way = Way::new(&inner, guard.flight(), &mut ask, &mut call, before_told.as_ref());
        let ending = {
            let (mut way, mut clock) = (pin!(way.run()), pin!(guard.flight().keep_time(now, &inner.config)));
            poll_fn(|context| match way.as_mut().poll(context) {
                Poll::Pending => clock.as_mut().poll(context).map(|never| match never {}),
                ended => ended,
            })
            .await
        };
        let leaves = way.take_leaving();
        drop(way);
        guard.end(ending);
        if let Some((walk, what)) = leaves {
            // Boxed, because it is rare. The callers do not wait for it.
            Box::pin(walk.leave(&inner, what)).await;
        }
    }
}

/// How far a flight has come.
struct Way<'a, C> {
    inner: &'a Arc<Inner>,
    flight: &'a Arc<LocalFlight>,
    ask: &'a mut Ask,
    /// The refresh function. None once this flight has led and called it.
    call: &'a mut Option<C>,
    /// It came with a refresh function. Without one it only waits for others.
    may_lead: bool,
    /// This flight waits for the outcome of this fence or a later one: of the leader that it joined, or of its own lead
    /// that was overtaken.
    awaited_fence: Option<u64>,
    has_joined: bool,
    /// Since when this flight waits for its turn: in the queue, or for a store that recovers.
    waiting_since: Option<Instant>,
    queueing_since: Option<Instant>,
    /// It has led, did not call, and has not given the lead back: its lease was over.
    holds_lead: bool,
    /// What its own call brought, for its callers in case the leader that overtook it brings nothing.
    overtaken: Option<Ending>,
    /// What the store may hold of it now, should it end here.
    left: Left,
    /// What is to be withdrawn from the store when the way is over.
    withdrawal: Option<Withdrawal>,
    /// Where its token was rotated: how far it has come along the chain, and what it leaves behind there.
    walk: Option<Box<Walk>>,
    leaves: Option<TipOrEnd>,
    /// The question of its caller's own token, where it asks of a newer one that other claims came with; and how often it asked anew.
    own_among_claims: Option<Ask>,
    turns: u32,
    /// A newest token that others had presented when this flight came to it.
    presented_since: Option<Hash>,
    /// Its turn among the claims of its login, or its place in their order.
    turn: Option<AttemptId>,
    before_told: Option<&'a Arc<BeforeTold>>,
    /// The outcome that it found was told nobody, as far as is known.
    is_untold: bool,
}

impl<'a, C, F> Way<'a, C>
where
    C: FnOnce(Attempt) -> F + Send + 'static,
    F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
{
    fn new(
        inner: &'a Arc<Inner>,
        flight: &'a Arc<LocalFlight>,
        ask: &'a mut Ask,
        call: &'a mut Option<C>,
        before_told: Option<&'a Arc<BeforeTold>>,
    ) -> Self {
        Self {
            inner,
            flight,
            may_lead: call.is_some(),
            ask,
            call,
            awaited_fence: None,
            has_joined: false,
            waiting_since: None,
            queueing_since: None,
            holds_lead: false,
            overtaken: None,
            left: Left::Nothing,
            withdrawal: None,
            walk: None,
            leaves: None,
            own_among_claims: None,
            turns: 0,
            presented_since: None,
            turn: None,
            before_told,
            is_untold: false,
        }
    }

    /// Asks the store and does what it says, until there is an ending. What waits for others is boxed: a flight that is
    /// led at once is not to be as large.
    async fn run(&mut self) -> Ending {
        loop {
            self.left = Left::Attempt;
            let begun = self.begin().await;
            self.has_begun(&begun);
            let step = match begun {
                Ok(Begun::Landed(landed)) => self.landed(landed),
                Ok(Begun::Untold(landed)) => self.untold(landed),
                Ok(Begun::Held(held)) => self.held(held),
                Ok(Begun::Claims) => Box::pin(self.follow()).await,
                Ok(Begun::Unused) => self.unused(),
                Ok(Begun::ChainOver(end)) => self.chain_over(end),
                Ok(Begun::Lead(lease)) => self.lead(lease).await,
                Ok(Begun::Join(joined)) => Box::pin(self.join(joined)).await,
                Ok(Begun::Queued(queued)) => Box::pin(self.queue(queued)).await,
                Ok(Begun::Recovering(recovering)) => Box::pin(self.wait_for_recovery(recovering)).await,
                Ok(Begun::Ended) => self.session_over(),
                Ok(Begun::Rejected(refusal)) => self.rejected(refusal),
                Err(error) => self.unanswered(error).await,
            };
            if let Break(ending) = step {
                if let Some(hook) = self.before_told
                    && self.may_be_untold(&ending)
                {
                    // Boxed, because it is rare.
                    Box::pin(self.run_hook(hook, &ending)).await;
                }
                self.left = Left::Nothing;
                return ending;
            }
        }
    }

    async fn begin(&mut self) -> Result<Begun, StoreError> {
        let inner = self.inner;
        self.flight.progress().is_at(FlightStage::Beginning);
        // A flight that has made its call can use no permit: it does not queue for one.
        let kind = self.ask.identity.presenter.kind;
        let terms = if self.call.is_some() {
            inner.terms(kind, self.waiting_since, self.queueing_since)
        } else {
            inner.terms(kind, None, None).without_queueing()
        };
        let terms = if self.may_lead { terms } else { terms.without_leading() };
        inner.store.begin(self.ask, self.awaited_fence, &terms).await
    }

    /// The outcome is known.
    fn landed(&mut self, landed: StoredOutcome) -> ControlFlow<Ending> {
        if self.is_for_others(&landed) {
            return self.ask_past(landed.fence);
        }
        if matches!(&*landed.outcome, Outcome::TokenLost(None)) {
            // Nobody asked the provider: the policy has decided.
            let refused =
                Refused { reason: "lost", cause: None, setting: Some("uncertain"), rotated_for: None, lasts: None };
            self.inner.refusals.tell(refused, Some(&self.ask.identity));
        }
        let role = if self.has_waited() { Role::JoinedFleet } else { Role::Latecomer };
        if role == Role::Latecomer {
            self.inner.counters.latecomers.add_one();
        }
        let ending = Ending::with(landed.outcome, landed.fence, role, landed.age);
        Break(self.walked(ending))
    }

    /// The outcome is known, and who landed it could not do what was to be done before anybody hears of it.
    fn untold(&mut self, landed: StoredOutcome) -> ControlFlow<Ending> {
        self.is_untold = true;
        self.landed(landed)
    }

    /// Whether nobody may have been told of it yet: of what was held nobody has used the new tokens.
    fn may_be_untold(&self, ending: &Ending) -> bool {
        self.is_untold || (self.walk.is_some() && ending.role() == Role::Latecomer)
    }

    async fn run_hook(&mut self, hook: &Arc<BeforeTold>, ending: &Ending) {
        let Inner { store, config, counters, overdue, .. } = &**self.inner;
        Hook { hook, store, config, counters, flight: self.flight, ask: self.ask, overdue }.run_and_tell(ending).await;
    }

    /// This flight leads.
    async fn lead(&mut self, mut lease: Lease) -> ControlFlow<Ending> {
        (self.queueing_since, self.waiting_since) = (None, None);
        self.flight.progress().is_at(FlightStage::Leading);
        let Inner { store, config, pod, counters, reach, strangers, overdue, .. } = &**self.inner;
        if self.inner.is_closing() {
            self.abandon(&lease).await;
            return self.fail(Inner::count_closing);
        }
        if self.flight.retire_deserted() {
            // Nothing was sent so far, and nobody would have the answer.
            self.abandon(&lease).await;
            return self.fail(Inner::count_given_up);
        }
        if self.call.is_none() {
            self.abandon(&lease).await;
            // The leader that overtook this flight is gone. What its own call brought is all there is.
            return Break(self.own_ending().expect("BUG: a flight without its call has led and was overtaken"));
        }
        if self.walk.is_some() || matches!(self.ask.coming, Coming::Claiming { .. }) {
            counters.walks_led.add_one();
        }
        self.turn = None; // who completes or abandons calls the next
        let (ask, flight, before_told) = (&*self.ask, self.flight, self.before_told);
        let mut leader = Leader {
            store,
            config,
            pod,
            counters,
            reach,
            strangers,
            overdue,
            lease: &mut lease,
            ask,
            flight,
            before_told,
            in_hand: InHand::default(),
        };
        self.left = Left::Lead;
        let end = leader.lead(self.call).await;
        drop(leader);
        match end {
            LeadEnd::Ended(ending) => {
                self.ask.over_is_told();
                Break(self.walked(ending))
            }
            LeadEnd::SessionEnded(outcome) => {
                self.ask.over_is_told();
                let identity = &self.ask.identity;
                revocation::later(self.inner, identity.revoking.as_ref(), &identity.entitlement.token, &outcome);
                self.session_over()
            }
            LeadEnd::BeginAgain => self.begin_again(&lease).await,
            LeadEnd::Outage(error) => {
                self.abandon(&lease).await;
                self.fail(|inner| inner.count_outage(error))
            }
            LeadEnd::Untouched(ending) => {
                self.abandon(&lease).await;
                Break(self.walked(ending))
            }
            LeadEnd::Overtaken(ending) => {
                if self.ask.is_unanswered() {
                    // The completion has told that this attempt is over: its next `begin` would find it abandoned.
                    self.ask.start_anew();
                }
                self.overtaken = Some(ending);
                self.awaited_fence = Some(lease.fence);
                // Its callers wait for the leader that took over from a lost one: this one.
                self.flight.allow_wait_timeout();
                Continue(())
            }
        }
    }

    /// The lease counts for nothing, and the call was not made. Asks anew with the same attempt, while a caller waits, and
    /// takes what its own fence or a later one brought, should another flight have ended it.
    async fn begin_again(&mut self, lease: &Lease) -> ControlFlow<Ending> {
        self.flight.allow_wait_timeout();
        let has_callers = self.flight.is_waited_for(Instant::now(), &self.inner.config);
        if !has_callers || self.inner.overdue.is_cancelled() {
            self.abandon(lease).await;
            return self.fail(Inner::count_given_up);
        }
        self.holds_lead = true;
        self.has_joined = true;
        self.awaited_fence = Some(lease.fence);
        Continue(())
    }

    /// The store gave no answer.
    async fn unanswered(&mut self, error: StoreError) -> ControlFlow<Ending> {
        // Another flight has the token in hand: waiting loses nothing.
        if self.has_joined && self.may_try_again() {
            warn!(flight = %self.ask.identity.flight, %error, "waiting for a flight while the store is out of reach");
            self.inner.pause(RETRY_AFTER).await;
            return Continue(());
        }
        self.withdrawal = match self.waiting_since {
            Some(since) => Some(Withdrawal::QueuePlace { since }),
            None => self.holds_lead.then_some(Withdrawal::Lead),
        };
        self.fail(|inner| inner.count_outage(error))
    }

    /// Abandons a lead that left the token as it was.
    async fn abandon(&mut self, lease: &Lease) {
        self.left = Left::Attempt;
        match self.inner.store.abandon(lease, self.ask).await {
            // The pod's own memory. Redis is told with the withdrawal.
            Ok(()) if lease.is_local => {}
            Ok(()) => self.ask.over_is_told(),
            Err(error) => {
                warn!(flight = %lease.flight, fence = lease.fence, %error, "the lead could not be abandoned yet");
                self.withdrawal = Some(Withdrawal::Lead);
            }
        }
    }

    /// Whether it joined another flight or queued: the outcome did not lie there when it came.
    fn has_waited(&self) -> bool {
        self.has_joined || self.waiting_since.is_some()
    }

    /// Whether a caller waits for long enough still, and no close has given up what is under way.
    fn may_try_again(&self) -> bool {
        let has_time = self.flight.deadline().is_some_and(|deadline| Instant::now() + RETRY_AFTER < deadline);
        has_time && !self.inner.overdue.is_cancelled()
    }
}
