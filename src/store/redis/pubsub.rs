//! How pods are told: by messages that reach a whole cluster, or only the slot of the namespace.

use redis::RedisResult;
use redis::aio::MultiplexedConnection;

use super::target::Whereabouts;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PubSub {
    /// One server. In a cluster every message would go to every node.
    Plain,
    /// A cluster: messages stay at the node that has the slot of the channel, which is that of the namespace's keys.
    Sharded,
}

impl PubSub {
    pub(super) fn of(place: &Whereabouts) -> Self {
        match place {
            Whereabouts::Fixed(_) | Whereabouts::Sentinel { .. } => Self::Plain,
            Whereabouts::Cluster { .. } => Self::Sharded,
        }
    }

    /// The command that sends a message.
    pub(super) fn publish(self) -> &'static str {
        match self {
            Self::Plain => "PUBLISH",
            Self::Sharded => "SPUBLISH",
        }
    }

    /// A script with the commands by which it tells pods, and asks how many listen.
    pub(super) fn put_into(self, script: &str) -> String {
        match self {
            Self::Plain => script.to_owned(),
            Self::Sharded => script.replace("'PUBLISH'", "'SPUBLISH'").replace("'NUMSUB'", "'SHARDNUMSUB'"),
        }
    }

    /// Over a connection that carries nothing else: when a slot moves, the server ends the subscription by a message that the
    /// redis crate would take for the answer to a command.
    pub(super) async fn subscribe(self, connection: &mut MultiplexedConnection, channels: &[&str]) -> RedisResult<()> {
        match self {
            Self::Plain => connection.subscribe(channels).await,
            Self::Sharded => {
                // One by one: each is answered once.
                for channel in channels {
                    redis::cmd("SSUBSCRIBE").arg(channel).query_async::<()>(connection).await?;
                }
                Ok(())
            }
        }
    }

    pub(super) async fn unsubscribe(self, connection: &mut MultiplexedConnection, channel: &str) -> RedisResult<()> {
        match self {
            Self::Plain => connection.unsubscribe(channel).await,
            Self::Sharded => redis::cmd("SUNSUBSCRIBE").arg(channel).query_async(connection).await,
        }
    }
}
