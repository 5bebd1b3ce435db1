//! What is tested and agreed before the first refresh: the server, the user's rights, and that all pods of the
//! namespace speak of the same thing.

use std::sync::Arc;

use redis::RedisError;
use tracing::warn;

use super::calls::Calls;
use super::calls::check::CheckReply;
use super::calls::meta::{Differing, MetaReply};
use super::keys::Keys;
use super::lanes::Lanes;
use crate::error::ConnectError;

/// Where Redis is, and what to say when it refuses.
#[derive(Debug)]
pub(super) struct Preflight {
    pub(super) namespace: String,
    pub(super) keys: Arc<Keys>,
    pub(super) address: String,
}

impl Preflight {
    /// What an error at start means to the operator that must mend it.
    pub(super) fn refused(&self, error: &RedisError) -> ConnectError {
        self.refused_because(error.code() == Some("NOPERM"), &error.to_string())
    }

    fn refused_because(&self, is_right: bool, reason: &str) -> ConnectError {
        if !is_right {
            return ConnectError::Unreachable { address: self.address.clone(), reason: reason.to_owned() };
        }
        let (keys, channels) = self.keys.acl_rules();
        let rule = if reason.contains("channel") {
            channels
        } else if reason.contains("key") {
            keys
        } else {
            // "... has no permissions to run the 'evalsha' command", or the 'script|load' command
            reason.split('\'').nth(1).map_or("+@scripting".to_owned(), |command| format!("+{command}"))
        };
        ConnectError::Right { reason: reason.to_owned(), rule }
    }

    /// Tries every command of the scripts and loads them. Answers the last fence given: a pod that has seen none
    /// could not notice that Redis forgot.
    pub(super) async fn check(&self, calls: &Calls) -> Result<u64, ConnectError> {
        match calls.check().await.map_err(|error| self.failed(&error.reason))? {
            CheckReply::Ready { fence } => {
                calls.load_all().await.map_err(|error| self.refused(&error))?;
                Ok(fence)
            }
            CheckReply::Old { version } => Err(ConnectError::Version { address: self.address.clone(), version }),
            CheckReply::Refused { command, error } => {
                let is_command = error.contains("run this command") || error.contains("permissions to run");
                if is_command {
                    let rule = format!("+{}", command.to_lowercase());
                    return Err(ConnectError::Right { reason: error, rule });
                }
                Err(self.failed(&error))
            }
        }
    }

    /// Writes or compares what all pods must agree on.
    pub(super) async fn agree(&self, calls: &Calls) -> Result<(), ConnectError> {
        let (what, theirs, ours) = match calls.meta().await.map_err(|error| self.failed(&error.reason))? {
            MetaReply::Agreed => return Ok(()),
            MetaReply::Differs { what, theirs, ours } => (what, theirs, ours),
        };
        let (what, remedy) = match what {
            Differing::Protocol => ("protocol", "run releases of one protocol, or use another namespace"),
            Differing::Pepper => (
                "pepper",
                "give all pods the same pepper, or use another namespace: with two peppers every token would be \
                 presented twice",
            ),
            Differing::Upstream => ("upstream", "give each upstream a namespace of its own"),
        };
        Err(ConnectError::Mismatch { namespace: self.namespace.clone(), what, theirs, ours, remedy })
    }

    /// Warns about a server that forgets keys when its memory is full: a lock that is evicted is a second leader.
    pub(super) async fn warn_about_eviction(&self, lanes: &Lanes) {
        let Some(policy) = lanes.eviction_policy().await else { return };
        if policy != "noeviction" {
            warn!(%policy, "redis may evict what it coordinates by: set maxmemory-policy to noeviction");
        }
    }

    fn failed(&self, reason: &str) -> ConnectError {
        // The second is what 7.0 says inside of scripts. "Permission denied" of a socket is capitalized.
        let is_right = reason.contains("permission") || reason.contains("user executing the script");
        self.refused_because(is_right, reason)
    }
}
