//! The servers that decide, as a program that measures looks at them: beside the pods, over connections of its own.

use std::fmt;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, RedisResult};

use super::access::RedisTarget;
use super::keys::Keys;
use super::nodes::Nodes;
use crate::config::Config;
use crate::error::ConnectError;

/// The servers that decide: the one server of a URL, the master of a group, or all masters of a Cluster. For programs that measure
/// what coordination costs Redis; to coordinate nothing of it is needed.
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
/// use refresh_coordinator::{RedisServers, RedisTarget};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let target = RedisTarget::new("redis+cluster://node-1,node-2");
/// let mut servers = RedisServers::connect(target, Duration::from_secs(1)).await?;
/// for statistics in servers.info("commandstats").await? {
///     println!("{statistics}");
/// }
/// # Ok(()) }
/// ```
pub struct RedisServers {
    address: String,
    connections: Vec<MultiplexedConnection>,
}

impl RedisServers {
    /// Connects to each. What takes over later is not found.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] where the target cannot be used, or one of them does not answer within `timeout`.
    ///
    /// # Cancellation
    ///
    /// Nothing is left behind.
    pub async fn connect(redis: impl Into<RedisTarget>, timeout: Duration) -> Result<Self, ConnectError> {
        let config = Config { store_timeout: timeout, ..Config::default() };
        let nodes = Nodes::of(redis.into(), "refresh-coordinator:watch".to_owned(), &config).await?;
        let (connector, address) = (&nodes.connector, nodes.address.clone());
        let found = async {
            let mut connections = Vec::new();
            for place in connector.places().await? {
                let config = AsyncConnectionConfig::new();
                connections.push(connector.connect(&place, config, Some(ProtocolVersion::RESP2)).await?);
            }
            RedisResult::Ok(connections)
        };
        match found.await {
            Ok(connections) => Ok(Self { address, connections }),
            Err(error) => Err(ConnectError::Unreachable { address, reason: error.to_string() }),
        }
    }

    /// What `INFO` says of a section, at each of them.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Unreachable`] with what one of them said.
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn info(&mut self, section: &str) -> Result<Vec<String>, ConnectError> {
        let mut said = Vec::new();
        for connection in &mut self.connections {
            let info = redis::cmd("INFO").arg(section).query_async(connection).await;
            said.push(info.map_err(|error| unreachable(&self.address, &error))?);
        }
        Ok(said)
    }

    /// Removes everything of a namespace that nobody uses any more. Needs the rights to `SCAN` and `UNLINK`.
    ///
    /// **In a namespace with living pods tokens may be presented twice.**
    ///
    /// # Errors
    ///
    /// As [`info`](Self::info). A part may be removed.
    ///
    /// # Cancellation
    ///
    /// A part may be removed.
    pub async fn remove_namespace(&mut self, namespace: &str) -> Result<(), ConnectError> {
        let pattern = Keys::new(namespace).pattern();
        for connection in &mut self.connections {
            remove(connection, &pattern).await.map_err(|error| unreachable(&self.address, &error))?;
        }
        Ok(())
    }
}

async fn remove(connection: &mut MultiplexedConnection, pattern: &str) -> RedisResult<()> {
    let mut cursor = 0u64;
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(1000);
        let (next, keys): (u64, Vec<String>) = scan.query_async(connection).await?;
        if !keys.is_empty() {
            redis::cmd("UNLINK").arg(keys).exec_async(connection).await?;
        }
        cursor = next;
        if cursor == 0 {
            return Ok(());
        }
    }
}

fn unreachable(address: &str, error: &redis::RedisError) -> ConnectError {
    ConnectError::Unreachable { address: address.to_owned(), reason: error.to_string() }
}

impl fmt::Debug for RedisServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServers").field("servers", &self.connections.len()).finish_non_exhaustive()
    }
}
