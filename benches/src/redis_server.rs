//! A real `redis-server` on a port of its own, which ends with the bench.

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;

/// The server, and a connection to ask it what it did.
pub struct RedisServer {
    url: String,
    child: Child,
    connection: MultiplexedConnection,
    _dir: tempfile::TempDir,
}

/// What Redis says of its commands: calls and microseconds, those inside scripts included.
#[derive(Clone, Debug, Default)]
pub struct CommandStats(pub HashMap<String, Calls>);

/// How often a command ran, and for how long altogether.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calls {
    /// How often.
    pub calls: u64,
    /// Microseconds, all together.
    pub usec: u64,
}

impl RedisServer {
    /// Starts one without persistence.
    pub async fn start() -> Self {
        Self::start_by(Command::new("redis-server"), &[]).await
    }

    /// The same by a command that runs `redis-server`, with these arguments besides.
    pub async fn start_by(mut command: Command, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let child = command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
            .arg(dir.path())
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("the benches need redis-server (Debian: apt-get install redis-server)");
        let url = format!("redis://127.0.0.1:{port}/");
        let client = redis::Client::open(url.as_str()).expect("a redis URL");
        let deadline = Instant::now() + Duration::from_secs(30);
        let connection = loop {
            match client.get_multiplexed_async_connection().await {
                Ok(connection) => break connection,
                Err(error) => assert!(Instant::now() < deadline, "redis does not answer: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        Self { url, child, connection, _dir: dir }
    }

    /// Starts one that is a Cluster of one node, with all slots.
    pub async fn start_cluster() -> Self {
        let server = Self::start_by(Command::new("redis-server"), &["--cluster-enabled", "yes"]).await;
        server.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
        server.until(&["CLUSTER", "INFO"], "cluster_state:ok").await;
        server
    }

    /// Starts a replica of this one, and waits until it has all that this one has.
    pub async fn start_replica(&self) -> Self {
        let port = self.url.trim_end_matches('/').rsplit(':').next().expect("a port");
        let replica = Self::start_by(Command::new("redis-server"), &["--replicaof", "127.0.0.1", port]).await;
        self.until(&["INFO", "replication"], "state=online").await;
        replica
    }

    /// Asks until the answer says so.
    async fn until(&self, words: &[&str], says: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.ask::<String>(words).await.contains(says) {
            assert!(Instant::now() < deadline, "{words:?} does not say {says}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it as an operator would, and waits until it has ended: what runs it may still write what it saw.
    pub async fn shut_down(mut self) {
        // It has no reply but a connection that closes, sooner or later than the client is willing to wait.
        let refused = redis::cmd("SHUTDOWN").arg("NOSAVE").query_async::<()>(&mut self.connection.clone()).await;
        let deadline = Instant::now() + Duration::from_secs(30);
        let ended = loop {
            if let Some(ended) = self.child.try_wait().expect("the process this bench started") {
                break ended;
            }
            assert!(Instant::now() < deadline, "redis-server does not shut down: {refused:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert!(ended.success(), "redis-server: {ended}");
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A connection of its own.
    pub async fn connect(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("a redis URL");
        client.get_multiplexed_async_connection().await.expect("redis is there")
    }

    /// Any command.
    pub async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query_async(&mut self.connection.clone()).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Notes that this server decided last in a namespace: pods lead there at once, as where others led before.
    pub async fn in_use(&self, namespace: &str) {
        let info: String = self.ask(&["INFO", "server"]).await;
        let run_id = info.lines().find_map(|line| line.strip_prefix("run_id:")).expect("a run id");
        self.ask::<()>(&["SET", &format!("rc:{{{namespace}}}:incarnation"), &format!("{} 0 0", run_id.trim())]).await;
    }

    /// Counts begin anew.
    pub async fn reset_stats(&self) {
        self.ask::<()>(&["CONFIG", "RESETSTAT"]).await;
    }

    /// What was counted since.
    pub async fn stats(&self) -> CommandStats {
        let info: String = self.ask(&["INFO", "commandstats"]).await;
        let mut stats = CommandStats::default();
        for line in info.lines() {
            let Some((name, values)) = line.trim().strip_prefix("cmdstat_").and_then(|line| line.split_once(':'))
            else {
                continue;
            };
            // What the bench itself asks.
            if ["info", "config|resetstat"].contains(&name) {
                continue;
            }
            stats.0.insert(name.to_owned(), Calls { calls: field(values, "calls"), usec: field(values, "usec") });
        }
        stats
    }

    /// A number from a section of INFO.
    pub async fn info(&self, section: &str, name: &str) -> f64 {
        let info: String = self.ask(&["INFO", section]).await;
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("INFO {section} has no {name}")).trim().parse().expect("a number")
    }

    /// Bytes by MEMORY USAGE, on average over all keys that match.
    pub async fn bytes_per_key(&self, pattern: &str) -> f64 {
        let keys: Vec<String> = self.ask(&["KEYS", pattern]).await;
        let mut bytes = 0u64;
        for key in &keys {
            bytes += self.ask::<u64>(&["MEMORY", "USAGE", key, "SAMPLES", "0"]).await;
        }
        bytes as f64 / keys.len() as f64
    }
}

impl CommandStats {
    /// Of one command; zero when it was not called.
    pub fn of(&self, command: &str) -> Calls {
        self.0.get(command).copied().unwrap_or_default()
    }

    /// Calls that scripts made, when all that clients sent was EVALSHA.
    pub fn inner_calls(&self) -> u64 {
        self.0.iter().filter(|(name, _)| *name != "evalsha").map(|(_, calls)| calls.calls).sum()
    }

    /// `hset 3.0, pexpire 2.0`, the most frequent first.
    pub fn told_per(&self, times: u64) -> String {
        let mut all: Vec<_> = self.0.iter().filter(|(name, _)| *name != "evalsha").collect();
        all.sort_by(|(a, x), (b, y)| y.calls.cmp(&x.calls).then(a.cmp(b)));
        let told = all.iter().map(|(name, calls)| format!("{name} {:.1}", calls.calls as f64 / times as f64));
        told.collect::<Vec<_>>().join(", ")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.child.kill().expect("the process this bench started");
        self.child.wait().expect("it ends");
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn field(values: &str, name: &str) -> u64 {
    let value = values.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {values}"))
}
