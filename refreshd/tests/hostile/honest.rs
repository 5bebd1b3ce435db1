//! Callers in good faith: refreshes at a constant rate, each of a token and over a connection of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::connect_from;
use crate::daemon::{FORM, refresh};

/// Where they call from.
const HONEST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// A call every so often, whatever became of those before.
const EVERY: Duration = Duration::from_millis(20);
/// A call that has no tokens after so long is unanswered.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the calls of a span of time were answered.
pub(crate) struct Run {
    /// How long the answered ones took, shortest first.
    times: Vec<Duration>,
    pub(crate) unanswered: usize,
}

impl Run {
    /// Calls for so long, and waits until all are answered or given up. On a thread of its own: the attackers of this process would
    /// have its callers wait, and not refreshd.
    pub(crate) async fn of(span: Duration, address: SocketAddr) -> Self {
        let calling = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(Self::here(span, address))
        });
        calling.await.expect("no panic")
    }

    async fn here(span: Duration, address: SocketAddr) -> Self {
        let mut calls = JoinSet::new();
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let end = Instant::now() + span;
        loop {
            // The time at which it was due: one that came late, as the machine was busy, has waited since.
            let due = ticks.tick().await;
            if due >= end {
                break;
            }
            calls.spawn(async move {
                let called = tokio::time::timeout_at(due + PATIENCE, call(address)).await;
                matches!(called, Ok(Ok(true))).then(|| due.elapsed())
            });
        }
        let ended = calls.join_all().await;
        let unanswered = ended.iter().filter(|time| time.is_none()).count();
        let mut times: Vec<_> = ended.into_iter().flatten().collect();
        times.sort_unstable();
        Self { times, unanswered }
    }

    /// Within which so many of a hundred calls were answered.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let last = self.times.len().saturating_sub(1);
        self.times.get(last * percent / 100).copied().unwrap_or(PATIENCE)
    }
}

/// Whether it brought tokens.
async fn call(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = connect_from(HONEST, address, None).await?;
    let body = refresh(&uuid::Uuid::new_v4().simple().to_string());
    let head = format!(
        "POST /token HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {FORM}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200 ") && answer.windows(12).any(|bytes| bytes == b"access_token"))
}
