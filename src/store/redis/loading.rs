//! Loads scripts that a server does not know, once for all tasks that find that out.
//!
//! Why: after a restart everything that is under way is told NOSCRIPT at once. A script has 40 kB: loaded by each of a thousand
//! flights, that is what a server which has just come back would have to read before the first lease is renewed.

use std::collections::HashMap;
use std::time::Duration;

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
    /// A task that has waited for another's loading for as long as `patience` loads the script itself: the other's lane may be
    /// silent, and this one may be the second try of the very call that went over it. Dropped before it is done, it leaves the
    /// loading to the next task.
    pub(super) async fn load(
        &self,
        script: &Script,
        sent: Instant,
        patience: Duration,
        connection: &mut impl ConnectionLike,
    ) -> RedisResult<()> {
        let Ok(mut loaded) = tokio::time::timeout(patience, self.loaded.lock()).await else {
            script.load_async(connection).await?;
            return Ok(());
        };
        if loaded.get(script.get_hash()).is_some_and(|at| *at > sent) {
            return Ok(());
        }
        script.load_async(connection).await?;
        loaded.insert(script.get_hash().to_owned(), Instant::now());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use redis::{Cmd, Pipeline, RedisFuture, Value};

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(300);

    fn script() -> Script {
        Script::new("return 1")
    }

    /// Takes all that is sent, and counts it. Answers where it is not silent.
    #[derive(Clone, Default)]
    struct Lane {
        is_silent: bool,
        loads: Arc<AtomicUsize>,
    }

    impl ConnectionLike for Lane {
        fn req_packed_command<'a>(&'a mut self, _: &'a Cmd) -> RedisFuture<'a, Value> {
            self.loads.fetch_add(1, Ordering::Relaxed);
            let is_silent = self.is_silent;
            Box::pin(async move {
                if is_silent {
                    std::future::pending::<()>().await;
                }
                Ok(Value::SimpleString(script().get_hash().to_owned()))
            })
        }

        fn req_packed_commands<'a>(&'a mut self, _: &'a Pipeline, _: usize, _: usize) -> RedisFuture<'a, Vec<Value>> {
            unreachable!("a script is loaded by one command")
        }

        fn get_db(&self) -> i64 {
            0
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_task_loads_a_script_for_all_that_were_told_that_it_is_unknown() {
        let (loading, script, sent, lane) = (Loading::default(), script(), Instant::now(), Lane::default());
        tokio::time::advance(Duration::from_millis(1)).await;
        for _ in 0..100 {
            loading.load(&script, sent, PATIENCE, &mut lane.clone()).await.expect("it is loaded");
        }
        assert_eq!(lane.loads.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn silent_lane_that_loads_a_script_delays_the_others_by_their_patience() {
        let (loading, script, sent) = (Arc::new(Loading::default()), script(), Instant::now());
        let mut silent = Lane { is_silent: true, ..Lane::default() };
        let loads = Arc::clone(&silent.loads);
        let holder = tokio::spawn({
            let (loading, script) = (Arc::clone(&loading), script.clone());
            async move { loading.load(&script, sent, PATIENCE, &mut silent).await }
        });
        while loads.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }

        let mut alive = Lane::default();
        let others = loading.load(&script, sent, PATIENCE, &mut alive);
        tokio::time::timeout(PATIENCE * 2, others).await.expect("it waits no longer").expect("it is loaded");

        assert_eq!(sent.elapsed(), PATIENCE);
        holder.abort();
    }
}
