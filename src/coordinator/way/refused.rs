//! How a flight ends without an outcome: refused, or of a session that was ended.

use std::ops::ControlFlow::{self, Break};
use std::time::Duration;

use super::Way;
use crate::coordinator::inner::{Inner, RETRY_AFTER};
use crate::coordinator::refusal_log::Refused;
use crate::coordinator::withdrawal::Withdrawal;
use crate::error::{RefreshError, Refusal};
use crate::flight::ending::Ending;
use crate::identity::Identity;

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
            Refusal::AnotherClaim { differs, retry_after: lasts } => self.fail_for(Some(lasts), |inner| {
                inner.count_refusal(Refusal::AnotherClaim { differs, retry_after: RETRY_AFTER })
            }),
            // No caller is refused: it comes again by itself.
            refusal if self.ask.is_background => Break(self.given_or(|_| Ending::failed(refusal.into()))),
            refusal => {
                self.inner.held.see(&refusal, &self.ask.identity);
                self.fail(|inner| inner.count_refusal(refusal))
            }
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
        let inner = self.inner;
        Break(self.given_or(|of| {
            let error = error(inner);
            if let Some(refused) = Refused::of(&error) {
                let refused = Refused { lasts: lasts.or(refused.lasts), ..refused };
                inner.refusals.tell(refused, Some(of));
            }
            Ending::failed(error)
        }))
    }

    /// What its own call brought, where it was overtaken. Tokens among that wait for `before_told`: it was to be done by the leader
    /// that landed first, for that one's.
    pub(super) fn own_ending(&mut self) -> Option<Ending> {
        let ending = self.overtaken.take()?;
        self.is_untold = ending.tokens().is_some();
        Some(ending)
    }

    /// What its own call brought where it was overtaken, or, where it walked, what was given last, while that lives.
    fn given_or(&mut self, failed: impl FnOnce(&Identity) -> Ending) -> Ending {
        let given = |way: &Self| way.walk.as_ref().and_then(|walk| walk.take_living(way.inner));
        self.own_ending().or_else(|| given(self)).unwrap_or_else(|| failed(&self.ask.identity))
    }
}
