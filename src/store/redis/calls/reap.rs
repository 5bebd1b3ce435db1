//! `reap.lua`: takes back the permits of lost leaders and calls the next flights of the queue.

use std::time::Duration;

use super::words::ms;
use super::{Calls, rules};
use crate::store::contract::StoreError;
use crate::store::redis::call::Call;

/// What it replies.
#[derive(Debug)]
pub(crate) struct Reaped {
    /// In how long the next permit ends.
    pub(crate) look: Duration,
    /// Permits are free, and nobody in the queue is to be called.
    pub(crate) has_free_permits: bool,
}

impl Calls {
    pub(crate) async fn reap(&self) -> Result<Reaped, StoreError> {
        let mut call = Call::new(&self.scripts.reap, 3);
        rules::budget_keys(&mut call, &self.keys);
        call.arg(ms(self.config.lease));
        rules::budget(&mut call, &self.config);
        call.arg(self.keys.channels());
        let reply = self.run("reap", &call).await?;
        match reply.word()? {
            "reaped" => Ok(Reaped { look: reply.span(1)?, has_free_permits: reply.field::<u64>(2)? > 0 }),
            _ => Err(reply.unknown()),
        }
    }
}
