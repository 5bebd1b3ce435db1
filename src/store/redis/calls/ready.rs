//! `ready.lua`: answers where scripts that write are let in, and tells Redis the fences that it does not know.

use super::Calls;
use super::words::ms;
use crate::store::contract::StoreError;
use crate::store::redis::call::Call;

/// What it is told of the fences.
pub(crate) struct KnownFences {
    /// The highest that this pod has seen Redis give.
    pub(crate) seen: u64,
    /// The highest that this pod gave itself, without Redis; 0 if it gave none.
    pub(crate) given: u64,
}

impl Calls {
    pub(crate) async fn ready(&self, fences: KnownFences) -> Result<(), StoreError> {
        let mut call = Call::new(&self.scripts.ready, 3);
        call.key(self.keys.fence()).key(self.keys.incarnation()).key(self.keys.meta());
        call.arg(fences.seen).arg(fences.given).arg(ms(self.config.lease)).arg(self.keys.channels()).arg(&self.pod);
        let reply = self.run("ready", &call).await?;
        match reply.word()? {
            "ready" => Ok(()),
            _ => Err(reply.unknown()),
        }
    }
}
