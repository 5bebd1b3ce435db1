//! `tip.lua`: holds for an older token what its chain has come to, or ends what is held.

use std::time::Duration;

use uuid::Uuid;

use super::Calls;
use super::words::ms;
use crate::identity::Hash;
use crate::store::contract::StoreError;
use crate::store::redis::call::Call;

/// What it is told.
pub(crate) struct Tip {
    /// Of the older token.
    pub(crate) flight: Hash,
    pub(crate) claim: Hash,
    pub(crate) attempt: Uuid,
    pub(crate) fence: u64,
    pub(crate) age: Duration,
    /// The flight of the token in the outcome.
    pub(crate) next: Hash,
    /// Empty where the chain leads nowhere.
    pub(crate) sealed: Vec<u8>,
}

impl Calls {
    pub(crate) async fn tip(&self, tip: &Tip) -> Result<(), StoreError> {
        let mut call = Call::with_payload(&self.scripts.tip, 3, tip.sealed.len());
        call.key(self.keys.held(&tip.flight)).key(self.keys.held_until()).key(self.keys.flight(&tip.next));
        call.arg(tip.flight.to_string()).arg(tip.claim.to_string()).arg(tip.attempt.to_string()).arg(tip.fence);
        call.arg(ms(tip.age)).arg(ms(self.config.keep_until_used)).arg(tip.next.to_string()).arg(&tip.sealed);
        let reply = self.run("tip", &call).await?;
        match reply.word()? {
            "held" | "ended" | "stale" => Ok(()),
            _ => Err(reply.unknown()),
        }
    }
}
