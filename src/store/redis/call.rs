//! One call of a script.
//!
//! Why not the redis crate's own: that keeps each of some twenty keys and arguments in a vector of its own, and copies
//! them all into the command in the end. Here they are written into the command at once.

use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisResult, Script, ServerErrorKind, ToRedisArgs};

/// A script with its keys and arguments. First all keys, then all arguments.
pub(super) struct Call<'a> {
    script: &'a Script,
    command: Cmd,
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
        Self { script, command }
    }

    pub(super) fn key(&mut self, key: impl ToRedisArgs) -> &mut Self {
        self.command.arg(key);
        self
    }

    pub(super) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.command.arg(argument);
        self
    }

    /// Sends it; where Redis does not know the script, loads that and sends the call again.
    pub(super) async fn send<T: FromRedisValue>(&self, connection: &mut impl ConnectionLike) -> RedisResult<T> {
        match self.command.query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.script.load_async(connection).await?;
                self.command.query_async(connection).await
            }
            answered => answered,
        }
    }
}
