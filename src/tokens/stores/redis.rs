//! Sessions' tokens in Redis: a hash for each session, compared and written by a script.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, Pipeline, RedisError, Script, ScriptInvocation};
use tokio::sync::Mutex;

use crate::identity::Hash;
use crate::secret::Secret;
use crate::tokens::session_tokens::SessionTokens;
use crate::tokens::store::{Swap, TokenStore};

/// For which an answer is waited over one connection: a dead one is found out, and the call made again.
const ANSWER: Duration = Duration::from_secs(1);

static SWAP: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/swap.lua")));
static END: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/end.lua")));

/// Sessions' tokens in a Redis, shared by clones and by pods. **It holds tokens**, unlike the coordinator's: use a database and
/// a user of its own, and treat it as a session store.
///
/// A session is one key: the prefix and SHA-256 of the session's id. It ends when nobody has written it for as long as a
/// session lives. The server has to be one that does not forget: a lost write is a lost login.
///
/// ```no_run
/// use std::time::Duration;
/// use refresh_coordinator::tokens::RedisTokens;
///
/// # fn connect() -> Result<(), Box<dyn std::error::Error>> {
/// let month = Duration::from_secs(30 * 24 * 60 * 60);
/// let store = RedisTokens::new("redis://sessions.internal/1", "app:tokens:", month)?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisTokens(Arc<Inner>);

struct Inner {
    client: redis::Client,
    prefix: String,
    life_ms: i64,
    /// One for all calls. None: none yet, or the last one is dead.
    connection: Mutex<Option<Connection>>,
    made: AtomicU64,
}

/// What Redis is asked.
#[derive(Clone, Copy)]
enum Call<'a> {
    Command(&'a Cmd),
    Script(&'a ScriptInvocation<'a>),
    /// All of them or none.
    Together(&'a Pipeline),
}

#[derive(Clone)]
struct Connection {
    number: u64,
    redis: MultiplexedConnection,
}

/// Why the session store in Redis fails.
#[derive(Clone, Debug, thiserror::Error)]
#[error("redis: {reason}")]
pub struct RedisTokensError {
    reason: String,
}

impl From<RedisError> for RedisTokensError {
    fn from(error: RedisError) -> Self {
        Self { reason: error.to_string() }
    }
}

impl RedisTokens {
    /// A store at this URL (`redis://[user:password@]host[:port][/db]`, `redis+unix:///path`), with this before the name of
    /// every key. It connects at the first call, and anew when a connection is dead. TLS, Sentinel and Cluster are not spoken:
    /// there implement [`TokenStore`] with the client that you have.
    ///
    /// # Errors
    ///
    /// [`RedisTokensError`] where the URL is none.
    pub fn new(url: &str, prefix: impl Into<String>, session_life: Duration) -> Result<Self, RedisTokensError> {
        // The error of the redis crate does not quote the URL, which may hold a password.
        let client = redis::Client::open(url)?;
        let life_ms = i64::try_from(session_life.as_millis()).unwrap_or(i64::MAX).max(1);
        Ok(Self(Arc::new(Inner {
            client,
            prefix: prefix.into(),
            life_ms,
            connection: Mutex::default(),
            made: AtomicU64::new(0),
        })))
    }

    /// Begins a session, or lets it begin anew: at login.
    ///
    /// # Errors
    ///
    /// [`RedisTokensError`] where Redis fails; the session may have begun.
    ///
    /// # Cancellation
    ///
    /// The session may have begun.
    pub async fn put(&self, session: &str, tokens: &SessionTokens) -> Result<(), RedisTokensError> {
        let key = self.key(session);
        let mut begin = redis::pipe();
        begin.atomic();
        begin.cmd("HSET").arg(&key).arg("refresh").arg(tokens.refresh_token().expose());
        begin.arg("expires_ms").arg(tokens.expires_at_ms()).arg("tokens").arg(tokens.to_text().expose()).ignore();
        begin.cmd("PEXPIRE").arg(&key).arg(self.0.life_ms).ignore();
        self.call(Call::Together(&begin)).await
    }

    fn key(&self, session: &str) -> String {
        format!("{}{}", self.0.prefix, Hash::unkeyed(session))
    }

    async fn run(&self, script: &ScriptInvocation<'_>) -> Result<Swap, RedisTokensError> {
        let reply: Vec<String> = self.call(Call::Script(script)).await?;
        let mut words = reply.into_iter();
        match (words.next().as_deref(), words.next()) {
            (Some("written"), None) => Ok(Swap::Written),
            (Some("gone"), None) => Ok(Swap::Gone),
            (Some("newer"), Some(held)) => Ok(Swap::Newer(read(held)?)),
            _ => Err(RedisTokensError { reason: "a script gave a reply that it does not have".to_owned() }),
        }
    }

    /// Makes a call, and once more over another connection where the first one turns out to be dead. Each call changes nothing
    /// when it is made again.
    async fn call<T: FromRedisValue>(&self, call: Call<'_>) -> Result<T, RedisTokensError> {
        match self.call_once(call).await {
            Err(error) if is_of_the_connection(&error) => Ok(self.call_once(call).await?),
            answered => Ok(answered?),
        }
    }

    async fn call_once<T: FromRedisValue>(&self, call: Call<'_>) -> Result<T, RedisError> {
        let Connection { number, mut redis } = self.connection().await?;
        let answered = match call {
            Call::Command(command) => command.query_async(&mut redis).await,
            Call::Script(script) => script.invoke_async(&mut redis).await,
            Call::Together(commands) => commands.query_async(&mut redis).await,
        };
        if answered.as_ref().is_err_and(is_of_the_connection) {
            self.forget(number).await;
        }
        answered
    }

    async fn connection(&self) -> Result<Connection, RedisError> {
        let mut held = self.0.connection.lock().await;
        if let Some(connection) = &*held {
            return Ok(connection.clone());
        }
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(ANSWER)).set_response_timeout(Some(ANSWER));
        let redis = self.0.client.get_multiplexed_async_connection_with_config(&config).await?;
        let number = self.0.made.fetch_add(1, Ordering::Relaxed);
        Ok(held.insert(Connection { number, redis }).clone())
    }

    async fn forget(&self, number: u64) {
        let mut held = self.0.connection.lock().await;
        if held.as_ref().is_some_and(|connection| connection.number == number) {
            *held = None;
        }
    }
}

