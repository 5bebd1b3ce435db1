//! One call of a script, or a plain command.
//!
//! Why not the redis crate's own: that keeps each of some twenty keys and arguments in a vector of its own, and copies
//! them all into the command in the end. Here they are written into the command at once.

use std::fmt::Display;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{Arg, Cmd, ErrorKind, FromRedisValue, RedisResult, RedisWrite, Script, ServerErrorKind, ToRedisArgs};
use tokio::time::Instant;

use super::loading::Loading;

/// A script with its keys and arguments. First all keys, then all arguments. Or a plain command.
pub(super) struct Call<'a> {
    script: Option<&'a Script>,
    command: Cmd,
    /// It was sent once and had no answer in time.
    may_arrive_late: AtomicBool,
}

/// Enough for most: hashes and ids in hex, keys with the namespace before them.
const ARGUMENTS: usize = 32;
const BYTES: usize = 1536;

impl<'a> Call<'a> {
    pub(super) fn new(script: &'a Script, keys: usize) -> Self {
        Self::with_payload(script, keys, 0)
    }

    /// With room for so many bytes more.
    pub(super) fn with_payload(script: &'a Script, keys: usize, bytes: usize) -> Self {
        let mut command = Cmd::with_capacity(ARGUMENTS, BYTES + bytes);
        command.arg("EVALSHA").arg(script.get_hash()).arg(keys);
        Self { script: Some(script), command, may_arrive_late: AtomicBool::new(false) }
    }

    /// A command that is no script.
    pub(super) fn command(name: &str, arguments: &[&str]) -> Self {
        let mut command = redis::cmd(name);
        command.arg(arguments);
        Self { script: None, command, may_arrive_late: AtomicBool::new(false) }
    }

    pub(super) fn key(&mut self, key: impl ToRedisArgs) -> &mut Self {
        self.command.arg(key);
        self
    }

    pub(super) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.command.arg(argument);
        self
    }

    /// As it prints, written into the command at once.
    pub(super) fn text(&mut self, argument: impl Display) -> &mut Self {
        self.command.write_arg_fmt(argument);
        self
    }

    /// One argument of several parts.
    pub(super) fn joined(&mut self, parts: &[&[u8]]) -> &mut Self {
        let mut argument = self.command.writer_for_next_arg();
        for part in parts {
            argument.write_all(part).expect("BUG: a command is written into memory");
        }
        drop(argument);
        self
    }

    /// It was sent once and had no answer in time.
    pub(super) fn note_unanswered(&self) {
        self.may_arrive_late.store(true, Ordering::Relaxed);
    }

    /// Whether Redis may run it when the caller has gone on, also where it was sent again and that was answered.
    pub(super) fn may_arrive_late(&self) -> bool {
        self.may_arrive_late.load(Ordering::Relaxed)
    }

    /// Sends it; where Redis does not know the script, loads that and sends the call again. Another task that loads it is
    /// waited for no longer than `patience`.
    pub(super) async fn send<T: FromRedisValue>(
        &self,
        connection: &mut impl ConnectionLike,
        loading: &Loading,
        patience: Duration,
    ) -> RedisResult<T> {
        // Once more, for it may be flushed just after another task has loaded it.
        for _ in 0..2 {
            let sent = Instant::now();
            match (self.command.query_async(connection).await, self.script) {
                (Err(error), Some(script)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    loading.load(script, sent, patience, connection).await?;
                }
                (answered, _) => return answered,
            }
        }
        self.command.query_async(connection).await
    }

    /// The keys of a script, as they were sent.
    pub(super) fn keys(&self) -> Vec<String> {
        let mut words = self.command.args_iter().map(|argument| match argument {
            Arg::Simple(word) => String::from_utf8_lossy(word).into_owned(),
            _ => String::new(),
        });
        // EVALSHA, the hash, how many.
        let count = words.nth(2).and_then(|count| count.parse().ok()).unwrap_or(0);
        words.take(count).collect()
    }
}
