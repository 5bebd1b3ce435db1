//! How a flight ends without an outcome: refused, or of a session that was ended.

use std::ops::ControlFlow::{self, Break};
use std::time::Duration;

use super::Way;
use crate::coordinator::inner::{Inner, RETRY_AFTER};
use crate::coordinator::refusal_log::Refused;
use crate::coordinator::withdrawal::Withdrawal;
use crate::error::{RefreshError, Refusal};
use crate::flight::ending::Ending;

impl<C> Way<'_, C> {
    /// The session was ended. A lead that the store gives back with the attempt was never used.
    pub(super) fn session_over(&mut self) -> ControlFlow<Ending> {
        self.inner.counters.ended.add_one();
        if self.holds_lead {
            self.withdrawal = Some(Withdrawal::Lead);
        }
        // What its own call brought is for nobody, and there is no way along the chain.
        (self.overtaken, self.walk) = (None, None);
        self.fail(|_| RefreshError::SessionEnded)
    }

    pub(super) fn rejected(&mut self, refusal: Refusal) -> ControlFlow<Ending> {
        if !self.may_lead {
            // It would lead: nobody does.
            return self.fail(|_| RefreshError::NotUnderWay);
        }
        match refusal {
            // What is told to the operator is not what the caller is to wait for: a caller that came with the same token
            // again when the outcome is no longer fresh would end the session.
            Refusal::AnotherClaim { retry_after: lasts } => self
                .fail_for(Some(lasts), |inner| inner.count_refusal(Refusal::AnotherClaim { retry_after: RETRY_AFTER })),
            refusal => self.fail(|inner| inner.count_refusal(refusal)),
        }
    }

    /// Ends with what this flight's own call brought, where it was overtaken, else with an error.
    pub(super) fn fail(&mut self, error: impl FnOnce(&Inner) -> RefreshError) -> ControlFlow<Ending> {
        self.fail_for(None, error)
    }

    /// The same, where the refusal lasts for another time than the caller is told.
    pub(super) fn fail_for(
        &mut self,
        lasts: Option<Duration>,
        error: impl FnOnce(&Inner) -> RefreshError,
    ) -> ControlFlow<Ending> {
        // Refused while it walked: what was given last, while that lives.
        let given = |way: &Self| way.walk.as_ref().and_then(|walk| walk.take_living(way.inner));
        Break(self.overtaken.take().or_else(|| given(self)).unwrap_or_else(|| {
            let error = error(self.inner);
            if let Some(refused) = Refused::of(&error) {
                let refused = Refused { lasts: lasts.or(refused.lasts), ..refused };
                self.inner.refusals.tell(refused, Some(&self.ask.identity.flight), &self.inner.pod);
            }
            Ending::failed(error)
        }))
    }
}
