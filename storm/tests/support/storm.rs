//! The binary, and its built-in provider on its own.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use self::environment::without_settings;

#[path = "../../../tests/support/environment.rs"]
mod environment;

/// The binary, without settings of the user who runs the tests.
pub(crate) fn refresh_storm() -> Command {
    without_settings(env!("CARGO_BIN_EXE_refresh-storm"))
}

/// Runs a storm; its exit code and its JSON document.
pub(crate) fn storm(arguments: &[&str]) -> (i32, Value) {
    let ran = refresh_storm().arg("--json").args(arguments).output().expect("refresh-storm runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    let document = serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    (ran.status.code().expect("no signal"), document)
}

/// `refresh-storm provider`; ends when dropped.
pub(crate) struct Provider {
    child: Child,
    address: String,
}

/// New logins.
pub(crate) struct Logins {
    pub(crate) batch: u64,
    pub(crate) tokens: Vec<String>,
}

impl Provider {
    pub(crate) fn start() -> Self {
        let mut child = refresh_storm()
            .args(["provider", "--with-stdin", "--delay", "5ms"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("refresh-storm runs");
        let mut url = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut url).expect("its URL");
        let address = url.trim_end().strip_prefix("http://").expect("an URL").to_owned();
        Self { child, address }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn token_url(&self) -> String {
        format!("http://{}/token", self.address)
    }

    pub(crate) fn open(&self, families: usize) -> Logins {
        let (_, batch) = self.ask("POST", &format!("/storm/batches/{families}"), "");
        let tokens = batch["tokens"].as_array().expect("tokens").iter();
        Logins {
            batch: batch["batch"].as_u64().expect("a number"),
            tokens: tokens.map(|token| token.as_str().expect("a text").to_owned()).collect(),
        }
    }

    pub(crate) fn present(&self, token: &str) -> (u16, Value) {
        self.ask("POST", "/token", &format!("grant_type=refresh_token&refresh_token={token}"))
    }

    pub(crate) fn verdict(&self, batch: u64) -> Value {
        self.ask("GET", &format!("/storm/batches/{batch}"), "").1
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, "")
    }

    /// Asks it to end by a signal; its exit code.
    pub(crate) fn terminated(mut self) -> Option<i32> {
        // Kept open: waiting closes it, and that ends the provider, too.
        let _stdin = self.child.stdin.take();
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(asked.success(), "it runs");
        self.child.wait().expect("it ends").code()
    }

    /// One request on one connection.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, serde_json::from_str(body).expect("JSON"))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // Gone already is fine, too.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
