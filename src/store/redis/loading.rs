//! Loads scripts that a server does not know, once for all tasks that find that out.
//!
//! Why: after a restart everything that is under way is told NOSCRIPT at once. A script has 40 kB: loaded by each of a thousand
//! flights, that is what a server which has just come back would have to read before the first lease is renewed.

use std::collections::HashMap;

use redis::aio::ConnectionLike;
use redis::{RedisResult, Script};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The scripts of one node.
#[derive(Default)]
pub(super) struct Loading {
    /// When each was loaded last, by its hash. Locked while one is loaded.
    loaded: Mutex<HashMap<String, Instant>>,
}

impl Loading {
    /// Loads a script that the node did not know when it was sent at this moment, unless another task has loaded it since.
    ///
    /// Dropped before it is done, it leaves the loading to the next task.
    pub(super) async fn load(
        &self,
        script: &Script,
        sent: Instant,
        connection: &mut impl ConnectionLike,
    ) -> RedisResult<()> {
        let mut loaded = self.loaded.lock().await;
        if loaded.get(script.get_hash()).is_some_and(|at| *at > sent) {
            return Ok(());
        }
        script.load_async(connection).await?;
        loaded.insert(script.get_hash().to_owned(), Instant::now());
        Ok(())
    }
}
