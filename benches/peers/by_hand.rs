//! The way a refresh is shared by hand: a lock of rslock, and a key for the result that everybody looks at.

use std::time::Duration;

use rslock::{LockError, LockManager};

use super::results::Results;

/// One process of a fleet that shares refreshes by hand.
#[derive(Clone)]
pub(crate) struct ByHand {
    locks: LockManager,
    results: Results,
}

/// rslock's own pause between two tries: a random part of this.
pub(super) const RETRY: Duration = Duration::from_millis(200);

impl ByHand {
    pub(super) async fn connect(url: &str) -> Self {
        let mut locks = LockManager::new(vec![url]);
        locks.set_retry(1_000, RETRY);
        Self { locks, results: Results::connect(url).await }
    }

    /// First a look at the result, then the lock, then a look again, for somebody may have been first.
    pub(super) async fn refresh(&self, token: &str, call: impl AsyncFnOnce() -> String) -> String {
        let mut call = Some(call);
        loop {
            if let Some(result) = self.results.get(token).await {
                return result;
            }
            let lock = match self.locks.lock(format!("lock:{token}").as_bytes(), Duration::from_secs(10)).await {
                Ok(lock) => lock,
                Err(LockError::Unavailable) => continue,
                Err(error) => panic!("rslock: {error}"),
            };
            let result = match self.results.get(token).await {
                Some(result) => result,
                None => {
                    let result = call.take().expect("called once")().await;
                    self.results.set(token, &result).await;
                    result
                }
            };
            self.locks.unlock(&lock).await;
            return result;
        }
    }
}
