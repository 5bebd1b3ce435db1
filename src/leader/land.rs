//! Step 4: lands the outcome, and keeps it in hand until the store has it.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::Instant;
use tracing::{error, warn};

use super::{LeadEnd, Leader, RENEWAL_RETRY};
use crate::config::Uncertain;
use crate::flight::ending::{Ending, Role};
use crate::flight::guard::InHand;
use crate::outcome::{Class, Outcome, TokenState};
use crate::retention::Retention;
use crate::store::{Completion, Gaps, Standing, StoreError, StoredOutcome};

impl Leader<'_> {
    /// Lands the outcome, and says what this leader's own callers are told.
    pub(super) async fn land(&self, completion: Completion) -> LeadEnd {
        let gaps = self.store.gaps();
        let in_hand = InHand::new(self.flight, Ending::led(Arc::clone(&completion.outcome), self.lease.fence));
        let completed = self.store.complete(self.lease, self.ask, &completion).await;
        let ours = in_hand.taken();
        match completed {
            Ok(standing) => self.stands(standing, ours, &completion.outcome),
            // Boxed, because it is rare, and every flight would be as large.
            Err(error) => Box::pin(self.land_later(ours, completion, gaps, error)).await,
        }
    }

    /// Repeats `complete` until it is acknowledged: a rotated token that nobody hears of is a lost session.
    async fn land_later(
        &self,
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
                Ok(standing) => return self.stands(standing, ours, &outcome),
                Err(error) => error,
            };
        }
    }

    /// For how long it is tried to land an outcome.
    fn try_to_land_for(&self, outcome: &Outcome) -> Duration {
        match outcome.class() {
            Class::Success if outcome.token_state() == TokenState::Rotated => self.config.uncertain_memory,
            // The old refresh token still works: nobody is to be given an access token that has expired.
            Class::Success => Retention::of(outcome, self.config).fresh_at(Duration::ZERO),
            // Only this pod knows that it was presented, should the store come back empty.
            Class::Unknown if self.config.uncertain == Uncertain::Never => self.config.uncertain_memory,
            // Others are to stay away for as long as the provider asks.
            Class::Busy => self.config.lease.max(Retention::of(outcome, self.config).fresh),
            // Once the lease is over, others have found out that this leader is lost.
            Class::Denied | Class::NotSent | Class::Unknown | Class::TokenLost => self.config.lease,
        }
    }

    fn never_landed(&self, ours: Ending, outcome: &Outcome, error: &StoreError) -> LeadEnd {
        error!(flight = %self.lease.flight, fence = self.lease.fence, class = outcome.class().word(), %error,
            "the outcome could not be shared: unless the lead is given back, other pods will find a lost leader");
        match outcome.token_state() {
            TokenState::Untouched | TokenState::Kept => LeadEnd::Untouched(ours),
            TokenState::Rotated | TokenState::Dead | TokenState::Unknown => LeadEnd::Ended(ours),
        }
    }

    /// The store has answered what stands.
    fn stands(&self, standing: Standing, ours: Ending, outcome: &Outcome) -> LeadEnd {
        match standing {
            Standing::Ours => LeadEnd::Ended(ours),
            Standing::Stale if outcome.class() == Class::Success => LeadEnd::Ended(ours),
            Standing::Stale => LeadEnd::Overtaken(ours),
            Standing::Theirs(landed) => {
                if outcome.class() == Class::Success && landed.outcome.class() == Class::Success {
                    self.counters.second_successes.add_one();
                    warn!(flight = %self.lease.flight, fence = self.lease.fence, first = landed.fence, "a second success");
                }
                let StoredOutcome { outcome, fence, age } = landed;
                LeadEnd::Ended(Ending::with(outcome, fence, Role::Led, age))
            }
        }
    }
}

/// Between two tries to land an outcome.
fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(20))
        .with_max_delay(Duration::from_secs(1))
        .without_max_times()
        .with_jitter()
        .build()
}
