//! `probe.lua`: answers where scripts that write are let in, and tells Redis the fences that it does not know.

use super::Calls;
use super::words::ms;
use crate::store::contract::StoreError;
use crate::store::redis::call::Call;

/// What it is told of the fences.
pub(crate) struct Probe {
    /// The highest that this pod has seen Redis give.
    pub(crate) seen: u64,
    /// The highest that this pod gave itself, without Redis; 0 if it gave none.
    pub(crate) given: u64,
}

impl Calls {
    pub(crate) async fn probe(&self, probe: Probe) -> Result<(), StoreError> {
        let mut call = Call::new(&self.scripts.probe, 2);
        call.key(self.keys.fence()).key(self.keys.recovering());
        call.arg(probe.seen).arg(probe.given).arg(ms(self.config.lease));
        let reply = self.run("probe", &call).await?;
        match reply.word()? {
            "ready" => Ok(()),
            _ => Err(reply.unknown()),
        }
    }
}
