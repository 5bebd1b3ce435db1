//! How an operator looks at a namespace, and gives back what a lost flight holds: beside the pods, over a connection of
//! its own. It is no pod: nobody hears of it, and it is in no register.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, ProtocolVersion, RedisError, Script, Value};

use super::access::RedisTarget;
use super::calls::meta::check_value;
use super::keys::Keys;
use super::nodes::Nodes;
use super::pubsub::PubSub;
use crate::config::Config;
use crate::error::ConnectError;
use crate::identity::Hash;
use crate::secret::Secret;

pub(crate) mod flights;
pub(crate) mod namespace;
pub(crate) mod release;
mod snapshot;

/// Looks at what the pods of a namespace have agreed on, and gives back what a lost flight holds. For programs of an
/// operator; to coordinate nothing of it is needed.
///
/// # Examples
///
/// ```no_run
/// use refresh_coordinator::{Config, Operator};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut operator = Operator::connect("redis://redis.internal", &Config::default()).await?;
/// let flight = operator.name_of(&"the-refresh-token".into()).await?;
/// for line in operator.inspect(Some(flight), None, 10).await? {
///     println!("{line}");
/// }
/// # Ok(()) }
/// ```
pub struct Operator {
    address: String,
    namespace: String,
    keys: Keys,
    pubsub: PubSub,
    pepper: Option<Secret>,
    connection: MultiplexedConnection,
}

/// What a refresh token or a session id is called in Redis: 64 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RedisName(Hash);

impl fmt::Display for RedisName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RedisName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Hash::from_hex(text)
            .filter(|hash| hash.to_string() == text)
            .map(Self)
            .ok_or("expected 64 digits of 0-9 a-f, as logs name a flight")
    }
}

impl Operator {
    /// Connects to the server that decides for the namespace of `config`. Of that its pepper and `store_timeout` count,
    /// too.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] where the target cannot be used, or does not answer within `store_timeout`.
    ///
    /// # Cancellation
    ///
    /// Nothing is left behind.
    pub async fn connect(redis: impl Into<RedisTarget>, config: &Config) -> Result<Self, ConnectError> {
        config.validate()?;
        let nodes = Nodes::of(redis.into(), "refresh-coordinator:operator".to_owned(), config).await?;
        let (connector, address, keys) = (&nodes.connector, nodes.address.clone(), Keys::new(&config.namespace));
        let connected = async {
            let place = connector.place_of(keys.slot(), None).await?;
            connector.connect(&place, AsyncConnectionConfig::new(), Some(ProtocolVersion::RESP2)).await
        };
        let connection = connected.await.map_err(|error| unreachable(&address, &error))?;
        let (namespace, pepper) = (config.namespace.clone(), config.pepper.clone());
        Ok(Self { address, namespace, keys, pubsub: nodes.pubsub, pepper, connection })
    }

    /// What a refresh token or a session id is called in Redis.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Mismatch`] where the living pods of the namespace have another pepper: nothing would be found by this
    /// name, and that would look like an answer. Otherwise as [`inspect`](Self::inspect).
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn name_of(&mut self, secret: &Secret) -> Result<RedisName, ConnectError> {
        let register = redis::cmd("HGETALL").arg(self.keys.meta()).query_async(&mut self.connection).await;
        let register: HashMap<String, String> = register.map_err(|error| unreachable(&self.address, &error))?;
        let ours = self.pepper.as_ref().map_or("none".to_owned(), check_value);
        for (pod, entry) in &register {
            let pepper = entry.split(' ').find_map(|word| word.strip_prefix("pepper="));
            if let Some(theirs) = pepper.filter(|theirs| *theirs != ours) {
                return Err(ConnectError::Mismatch {
                    namespace: self.namespace.clone(),
                    by: pod.replace("pod:", "pod ").into(),
                    what: "pepper",
                    theirs: theirs.to_owned(),
                    ours,
                    remedy: "give the pepper that the pods have".into(),
                });
            }
        }
        Ok(RedisName(match &self.pepper {
            None => Hash::unkeyed(secret.expose()),
            Some(pepper) => Hash::keyed(pepper, secret.expose()),
        }))
    }

