//! The built-in provider as the driver sees it: a child process with a URL, batches of logins and a verdict.

use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use super::ledger::{Batch, Verdict};
use super::{Stopped, exchange, fleet};

/// A running provider; killed when dropped.
pub(super) struct BuiltIn {
    child: Child,
    url: String,
    http: reqwest::Client,
}

impl BuiltIn {
    /// Starts the provider and waits until it listens.
    pub(super) async fn start(delay: Duration) -> Result<Self, Stopped> {
        let failed = |error| Stopped::broken(format!("the built-in provider cannot be started: {error}"));
        let mut command = fleet::myself().map_err(failed)?;
        let delay = humantime::format_duration(delay).to_string();
        let mut child = command.args(["storm-provider", "--delay", &delay]).spawn().map_err(failed)?;
        let Some(stdout) = child.stdout.take() else {
            unreachable!("BUG: stdout is piped");
        };
        let url = BufReader::new(stdout).lines().next_line().await.map_err(failed)?;
        let url = url.ok_or_else(|| Stopped::broken("the built-in provider went away"))?;
        let http = exchange::client(std::slice::from_ref(&url), 1, Duration::from_secs(10)).map_err(unanswered)?;
        Ok(Self { child, url, http })
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    pub(super) fn token_url(&self) -> String {
        format!("{}/token", self.url)
    }

    /// Logs that many users in.
    pub(super) async fn open(&self, families: usize) -> Result<Batch, Stopped> {
        self.ask(self.http.post(format!("{}/storm/batches/{families}", self.url))).await
    }

    /// What the provider's log says of a batch.
    pub(super) async fn verdict(&self, batch: usize) -> Result<Verdict, Stopped> {
        self.ask(self.http.get(format!("{}/storm/batches/{batch}", self.url))).await
    }

    async fn ask<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, Stopped> {
        let answer = request.send().await.map_err(unanswered)?;
        let body = answer.bytes().await.map_err(unanswered)?;
        serde_json::from_slice(&body).map_err(|_| Stopped::broken("the built-in provider's answer is not understood"))
    }
}

fn unanswered(error: reqwest::Error) -> Stopped {
    Stopped::broken(format!("the built-in provider does not answer: {error}"))
}
