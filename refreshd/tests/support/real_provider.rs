//! Real identity providers. `tests/provider/serve` runs django-oauth-toolkit with rotation and reuse protection on
//! PostgreSQL, in several processes; it judges by its own access log. `tests/provider/glewlwyd` runs Glewlwyd with tokens
//! for one use; it judges by what passed a relay in front of it.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use serde_json::{Value, json};

use crate::left_out::left_out;

/// One per test binary. It ends by itself when this process does, however that happens: its stdin is closed then.
#[derive(Debug)]
pub(crate) struct Provider {
    token_url: String,
    pipes: Mutex<Pipes>,
}

#[derive(Debug)]
struct Pipes {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// A login: what the provider revokes as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    pub(crate) id: String,
    pub(crate) refresh_token: String,
}

/// Requests with a token are not served before this is dropped.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    provider: &'a Provider,
    token: String,
    release: &'static str,
}

impl Provider {
    /// The provider of all tests of this binary. `None` where it cannot run and the runner of the tests notes what
    /// is left out; without such a runner that is a failure.
    pub(crate) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Provider>> = OnceLock::new();
        let python = || {
            std::env::var_os("PROVIDER_PYTHON")
                .map_or_else(|| root().join("target/provider-venv/bin/python"), PathBuf::from)
        };
        SHARED.get_or_init(|| Self::start(&python(), "serve")).as_ref()
    }

    /// The same of the other provider.
    pub(crate) fn glewlwyd() -> Option<&'static Self> {
        static GLEWLWYD: OnceLock<Option<Provider>> = OnceLock::new();
        GLEWLWYD.get_or_init(|| Self::start(Path::new("python3"), "glewlwyd")).as_ref()
    }

    fn start(python: &Path, script: &str) -> Option<Self> {
        let spawned = Command::new(python)
            .arg(root().join("tests/provider").join(script))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                left_out(&format!("the tests with a real provider ({script}): {} is missing", python.display()));
                return None;
            }
            Err(error) => panic!("{}: {error}", python.display()),
        };
        let to = child.stdin.take().expect("piped");
        let mut from = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        from.read_line(&mut line).expect("a line");
        if line.is_empty() {
            let status = child.wait().expect("it is ours");
            assert_eq!(status.code(), Some(69), "the provider did not start");
            left_out(&format!("the tests with a real provider ({script}): it told above what it misses"));
            return None;
        }
        let ready: Value = serde_json::from_str(&line).expect("JSON");
        Some(Self { token_url: text(&ready["token_url"]), pipes: Mutex::new(Pipes { child, to, from }) })
    }

    /// The token endpoint.
    pub(crate) fn url(&self) -> String {
        self.token_url.clone()
    }

    pub(crate) fn families(&self, client: &str, count: usize) -> Vec<Family> {
        let made = self.ask(&json!({ "make": count, "client": client }));
        let family = |made: &Value| Family { id: text(&made["family"]), refresh_token: text(&made["refresh_token"]) };
        list(&made).iter().map(family).collect()
    }

    pub(crate) fn family(&self, client: &str) -> Family {
        self.families(client, 1).remove(0)
    }

    /// Whether one refresh token of the family is live, by the provider's database.
    pub(crate) fn is_alive(&self, family: &Family) -> bool {
        self.ask(&json!({ "look": [family.id] }))[0] == 1
    }

    /// How often this refresh token was presented, by whichever client: requests that arrived, answered or not.
    pub(crate) fn presentations(&self, token: &str) -> usize {
        list(&self.ask(&json!({ "asked": { "token": token } }))).len()
    }

    /// How many requests with this grant type arrived.
    pub(crate) fn requests(&self, grant_type: &str) -> usize {
        list(&self.ask(&json!({ "asked": { "grant_type": grant_type } }))).len()
    }

    /// Lets requests with this token arrive, and wait.
    pub(crate) fn hold(&self, token: &str) -> Held<'_> {
        self.ask(&json!({ "hold": token }));
        Held { provider: self, token: token.to_owned(), release: "release" }
    }

    /// How often it was asked to revoke this token.
    pub(crate) fn revocations(&self, token: &str) -> usize {
        list(&self.ask(&json!({ "asked": { "revokes": token } }))).len()
    }

    /// How many refreshes of this token are done, answered or not.
    pub(crate) fn served(&self, token: &str) -> u64 {
        self.ask(&json!({ "served": token })).as_u64().expect("a number")
    }

    /// Lets requests with this token be served, and holds their answers.
    pub(crate) fn hold_answer(&self, token: &str) -> Held<'_> {
        self.ask(&json!({ "hold_answer": token }));
        Held { provider: self, token: token.to_owned(), release: "release_answer" }
    }

    /// Where the client `login` may be called back.
    pub(crate) fn call_back(&self, urls: &[String]) {
        self.ask(&json!({ "callbacks": urls }));
    }

    /// How many live refresh tokens the client has.
    pub(crate) fn live(&self, client: &str) -> u64 {
        self.ask(&json!({ "live": client })).as_u64().expect("a number")
    }

    /// Ends all logins of the client.
    pub(crate) fn end_logins(&self, client: &str) {
        self.ask(&json!({ "end": client }));
    }

    fn ask(&self, request: &Value) -> Value {
        let mut pipes = self.pipes.lock().expect("no panic");
        writeln!(pipes.to, "{request}").expect("the provider runs");
        let mut line = String::new();
        pipes.from.read_line(&mut line).expect("the provider runs");
        serde_json::from_str(&line).expect("JSON")
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.provider.ask(&json!({ self.release: self.token }));
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}
