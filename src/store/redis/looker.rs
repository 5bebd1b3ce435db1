//! Looks at the leaders this pod waits for, and at the permits its queued flights wait for: that is how a dead one is
//! noticed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::calls::Calls;
use super::calls::look::Seen;
use super::inbox::Inbox;
use crate::config::Config;
use crate::identity::Hash;
use crate::metrics::Counters;
use crate::store::contract::StoreError;

/// How often a pod looks that has no subscription.
const WITHOUT_SUBSCRIPTION: Duration = Duration::from_secs(1);
/// Arguments of one call; Lua unpacks no more than some thousands.
const AT_ONCE: usize = 1000;

pub(super) struct Looker {
    pub(super) inbox: Arc<Inbox>,
    pub(super) calls: Arc<Calls>,
    pub(super) counters: Arc<Counters>,
    pub(super) config: Arc<Config>,
    /// Between 0 and a twentieth of the lease, the same for all of this pod's looks: pods that began together
    /// then do not look together.
    pub(super) jitter: Duration,
}

impl Looker {
    pub(super) async fn run(self: Arc<Self>, closed: CancellationToken) {
        let waiters = &self.inbox.waiters;
        let mut soonest = Instant::now();
        // Kept beside what is due: where that is often, a second that began anew each time would never be over.
        let mut without_subscription = Instant::now() + self.without_subscription();
        loop {
            let leaders = tokio::select! {
                () = closed.cancelled() => return,
                () = waiters.due(soonest) => {
                    let now = Instant::now();
                    waiters.tell_due(now);
                    if waiters.is_reap_due(now) {
                        self.reap().await;
                    }
                    waiters.leaders_due(now)
                }
                () = tokio::time::sleep_until(without_subscription) => {
                    without_subscription = Instant::now() + self.without_subscription();
                    if self.inbox.subscribed.load(Ordering::Acquire) {
                        continue;
                    }
                    waiters.tell_all_without_leader();
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

    fn without_subscription(&self) -> Duration {
        WITHOUT_SUBSCRIPTION.min(self.config.lease)
    }

    async fn reap(&self) {
        let pause = match self.calls.reap().await {
            Ok(reaped) => {
                if reaped.has_free_permits {
                    self.inbox.waiters.tell_all_queued();
                }
                // None is out, or one that has just ended.
                if reaped.look.is_zero() { self.config.lease } else { reaped.look }
            }
            Err(error) => {
                warn!(%error, "could not take back the permits of lost leaders");
                self.without_subscription()
            }
        };
        self.inbox.waiters.plan_reap(Instant::now() + pause + self.jitter);
    }

    async fn look(&self, leaders: &[(Hash, u64)]) -> Result<(), StoreError> {
        self.counters.looks.add_one();
        let seen = self.calls.look(leaders).await?;

        let now = Instant::now();
        for ((flight, fence), seen) in leaders.iter().zip(seen) {
            match seen? {
                // At the end of what is left of the lease: that is when a dead leader is lost. One that lives has two
                // thirds of a lease and more, so this is a look per lease, or a little more.
                // The clock was set back: the lock would outlive a dead leader by as much. `begin` puts that right.
                Seen::Leading { left } if left > self.config.lease => self.inbox.waiters.leader_changed(flight),
                Seen::Leading { left } => {
                    self.inbox.waiters.look_later(flight, *fence, now + left + self.jitter);
                }
                Seen::Changed => self.inbox.waiters.leader_changed(flight),
            }
        }
        Ok(())
    }
}
