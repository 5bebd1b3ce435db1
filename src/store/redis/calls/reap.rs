//! `reap.lua`: takes back the permits of lost leaders and calls the next flights of the queue.

use std::time::Duration;

use super::words::ms;
use super::{Calls, rules};
use crate::store::contract::StoreError;
use crate::store::redis::call::Call;

impl Calls {
    /// Answers in how long the next permit ends.
    pub(crate) async fn reap(&self) -> Result<Duration, StoreError> {
        let mut call = Call::new(&self.scripts.reap, 3);
        rules::budget_keys(&mut call, &self.keys);
        call.arg(ms(self.config.lease));
        rules::budget(&mut call, &self.config);
        call.arg(self.keys.channels());
        let reply = self.run("reap", &call).await?;
        match reply.word()? {
            "reaped" => reply.span(1),
            _ => Err(reply.unknown()),
        }
    }
}
