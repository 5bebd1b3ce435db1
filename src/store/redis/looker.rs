//! Looks at the leaders this pod waits for, and at the permits its queued flights wait for: that is how a dead one is
//! noticed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::call::Call;
use super::inbox::Inbox;
use super::keys::Keys;
use super::lanes::Lanes;
use super::scripts::{Reply, Scripts, read_reap};
use super::{ms, rules};
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
    pub(super) lanes: Arc<Lanes>,
    pub(super) scripts: Arc<Scripts>,
    pub(super) keys: Arc<Keys>,
    pub(super) counters: Arc<Counters>,
    pub(super) config: Arc<Config>,
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
                    if waiters.is_reap_due(now) {
                        self.reap().await;
                    }
                    waiters.leaders_due(now)
                }
                () = self.a_second_without_subscription() => {
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

    async fn a_second_without_subscription(&self) {
        loop {
            tokio::time::sleep(self.without_subscription()).await;
            if !self.inbox.subscribed.load(Ordering::Acquire) {
                return;
            }
        }
    }

    fn without_subscription(&self) -> Duration {
        WITHOUT_SUBSCRIPTION.min(self.config.lease)
    }

    async fn reap(&self) {
        let mut call = Call::new(&self.scripts.reap, 3);
        rules::budget_keys(&mut call, &self.keys);
        call.arg(ms(self.config.lease));
        rules::budget(&mut call, &self.config);
        call.arg(self.keys.channels());
        let reply = match self.lanes.run(&call).await {
            Ok(reply) => read_reap(Reply::new("reap", reply)),
            Err(error) => Err(error),
        };
        let pause = match reply {
            // None is out, or one that has just ended.
            Ok(Duration::ZERO) => self.config.lease,
            Ok(next) => next,
            Err(error) => {
                warn!(%error, "could not take back the permits of lost leaders");
                self.without_subscription()
            }
        };
        self.inbox.waiters.plan_reap(Instant::now() + pause + self.jitter);
    }

    async fn look(&self, leaders: &[(Hash, u64)]) -> Result<(), StoreError> {
        self.counters.looks.add_one();
        let mut call = Call::new(&self.scripts.look, leaders.len());
        for (flight, _) in leaders {
            call.key(self.keys.lock(flight));
        }
        for (_, fence) in leaders {
            call.arg(*fence);
        }
        let reply = Reply::new("look", self.lanes.run(&call).await?);

        let now = Instant::now();
        for (index, (flight, fence)) in leaders.iter().enumerate() {
            let word: String = reply.field(index)?;
            match word.parse() {
                Ok(left_ms) => {
                    // At the end of what is left of the lease: that is when a dead leader is lost. One that lives has
                    // two thirds of a lease and more, so this is a look per lease, or a little more.
                    let left = Duration::from_millis(left_ms);
                    self.inbox.waiters.look_later(flight, *fence, now + left + self.jitter);
                }
                Err(_) => self.inbox.waiters.leader_changed(flight),
            }
        }
        Ok(())
    }
}
