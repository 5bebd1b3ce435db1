//! The built-in provider as the driver sees it: a URL, a child process or not, batches of logins and what became of them.

use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use http::{Method, Request};

use crate::client::{Client, Unanswered};
use crate::fleet;
use crate::ledger::{Batch, Counts};
use crate::stopped::Stopped;
use crate::timeline::Presentation;

/// A running provider.
pub(crate) struct BuiltIn {
    /// None where somebody else started it.
    pid: Option<u32>,
    url: String,
    http: Client,
}

impl BuiltIn {
    /// Starts the provider and waits until it listens. It is killed when its process is dropped.
    pub(crate) async fn start(delay: Duration) -> Result<(Self, Child), Stopped> {
        let failed = |error| Stopped::broken(format!("the built-in provider cannot be started: {error}"));
        let mut command = fleet::myself().map_err(failed)?;
        let delay = humantime::format_duration(delay).to_string();
        let mut child = command.args(["provider", "--with-stdin", "--delay", &delay]).spawn().map_err(failed)?;
        let Some(stdout) = child.stdout.take() else {
            unreachable!("BUG: stdout is piped");
        };
        let url = BufReader::new(stdout).lines().next_line().await.map_err(failed)?;
        let url = url.ok_or_else(|| Stopped::broken("the built-in provider went away"))?;
        Ok((Self::new(child.id(), url)?, child))
    }

    /// One that runs elsewhere.
    pub(crate) fn at(url: &str) -> Result<Self, Stopped> {
        Self::new(None, url.trim_end_matches('/').to_owned())
    }

    fn new(pid: Option<u32>, url: String) -> Result<Self, Stopped> {
        let http =
            Client::new(std::slice::from_ref(&url), 1, Duration::from_secs(10)).map_err(|error| unanswered(&error))?;
        Ok(Self { pid, url, http })
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid
    }

    pub(crate) fn token_url(&self) -> String {
        format!("{}/token", self.url)
    }

    /// Logs that many users in.
    pub(crate) async fn open(&self, families: usize) -> Result<Batch, Stopped> {
        self.ask(Method::POST, &format!("/storm/batches/{families}")).await
    }

    /// How often what happened to a batch, by the provider's log.
    pub(crate) async fn counts(&self, batch: usize) -> Result<Counts, Stopped> {
        self.ask(Method::GET, &format!("/storm/batches/{batch}")).await
    }

    /// What its log says of the first logins of a batch, one by one.
    pub(crate) async fn presentations(&self, batch: usize, logins: usize) -> Result<Vec<Presentation>, Stopped> {
        self.ask(Method::GET, &format!("/storm/batches/{batch}/presentations/{logins}")).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, Stopped> {
        let not_understood = || Stopped::broken("the built-in provider's answer is not understood");
        let request = Request::builder().method(method).uri(format!("{}{path}", self.url)).body(Vec::new());
        let request = request.map_err(|_| not_understood())?;
        let answer = self.http.ask(request).await.map_err(|error| unanswered(&error))?;
        serde_json::from_slice(answer.body()).map_err(|_| not_understood())
    }
}

fn unanswered(error: &Unanswered) -> Stopped {
    Stopped::broken(format!("the built-in provider does not answer: {}", error.reason))
}
