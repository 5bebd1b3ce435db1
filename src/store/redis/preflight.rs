//! What is tested and agreed before the first refresh: the server, the user's rights, and that all pods of the
//! namespace speak of the same thing.

use std::sync::Arc;

use redis::RedisError;
use sha2::{Digest, Sha256};
use tracing::warn;

use super::call::Call;
use super::keys::Keys;
use super::lanes::Lanes;
use super::rules;
use super::scripts::{CheckReply, Reply, Scripts, read_check};
use crate::config::Config;
use crate::error::ConnectError;
use crate::identity::Hash;
use crate::seal::PROTOCOL;
use crate::secret::Secret;
use crate::store::contract::StoreError;

/// Where Redis is, and what to say when it refuses.
#[derive(Debug)]
pub(super) struct Preflight {
    pub(super) keys: Arc<Keys>,
    pub(super) address: String,
}

impl Preflight {
    /// What an error at start means to whoever must mend it.
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
    pub(super) async fn check(&self, lanes: &Lanes, scripts: &Scripts, pod: &str) -> Result<u64, ConnectError> {
        // A flight that no token has: its name is no hash of one.
        let probe = Hash::of_probe(pod);
        let mut call = Call::new(&scripts.check, 11);
        call.key(self.keys.lock(&probe)).key(self.keys.flight(&probe)).key(self.keys.fence());
        call.key(self.keys.recovering()).key(self.keys.meta()).key(self.keys.probe_queue(&probe));
        rules::all_keys(&mut call, &self.keys, &probe);
        call.arg(self.keys.channel(pod));
        let reply = lanes.run(&call).await.map_err(|error| self.failed(&error.reason))?;
        match read_check(Reply::new("check", reply)).map_err(|error| self.failed(&error.reason))? {
            CheckReply::Ready { fence } => {
                // All of them, and not when they are first needed: another pod may have loaded what this one may not.
                lanes.load(&scripts.all()).await.map_err(|error| self.refused(&error))?;
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
    pub(super) async fn agree(&self, lanes: &Lanes, scripts: &Scripts, config: &Config) -> Result<(), ConnectError> {
        let protocol = PROTOCOL.to_string();
        let pepper = config.pepper.as_ref().map_or("none".to_owned(), check_value);
        let upstream = config.upstream.as_deref().map_or(String::new(), fingerprint);
        let mut call = Call::new(&scripts.meta, 1);
        call.key(self.keys.meta()).arg(&protocol).arg(&pepper).arg(&upstream);
        let reply = Reply::new("meta", lanes.run(&call).await.map_err(|error| self.failed(&error.reason))?);
        let failed = |error: StoreError| self.failed(&error.reason);
        let (name, theirs): (String, String) = match reply.word().map_err(failed)? {
            "agreed" => return Ok(()),
            "differs" => (reply.field(1).map_err(failed)?, reply.field(2).map_err(failed)?),
            _ => return Err(failed(reply.unknown())),
        };
        let (what, ours, remedy) = match name.as_str() {
            "protocol" => ("protocol", protocol, "run releases of one protocol, or use another namespace"),
            "pepper" => (
                "pepper",
                pepper,
                "give all pods the same pepper, or use another namespace: with two peppers every token would be \
                 presented twice",
            ),
            _ => ("upstream", upstream, "give each upstream a namespace of its own"),
        };
        Err(ConnectError::Mismatch { namespace: config.namespace.clone(), what, theirs, ours, remedy })
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

/// Tells two peppers apart and tells nothing of either.
fn check_value(pepper: &Secret) -> String {
    Hash::keyed(pepper, "refresh-coordinator/1 pepper").to_string()
}

fn fingerprint(upstream: &str) -> String {
    Sha256::digest(upstream.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
