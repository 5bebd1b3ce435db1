//! Says once in an outage that a pod decides by itself, and when it does so no longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Config;
use crate::store::redis::Reached;

const SETTING: &str = "on_store_outage";

#[derive(Debug)]
pub(super) struct SaidAlone {
    namespace: String,
    pod: String,
    /// Whether it was said that this pod goes on alone, and not yet that it does no longer.
    is_said: AtomicBool,
    said: Notify,
}

impl SaidAlone {
    pub(super) fn new(config: &Config, pod: &str) -> Self {
        let (namespace, pod) = (config.namespace.clone(), pod.to_owned());
        Self { namespace, pod, is_said: AtomicBool::new(false), said: Notify::new() }
    }

    /// This pod goes on alone.
    pub(super) fn say(&self) {
        if self.is_said.swap(true, Ordering::SeqCst) {
            return;
        }
        let Self { namespace, pod, .. } = self;
        warn!(
            namespace,
            pod,
            setting = SETTING,
            "this pod goes on alone: two pods may present one token until redis answers"
        );
        self.said.notify_one();
    }

    /// Says when Redis decides again, until the pod is closed.
    pub(super) async fn run(self: Arc<Self>, reached: Reached, closed: CancellationToken) {
        let Self { namespace, pod, .. } = &*self;
        loop {
            // Also what was said before this was started again.
            while !self.is_said.load(Ordering::SeqCst) {
                if closed.run_until_cancelled(self.said.notified()).await.is_none() {
                    return;
                }
            }
            if closed.run_until_cancelled(reached.again()).await.is_none() {
                return;
            }
            self.is_said.store(false, Ordering::SeqCst);
            info!(namespace, pod, setting = SETTING, "this pod is no longer alone: redis answers, and decides again");
        }
    }
}
