//! `renew.lua`: moves lease, permit and probe on; puts back what Redis has forgotten.

use super::words::{Lead, history_word, ms};
use super::{Calls, rules};
use crate::admission::circuit::quiet;
use crate::identity::Identity;
use crate::store::contract::{Ask, Lease, Renewed, StoreError};
use crate::store::redis::call::Call;

impl Calls {
    /// `seen` is the highest fence that this pod has seen; `stands`, whether the lease stands by the pod's own clock.
    pub(crate) async fn renew(&self, lease: &Lease, ask: &Ask, seen: u64, stands: bool) -> Result<Renewed, StoreError> {
        let mut call = Call::new(&self.scripts.renew, 9);
        call.key(self.keys.lock(&lease.flight)).key(self.keys.flight(&lease.flight));
        call.key(self.keys.fence()).key(self.keys.incarnation());
        rules::budget_keys(&mut call, &self.keys);
        call.key(self.keys.circuit()).key(self.keys.meta());
        let Identity { client, account, .. } = ask.identity;
        call.arg(self.owner(lease.fence)).text(Lead { attempt: lease.attempt, claim: lease.claim, client, account });
        call.arg(lease.fence).arg(seen).arg(if stands { "yes" } else { "no" });
        call.arg(ms(self.config.lease)).arg(ms(lease.started.elapsed())).arg(history_word(lease.history));
        call.arg(ms(self.config.memory_of_lost()));
        rules::budget(&mut call, &self.config);
        call.arg(ms(quiet(&self.config))).arg(self.keys.channels());
        call.arg(if lease.keeps_permit(&self.config) { "keep" } else { "free" });
        let reply = self.run("renew", &call).await;
        if call.may_arrive_late() {
            ask.note_unanswered();
        }
        let reply = reply?;
        match reply.word()? {
            "renewed" => Ok(Renewed::Renewed),
            "superseded" => Ok(Renewed::Superseded),
            _ => Err(reply.unknown()),
        }
    }
}
