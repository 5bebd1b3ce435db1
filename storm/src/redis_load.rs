//! What the storm cost Redis, from outside: the server's own statistics, before and after.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use refresh_coordinator::Secret;
use serde::Serialize;

/// A connection that watches the server.
pub(crate) struct RedisLoad {
    connection: MultiplexedConnection,
    before: BTreeMap<String, u64>,
}

/// What clients sent between two looks at `INFO commandstats`. Commands of other programs are among them if the
/// server is not the storm's alone.
#[derive(Clone, Serialize)]
pub(crate) struct Commands {
    /// Commands as clients send them: a script is one command, whatever it calls.
    pub(crate) sent: u64,
    pub(crate) by_name: BTreeMap<String, u64>,
    /// What scripts called inside of Redis.
    pub(crate) called_by_scripts: u64,
}

/// `INFO` counts what scripts call like what clients send. These are sent by clients only: the coordinator's
/// scripts call nothing of the kind, and its pods send nothing else.
const SENT: [&str; 22] = [
    "acl",
    "asking",
    "auth",
    "client",
    "cluster",
    "command",
    "config",
    "eval",
    "evalsha",
    "fcall",
    "hello",
    "info",
    "ping",
    "psubscribe",
    "punsubscribe",
    "readonly",
    "script",
    "select",
    "ssubscribe",
    "subscribe",
    "unsubscribe",
    "unwatch",
];

impl RedisLoad {
    /// Starts to watch. None where the server or its rights do not let us: then the load is unknown.
    pub(crate) async fn watch(url: &Secret) -> Option<Self> {
        let client = redis::Client::open(url.expose()).ok()?;
        let connection = client.get_multiplexed_async_connection().await.ok()?;
        let mut load = Self { connection, before: BTreeMap::new() };
        load.before = load.calls().await?;
        Some(load)
    }

    /// What has been sent since it was watched.
    pub(crate) async fn commands(&mut self) -> Option<Commands> {
        let now = self.calls().await?;
        let mut commands = Commands { sent: 0, by_name: BTreeMap::new(), called_by_scripts: 0 };
        for (name, calls) in now {
            let new = calls.saturating_sub(self.before.get(&name).copied().unwrap_or_default());
            // A subcommand is counted as `script|load`. Our own INFO is no part of the storm.
            let command = name.split('|').next().unwrap_or_default();
            if new == 0 || command == "info" {
                continue;
            }
            if SENT.contains(&command) {
                commands.sent += new;
                commands.by_name.insert(name, new);
            } else {
                commands.called_by_scripts += new;
            }
        }
        Some(commands)
    }

    async fn calls(&mut self) -> Option<BTreeMap<String, u64>> {
        let info: String = redis::cmd("INFO").arg("commandstats").query_async(&mut self.connection).await.ok()?;
        let line = |line: &str| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        };
        Some(info.lines().filter_map(line).collect())
    }

    /// Removes what a namespace that was made up for the storm leaves behind: its fence and its meta never end by
    /// themselves. In time or not at all; what stays is some 200 bytes.
    pub(crate) async fn forget(&mut self, namespace: &str) {
        const ENOUGH: Duration = Duration::from_secs(5);
        _ = tokio::time::timeout(ENOUGH, self.unlink(&format!("rc:{{{namespace}}}:*"))).await;
    }

    async fn unlink(&mut self, pattern: &str) -> redis::RedisResult<()> {
        let mut cursor = 0u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(1000);
            let (next, keys): (u64, Vec<String>) = scan.query_async(&mut self.connection).await?;
            if !keys.is_empty() {
                redis::cmd("UNLINK").arg(keys).exec_async(&mut self.connection).await?;
            }
            cursor = next;
            if cursor == 0 {
                return Ok(());
            }
        }
    }
}
