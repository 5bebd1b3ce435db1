//! A few multiplexed connections that all tasks share and pipeline over.
//!
//! Why not a connection per command: a checkout costs a round trip of its own, and with many tasks a queue.
//! deadpool owns the connections; a lane keeps its checked-out object, or two lanes could share one socket. A
//! clone never reconnects by itself: one task replaces a dead lane for all.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use deadpool_redis::{Connection, Hook, HookError, Manager, Pool, Runtime};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, ConnectionInfo, ErrorKind, FromRedisValue, RedisError, Script, ServerErrorKind};
use tokio::time::Instant;
use tracing::debug;

use super::call::Call;
use super::outage::Outage;
use crate::store::contract::StoreError;

/// Enough that one slow reply does not stop the rest; more would only cost sockets.
const LANES: usize = 4;

pub(super) struct Lanes {
    pool: Pool,
    lanes: Vec<Lane>,
    next: AtomicUsize,
    timeout: Duration,
    outage: Arc<Outage>,
}

struct Lane {
    current: RwLock<Current>,
    /// Held by the one task that replaces the connection.
    replacing: tokio::sync::Mutex<()>,
}

struct Current {
    object: Option<Connection>,
    generation: u64,
}

impl Lanes {
    pub(super) async fn connect(
        info: ConnectionInfo,
        client_name: String,
        timeout: Duration,
        outage: Arc<Outage>,
    ) -> Result<Self, RedisError> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(timeout)).set_response_timeout(Some(timeout));
        let pool = Pool::builder(Manager::new_with_config(info, config)?)
            .max_size(LANES)
            .runtime(Runtime::Tokio1)
            .create_timeout(Some(timeout))
            .wait_timeout(Some(timeout))
            .post_create(Hook::async_fn(move |connection: &mut MultiplexedConnection, _| {
                let name = client_name.clone();
                Box::pin(async move { name_connection(connection, &name).await.map_err(HookError::Backend) })
            }))
            .build()
            .expect("BUG: a runtime is given, nothing else can be missing");
        let mut lanes = Vec::with_capacity(LANES);
        for _ in 0..LANES {
            lanes.push(Lane {
                current: RwLock::new(Current { object: Some(checked_out(&pool).await?), generation: 0 }),
                replacing: tokio::sync::Mutex::new(()),
            });
        }
        Ok(Self { pool, lanes, next: AtomicUsize::new(0), timeout, outage })
    }

    /// Runs a script until it answers or the time for a call to the store is over. Every script is idempotent, so
    /// one that may have run already is run again.
    pub(super) async fn run<T: FromRedisValue>(&self, call: &Call<'_>) -> Result<T, StoreError> {
        let deadline = Instant::now() + self.timeout;
        let mut pauses = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(5))
            .with_max_delay(Duration::from_millis(100))
            .without_max_times()
            .with_jitter()
            .build();
        let mut said = None;
        loop {
            let lane = &self.lanes[self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len()];
            let reason = match lane.run(call, &self.pool, deadline).await {
                Ok(reply) => return Ok(reply),
                Err(Failed::Redis(error)) if !may_pass(&error) => {
                    return Err(StoreError::may_have_run(error.to_string()));
                }
                Err(Failed::Redis(error)) => said.insert(error.to_string()).clone(),
                // What it said before tells more: the last try may have had no time left.
                Err(Failed::Silent) => {
                    said.clone().unwrap_or_else(|| format!("redis did not answer within {:?}", self.timeout))
                }
            };
            let pause = pauses.next().unwrap_or(self.timeout);
            if Instant::now() + pause >= deadline {
                self.outage.begin(&reason);
                return Err(StoreError::may_have_run(reason));
            }
            debug!(%reason, "asking redis again");
            tokio::time::sleep(pause).await;
        }
    }
}

impl Lanes {
    pub(super) async fn load(&self, scripts: &[&Script]) -> Result<(), RedisError> {
        let (connection, _) = self.lanes[0].connection();
        let Some(mut connection) = connection else { return Ok(()) };
        for script in scripts {
            script.load_async(&mut connection).await?;
        }
        Ok(())
    }

    /// `maxmemory-policy`, where the user may ask.
    pub(super) async fn eviction_policy(&self) -> Option<String> {
        let (connection, _) = self.lanes[0].connection();
        let info: String = redis::cmd("INFO").arg("memory").query_async(&mut connection?).await.ok()?;
        let line = info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"))?;
        Some(line.trim().to_owned())
    }
}

impl Failed {
    fn leaves_a_dead_lane(&self) -> bool {
        match self {
            Self::Redis(error) => error.is_unrecoverable_error() || error.is_timeout(),
            Self::Silent => true,
        }
    }
}

