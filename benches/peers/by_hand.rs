//! The way a refresh is shared by hand: a lock of rslock, and a key for the result that everybody looks at.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use rslock::{LockError, LockManager};

/// One process of a fleet that shares refreshes by hand.
#[derive(Clone)]
pub(crate) struct ByHand {
    locks: LockManager,
    connection: MultiplexedConnection,
}

/// rslock's own pause between two tries: a random part of this.
pub(crate) const RETRY: Duration = Duration::from_millis(200);

impl ByHand {
    pub(crate) async fn connect(url: &str) -> Self {
        let mut locks = LockManager::new(vec![url]);
        locks.set_retry(1_000, RETRY);
        let client = redis::Client::open(url).expect("a redis URL");
        let connection = client.get_multiplexed_async_connection().await.expect("redis is there");
        Self { locks, connection }
    }

    /// First a look at the result, then the lock, then a look again, for somebody may have been first.
    pub(crate) async fn refresh(&self, token: &str, call: impl AsyncFnOnce() -> String) -> String {
        let mut call = Some(call);
        loop {
            if let Some(result) = self.result(token).await {
                return result;
            }
            let lock = match self.locks.lock(format!("lock:{token}").as_bytes(), Duration::from_secs(10)).await {
                Ok(lock) => lock,
                Err(LockError::Unavailable) => continue,
                Err(error) => panic!("rslock: {error}"),
            };
            let result = match self.result(token).await {
                Some(result) => result,
                None => {
                    let result = call.take().expect("called once")().await;
                    let mut set = redis::cmd("SET");
                    set.arg(format!("result:{token}")).arg(&result).arg("PX").arg(30_000);
                    set.query_async::<()>(&mut self.connection.clone()).await.expect("kept");
                    result
                }
            };
            self.locks.unlock(&lock).await;
            return result;
        }
    }

    pub(crate) async fn result(&self, token: &str) -> Option<String> {
        let mut get = redis::cmd("GET");
        get.arg(format!("result:{token}"));
        get.query_async(&mut self.connection.clone()).await.expect("an answer")
    }
}
