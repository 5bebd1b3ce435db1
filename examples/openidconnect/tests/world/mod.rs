//! What is around the example: a browser, the provider, Redis.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use refresh_coordinator::adapters::reqwest::client_builder;
use reqwest::StatusCode;
use serde_json::Value;

/// Waits for what comes by itself.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// Keeps cookies, as a browser that takes this machine for one host.
#[derive(Clone, Default)]
pub struct Browser {
    cookies: BTreeMap<String, String>,
}

pub struct Page {
    pub status: StatusCode,
    pub redirect: Option<String>,
    body: String,
}

impl Browser {
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.get(name).map(String::as_str)
    }

    /// Puts a part of another browser's login in the place of its own.
    pub fn mix_login(&mut self, other: &Self, part: usize) {
        let mut parts: Vec<_> = self.cookies["login"].split('.').collect();
        parts[part] = other.cookies["login"].split('.').nth(part).expect("it has three parts");
        let mixed = parts.join(".");
        self.cookies.insert("login".to_owned(), mixed);
    }

    pub async fn get(&mut self, url: &str) -> Page {
        let request = client_builder().build().expect("a client").get(url);
        self.send(request).await
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> Page {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let answer = request.header("cookie", cookies.join("; ")).send().await.expect("an answer");
        for cookie in answer.headers().get_all("set-cookie") {
            let cookie = cookie.to_str().expect("ASCII");
            assert!(cookie.contains("; HttpOnly; Secure; SameSite=Lax"), "{cookie}");
            let (name, value) = cookie.split(';').next().and_then(|pair| pair.split_once('=')).expect("a pair");
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let redirect = answer.headers().get("location").map(|url| url.to_str().expect("ASCII"));
        let redirect = redirect.map(|url| answer.url().join(url).expect("a URL").to_string());
        Page { status: answer.status(), redirect, body: answer.text().await.expect("a body") }
    }

    /// Gets a page, by way of others.
    pub async fn follow(&mut self, url: &str) -> (StatusCode, String) {
        let mut page = self.get(url).await;
        while let Some(next) = page.redirect {
            page = self.get(&next).await;
        }
        (page.status, page.body)
    }

    pub async fn into_get(mut self, url: String) -> (StatusCode, String) {
        self.follow(&url).await
    }

    pub async fn into_post(mut self, url: String) -> (StatusCode, String) {
        let page = self.send(client_builder().build().expect("a client").post(url)).await;
        (page.status, page.body)
    }
}

/// Ends with the value: its stdin is closed then.
pub struct Provider {
    token_url: String,
    pipes: Mutex<(Child, Option<ChildStdin>, BufReader<ChildStdout>)>,
}

impl Provider {
    pub fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let python = std::env::var_os("PROVIDER_PYTHON").map(Into::into);
        let python = python.unwrap_or_else(|| root.join("target/provider-venv/bin/python"));
        let mut serve = Command::new(&python);
        serve.arg(root.join("tests/provider/serve")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = serve.spawn().unwrap_or_else(|error| panic!("{}: {error}", python.display()));
        let to = child.stdin.take();
        let mut from = BufReader::new(child.stdout.take().expect("piped"));
        let ready = line(&mut from);
        let token_url = ready["token_url"].as_str().expect("a URL").to_owned();
        Self { token_url, pipes: Mutex::new((child, to, from)) }
    }

    pub fn issuer(&self) -> String {
        self.token_url.trim_end_matches("/token/").to_owned()
    }

    /// One of the requests that `tests/provider/serve` answers.
    pub fn ask(&self, request: &Value) -> Value {
        let mut pipes = self.pipes.lock().expect("no panic");
        let (_, to, from) = &mut *pipes;
        writeln!(to.as_mut().expect("it is closed at the end"), "{request}").expect("it lives");
        line(from)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let Ok((child, to, _)) = self.pipes.get_mut() else { return };
        // It undoes all it did when its stdin ends.
        drop(to.take());
        _ = child.wait();
    }
}

fn line(from: &mut impl BufRead) -> Value {
    let mut line = String::new();
    from.read_line(&mut line).expect("a line");
    serde_json::from_str(&line).expect("JSON: without it, the provider told above what it misses")
}

/// A server of its own, that keeps nothing.
pub struct Redis {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Redis {
    pub fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let dir = tempfile::tempdir().expect("a directory");
        let mut server = Command::new("redis-server");
        server.args(["--port", &port.to_string(), "--save", "", "--dir"]).arg(dir.path()).stdout(Stdio::null());
        let child = server.spawn().expect("redis-server is installed");
        let address = format!("127.0.0.1:{port}");
        let is_up = |_: &u32| {
            TcpStream::connect(&address).is_ok() || {
                std::thread::sleep(Duration::from_millis(20));
                false
            }
        };
        (0..500).find(is_up).expect("redis answers within 10 seconds");
        Self { child, port, _dir: dir }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// It loses all it holds.
    pub fn forget(&self) {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).expect("it is up");
        connection.write_all(b"FLUSHALL\r\n").expect("written");
        let mut answer = String::new();
        BufReader::new(connection).read_line(&mut answer).expect("an answer");
        assert_eq!(answer, "+OK\r\n");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
