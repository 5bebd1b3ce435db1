//! A Redis of the fleet's own, that can be killed, stopped and started again with whatever data.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, Value};
use tokio::process::Child;
use tokio::time::Instant;

use crate::child;
use crate::transport::{Endpoint, Transport, free_address};

pub(crate) struct RedisServer {
    /// Where the suite itself asks it, in clear.
    pub(crate) address: SocketAddr,
    /// Where pods are led to.
    pub(crate) endpoint: Endpoint,
    dir: PathBuf,
    binary: PathBuf,
    /// Arguments of every start.
    pub(crate) always: Vec<String>,
    child: Option<Child>,
    connection: Option<MultiplexedConnection>,
}

impl RedisServer {
    pub(crate) async fn start(binary: &Path, dir: &Path) -> Self {
        Self::start_over(Transport::Tcp, binary, dir).await
    }

    pub(crate) async fn start_over(transport: Transport, binary: &Path, dir: &Path) -> Self {
        let mut server = Self::planned(binary, dir);
        (server.endpoint, server.always) = Endpoint::planned(transport, server.address, &server.dir);
        server.start_again(&[]).await;
        server
    }

    /// With an address and a directory, and not started yet.
    pub(crate) fn planned(binary: &Path, dir: &Path) -> Self {
        let dir = dir.join("redis");
        // What an earlier run has left is not this one's.
        _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a directory for redis");
        let address = free_address();
        let endpoint = Endpoint::Tcp(address);
        Self { address, endpoint, dir, binary: binary.to_owned(), always: Vec::new(), child: None, connection: None }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Starts with the data that lies there, without waiting until it is loaded.
    pub(crate) fn launch(&mut self, arguments: &[&str]) {
        let log = std::fs::File::create(self.dir.join("log")).expect("a log for redis");
        let mut command = child::own(&self.binary, &["guard", "redis-server"]);
        command.args(["--port", &self.address.port().to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no", "--rdbcompression", "no"]);
        command.args(["--enable-debug-command", "yes", "--dir"]).arg(&self.dir).args(&self.always).args(arguments);
        command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("redis-server"));
    }

    /// Its ports may be those of connections for a moment, as they were chosen from the same range: then it ends, and is started once more.
    pub(crate) async fn start_again(&mut self, arguments: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(20);
        self.launch(arguments);
        while !self.answers().await {
            assert!(Instant::now() < deadline, "redis ends as soon as it is started: {}", self.last_words());
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.launch(arguments);
        }
    }

    /// Waits until it answers.
    pub(crate) async fn ready(&mut self) {
        assert!(self.answers().await, "redis has ended: {}", self.last_words());
    }

    /// Waits until it answers, or has ended.
    async fn answers(&mut self) -> bool {
        let client = redis::Client::open(format!("redis://{}/", self.address)).expect("a redis URL");
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(10)));
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Ok(mut connection) = client.get_multiplexed_async_connection_with_config(&config).await
                && redis::cmd("PING").query_async::<Value>(&mut connection).await.is_ok()
            {
                self.connection = Some(connection);
                return true;
            }
            if self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None))) {
                return false;
            }
            assert!(Instant::now() < deadline, "redis does not answer");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        log.lines().rev().take(3).collect::<Vec<_>>().join(" / ")
    }

    pub(crate) async fn kill(&mut self) {
        self.connection = None;
        if let Some(mut child) = self.child.take() {
            child.kill().await.expect("the process this suite started");
        }
    }

    /// Ends in order, with everything on disk.
    pub(crate) async fn shut_down(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            // The answer to it is that the connection ends.
            _ = redis::cmd("SHUTDOWN").arg("SAVE").query_async::<Value>(&mut connection).await;
        }
        if let Some(mut child) = self.child.take() {
            let ended = tokio::time::timeout(Duration::from_secs(10), child.wait()).await;
            assert!(matches!(ended, Ok(Ok(_))), "redis does not shut down");
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        child::signal(self.child.as_ref().expect("BUG: it runs"), signal);
    }

    /// The data it would start with.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("dump.rdb")
    }

    /// Nothing is there any more when it starts again.
    pub(crate) fn forget(&self) {
        _ = std::fs::remove_file(self.data());
    }

    /// Writes everything down; after the process that writes the copy of a replica, if there is one.
    pub(crate) async fn save(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.ask::<String>(&["INFO", "persistence"]).await.contains("rdb_bgsave_in_progress:1") {
            assert!(Instant::now() < deadline, "a replica's copy is not written");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.ask::<Value>(&["SAVE"]).await;
    }

    pub(crate) async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let mut connection = self.connection.clone().expect("BUG: it runs");
        match command.query_async(&mut connection).await {
            Ok(value) => value,
            Err(error) => panic!("{words:?}: {error}"),
        }
    }

    /// As `ask`, where the connection may be the victim.
    pub(crate) async fn tell(&mut self, words: &[&str]) {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let mut connection = self.connection.clone().expect("BUG: it runs");
        if command.query_async::<Value>(&mut connection).await.is_err() {
            self.ready().await;
        }
    }

    /// Runs a script of the suite's own.
    pub(crate) async fn eval<T: FromRedisValue>(&self, script: &str, namespace: &str) -> redis::RedisResult<T> {
        let mut connection = self.connection.clone().expect("BUG: it runs");
        redis::cmd("EVAL").arg(script).arg(0).arg(namespace).query_async(&mut connection).await
    }
}
