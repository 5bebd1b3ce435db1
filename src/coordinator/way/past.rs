//! A refusal that is not for this flight: of a client that authenticated in another way, which this flight's client does not.
//!
//! Some clients find out what a provider takes: first Basic, then the secret in the body. Both ask the same, and share every answer but
//! this: the refusal of one way says nothing of the other.

use std::ops::ControlFlow::{self, Continue};

use super::Way;
use crate::flight::ending::Ending;
use crate::outcome::Outcome;
use crate::store::StoredOutcome;

impl<C> Way<'_, C> {
    /// Whether the provider refused a client that authenticated in another way. A flight that can ask no more takes what there is.
    pub(super) fn is_for_others(&self, landed: &StoredOutcome) -> bool {
        let Outcome::Failure(failure) = &*landed.outcome else { return false };
        let refused = failure.refused_authentication();
        self.call.is_some() && refused.is_some_and(|refused| refused.differs_from(self.ask.authentication))
    }

    /// Asks the store again, as a newcomer that has the outcome of this fence already.
    pub(super) fn ask_past(&mut self, fence: u64) -> ControlFlow<Ending> {
        self.ask.newer_than = self.ask.newer_than.max(Some(fence));
        self.asks_anew();
        Continue(())
    }
}
