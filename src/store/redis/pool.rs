//! The pool that the lanes take their connections out of.
//!
//! deadpool-redis makes the connections, but its own pool would ask for the address and the password once. This one has them
//! asked at every connect, and knows which of its connections are of an epoch that has ended.
//!
//! Its manager makes no connections over TLS: it takes no certificates but those that the redis crate has built in at start, and they
//! are to be read again at every connect. And a subscription, or what WAIT blocks, is never given back: these, and those that find
//! the node, are made beside the pool.

use std::sync::Arc;

use deadpool::managed::{self, Hook, HookError, Metrics, Object, PoolError, RecycleError, RecycleResult};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisError};
use tokio::sync::watch;
use tokio::time::Instant;

use super::connector::{Connector, Place};
use crate::metrics::Counted;

/// A connection that is out of the pool, and goes back when dropped.
pub(super) type Pooled = Object<Connections>;

pub(super) struct Pool {
    pool: managed::Pool<Connections>,
    connector: Arc<Connector>,
}

/// How a connection for the pool is made, and whether one that came back is given out again.
pub(super) struct Connections {
    connector: Arc<Connector>,
    place: Place,
    epoch: watch::Receiver<u64>,
}

pub(super) struct Connection {
    pub(super) connection: MultiplexedConnection,
    pub(super) epoch: u64,
    /// When it was made.
    pub(super) at: Instant,
    _counted: Counted,
}

impl managed::Manager for Connections {
    type Type = Connection;
    type Error = RedisError;

    async fn create(&self) -> Result<Connection, RedisError> {
        // From before it is made: an end of the epoch meanwhile concerns it, too.
        let epoch = *self.epoch.borrow();
        let connection = self.connector.open(&self.place, AsyncConnectionConfig::new(), None).await?;
        Ok(Connection { connection, epoch, at: Instant::now(), _counted: self.connector.standing.rise() })
    }

    /// Sends nothing: what was found dead is not in the pool any more.
    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<RedisError> {
        if connection.epoch == *self.epoch.borrow() {
            Ok(())
        } else {
            Err(RecycleError::message("the way to redis has changed since it was made"))
        }
    }
}

impl Pool {
    /// `most` is how many connections may be out at the same time.
    pub(super) fn new(connector: Arc<Connector>, place: Place, epoch: watch::Receiver<u64>, most: usize) -> Self {
        let names = Arc::clone(&connector);
        let pool = managed::Pool::builder(Connections { connector: Arc::clone(&connector), place, epoch })
            .max_size(most)
            .post_create(Hook::async_fn(move |made: &mut Connection, _| {
                let names = Arc::clone(&names);
                Box::pin(async move { names.name(&mut made.connection).await.map_err(HookError::Backend) })
            }))
            .build();
        Self { pool: pool.expect("BUG: it has no timeouts, which alone can be wrong"), connector }
    }

    /// Takes a connection out, within the timeout: one that came back, or a new one.
    pub(super) async fn take_out(&self) -> Result<Pooled, RedisError> {
        self.connector.in_time(Box::pin(async { self.pool.get().await.map_err(read_error) })).await
    }

    /// Closes those in the pool that are not of this epoch.
    pub(super) fn keep_only(&self, epoch: u64) {
        self.pool.retain(|connection, _| connection.epoch == epoch);
    }
}

fn read_error(error: PoolError<RedisError>) -> RedisError {
    match error {
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => error,
        other => RedisError::from((ErrorKind::Client, "the pool gives no connection", other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::access::Access;
    use super::super::node::Node;
    use super::super::target::Target;
    use super::*;
    use crate::test_redis::RedisServer;

    async fn pool(target: Target) -> (Pool, watch::Sender<u64>) {
        let (wait, node) = (Duration::from_secs(5), Node::new(&target.ask().await.expect("a URL")));
        let connector = Connector::new(target, Access::default(), node, "lanes-of-a-test".to_owned(), wait, wait);
        let epoch = watch::Sender::new(0);
        (Pool::new(Arc::new(connector), Place::Endpoint, epoch.subscribe(), 2), epoch)
    }

    #[tokio::test]
    async fn connection_is_named_once_and_given_out_again_until_its_epoch_ends() {
        let redis = RedisServer::start_own(&[]).await;
        let (pool, epoch) = pool(Target::fixed(redis.url()).expect("a URL")).await;
        let first = Pooled::id(&pool.take_out().await.expect("redis is there"));

        assert_eq!(Pooled::id(&pool.take_out().await.expect("redis is there")), first);
        epoch.send_replace(1);
        let second = pool.take_out().await.expect("redis is there");

        assert!(Pooled::id(&second) != first && second.epoch == 1);
        redis.until_so(&["CLIENT", "LIST"], |clients| clients.matches("lanes-of-a-test").count() == 1).await;
        let stats = redis.cli(&["INFO", "commandstats"]).await;
        assert!(stats.contains("cmdstat_client|setname:calls=2,") && !stats.contains("cmdstat_unwatch"), "{stats}");
    }

    #[tokio::test]
    async fn connections_of_another_epoch_are_closed_in_the_pool() {
        let redis = RedisServer::start_own(&[]).await;
        let (pool, _epoch) = pool(Target::fixed(redis.url()).expect("a URL")).await;
        drop(pool.take_out().await.expect("redis is there"));
        redis.until_so(&["CLIENT", "LIST"], |clients| clients.contains("lanes-of-a-test")).await;

        pool.keep_only(1);

        redis.until_so(&["CLIENT", "LIST"], |clients| !clients.contains("lanes-of-a-test")).await;
    }

    #[tokio::test]
    async fn address_is_asked_at_every_connect() {
        let (old, new) = (RedisServer::start_own(&[]).await, RedisServer::start_own(&[]).await);
        let url = watch::Sender::new(old.url().to_owned());
        let asked = url.subscribe();
        let (pool, _epoch) = pool(Target::asking(move || {
            let url = asked.borrow().clone();
            async { Ok(url.into()) }
        }))
        .await;
        let _kept = pool.take_out().await.expect("redis is there");
        url.send_replace(new.url().to_owned());

        let _other = pool.take_out().await.expect("the other is there");

        for redis in [&old, &new] {
            redis.until_so(&["CLIENT", "LIST"], |clients| clients.matches("lanes-of-a-test").count() == 1).await;
        }
    }

    #[tokio::test]
    async fn refusal_to_connect_is_told_as_redis_told_it() {
        let (pool, _epoch) = pool(Target::fixed("redis://127.0.0.1:1").expect("a URL")).await;

        let refused = pool.take_out().await.err().expect("nothing listens");

        assert!(refused.is_connection_refusal(), "{refused}");
    }
}
