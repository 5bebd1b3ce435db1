//! `check.lua`: tries at start every command that the other scripts use.

use redis::RedisError;

use super::reply::Reply;
use super::{Calls, rules};
use crate::identity::Hash;
use crate::store::contract::StoreError;
use crate::store::redis::call::Call;

/// What it replies.
#[derive(Debug)]
pub(crate) enum CheckReply {
    /// And the last fence given.
    Ready {
        fence: u64,
    },
    Old {
        version: String,
    },
    Refused {
        command: String,
        error: String,
    },
}

impl Calls {
    pub(crate) async fn check(&self) -> Result<CheckReply, StoreError> {
        // A flight that no token has: its name is no hash of one.
        let probe = Hash::of_probe(&self.pod);
        let mut call = Call::new(&self.scripts.check, 11);
        call.key(self.keys.lock(&probe)).key(self.keys.flight(&probe)).key(self.keys.fence());
        call.key(self.keys.recovering()).key(self.keys.meta()).key(self.keys.probe_queue(&probe));
        rules::all_keys(&mut call, &self.keys, &probe);
        call.arg(self.keys.channel(&self.pod));
        read(&self.run("check", &call).await?)
    }

    /// Loads the scripts. All of them, and not when they are first needed: another pod may have loaded what this one may
    /// not.
    pub(crate) async fn load_all(&self) -> Result<(), RedisError> {
        self.lanes.load(&self.scripts.all()).await
    }
}

fn read(reply: &Reply) -> Result<CheckReply, StoreError> {
    Ok(match reply.word()? {
        "ready" => CheckReply::Ready { fence: reply.field(1)? },
        "old" => CheckReply::Old { version: reply.field(1)? },
        "refused" => CheckReply::Refused { command: reply.field(1)?, error: reply.field(2)? },
        _ => return Err(reply.unknown()),
    })
}
