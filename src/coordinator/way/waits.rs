//! What a flight waits for that does not lead: another flight, a permit, a store that recovers.

use std::ops::ControlFlow::{self, Break, Continue};

use tokio::time::Instant;
use tracing::debug;

use super::Way;
use crate::coordinator::inner::{Inner, RETRY_AFTER};
use crate::coordinator::withdrawal::Withdrawal;
use crate::flight::ending::Ending;
use crate::flight::stage::FlightStage;
use crate::joiner::{self, Waited};
use crate::leader::Attempt;
use crate::outcome::ProviderFailure;
use crate::store::{Joined, LeaderSeen, Queued};
use crate::token_response::TokenResponse;

impl<C, F> Way<'_, C>
where
    C: FnOnce(Attempt) -> F + Send + 'static,
    F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
{
    /// Another flight leads this token: waits for its outcome, or, where its claim is another, for its end.
    pub(super) async fn join(&mut self, joined: Joined) -> ControlFlow<Ending> {
        let Joined { fence, leader, mut news } = joined;
        self.flight.progress().is_at(FlightStage::Joined);
        (self.waiting_since, self.queueing_since) = (None, None);
        if leader == LeaderSeen::Lost || fence.is_none() {
            self.flight.allow_wait_timeout();
        }
        if !self.has_joined {
            self.inner.counters.joined_fleet.add_one();
            debug!(flight = %self.ask.identity.flight, fence, "joined");
        }
        self.has_joined = true;
        self.awaited_fence = fence.or(self.awaited_fence);
        let patience_until = self.own_success_due();
        match joiner::wait(&mut news, patience_until, self.flight, &self.inner.overdue, &self.inner.store).await {
            Waited::Landed(landed) => self.landed(landed),
            Waited::BeginAgain if patience_until.is_some_and(|due| due <= Instant::now()) => {
                self.fail(Inner::count_given_up)
            }
            Waited::BeginAgain => Continue(()),
            Waited::Over => self.fail(Inner::count_given_up),
        }
    }

    /// Where its own call brought tokens, until when it waits for those that landed first: its callers are still there then.
    fn own_success_due(&self) -> Option<Instant> {
        self.overtaken.as_ref()?.tokens()?;
        self.flight.deadline()?.checked_sub(RETRY_AFTER)
    }

    /// All permits are out: waits until one is reserved for this flight.
    pub(super) async fn queue(&mut self, queued: Queued) -> ControlFlow<Ending> {
        let Queued { since, mut news } = queued;
        self.flight.progress().is_at(FlightStage::Queued);
        self.flight.allow_wait_timeout();
        if self.queueing_since.is_none() {
            self.inner.counters.queued.add_one();
            debug!(flight = %self.ask.identity.flight, "queued");
        }
        // What it waited for a store that recovered does not count.
        let first_queued = if self.waiting_since.is_some() { Instant::now() } else { since };
        let queueing_since = *self.queueing_since.get_or_insert(first_queued);
        self.waiting_since = Some(since);
        let patience_until = Some(queueing_since + self.inner.config.budget_wait());
        let waited = tokio::select! {
            waited = joiner::wait(&mut news, patience_until, self.flight, &self.inner.closing, &self.inner.store) => waited,
            // Nothing was sent so far, and nobody would have the answer.
            () = self.flight.deserted() => Waited::Over,
        };
        match waited {
            // Also when its turn has not come and its patience is over: the outcome may have landed meanwhile.
            Waited::Landed(_) | Waited::BeginAgain => Continue(()),
            Waited::Over => {
                self.withdrawal = Some(Withdrawal::QueuePlace { since });
                self.fail(Inner::count_given_up)
            }
        }
    }

    /// The store may have forgotten: it gives no lead until leaders had the time to put theirs back, and this flight waits.
    pub(super) async fn wait_for_recovery(&mut self, recovering: Queued) -> ControlFlow<Ending> {
        let Queued { since, mut news } = recovering;
        self.flight.progress().is_at(FlightStage::WaitingForRecovery);
        if self.overtaken.is_some() {
            // Nobody leads, and what its own call brought is all there is.
            return self.fail(Inner::count_given_up);
        }
        if let Some(ending) = self.walk.as_ref().and_then(|walk| walk.take_living(self.inner)) {
            return Break(ending);
        }
        self.flight.allow_wait_timeout();
        if self.waiting_since.is_none() {
            self.inner.counters.waited_for_recovery.add_one();
            debug!(flight = %self.ask.identity.flight, "waits for the store to recover");
        }
        self.waiting_since = Some(since);
        match joiner::wait(&mut news, None, self.flight, &self.inner.closing, &self.inner.store).await {
            Waited::Landed(_) | Waited::BeginAgain => Continue(()),
            Waited::Over => self.fail(Inner::count_given_up),
        }
    }
}
