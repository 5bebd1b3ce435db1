//! A real Redis for a test: `REDIS_URL` if given, else `redis-server` from PATH on a port of its own, else docker.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::{Value, aio::MultiplexedConnection};
use tokio::time::Instant;

/// Ends with the value, unless it was there before.
pub struct RedisServer {
    url: String,
    connection: MultiplexedConnection,
    runs: Option<Running>,
}

enum Running {
    Process { child: Child, _dir: tempfile::TempDir },
    Container { id: String },
}

impl RedisServer {
    /// A server to coordinate on, in a namespace of the test's own: others may use the server, too.
    pub async fn start() -> Self {
        match std::env::var("REDIS_URL") {
            Ok(url) => Self { connection: ready(&url).await, url, runs: None },
            Err(_) => Self::start_own(&[]).await,
        }
    }

    /// A server that the test may torture, with these arguments of `redis-server`.
    pub async fn start_own(arguments: &[&str]) -> Self {
        loop {
            let port = free_port();
            let url = format!("redis://127.0.0.1:{port}/");
            let runs = started(port, arguments);
            let server = Self { connection: ready(&url).await, url, runs: Some(runs) };
            // A free port may be taken by another test before redis-server takes it.
            let info = server.cli(&["INFO", "server"]).await;
            if server.pid().is_none_or(|pid| info.contains(&format!("process_id:{pid}\r"))) {
                return server;
            }
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process, where the test started one.
    pub fn pid(&self) -> Option<u32> {
        match &self.runs {
            Some(Running::Process { child, .. }) => Some(child.id()),
            Some(Running::Container { .. }) | None => None,
        }
    }

    /// What `redis-cli` would print for these words, more or less.
    pub async fn cli(&self, words: &[&str]) -> String {
        shown(&self.value(words).await)
    }

    /// The raw reply.
    pub async fn value(&self, words: &[&str]) -> Value {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        match command.query_async(&mut self.connection.clone()).await {
            Ok(value) => value,
            Err(error) => panic!("{words:?}: {error}"),
        }
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

    /// Waits until the server's clock, by which everything is decided, is later by so much.
    pub async fn wait(&self, span: Duration) {
        let end = self.clock().await + span;
        while self.clock().await <= end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn clock(&self) -> Duration {
        let (seconds, micros): (u64, u32) =
            redis::cmd("TIME").query_async(&mut self.connection.clone()).await.expect("the server's time");
        Duration::new(seconds, micros * 1000)
    }

    /// All keys that match, sorted.
    pub async fn keys(&self, pattern: &str) -> Vec<String> {
        let mut keys: Vec<String> =
            redis::cmd("KEYS").arg(pattern).query_async(&mut self.connection.clone()).await.expect("the keys");
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
            Some(Running::Container { id }) => {
                let removed = Command::new("docker").args(["rm", "--force", id]).stdout(Stdio::null()).status();
                assert!(removed.is_ok_and(|status| status.success()), "the container {id} stays behind");
            }
        }
    }
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

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn started(port: u16, arguments: &[&str]) -> Running {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let port = port.to_string();
    let child = Command::new("redis-server")
        .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
        .arg(dir.path())
        .args(arguments)
        .stdout(Stdio::null())
        .spawn();
    match child {
        Ok(child) => Running::Process { child, _dir: dir },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => in_docker(&port, arguments),
        Err(error) => panic!("redis-server: {error}"),
    }
}

fn in_docker(port: &str, arguments: &[&str]) -> Running {
    let started = Command::new("docker")
        .args(["run", "--detach", "--rm", "--publish", &format!("127.0.0.1:{port}:6379"), "redis:7"])
        .args(["redis-server", "--save", "", "--appendonly", "no"])
        .args(arguments)
        .output()
        .expect("neither REDIS_URL nor redis-server nor docker is here: `tests/run --install` gets what is missing");
    assert!(started.status.success(), "docker: {}", String::from_utf8_lossy(&started.stderr));
    Running::Container { id: String::from_utf8_lossy(&started.stdout).trim().to_owned() }
}

/// A connection to a server that has just been started.
async fn ready(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url).expect("a redis URL");
    let deadline = Instant::now() + Duration::from_secs(30);
    // The half second that is usual is soon over on a machine that is busy with other tests.
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(30)));
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
