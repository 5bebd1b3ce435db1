//! What the flight of a rotated token does: it goes along the chain, and ends with what it found or with what its own
//! presentation brought.

use std::ops::ControlFlow::{self, Break, Continue};

use tracing::debug;

use super::Way;
use crate::coordinator::walk::{TipOrEnd, Walk};
use crate::flight::ending::Ending;
use crate::outcome::Outcome;
use crate::store::{ChainEnd, Coming, Held};

impl<C> Way<'_, C> {
    /// The token was rotated, and the answer is held: asks about the token that followed, before that is handed out.
    pub(super) fn held(&mut self, held: Held) -> ControlFlow<Ending> {
        let (mut walk, own) = match self.walk.take() {
            None => (Walk::begin(held), None),
            Some(mut walk) => {
                walk.goes_on(held);
                let own = walk.own.take();
                (walk, own)
            }
        };
        let next = walk.next(self.inner, own.as_ref().unwrap_or(&*self.ask));
        let Some(next) = next else {
            // A chain without an end, or an answer that gave no token.
            if let Some(own) = own {
                self.asks(own);
            }
            return match walk.take_living(self.inner) {
                Some(ending) => Break(ending),
                None => self.present_own(),
            };
        };
        let asked = self.asks(next);
        walk.own = Some(own.unwrap_or(asked));
        self.walk = Some(walk);
        self.asks_anew();
        Continue(())
    }

    /// Nobody has used the token that an answer gave: that is handed out.
    pub(super) fn unused(&mut self) -> ControlFlow<Ending> {
        let walk = self.walk.as_ref().expect("BUG: only a walk asks whether a token was used");
        if walk.was_long() {
            self.leaves = Some(TipOrEnd::Tip);
        }
        Break(walk.take(self.inner))
    }

    /// Nobody goes on along this chain. Where it is only lost, what was given last is handed out while it lives.
    pub(super) fn chain_over(&mut self, end: ChainEnd) -> ControlFlow<Ending> {
        if let Some(own) = self.own_among_claims.take() {
            let flight = self.ask.identity.flight;
            if self.presented_since.replace(flight) != Some(flight) {
                return self.ask_own_again(own);
            }
            // The newest token is dead, or spent for nobody: there is nothing else to go on to.
            self.asks_of(own);
        }
        if end == ChainEnd::Broken
            && let Some(ending) = self.walk.as_ref().and_then(|walk| walk.take_living(self.inner))
        {
            return Break(ending);
        }
        if let Some(own) = self.walk.take().and_then(|mut walk| walk.own.take()) {
            self.asks(own);
        }
        self.present_own()
    }

    /// The provider is to judge the caller's own token.
    pub(super) fn present_own(&mut self) -> ControlFlow<Ending> {
        self.inner.counters.walks_over.add_one();
        debug!(flight = %self.ask.identity.flight, "a newer token was used, or is lost: the old one goes to the provider");
        // Its first attempt may have been withdrawn.
        self.ask.start_anew();
        (self.ask.coming, self.ask.origin) = (Coming::Past, None);
        // What it joined further on says nothing of this token.
        (self.awaited_fence, self.has_joined) = (None, false);
        Continue(())
    }

    /// What a presentation brought at the end of a walk. Where it brought nothing, what was given last is handed out while it lives.
    pub(super) fn walked(&mut self, ending: Ending) -> Ending {
        let Some(walk) = &mut self.walk else { return ending };
        let (ending, leaves) = walk.ended(ending);
        self.leaves = leaves;
        let is_success = ending.outcome().is_some_and(|outcome| matches!(**outcome, Outcome::Success(_)));
        if is_success || leaves == Some(TipOrEnd::End) {
            return ending;
        }
        walk.take_living(self.inner).unwrap_or(ending)
    }

    /// What is to be left behind on the chain, now that the way is over.
    pub(super) fn take_leaving(&mut self) -> Option<(Box<Walk>, TipOrEnd)> {
        self.walk.take().zip(self.leaves.take())
    }
}
