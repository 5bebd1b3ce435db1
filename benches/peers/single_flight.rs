//! What a good engineer writes in an afternoon: in each process one caller for all who ask for a token, and among the
//! processes a lock in Redis with a result key that is polled.
//!
//! It is the cheapest that shares a success, and no more: it shares no errors, it seals nothing (tokens are in Redis for
//! all to read), and it survives nothing, neither a leader that is lost nor a caller that goes away nor a Redis that
//! another one replaces. A lock that ran out means that the token is presented twice.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use redis::Script;
use redis::aio::MultiplexedConnection;
use refresh_coordinator::TokenResponse;

use super::results::{self, Results};

/// One process of a fleet that shares refreshes so.
#[derive(Clone)]
pub(crate) struct SingleFlight {
    flights: Arc<singleflight_async::SingleFlight<String, Arc<TokenResponse>>>,
    results: Results,
    unlock: Arc<Script>,
}

/// How often a process that waits looks.
pub(super) const POLL: Duration = Duration::from_millis(10);

/// A lock that another process holds by now stays.
const UNLOCK: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

impl SingleFlight {
    pub(super) async fn connect(url: &str) -> Self {
        Self { flights: Arc::default(), results: Results::connect(url).await, unlock: Arc::new(Script::new(UNLOCK)) }
    }

    pub(super) async fn refresh(&self, token: &str, call: impl AsyncFnOnce() -> String) -> Arc<TokenResponse> {
        let flight = || async { Arc::new(results::tokens(self.share(token, call).await)) };
        self.flights.work(token.to_owned(), flight).await
    }

    /// One caller of this process, beside one of each other process.
    async fn share(&self, token: &str, call: impl AsyncFnOnce() -> String) -> String {
        if let Some(result) = self.results.get(token).await {
            return result;
        }
        let lock = Lock { key: format!("lock:{token}"), owner: random(), connection: self.results.connection() };
        while !lock.take().await {
            loop {
                tokio::time::sleep(POLL).await;
                match lock.look(token).await {
                    (Some(result), _) => return result,
                    (None, Some(_)) => {}
                    (None, None) => break,
                }
            }
        }
        // Another process may have had the lock since this one looked.
        let result = match self.results.get(token).await {
            Some(result) => result,
            None => {
                let result = call().await;
                self.results.set(token, &result).await;
                result
            }
        };
        lock.release(&self.unlock).await;
        result
    }
}

struct Lock {
    key: String,
    owner: String,
    connection: MultiplexedConnection,
}

impl Lock {
    /// Tries to take it, and says whether it did.
    async fn take(&self) -> bool {
        let mut set = redis::cmd("SET");
        set.arg(&self.key).arg(&self.owner).arg("NX").arg("PX").arg(10_000);
        set.query_async(&mut self.connection.clone()).await.expect("an answer")
    }

    /// The result, and whose the lock is: both by one command.
    async fn look(&self, token: &str) -> (Option<String>, Option<String>) {
        let mut get = redis::cmd("MGET");
        get.arg(results::key(token)).arg(&self.key);
        get.query_async(&mut self.connection.clone()).await.expect("an answer")
    }

    async fn release(&self, unlock: &Script) {
        let mut call = unlock.prepare_invoke();
        call.key(&self.key).arg(&self.owner);
        call.invoke_async::<()>(&mut self.connection.clone()).await.expect("an answer");
    }
}

fn random() -> String {
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}
