//! A real Redis for a test: `REDIS_URL` if given, else a server on a port of its own: in a container where `REDIS_IMAGE`
//! names its image, else `redis-server` from PATH, else a container of `redis:7`.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use redis::{Value, aio::MultiplexedConnection};
use tokio::time::Instant;

/// Groups of servers.
#[path = "topology.rs"]
pub mod topology;

/// Ends with the value, unless it was there before.
pub struct RedisServer {
    url: String,
    /// Sentinels cut all connections of a server that they promote.
    connection: Mutex<MultiplexedConnection>,
    runs: Option<Running>,
}

enum Running {
    Process { child: Child, _dir: tempfile::TempDir },
    Container { id: String, dir: tempfile::TempDir },
}

impl Running {
    /// Waits until the process has ended by itself.
    async fn ended(&mut self) {
        match self {
            Self::Process { child, .. } => {
                while child.try_wait().expect("the process this test started").is_none() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            Self::Container { .. } => std::future::pending().await,
        }
    }
}

/// More often than this no port is taken by another test.
const TRIES: usize = 5;

impl RedisServer {
    /// A server to coordinate on, in a namespace of the test's own: others may use the server, too.
    pub async fn start() -> Self {
        match std::env::var("REDIS_URL") {
            Ok(url) => Self { connection: Mutex::new(ready(&url).await), url, runs: None },
            Err(_) => Self::start_own(&[]).await,
        }
    }

    /// A server that the test may torture, with these arguments of `redis-server`.
    pub async fn start_own(arguments: &[&str]) -> Self {
        Self::start_by(|port| started(port, arguments)).await
    }

    /// A sentinel, with these lines in its configuration.
    pub async fn start_sentinel(lines: &str) -> Self {
        Self::start_by(|port| started_sentinel(port, lines)).await
    }

    /// A free port may be taken by another test before redis-server takes it: then redis-server ends, and another port is tried.
    async fn start_by(start: impl Fn(u16) -> Running) -> Self {
        for _ in 0..TRIES {
            let port = free_port();
            let url = format!("redis://127.0.0.1:{port}/");
            let mut runs = start(port);
            let connection = tokio::select! {
                connection = ready(&url) => connection,
                () = runs.ended() => continue,
            };
            let server = Self { connection: Mutex::new(connection), url, runs: Some(runs) };
            // Another test's server may be the one that answers.
            if server.is_what_answers().await {
                return server;
            }
        }
        panic!("redis-server ended {TRIES} times, each at another port");
    }

    async fn is_what_answers(&self) -> bool {
        match &self.runs {
            Some(Running::Process { child, .. }) => {
                self.cli(&["INFO", "server"]).await.contains(&format!("process_id:{}\r", child.id()))
            }
            // All have the same process there.
            Some(Running::Container { dir, .. }) => {
                self.cli(&["CONFIG", "GET", "syslog-ident"]).await.ends_with(&ident(dir.path()))
            }
            None => true,
        }
    }

    /// A server of the test's own that speaks TLS at one port more, which it answers; the arguments name another in its place.
    pub async fn start_tls(arguments: &[String]) -> (Self, u16) {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Self::start_with_port("--tls-port", &arguments).await
    }

    /// A server of the test's own with one port more, in place of the one that stands behind this argument.
    pub async fn start_with_port(name: &str, arguments: &[&str]) -> (Self, u16) {
        let at = arguments.iter().position(|word| *word == name).expect("the port's argument");
        let more = AtomicU16::new(0);
        let server = Self::start_by(|port| {
            more.store(free_port(), Ordering::Relaxed);
            let (text, mut arguments) = (more.load(Ordering::Relaxed).to_string(), arguments.to_vec());
            arguments[at + 1] = &text;
            started(port, &arguments)
        });
        (server.await, more.into_inner())
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn port(&self) -> &str {
        self.url.trim_end_matches('/').rsplit(':').next().expect("a port")
    }

    /// Ends the process at once, as `kill -9` does.
    pub fn kill(&self) {
        self.signal("-KILL");
    }

    /// Sends a signal to the process: `-STOP`, `-CONT`.
    pub fn signal(&self, signal: &str) {
        let sent = match &self.runs {
            Some(Running::Process { child, .. }) => {
                Command::new("kill").args([signal, &child.id().to_string()]).status()
            }
            Some(Running::Container { id, .. }) => {
                let signal = format!("--signal={}", signal.trim_start_matches('-'));
                Command::new("docker").args(["kill", &signal, id]).stdout(Stdio::null()).status()
            }
            None => panic!("no server of this test"),
        };
        assert!(sent.is_ok_and(|status| status.success()), "kill {signal}");
    }

    /// Makes a namespace one in which this server gave leads before: in one that nobody used yet, on a server that has just
    /// started, the first leads wait for a lease.
    pub async fn in_use(&self, namespace: &str) {
        let info = self.cli(&["INFO", "server"]).await;
        let run_id = info.lines().find_map(|line| line.strip_prefix("run_id:")).expect("a run id");
        self.cli(&["SET", &format!("rc:{{{namespace}}}:incarnation"), &format!("{run_id} 0 0")]).await;
    }

    /// A server that has everything this one has, and gets whatever is written from now on.
    pub async fn start_replica(&self) -> Self {
        self.cli(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]).await;
        let replica = Self::start_own(&[]).await;
        replica.cli(&["REPLICAOF", "127.0.0.1", self.port()]).await;
        replica.until_so(&["INFO", "replication"], |info| info.contains("master_link_status:up")).await;
        // What it was sent is written by a process, which may still end. Until then nothing else can be saved.
        self.until_so(&["INFO", "persistence"], |info| info.contains("rdb_bgsave_in_progress:0")).await;
        replica
    }

