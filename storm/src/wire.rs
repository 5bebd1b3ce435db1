//! What the driver and its pods say to each other: one JSON document a line.
//!
//! A pod is told [`Order`]s and answers each with one [`Report`]. Pods in this process speak the same lines over a
//! pipe in memory, so a storm without Redis runs the same code. Nothing here derives `Debug`: it is full of tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use refresh_coordinator::{RedisTarget, Secret};
use refresh_coordinator_cli::Redis;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, Lines};

use crate::rules::Rules;
use crate::timeline::CallerTimes;

/// What a pod is told. The order of a storm: start, then arm and release over and over, last finish.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    Start(Box<Start>),
    /// Make every caller ready to present these tokens, one token per family. The callers of the first so many
    /// families are watched: they tell when they asked, and when they were refused.
    Arm {
        tokens: Vec<String>,
        watched: usize,
        /// They go away after this, whether they are answered or not.
        gone_after_ms: Option<u64>,
    },
    /// Let all callers go at this time. Wall clock: pods of a storm share a machine, and nothing else they have in
    /// common can be said in a line.
    Release {
        at_unix_us: u64,
    },
    Finish,
}

/// What a pod is, and which endpoints it asks.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Start {
    /// Callers per family.
    pub(crate) callers: usize,
    /// HTTP connections at once.
    pub(crate) connections: usize,
    pub(crate) way: Way,
    /// Token endpoints; the callers are spread over them.
    pub(crate) token_urls: Vec<String>,
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<String>,
    pub(crate) rules: Rules,
    pub(crate) pepper: Option<String>,
}

/// The one thing in which a storm without coordination differs from one with it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// Callers ask the token endpoint themselves.
    Directly,
    /// Callers ask a coordinator that agrees with the others in the store in memory that the pod was given.
    Memory,
    /// Callers ask a coordinator that agrees with the others in Redis.
    Redis(Box<RedisWay>),
    /// Callers ask a coordinator that agrees with nobody: sabotage, to see the storm fail.
    Alone,
}

/// Where Redis is, and how it is entered: as the driver was told.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct RedisWay {
    pub(crate) url: String,
    url_file: Option<PathBuf>,
    pub(crate) username: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
}

impl RedisWay {
    pub(crate) fn of(redis: &Redis) -> Self {
        let Redis { url, url_file, username, password, password_file, ca_file, client } = redis.clone();
        let password = password.map(|password| password.expose().to_owned());
        Self { url: url.expose().to_owned(), url_file, username, password, password_file, ca_file, client }
    }

    pub(crate) fn target(self) -> RedisTarget {
        let Self { url, url_file, username, password, password_file, ca_file, client } = self;
        let password = password.map(Secret::from);
        Redis { url: url.into(), url_file, username, password, password_file, ca_file, client }.target()
    }
}

/// What a pod answers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    Started {
        pid: u32,
    },
    /// The pod cannot start; the text names the setting and the remedy.
    NotStarted {
        problem: String,
    },
    Armed,
    Presented(Box<Presented>),
    Finished,
}

/// What became of one release.
#[derive(Serialize, Deserialize)]
pub(crate) struct Presented {
    /// When the first and the last caller started.
    pub(crate) first_unix_us: u64,
    pub(crate) last_unix_us: u64,
    /// In the order of the tokens that were armed.
    pub(crate) families: Vec<Heard>,
}

/// What the callers of one pod heard about one family's token.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Heard {
    pub(crate) access_tokens: BTreeSet<String>,
    /// The next refresh token, from the answer with the highest fence.
    pub(crate) next: Option<Next>,
    pub(crate) roles: Roles,
    /// Callers without tokens, by what they were told.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Callers that were told `invalid_grant`.
    pub(crate) refused: u64,
    /// Microseconds every caller waited beyond the provider's own time.
    pub(crate) waits_us: Vec<u64>,
    /// Of every caller, where they are watched.
    pub(crate) times: Vec<CallerTimes>,
}

/// The refresh token to present next.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Next {
    pub(crate) fence: u64,
    pub(crate) token: String,
}

/// How callers came by their tokens. Known only where the pod coordinates.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Roles {
    pub(crate) led: u64,
    pub(crate) joined_here: u64,
    pub(crate) joined_fleet: u64,
    pub(crate) latecomer: u64,
}

/// Reads one message a line.
pub(crate) struct Receiver<R>(Lines<BufReader<R>>);

impl<R: AsyncRead + Unpin> Receiver<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self(BufReader::new(reader).lines())
    }

    /// The next message; none when the other side is gone.
    pub(crate) async fn next<M: DeserializeOwned>(&mut self) -> io::Result<Option<M>> {
        match self.0.next_line().await? {
            None => Ok(None),
            // The text of a serde error can quote the line, which may hold tokens.
            Some(line) => serde_json::from_str(&line)
                .map(Some)
                .map_err(|error| io::Error::other(format!("column {} is not understood", error.column()))),
        }
    }
}

/// Writes one message as one line.
pub(crate) async fn send<M: Serialize>(writer: &mut (impl AsyncWrite + Unpin), message: &M) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    writer.write_all(&line).await?;
    writer.flush().await
}
