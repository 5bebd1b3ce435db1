//! What is tested and agreed before the first refresh: the server, the user's rights, and that all pods of the
//! namespace speak of the same thing.

use std::sync::Arc;

use redis::{AsyncConnectionConfig, ProtocolVersion, RedisError};
use tracing::warn;

use super::calls::Calls;
use super::calls::meta::{Agreed, Differing, Differs, MetaReply};
use super::calls::preflight::PreflightReply;
use super::connector::Connector;
use super::keys::Keys;
use super::lanes::Lanes;
use super::not_enrolled::NotEnrolled;
use super::pubsub::PubSub;
use super::rights::Missing;
use super::target::Whereabouts;
use super::verdict::is_missing_right;
use super::{hello, rights};
use crate::error::ConnectError;
use crate::store::contract::ServerId;

/// Where Redis is, and what to say when it refuses.
#[derive(Debug)]
pub(super) struct Preflight {
    pub(super) namespace: String,
    pub(super) keys: Arc<Keys>,
    pub(super) address: String,
    pub(super) pubsub: PubSub,
    pub(super) waits_for_replicas: bool,
}

impl Preflight {
    /// What an error at start means to the operator that must mend it.
    pub(super) fn refused(&self, error: &RedisError) -> ConnectError {
        self.refused_because(error.code() == Some("NOPERM"), &error.to_string())
    }

    fn refused_because(&self, is_right: bool, reason: &str) -> ConnectError {
        if !is_right {
            return self.unreachable(reason.to_owned());
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

    /// Looks at the server and at the user's rights, over a connection that is closed afterwards: it has subscribed.
    pub(super) async fn look(&self, lanes: &Lanes, pod: &str) -> Result<(), NotEnrolled> {
        let connector = &lanes.nodes.connector;
        let whereabouts = connector.whereabouts().await.map_err(|error| {
            // At start it was read: what is wrong with it now may pass.
            NotEnrolled { error: ConnectError::Url { reason: error.to_string() }, is_away: true }
        })?;
        let connected = lanes.connect_beside(AsyncConnectionConfig::new(), Some(ProtocolVersion::RESP2)).await;
        let mut connection = match connected {
            Ok(connection) => connection,
            Err(error) => return Err(self.not_connected(connector, &whereabouts, &error).await),
        };
        if let Whereabouts::Fixed(info) = &whereabouts {
            hello::check_single(&mut connection, info).await?;
        }
        match rights::missing(&mut connection, &self.keys, pod, self.pubsub, self.waits_for_replicas).await {
            Ok(missing) => self.judge(missing).map_err(|error| NotEnrolled { error, is_away: false }),
            Err(error) => Err(NotEnrolled { error: self.refused(&error), is_away: true }),
        }
    }

    async fn not_connected(&self, connector: &Connector, whereabouts: &Whereabouts, error: &RedisError) -> NotEnrolled {
        if error.code() == Some("NOPERM") {
            return NotEnrolled { error: self.refused(error), is_away: false };
        }
        hello::not_connected(connector, whereabouts, &self.address, error).await
    }

    fn judge(&self, missing: Missing) -> Result<(), ConnectError> {
        if !missing.unknown.is_empty() {
            let commands = missing.unknown.join(", ");
            return Err(
                self.unreachable(format!("it does not know {commands}: renamed there, or by a proxy before it"))
            );
        }
        if missing.needed.is_empty() {
            return Ok(());
        }
        Err(ConnectError::Right { rule: missing.rules(), reason: missing.reason })
    }

    fn unreachable(&self, reason: String) -> ConnectError {
        hello::unreachable(&self.address, &reason)
    }

    /// Asks what the scripts need of the server, and loads them. Answers the last fence given, and which server this is.
    pub(super) async fn check(&self, calls: &Calls) -> Result<(u64, Option<ServerId>), ConnectError> {
        match calls.preflight().await.map_err(|error| self.failed(&error.reason))? {
            PreflightReply::Ready { fence, server } => {
                calls.load_all().await.map_err(|error| self.refused(&error))?;
                if server.is_none() {
                    warn!(
                        rule = "+info",
                        "the user may not ask which server this is: a failover that loses writes is noticed by its \
                        fences alone, and a pod that has seen none does not notice it"
                    );
                }
                Ok((fence, server))
            }
            PreflightReply::Old { version } => Err(ConnectError::Version { address: self.address.clone(), version }),
            PreflightReply::Narrow => Err(self.unreachable("it is a 32-bit build; a 64-bit one is needed".to_owned())),
        }
    }

    /// Writes this pod's entry into the register, where all living pods agree with it.
    pub(super) async fn agree(&self, calls: &Calls) -> Result<Agreed, ConnectError> {
        match calls.meta().await.map_err(|error| self.failed(&error.reason))? {
            MetaReply::Agreed(agreed) => Ok(agreed),
            MetaReply::Differs(differs) => Err(self.mismatch(differs)),
        }
    }

    fn mismatch(&self, Differs { what, theirs, ours, pod }: Differs) -> ConnectError {
        let is_old = pod.is_none();
        let by = pod.map_or_else(|| format!("pods of protocol {theirs}"), |pod| format!("pod {pod}"));
        let (what, remedy) = match what {
            Differing::Protocol if is_old => {
                ("protocol", format!("scale those pods to zero, then: redis-cli DEL '{}'", self.keys.meta()))
            }
            Differing::Protocol => {
                ("protocol", "run releases with a protocol in common, or use another namespace".into())
            }
            Differing::Pepper => (
                "pepper",
                "give all pods the same pepper: with two every token would be presented twice. To change it, scale to \
                 zero first; a pod that was killed counts as living for 3 min and its lease"
                    .into(),
            ),
            Differing::Provider => ("provider", "give each provider a namespace of its own, or one name".into()),
            Differing::RefreshTokens => (
                "refresh_tokens",
                "give all pods the same: one names flights by token, the other by token and claim, and both would present \
                 one token. To change it, scale to zero first"
                    .into(),
            ),
        };
        ConnectError::Mismatch {
            namespace: self.namespace.clone(),
            by: by.into(),
            what,
            theirs,
            ours,
            remedy: remedy.into(),
        }
    }

    /// Warns about a server that forgets keys when its memory is full: a lock that is evicted is a second leader.
    pub(super) async fn warn_about_eviction(&self, lanes: &Lanes) {
        let Some(policy) = lanes.eviction_policy().await else { return };
        if policy != "noeviction" {
            warn!(%policy, "redis may evict what it coordinates by: set maxmemory-policy to noeviction");
        }
    }

    pub(super) fn failed(&self, reason: &str) -> ConnectError {
        self.refused_because(is_missing_right(reason), reason)
    }
}
