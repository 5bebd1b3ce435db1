//! Sessions' tokens in Redis: a hash for each session, compared and written by a script. Redis is reached as by the coordinator.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::error::ConnectError;
use crate::identity::Hash;
use crate::secret::Secret;
use crate::store::redis::access::RedisTarget;
use crate::store::redis::keyed::{KeyScript, KeyedStore};
use crate::tokens::session_tokens::SessionTokens;
use crate::tokens::store::{Swap, TokenStore};

/// How long a call may take: less than [`store_timeout`](crate::tokens::AccessTokens::store_timeout) is by default, so that callers are
/// told why there was no answer.
const TIMEOUT: Duration = Duration::from_secs(4);

static PUT: LazyLock<KeyScript> = LazyLock::new(|| KeyScript::new(include_str!("redis/put.lua")));
static SWAP: LazyLock<KeyScript> = LazyLock::new(|| KeyScript::new(include_str!("redis/swap.lua")));
static END: LazyLock<KeyScript> = LazyLock::new(|| KeyScript::new(include_str!("redis/end.lua")));

/// Sessions' tokens in a Redis, shared by clones and by pods. **It holds tokens**, unlike the coordinator's: use a database and
/// a user of its own, and treat it as a session store.
///
/// A session is one key: the prefix and SHA-256 of the session's id. It ends when nobody has written it for as long as a
/// session lives. The server has to be one that does not forget: a lost write is a lost login.
///
/// ```no_run
/// use std::time::Duration;
/// use refresh_coordinator::RedisTarget;
/// use refresh_coordinator::tokens::RedisTokens;
///
/// # fn connect() -> Result<(), Box<dyn std::error::Error>> {
/// let month = Duration::from_secs(30 * 24 * 60 * 60);
/// let store = RedisTokens::new("redis://sessions.internal/1", "app:tokens:", month)?;
///
/// let redis = RedisTarget::new("rediss+sentinel://sentinel-1,sentinel-2,sentinel-3/sessions")
///     .password_file("/run/secrets/sessions-password")
///     .ca_file("/etc/redis/ca.pem");
/// let store = RedisTokens::new(redis, "app:tokens:", month)?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisTokens(Arc<Inner>);

struct Inner {
    redis: KeyedStore,
    prefix: String,
    life_ms: String,
}

/// Why the session store in Redis fails.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the sessions' redis: {reason}")]
pub struct RedisTokensError {
    reason: String,
}

impl RedisTokensError {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl From<ConnectError> for RedisTokensError {
    fn from(error: ConnectError) -> Self {
        Self::new(error.to_string())
    }
}

impl RedisTokens {
    /// A store in this Redis, with this before the name of every key: at any URL that
    /// [`RefreshCoordinator::connect`](crate::RefreshCoordinator::connect) takes, also over TLS (with the feature `tls`), behind Sentinel
    /// and on a Cluster, or a [`RedisTarget`], which says more of how it is entered.
    ///
    /// It connects at the first call, and anew when a connection is dead, the user is refused, or another server has taken over. Calls are
    /// tried again for 4 s, over four connections to each server that sessions are on. On a Cluster sessions spread over its nodes, unless the prefix holds a hash tag (`{app}:tokens:`).
    ///
    /// # Errors
    ///
    /// [`RedisTokensError`] where the URL is none. Files of certificates and passwords are read at each connect: what is wrong with them
    /// the calls tell.
    pub fn new(
        redis: impl Into<RedisTarget>,
        prefix: impl Into<String>,
        session_life: Duration,
    ) -> Result<Self, RedisTokensError> {
        let life_ms = i64::try_from(session_life.as_millis()).unwrap_or(i64::MAX).max(1);
        Ok(Self(Arc::new(Inner {
            redis: KeyedStore::new(redis.into(), "refresh-coordinator:tokens", TIMEOUT)?,
            prefix: prefix.into(),
            life_ms: life_ms.to_string(),
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
        let (text, expires_ms) = (tokens.to_text(), tokens.expires_at_ms().to_string());
        let arguments = [tokens.refresh_token().expose(), &expires_ms, text.expose(), &self.0.life_ms];
        match self.run(&PUT, session, arguments).await? {
            Swap::Written => Ok(()),
            Swap::Newer(_) | Swap::Gone => Err(unknown_reply()),
        }
    }

    /// Whether sessions can be read and ended: for a start that fails early, and for probes of readiness.
    ///
    /// # Errors
    ///
    /// [`RedisTokensError`] with what is wrong, and what would be right: a port with TLS, a node of a Cluster, a file that holds no
    /// certificate, a right that the user lacks.
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn check(&self) -> Result<(), RedisTokensError> {
        Box::pin(self.0.redis.find_fault()).await?;
        // No session has it: it is empty.
        self.load("").await?;
        self.end("", &[]).await.map(drop)
    }

    fn key(&self, session: &str) -> String {
        format!("{}{}", self.0.prefix, Hash::unkeyed(session))
    }

    async fn run<'a>(
        &self,
        script: &KeyScript,
        session: &str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<Swap, RedisTokensError> {
        let answered = self.0.redis.run(script, &self.key(session), arguments).await;
        let reply: Vec<String> = answered.map_err(RedisTokensError::new)?;
        let mut words = reply.into_iter();
        match (words.next().as_deref(), words.next()) {
            (Some("written"), None) => Ok(Swap::Written),
            (Some("gone"), None) => Ok(Swap::Gone),
            (Some("newer"), Some(held)) => Ok(Swap::Newer(read(held)?)),
            _ => Err(unknown_reply()),
        }
    }
}

impl TokenStore for RedisTokens {
    type Error = RedisTokensError;

    async fn load(&self, session: &str) -> Result<Option<SessionTokens>, RedisTokensError> {
        let held: Option<String> =
            self.0.redis.field(&self.key(session), "tokens").await.map_err(RedisTokensError::new)?;
        held.map(read).transpose()
    }

    async fn swap(&self, session: &str, walked: &[Secret], new: &SessionTokens) -> Result<Swap, RedisTokensError> {
        let (text, expires_ms, writes) = (new.to_text(), new.expires_at_ms().to_string(), new.writes().to_string());
        let made = [new.refresh_token().expose(), &expires_ms, text.expose(), &self.0.life_ms, &writes];
        self.run(&SWAP, session, made.into_iter().chain(walked.iter().map(Secret::expose))).await
    }

    async fn end(&self, session: &str, refused: &[Secret]) -> Result<Swap, RedisTokensError> {
        self.run(&END, session, refused.iter().map(Secret::expose)).await
    }
}

fn read(held: String) -> Result<SessionTokens, RedisTokensError> {
    let held = Secret::from(held);
    SessionTokens::from_text(held.expose()).map_err(|error| RedisTokensError::new(error.to_string()))
}

fn unknown_reply() -> RedisTokensError {
    RedisTokensError::new("a script gave a reply that it does not have")
}

impl fmt::Debug for RedisTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTokens").field("prefix", &self.0.prefix).finish_non_exhaustive()
    }
}
