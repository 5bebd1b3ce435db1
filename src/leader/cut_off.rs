//! What a leader has in hand, and what becomes of that where its task is dropped: its runtime ends, though the process lives, or a
//! panic of ours ends it.
//!
//! The store is told later: by what goes on beside the flights, on whatever runtime that is.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use super::{InHand, Leader};
use crate::flight::ending::Ending;
use crate::outcome::{Class, Outcome, ProviderFailure, ProviderHealth};
use crate::store::Completion;

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        match mem::replace(&mut self.in_hand, InHand::Nothing) {
            InHand::Nothing => {}
            InHand::Lead => {
                self.flight.lease().end();
                match self.flight.intent().cancel() {
                    // The flight withdraws it, where that takes time.
                    Ok(()) => self.store.abandon_at_once(self.lease, self.ask),
                    Err(_started) => {
                        let completion = self.cut_off();
                        self.count(&completion.outcome);
                        self.land_later(completion);
                    }
                }
            }
            InHand::Outcome { mut completion, answered } => {
                completion.age = answered.elapsed();
                self.land_later(completion);
            }
        }
    }
}

impl Leader<'_> {
    /// What is known of a call that ended with its runtime.
    fn cut_off(&self) -> Completion {
        let (outcome, health) = match self.flight.lease().take_unseen() {
            Some(answer) => {
                let outcome = self.outcome_of(answer);
                let health = outcome.health();
                (outcome, health)
            }
            None => {
                let failure = ProviderFailure::unknown("the runtime was shut down meanwhile");
                (Outcome::Failure(failure), ProviderHealth::Neutral)
            }
        };
        Completion { outcome: Arc::new(outcome), health, age: Duration::ZERO, is_untold: false }
    }

    fn land_later(&self, mut completion: Completion) {
        let outcome = Arc::clone(&completion.outcome);
        let (flight, fence, class) = (&self.lease.flight, self.lease.fence, outcome.class());
        // Where the whole process ends there is nothing to be said of calls that it cut off.
        if class == Class::Success {
            warn!(%flight, fence, "the task of a leader was ended before its success was shared: it lands later");
        } else {
            debug!(%flight, fence, class = class.word(), "the task of a leader was ended before its outcome was shared");
        }
        // What is to be done before callers hear of new tokens was not done: they come again, and find them untold.
        completion.is_untold |= self.before_told.is_some() && class == Class::Success && !self.flight.is_told();
        let is_for_callers = !completion.is_untold;
        // First the store, then the callers: one that was told and asks again finds it there, or on its way.
        self.store.complete_later(self.lease, self.ask, &completion, self.try_to_land_for(&outcome));
        if is_for_callers {
            self.flight.tell(Ending::led(outcome, fence).passing(&self.ask.passed));
        }
    }
}