/// How a try at one lane fails.
enum Failed {
    Redis(RedisError),
    /// No answer in time. It may come later, and the command may run.
    Silent,
}

impl Lane {
    async fn run<T: FromRedisValue>(&self, call: &Call<'_>, pool: &Pool, deadline: Instant) -> Result<T, Failed> {
        let (mut connection, generation) = match self.connection() {
            (Some(connection), generation) => (connection, generation),
            (None, generation) => tokio::time::timeout_at(deadline, self.replace(pool, generation))
                .await
                .map_err(|_| Failed::Silent)?
                .map_err(Failed::Redis)?,
        };
        let failed = match tokio::time::timeout_at(deadline, call.send(&mut connection)).await {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(error)) => Failed::Redis(error),
            Err(_) => Failed::Silent,
        };
        if failed.leaves_a_dead_lane() {
            self.drop_connection(generation);
        }
        Err(failed)
    }

    fn connection(&self) -> (Option<MultiplexedConnection>, u64) {
        let current = self.current.read().expect("BUG: nothing panics with this lock held");
        (current.object.as_deref().cloned(), current.generation)
    }

    /// Takes a new connection, once for all tasks that found the old one dead.
    async fn replace(&self, pool: &Pool, dead: u64) -> Result<(MultiplexedConnection, u64), RedisError> {
        let _replacing = self.replacing.lock().await;
        if let (Some(connection), generation) = self.connection()
            && generation > dead
        {
            return Ok((connection, generation));
        }
        let object = checked_out(pool).await?;
        let mut current = self.current.write().expect("BUG: nothing panics with this lock held");
        current.generation += 1;
        let connection = MultiplexedConnection::clone(&object);
        current.object = Some(object);
        Ok((connection, current.generation))
    }

    fn drop_connection(&self, generation: u64) {
        let mut current = self.current.write().expect("BUG: nothing panics with this lock held");
        if current.generation == generation
            && let Some(object) = current.object.take()
        {
            // Taken out of the pool, which would hand the dead connection out again.
            drop(Connection::take(object));
        }
    }
}

async fn checked_out(pool: &Pool) -> Result<Connection, RedisError> {
    use deadpool_redis::PoolError;
    pool.get().await.map_err(|error| match error {
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => error,
        error => RedisError::from((ErrorKind::Io, "no connection to redis", error.to_string())),
    })
}

/// Shows in CLIENT LIST which pod's connection it is.
pub(super) async fn name_connection(connection: &mut MultiplexedConnection, name: &str) -> Result<(), RedisError> {
    let named = redis::cmd("CLIENT").arg("SETNAME").arg(name).query_async::<()>(connection).await;
    match named {
        // A convenience for the operator: a user that may not set names coordinates as well.
        Err(error) if error.code() == Some("NOPERM") => Ok(()),
        other => other,
    }
}

/// Whether the same command may succeed in a moment: the way to Redis is broken, or Redis is not ready.
fn may_pass(error: &RedisError) -> bool {
    let not_ready = match error.kind() {
        // A script that is forgotten between its loading and its call is loaded again.
        ErrorKind::Server(kind) => !matches!(kind, ServerErrorKind::ResponseError | ServerErrorKind::NoPerm),
        _ => matches!(error.code(), Some("OOM" | "NOREPLICAS" | "BUSY" | "MISCONF")),
    };
    not_ready || error.is_io_error() || error.is_timeout() || error.is_unrecoverable_error()
}

/// Where Redis is, reached with the settings that connections are to have.
pub(super) fn with_tcp_settings(info: ConnectionInfo, store_timeout: Duration) -> ConnectionInfo {
    let settings = tcp_settings(info.tcp_settings().clone(), store_timeout);
    info.set_tcp_settings(settings)
}

/// What comes behind an unanswered call is sent at once, not after a round trip. What Redis' machine does not acknowledge
/// within `store_timeout` the kernel gives up (RFC 5482), else a `begin` could arrive minutes after a network has healed,
/// when the mark that its attempt was given up is no longer kept. The rest is as the client's maker wants it.
fn tcp_settings(theirs: TcpSettings, store_timeout: Duration) -> TcpSettings {
    let settings = theirs.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(store_timeout);
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_wait_for_no_acknowledgement_and_keep_what_their_client_sets() {
        let theirs = TcpSettings::default().set_linger_time(Duration::from_secs(7));

        let settings = tcp_settings(theirs, Duration::from_secs(1));

        assert!(settings.nodelay());
        #[cfg(target_os = "linux")]
        assert_eq!(settings.user_timeout(), Some(Duration::from_secs(1)));
        assert!(format!("{settings:?}").contains("linger_time: Some(7s)"), "{settings:?}");
    }
}