    /// How a flight, its session and the fleet stand, in lines to read: what `lua/inspect.lua` tells. Without a session it is
    /// the flight's own; without both only the fleet is told. Of each list `shown` lines at most.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Unreachable`] with what Redis said, [`ConnectError::Right`] where the user may not ask.
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn inspect(
        &mut self,
        flight: Option<RedisName>,
        session: Option<RedisName>,
        shown: u32,
    ) -> Result<Vec<String>, ConnectError> {
        let keys = self.all_keys(flight, session);
        let told: Vec<String> =
            self.ask(include_str!("../../../lua/inspect.lua"), &keys, &[shown.to_string()], READ).await?;
        let mut is_asked = true;
        Ok(told
            .into_iter()
            .filter(|line| {
                // A part begins with a line that is not indented.
                if !line.starts_with(' ') {
                    is_asked = !(line.starts_with("flight ") && flight.is_none()
                        || line.starts_with("session ") && flight.or(session).is_none());
                }
                is_asked
            })
            .collect())
    }

    /// The ten keys of `inspect.lua`. What was not asked for is looked for under a name that nobody has.
    fn all_keys(&self, flight: Option<RedisName>, session: Option<RedisName>) -> [String; 10] {
        let nobody = Hash::of_probe("operator");
        let flight = flight.map_or(nobody, |flight| flight.0);
        let session = session.map_or(flight, |session| session.0);
        let keys = &self.keys;
        [
            keys.lock(&flight).to_string(),
            keys.flight(&flight).to_string(),
            keys.fence().to_owned(),
            keys.incarnation().to_owned(),
            keys.attempts(&session).to_string(),
            keys.permits().to_owned(),
            keys.budget().to_owned(),
            keys.queue().to_owned(),
            keys.circuit().to_owned(),
            keys.meta().to_owned(),
        ]
    }

    /// Runs a script: as a pod's user may, by EVALSHA, else as an operator's, by EVAL.
    async fn ask<T: FromRedisValue>(
        &mut self,
        text: &str,
        keys: &[String],
        arguments: &[String],
        rule: &str,
    ) -> Result<T, ConnectError> {
        let hash = Script::new(text).get_hash().to_owned();
        let connection = &mut self.connection;
        let loaded = redis::cmd("SCRIPT").arg("LOAD").arg(text).query_async::<Value>(connection).await;
        let mut eval = match loaded {
            Ok(_) => redis::cmd("EVALSHA").arg(hash).to_owned(),
            Err(error) if is_forbidden(&error) => redis::cmd("EVAL").arg(text).to_owned(),
            Err(error) => return Err(unreachable(&self.address, &error)),
        };
        let answered = eval.arg(keys.len()).arg(keys).arg(arguments).query_async(connection).await;
        answered.map_err(|error| self.failed(&error, rule))
    }

    fn failed(&self, error: &RedisError, rule: &str) -> ConnectError {
        if is_forbidden(error) {
            return ConnectError::Right { reason: error.to_string(), rule: rule.to_owned() };
        }
        unreachable(&self.address, error)
    }
}

/// What an operator who looks needs, of whom nothing else is known.
const READ: &str = "+@read +time +eval";

/// A script that lacks a right says so in the words of its own error.
fn is_forbidden(error: &RedisError) -> bool {
    error.code() == Some("NOPERM")
        || error.detail().is_some_and(|said| said.contains("ACL failure") || said.contains("user executing the script"))
}

fn unreachable(address: &str, error: &RedisError) -> ConnectError {
    ConnectError::Unreachable { address: address.to_owned(), reason: error.to_string() }
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operator").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}