impl TokenStore for RedisTokens {
    type Error = RedisTokensError;

    async fn load(&self, session: &str) -> Result<Option<SessionTokens>, RedisTokensError> {
        let key = self.key(session);
        let mut read_tokens = redis::cmd("HGET");
        read_tokens.arg(key).arg("tokens");
        let held: Option<String> = self.call(Call::Command(&read_tokens)).await?;
        held.map(read).transpose()
    }

    async fn swap(&self, session: &str, walked: &[Secret], new: &SessionTokens) -> Result<Swap, RedisTokensError> {
        let mut script = SWAP.key(self.key(session));
        script.arg(new.refresh_token().expose()).arg(new.expires_at_ms()).arg(new.to_text().expose());
        script.arg(self.0.life_ms).arg(new.writes());
        walked.iter().for_each(|token| _ = script.arg(token.expose()));
        self.run(&script).await
    }

    async fn end(&self, session: &str, refused: &[Secret]) -> Result<Swap, RedisTokensError> {
        let mut script = END.key(self.key(session));
        refused.iter().for_each(|token| _ = script.arg(token.expose()));
        self.run(&script).await
    }
}

fn read(held: String) -> Result<SessionTokens, RedisTokensError> {
    let held = Secret::from(held);
    SessionTokens::from_text(held.expose()).map_err(|error| RedisTokensError { reason: error.to_string() })
}

/// Another connection may do better.
fn is_of_the_connection(error: &RedisError) -> bool {
    error.is_connection_dropped() || error.is_timeout() || error.is_io_error()
}

impl fmt::Debug for RedisTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTokens").field("prefix", &self.0.prefix).finish_non_exhaustive()
    }
}
