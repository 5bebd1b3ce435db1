//! Step 4: lands the outcome, and keeps it in hand until the store has it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, warn};

use super::pauses::{RENEWAL_RETRY, TOLD_AFTER, pauses};
use super::telling::Hook;
use super::{InHand, LeadEnd, Leader};
use crate::config::Uncertain;
use crate::flight::before_told::BeforeTold;
use crate::flight::ending::{Ending, Role};
use crate::outcome::{Class, Outcome, ProviderHealth, TokenState};
use crate::retention::Retention;
use crate::store::{Completion, Gaps, Lease, Standing, StoreError, StoredOutcome};

impl Leader<'_> {
    /// Lands the outcome, and says what this leader's own callers are told.
    pub(super) async fn land(&mut self, completion: Completion) -> LeadEnd {
        match self.before_told.filter(|_| completion.outcome.class() == Class::Success) {
            None => self.land_and_tell(completion).await,
            // Boxed, because most flights have none, and would be as large.
            Some(hook) => Box::pin(self.land_untold(hook, completion)).await,
        }
    }

    async fn land_and_tell(&mut self, completion: Completion) -> LeadEnd {
        let gaps = self.store.gaps();
        let ours = Ending::led(Arc::clone(&completion.outcome), self.lease.fence).passing(&self.ask.passed);
        match self.complete_and_tell(&completion, &ours).await {
            Ok(standing) => {
                self.in_hand = InHand::Nothing;
                if self.ask.was_stranger() || completion.health == ProviderHealth::Healthy {
                    let kind = self.ask.identity.presenter.kind;
                    if let Some(pause) = self.strangers.learn(kind, completion.health, Instant::now(), self.config) {
                        self.tell_of_held_strangers(pause);
                    }
                }
                self.stands(standing, ours, &completion.outcome)
            }
            // Boxed, because it is rare, and every flight would be as large.
            Err(error) => Box::pin(self.repeat_until_acknowledged(ours, completion, gaps, error)).await,
        }
    }

    /// Requests like this one, by callers that are not known, are left out from now on.
    #[cold]
    fn tell_of_held_strangers(&self, pause: Duration) {
        let Lease { flight, fence, .. } = &*self.lease;
        warn!(
            namespace = self.config.namespace,
            pod = self.pod,
            %flight,
            session = %self.ask.identity.session,
            fence,
            for_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            setting = "breaker",
            "a client is held: this pod leads no more requests like this one by callers that are not known"
        );
    }

    /// First the store has the tokens, then the hook runs, then callers hear of them.
    async fn land_untold(&mut self, hook: &Arc<BeforeTold>, mut completion: Completion) -> LeadEnd {
        let gaps = self.store.gaps();
        let ours = Ending::led(Arc::clone(&completion.outcome), self.lease.fence).passing(&self.ask.passed);
        completion.is_untold = true;
        let completed = self.store.complete(self.lease, self.ask, &completion).await;
        if completed.is_ok() {
            self.in_hand = InHand::Nothing;
        }
        let Self { store, config, counters, flight, ask, overdue, .. } = *self;
        let hook = Hook { hook, store, config, counters, flight, ask, overdue };
        let is_done = match &completed {
            // The first success has a leader of its own.
            Ok(Standing::Theirs(_) | Standing::TheirsUntold(_) | Standing::Ended) => false,
            Ok(Standing::Ours | Standing::Stale) | Err(_) => hook.run_and_tell(&ours).await,
        };
        match completed {
            Ok(standing) => self.stands(standing, ours, &completion.outcome),
            Err(error) => {
                completion.is_untold = false;
                completion.age = ours.at().elapsed();
                let told = ours.clone();
                let ended = self.repeat_until_acknowledged(ours, completion, gaps, error).await;
                if is_done {
                    hook.tell_of_use(&told).await;
                }
                ended
            }
        }
    }

    /// Completes. Callers of this pod wait for the store's answer, for it may know better than this leader; but not for long,
    /// where the lease stands: a store that is slow at this moment costs them no more than that.
    async fn complete_and_tell(&self, completion: &Completion, ours: &Ending) -> Result<Standing, StoreError> {
        let mut completing = pin!(self.store.complete(self.lease, self.ask, completion));
        tokio::select! {
            biased;
            completed = &mut completing => return completed,
            () = tokio::time::sleep(TOLD_AFTER) => {}
        }
        if self.lease.stands() {
            // The flight stays, until the store has it.
            self.flight.tell(ours.clone());
        }
        completing.await
    }

    /// Repeats `complete` until the store answers: a rotated token that nobody hears of is a lost session.
    async fn repeat_until_acknowledged(
        &mut self,
        ours: Ending,
        mut completion: Completion,
        mut gaps: Gaps,
        mut error: StoreError,
    ) -> LeadEnd {
        let outcome = Arc::clone(&completion.outcome);
        let patience = self.try_to_land_for(&outcome);
        let answered = ours.at();
        let mut renewed = answered;
        let _unshared = self.store.note_unshared();
        let mut pauses = pauses();
        loop {
            // The callers of this pod need not wait for the store. The flight stays: callers that come here meanwhile
            // get the outcome too, instead of asking a store that does not know it yet.
            self.flight.tell(ours.clone());
            if answered.elapsed() >= patience || self.overdue.is_cancelled() {
                self.in_hand = InHand::Nothing;
                return self.never_landed(ours, &outcome, &error);
            }
            warn!(flight = %self.lease.flight, fence = self.lease.fence, %error, "the outcome could not be shared yet");
            if renewed.elapsed() >= self.config.lease / 3 {
                renewed = Instant::now();
                _ = self.renew().await;
            }
            tokio::select! {
                () = tokio::time::sleep(pauses.next().unwrap_or(RENEWAL_RETRY)) => {}
                // Redis is back: first what this pod holds, then what others begin.
                () = gaps.passed() => {}
                () = self.overdue.cancelled() => {}
            }
            completion.age = answered.elapsed();
            error = match self.store.complete(self.lease, self.ask, &completion).await {
                Ok(standing) => {
                    self.in_hand = InHand::Nothing;
                    return self.stands(standing, ours, &outcome);
                }
                Err(error) => error,
            };
        }
    }

    /// For how long it is tried to land an outcome.
    pub(super) fn try_to_land_for(&self, outcome: &Outcome) -> Duration {
        match outcome.class() {
            Class::Success if outcome.token_state() == TokenState::Rotated => self.config.uncertain_memory,
            // The old refresh token still works: nobody is to be given an access token that has expired.
            Class::Success => {
                Retention::of(outcome, self.config).fresh_at(Duration::ZERO).min(self.config.uncertain_memory)
            }
            // Only this pod knows that it was presented, should the store come back empty.
            Class::Unknown if self.config.uncertain == Uncertain::Never => self.config.uncertain_memory,
            // Others are to stay away for as long as the provider asks.
            Class::Busy => self.config.lease.max(Retention::of(outcome, self.config).fresh),
            // Once the lease is over, others have found out that this leader is lost.
            Class::Denied | Class::NotSent | Class::NotProcessed | Class::Unknown | Class::TokenLost => {
                self.config.lease
            }
        }
    }

    fn never_landed(&self, ours: Ending, outcome: &Outcome, error: &StoreError) -> LeadEnd {
        error!(flight = %self.lease.flight, fence = self.lease.fence, class = outcome.class().word(), %error,
            "the outcome could not be shared: unless the lead is abandoned, other pods will find a lost leader");
        match outcome.token_state() {
            TokenState::Untouched | TokenState::Kept => LeadEnd::Untouched(ours),
            TokenState::Rotated | TokenState::Dead | TokenState::Unknown => LeadEnd::Ended(ours),
        }
    }

    /// The store has answered what stands.
    fn stands(&self, standing: Standing, ours: Ending, outcome: &Arc<Outcome>) -> LeadEnd {
        match standing {
            Standing::Ours => LeadEnd::Ended(ours),
            Standing::Ended => LeadEnd::SessionEnded(Arc::clone(outcome)),
            Standing::Stale if outcome.class() == Class::Success => LeadEnd::Ended(ours),
            Standing::Stale => LeadEnd::Overtaken(ours),
            Standing::TheirsUntold(landed) => {
                self.note_second_success(outcome, &landed);
                LeadEnd::Overtaken(ours)
            }
            Standing::Theirs(landed) => {
                self.note_second_success(outcome, &landed);
                let StoredOutcome { outcome, fence, age } = landed;
                LeadEnd::Ended(Ending::with(outcome, fence, Role::Led, age))
            }
        }
    }

    fn note_second_success(&self, outcome: &Outcome, first: &StoredOutcome) {
        if outcome.class() == Class::Success && first.outcome.class() == Class::Success {
            self.counters.second_successes.add_one();
            warn!(flight = %self.lease.flight, fence = self.lease.fence, first = first.fence, "a second success");
        }
    }
}
