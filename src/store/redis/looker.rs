//! Looks at the leaders this pod waits for: that is how a dead one is noticed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::inbox::Inbox;
use super::keys::Keys;
use super::lanes::Lanes;
use super::scripts::{Reply, Scripts};
use crate::metrics::Counters;
use crate::store::StoreError;
use crate::token::Hash;

/// How often a pod looks that has no subscription.
const WITHOUT_SUBSCRIPTION: Duration = Duration::from_secs(1);
/// Arguments of one call; Lua unpacks no more than some thousands.
const AT_ONCE: usize = 1000;

pub(super) struct Looker {
    pub(super) inbox: Arc<Inbox>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) scripts: Arc<Scripts>,
    pub(super) keys: Arc<Keys>,
    pub(super) counters: Arc<Counters>,
    pub(super) lease: Duration,
    /// Between 0 and a twentieth of the lease, the same for all of this pod's looks: pods that began together
    /// then do not look together.
    pub(super) jitter: Duration,
}

impl Looker {
    pub(super) async fn run(self, closed: CancellationToken) {
        let waiters = &self.inbox.waiters;
        let mut soonest = Instant::now();
        loop {
            let leaders = tokio::select! {
                () = closed.cancelled() => return,
                () = waiters.due(soonest) => {
                    let now = Instant::now();
                    waiters.tell_due(now);
                    waiters.leaders_due(now)
                }
                () = self.a_second_without_subscription() => {
                    waiters.tell_all_of_the_lost();
                    waiters.all_leaders()
                }
            };
            for some in leaders.chunks(AT_ONCE) {
                if let Err(error) = self.look(some).await {
                    warn!(%error, "could not look at the leaders this pod waits for");
                    soonest = Instant::now() + self.without_subscription();
                }
            }
        }
    }

    async fn a_second_without_subscription(&self) {
        loop {
            tokio::time::sleep(self.without_subscription()).await;
            if !self.inbox.subscribed.load(Ordering::Acquire) {
                return;
            }
        }
    }

    fn without_subscription(&self) -> Duration {
        WITHOUT_SUBSCRIPTION.min(self.lease)
    }

    async fn look(&self, leaders: &[(Hash, u64)]) -> Result<(), StoreError> {
        self.counters.looks.add_one();
        let mut call = self.scripts.look.prepare_invoke();
        for (flight, fence) in leaders {
            call.key(self.keys.lock(flight)).arg(*fence);
        }
        let reply = Reply::new("look", self.lanes.run(&call).await?);

        let now = Instant::now();
        for (index, (flight, fence)) in leaders.iter().enumerate() {
            let word: String = reply.field(index)?;
            match word.parse() {
                Ok(left_ms) => {
                    let left = Duration::from_millis(left_ms);
                    self.inbox.waiters.look_later(flight, *fence, next_look(now, left, self.lease, self.jitter));
                }
                Err(_) => self.inbox.waiters.leader_changed(flight),
            }
        }
        Ok(())
    }
}

/// When to look next at a leader with so much of its lease left: once per lease at one that renews as it should,
/// and at the end of its lease at one that is late. Who renews every third has always more than half of it left.
pub(super) fn next_look(now: Instant, left: Duration, lease: Duration, jitter: Duration) -> Instant {
    let pause = if left > lease / 2 { lease } else { left };
    now + pause + jitter
}
