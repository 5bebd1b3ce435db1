//! `renew.lua`: moves lease, permit and probe on; puts back what Redis has forgotten.

use super::words::{history_word, ms};
use super::{Calls, rules};
use crate::admission::circuit::quiet;
use crate::store::contract::{Lease, Renewed, StoreError};
use crate::store::redis::call::Call;

impl Calls {
    /// `seen` is the highest fence that this pod has seen.
    pub(crate) async fn renew(&self, lease: &Lease, seen: u64) -> Result<Renewed, StoreError> {
        let mut call = Call::new(&self.scripts.renew, 8);
        call.key(self.keys.lock(&lease.flight)).key(self.keys.flight(&lease.flight));
        call.key(self.keys.fence()).key(self.keys.recovering());
        rules::budget_keys(&mut call, &self.keys);
        call.key(self.keys.circuit());
        call.arg(self.owner(lease.fence)).arg(lease.attempt.to_string()).arg(lease.claim.to_string());
        call.arg(lease.fence).arg(seen);
        call.arg(ms(self.config.lease)).arg(ms(lease.started.elapsed())).arg(history_word(lease.history));
        call.arg(ms(self.config.memory_of_lost()));
        rules::budget(&mut call, &self.config);
        call.arg(ms(quiet(&self.config))).arg(self.keys.channels());
        let reply = self.run("renew", &call).await?;
        match reply.word()? {
            "renewed" => Ok(Renewed::Renewed),
            "lost" => Ok(Renewed::Superseded),
            _ => Err(reply.unknown()),
        }
    }
}
