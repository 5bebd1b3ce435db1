//! `abandon.lua`: gives back a lead that left the token as it was, or an attempt that may still be on its way.

use super::words::{ShortName, ms};
use super::{Calls, rules};
use crate::store::contract::{AttemptId, StoreError};
use crate::store::redis::call::Call;

impl Calls {
    /// `led` is the fence of the lead, 0 where the caller never learned whether it leads.
    pub(crate) async fn abandon(&self, id: &AttemptId, led: u64) -> Result<(), StoreError> {
        let AttemptId { flight, session, attempt, client_name } = id;
        let mut call = Call::new(&self.scripts.abandon, 7);
        call.key(self.keys.lock(flight)).key(self.keys.flight(flight));
        rules::all_keys(&mut call, &self.keys, session);
        call.arg(attempt.to_string()).arg(led).arg(ms(self.config.lease));
        call.arg(flight.to_string()).arg(self.keys.channels()).arg(&self.pod);
        rules::budget(&mut call, &self.config);
        call.arg(client_name.map(|name| ShortName(name).to_string()).unwrap_or_default());
        let reply = self.run("abandon", &call).await?;
        match reply.word()? {
            "abandoned" | "marked" | "stale" => Ok(()),
            _ => Err(reply.unknown()),
        }
    }
}
