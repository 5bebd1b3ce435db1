//! `tell.lua`: ends, or makes longer, the time in which nobody is told of an outcome that has landed.

use super::Calls;
use super::words::ms;
use crate::identity::Hash;
use crate::store::contract::{StoreError, Telling};
use crate::store::redis::call::Call;

/// What it is told.
pub(crate) struct Tell {
    pub(crate) flight: Hash,
    pub(crate) fence: u64,
    /// The flight of the token in the outcome, and who may say that it was used. None where it is in no chain.
    pub(crate) link: Option<(Hash, Hash)>,
    pub(crate) telling: Telling,
}

impl Calls {
    pub(crate) async fn tell(&self, tell: &Tell) -> Result<(), StoreError> {
        let mut call = Call::new(&self.scripts.tell, 3);
        call.key(self.keys.lock(&tell.flight)).key(self.keys.flight(&tell.flight));
        match &tell.link {
            Some((link, _)) => call.key(self.keys.flight(link)),
            // Some key of the namespace.
            None => call.key(self.keys.fence()),
        };
        call.arg(match tell.telling {
            Telling::Waits => "wait",
            Telling::Failed => "look",
            Telling::Done => "tell",
        });
        call.arg(self.owner(tell.fence)).arg(tell.fence).arg(ms(self.config.lease));
        call.arg(tell.flight.to_string()).arg(self.keys.channels());
        call.arg(tell.link.map_or(String::new(), |(_, holder)| holder.to_string()));
        call.arg(ms(self.config.permit_reserved_for()));
        let reply = self.run("tell", &call).await?;
        match reply.word()? {
            "waits" | "told" | "stale" => Ok(()),
            _ => Err(reply.unknown()),
        }
    }
}
