//! What the storm cost Redis, from outside: the server's own statistics, before and after.

use std::collections::BTreeMap;
use std::time::Duration;

use refresh_coordinator::RedisServers;
use serde::Serialize;

use crate::wire::RedisWay;

/// How long a look may take: what is not seen by then is unknown.
const ENOUGH: Duration = Duration::from_secs(5);

/// The servers that decide, watched.
pub(crate) struct RedisLoad {
    servers: RedisServers,
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
const SENT: [&str; 24] = [
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
    "sunsubscribe",
    "unsubscribe",
    "unwatch",
    "wait",
];

impl RedisLoad {
    /// Starts to watch. None where a server or its rights do not let us: then the load is unknown.
    pub(crate) async fn watch(way: &RedisWay) -> Option<Self> {
        let servers = RedisServers::connect(way.clone().target(), ENOUGH).await.ok()?;
        let mut load = Self { servers, before: BTreeMap::new() };
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

    /// Of all servers together.
    async fn calls(&mut self) -> Option<BTreeMap<String, u64>> {
        let mut calls = BTreeMap::new();
        for info in self.servers.info("commandstats").await.ok()? {
            for line in info.lines().filter_map(|line| line.strip_prefix("cmdstat_")) {
                let (name, rest) = line.split_once(":calls=")?;
                *calls.entry(name.to_owned()).or_default() += rest.split(',').next()?.parse::<u64>().ok()?;
            }
        }
        Some(calls)
    }

    /// Removes what a namespace that was made up for the storm leaves behind: its fence never ends by itself. In
    /// time or not at all; what stays is some 100 bytes.
    pub(crate) async fn forget(&mut self, namespace: &str) {
        _ = tokio::time::timeout(ENOUGH, self.servers.remove_namespace(namespace)).await;
    }
}
