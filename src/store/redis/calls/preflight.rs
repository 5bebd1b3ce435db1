//! `preflight.lua`: looks at start whether scripts can run here at all.

use redis::RedisError;

use super::Calls;
use super::reply::Reply;
use crate::store::contract::{ServerId, StoreError};
use crate::store::redis::call::Call;

/// What it replies.
#[derive(Debug)]
pub(crate) enum PreflightReply {
    /// And the last fence given.
    Ready {
        fence: u64,
        /// Which server this is, where it may be asked.
        server: Option<ServerId>,
    },
    Old {
        version: String,
    },
    /// A 32-bit build.
    Narrow,
}

impl Calls {
    pub(crate) async fn preflight(&self) -> Result<PreflightReply, StoreError> {
        let mut call = Call::new(&self.scripts.preflight, 1);
        call.key(self.keys.fence());
        read(&self.run("preflight", &call).await?)
    }

    /// Loads the scripts. All of them, and not when they are first needed: another pod may have loaded what this one may
    /// not.
    pub(crate) async fn load_all(&self) -> Result<(), RedisError> {
        self.lanes.load(&self.scripts.all()).await
    }
}

fn read(reply: &Reply) -> Result<PreflightReply, StoreError> {
    Ok(match reply.word()? {
        "ready" => PreflightReply::Ready { fence: reply.field(1)?, server: ServerId::read(&reply.field::<String>(2)?) },
        "old" => PreflightReply::Old { version: reply.field(1)? },
        "narrow" => PreflightReply::Narrow,
        _ => return Err(reply.unknown()),
    })
}