    /// Promotes this server's replica once it has all that was written so far. What is written here from now on is lost to it.
    pub async fn detach(&self, replica: &Self) {
        let written = number(&self.cli(&["INFO", "replication"]).await, "master_repl_offset:");
        replica.until_so(&["INFO", "replication"], |info| number(info, "slave_repl_offset:") >= written).await;
        replica.cli(&["REPLICAOF", "NO", "ONE"]).await;
    }

    /// The process, where the test started one.
    pub fn pid(&self) -> Option<u32> {
        match &self.runs {
            Some(Running::Process { child, .. }) => Some(child.id()),
            Some(Running::Container { .. }) | None => None,
        }
    }

    /// A connection of the test's own, as patient as all of a test.
    pub async fn connect(&self) -> MultiplexedConnection {
        ready(&self.url).await
    }

    /// What `redis-cli` would print for these words, more or less.
    pub async fn cli(&self, words: &[&str]) -> String {
        shown(&self.value(words).await)
    }

    /// The raw reply.
    pub async fn value(&self, words: &[&str]) -> Value {
        match self.tried(words).await {
            Ok(value) => value,
            Err(error) => panic!("{words:?}: {error}"),
        }
    }

    /// The raw reply, or the error.
    pub async fn tried(&self, words: &[&str]) -> redis::RedisResult<Value> {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        match command.query_async(&mut self.connection()).await {
            Err(error) if error.is_connection_dropped() => {
                let mut again = ready(&self.url).await;
                *self.connection.lock().expect("nothing panics with it") = again.clone();
                command.query_async(&mut again).await
            }
            answered => answered,
        }
    }

    fn connection(&self) -> MultiplexedConnection {
        self.connection.lock().expect("nothing panics with it").clone()
    }

    /// Asks again and again until this is the reply.
    pub async fn until(&self, words: &[&str], expected: &str) {
        self.until_so(words, |reply| reply == expected).await;
    }

