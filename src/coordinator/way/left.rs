//! What a flight leaves in the store, or may have left there, when its way is over: it is withdrawn.
//!
//! Also where its task is dropped on the way, because its runtime ends and the process lives: a lead that nobody has would count
//! as a leader that was lost after it sent the token.

use tokio::time::Instant;

use super::Way;
use crate::coordinator::withdrawal::{self, Left, Withdrawal};
use crate::store::{Begun, StoreError};

impl<C> Way<'_, C> {
    /// `begin` was answered, or was not.
    pub(super) fn has_begun(&mut self, begun: &Result<Begun, StoreError>) {
        self.left = match begun {
            Ok(Begun::Lead(_) | Begun::Queued(_)) | Err(_) => Left::Attempt,
            Ok(
                Begun::Landed(_)
                | Begun::Untold(_)
                | Begun::Join(_)
                | Begun::Held(_)
                | Begun::Claims
                | Begun::Unused
                | Begun::ChainOver(_)
                | Begun::Recovering(_)
                | Begun::Ended
                | Begun::Rejected(_),
            ) => Left::Nothing,
        };
    }

    /// What is to be withdrawn now that the way is over.
    fn to_withdraw(&self) -> Option<Withdrawal> {
        let is_called = || self.flight.intent().cancel().is_err();
        match self.left {
            // The completion tells that the attempt is over.
            Left::Lead if is_called() => None,
            Left::Lead => Some(Withdrawal::Lead),
            Left::Attempt => Some(match self.waiting_since {
                Some(since) => Withdrawal::QueuePlace { since },
                None => Withdrawal::UnansweredBegin,
            }),
            Left::Nothing => self.withdrawal.or(self.ask.is_unanswered().then_some(Withdrawal::UnansweredBegin)),
        }
    }
}

impl<C> Drop for Way<'_, C> {
    fn drop(&mut self) {
        if let Some(withdrawal) = self.to_withdraw() {
            withdrawal::later(self.inner, self.ask.id(), withdrawal);
        }
        if let Some(turn) = self.turn_to_give_back() {
            withdrawal::later(self.inner, turn, Withdrawal::QueuePlace { since: Instant::now() });
        }
    }
}
