//! Answers that are held until somebody has used the token that they gave, and those of which nobody was told yet, as a pod reads
//! and writes them.

use std::time::Duration;

use super::RedisStore;
use super::calls::tell::Tell;
use super::calls::tip::Tip;
use super::sealed::{self, SealedOutcome};
use super::waiters::Ticket;
use crate::identity::Hash;
use crate::outcome::Outcome;
use crate::store::contract::{self, Ask, ChainEnd, LARGEST_HELD, StoreError, Telling};

type Begun = contract::Begun<Ticket>;

impl RedisStore {
    pub(super) fn held(&self, ask: &Ask, sealed: &SealedOutcome, generation: u64) -> Begun {
        self.fences.see(sealed.fence);
        match self.opener(ask).open_held(sealed, generation) {
            Some(held) => Begun::Held(held),
            // Somebody wrote into Redis. Nobody is handed it.
            None => Begun::ChainOver(ChainEnd::Broken),
        }
    }

    /// Says what becomes of an outcome that landed untold.
    pub(crate) async fn tell(
        &self,
        ask: &Ask,
        fence: u64,
        outcome: &Outcome,
        telling: Telling,
    ) -> Result<(), StoreError> {
        let flight = ask.identity.flight;
        if telling != Telling::Waits {
            self.completer.keeper.told(&flight, fence);
        }
        let next = sealed::next_identity(&ask.identity, outcome, &self.config);
        let link = next.and_then(|next| Some((next.flight, next.chain?.holder)));
        self.calls.tell(&Tell { flight, fence, link, telling }).await
    }

    /// Holds for the older token of `ask` what its chain has come to; none where it leads nowhere.
    pub(crate) async fn tip(&self, ask: &Ask, tip: Option<&contract::Tip>) -> Result<(), StoreError> {
        let identity = &ask.identity;
        let next = tip.and_then(|tip| sealed::next_identity(identity, &tip.landed.outcome, &self.config));
        let Some((tip, next)) = tip.zip(next) else {
            return self.calls.tip(&tip_of(ask, 0, Duration::ZERO, identity.flight, Vec::new())).await;
        };
        let sealed = sealed::seal_tip(identity, &self.config, ask.attempt, tip);
        if sealed.len() > LARGEST_HELD {
            return Ok(());
        }
        self.calls.tip(&tip_of(ask, tip.landed.fence, tip.landed.age, next.flight, sealed)).await
    }
}

fn tip_of(ask: &Ask, fence: u64, age: Duration, next: Hash, sealed: Vec<u8>) -> Tip {
    let Ask { identity, attempt, .. } = ask;
    Tip { flight: identity.flight, claim: identity.claim, attempt: *attempt, fence, age, next, sealed }
}
