//! The task that forgets what is over.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use tokio::time::Instant;

use super::{MemoryPod, Namespace};
use crate::config::Config;

impl MemoryPod {
    /// Redis expires keys itself; here a task does, for as long as anybody holds the store.
    pub(super) fn start_cleanup(&self) {
        if !self.namespace.has_cleanup.swap(true, Ordering::Relaxed) {
            let cleanup = Cleanup(Arc::downgrade(&self.namespace));
            tokio::spawn(cleanup.run(Arc::clone(&self.config)));
        }
    }
}

/// Forgets what is over, for as long as anybody holds the store and the runtime it was started on lives.
struct Cleanup(Weak<Namespace>);

impl Cleanup {
    async fn run(self, config: Arc<Config>) {
        loop {
            tokio::time::sleep(config.cleanup_interval).await;
            let Some(namespace) = self.0.upgrade() else { return };
            let now = Instant::now();
            namespace.held.retain(|_, held| !held.is_over(now));
            namespace.ended.forget(now);
            namespace.flights.retain(|_, record| !record.is_over(now));
            namespace.gates.lock().expect("BUG: nothing panics with this lock held").clean_up(now, &config);
        }
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        if let Some(namespace) = self.0.upgrade() {
            // The next `begin` starts another, on a runtime that lives.
            namespace.has_cleanup.store(false, Ordering::Relaxed);
        }
    }
}