    /// Asks again and again until the reply is as it should be.
    pub async fn until_so(&self, words: &[&str], is_so: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let reply = self.cli(words).await;
            if is_so(&reply) {
                return;
            }
            assert!(Instant::now() < deadline, "{words:?} is still {reply:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until so many flights wait for a permit, whatever their clients. `queue` is the key of the queue.
    pub async fn until_queued(&self, queue: &str, flights: usize) {
        let script = "local all = 0 for _, client in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do all = all + \
                      redis.call('ZCARD', KEYS[1] .. ':' .. client) end return all";
        self.until(&["EVAL", script, "1", queue], &flights.to_string()).await;
    }

    /// Waits until the server's clock, by which everything is decided, is later by so much, and every key that was to live so long is
    /// gone: Redis counts the life of a key in whole milliseconds, and the last of them is part of it.
    pub async fn wait(&self, span: Duration) {
        let end = self.clock().await + span + Duration::from_millis(1);
        while self.clock().await <= end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn clock(&self) -> Duration {
        let (seconds, micros): (u64, u32) =
            redis::cmd("TIME").query_async(&mut self.connection()).await.expect("the server's time");
        Duration::new(seconds, micros * 1000)
    }

    /// All keys that match, sorted.
    pub async fn keys(&self, pattern: &str) -> Vec<String> {
        let mut keys: Vec<String> =
            redis::cmd("KEYS").arg(pattern).query_async(&mut self.connection()).await.expect("the keys");
        keys.sort();
        keys
    }

    /// Keys and values of a namespace, as text, without what only passes by itself.
    pub async fn dump(&self, namespace: &str) -> String {
        let mut lines = Vec::new();
        for key in self.keys(&format!("rc:{{{namespace}}}:*")).await {
            let value = match self.cli(&["TYPE", &key]).await.as_str() {
                "hash" => {
                    let Value::Array(fields) = self.value(&["HGETALL", &key]).await else { panic!("no hash") };
                    let mut fields: Vec<_> =
                        fields.chunks(2).map(|field| format!("{}={}", shown(&field[0]), shown(&field[1]))).collect();
                    fields.sort();
                    fields.join(" ")
                }
                "string" => self.cli(&["GET", &key]).await,
                "zset" => self.cli(&["ZRANGE", &key, "0", "-1"]).await.replace('\n', " "),
                // It has ended since the keys were listed.
                "none" => continue,
                other => panic!("{key} is a {other}"),
            };
            lines.push(format!("{key} {value}"));
        }
        lines.join("\n")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        match &mut self.runs {
            None => {}
            Some(Running::Process { child, .. }) => {
                child.kill().expect("the process this test started");
                child.wait().expect("it ends");
            }
            Some(Running::Container { id, .. }) => {
                let removed = Command::new("docker").args(["rm", "--force", id]).stdout(Stdio::null()).status();
                assert!(removed.is_ok_and(|status| status.success()), "the container {id} stays behind");
            }
        }
    }
}

/// A number of INFO, 0 where it is not told.
fn number(info: &str, name: &str) -> u64 {
    let line = info.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Nil => String::new(),
        Value::Int(number) => number.to_string(),
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Okay => "OK".to_owned(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join("\n"),
        other => format!("{other:?}"),
    }
}

pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn started(port: u16, arguments: &[&str]) -> Running {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let port = port.to_string();
    if let Ok(image) = std::env::var("REDIS_IMAGE") {
        return in_docker(&image, &port, dir, arguments);
    }
    let child = Command::new("redis-server")
        .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
        .arg(dir.path())
        .args(arguments)
        .stdout(Stdio::null())
        .spawn();
    match child {
        Ok(child) => Running::Process { child, _dir: dir },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => in_docker("redis:7", &port, dir, arguments),
        Err(error) => panic!("redis-server: {error}"),
    }
}

fn started_sentinel(port: u16, lines: &str) -> Running {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (file, own) = (dir.path().join("sentinel.conf"), dir.path().display());
    std::fs::write(&file, format!("port {port}\nbind 127.0.0.1\ndir {own}\n{lines}\n")).expect("a file of one's own");
    let child = Command::new("redis-server").arg(&file).arg("--sentinel").stdout(Stdio::null()).spawn();
    Running::Process { child: child.expect("redis-server is in PATH"), _dir: dir }
}

/// What a server in a container is known by.
fn ident(dir: &std::path::Path) -> String {
    dir.file_name().expect("a name").to_string_lossy().into_owned()
}

/// In the network of this machine, where servers find each other, and with its directory for temporary files: one may start with
/// the data of another. Where an engine runs in a machine of its own, neither can be had, and each server is alone.
fn in_docker(image: &str, port: &str, dir: tempfile::TempDir, arguments: &[&str]) -> Running {
    let mut command = Command::new("docker");
    command.args(["run", "--detach"]);
    if cfg!(target_os = "linux") {
        let (shared, own) = (std::env::temp_dir(), std::fs::metadata(dir.path()).expect("a directory of its own"));
        command.args(["--network", "host", "--user", &format!("{}:{}", own.uid(), own.gid()), "--volume"]);
        command.arg(format!("{0}:{0}", shared.display())).arg(image);
        command.args(["redis-server", "--port", port, "--bind", "127.0.0.1", "--dir"]).arg(dir.path());
    } else {
        command.args(["--publish", &format!("127.0.0.1:{port}:6379"), image, "redis-server", "--protected-mode", "no"]);
    }
    let started = command
        .args(["--save", "", "--appendonly", "no", "--syslog-ident", &ident(dir.path())])
        .args(arguments)
        .output()
        .expect("neither REDIS_URL nor redis-server nor docker is here: `tests/run --install` gets what is missing");
    assert!(started.status.success(), "docker: {}", String::from_utf8_lossy(&started.stderr));
    Running::Container { id: String::from_utf8_lossy(&started.stdout).trim().to_owned(), dir }
}

/// How a test connects: the half second that is usual is soon over on a machine that is busy with other tests.
pub fn patient() -> redis::AsyncConnectionConfig {
    let long = Some(Duration::from_secs(30));
    redis::AsyncConnectionConfig::new().set_connection_timeout(long).set_response_timeout(long)
}

/// A connection to a server that has just been started.
async fn ready(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url).expect("a redis URL");
    let deadline = Instant::now() + Duration::from_secs(30);
    let patient = patient();
    loop {
        let error = match client.get_multiplexed_async_connection_with_config(&patient).await {
            Ok(mut connection) => match redis::cmd("PING").query_async::<String>(&mut connection).await {
                Ok(_) => return connection,
                Err(error) => error,
            },
            Err(error) => error,
        };
        assert!(Instant::now() < deadline, "redis does not answer: {error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
