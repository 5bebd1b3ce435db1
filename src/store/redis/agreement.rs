//! Keeps this pod in the register of living pods, and notices when they no longer agree: two pods with two peppers would
//! present every token twice.
//!
//! A pod writes its entry at start, once a minute, and when Redis may have forgotten it, and takes it away when it closes.
//! It begins flights only while its entry stands and agrees with those of all living pods.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use super::calls::Calls;
use super::calls::meta::{Agreed, ENTRY_STANDS};
use super::preflight::Preflight;
use super::register::Register;
use crate::error::ConnectError;
use crate::store::contract::StoreError;

/// A pod writes its entry again after three quarters of this to the whole of it, so that pods which started together do
/// not write together.
const PERIOD: Duration = Duration::from_secs(60);
/// A pause between two looks while a living pod does not agree.
const WHILE_BROKEN: Duration = Duration::from_secs(2);
/// A pause between two tries while Redis is out of reach.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Agreement {
    preflight: Arc<Preflight>,
    calls: Arc<Calls>,
    register: Arc<Register>,
    lease: Duration,
    forgotten: Notify,
    state: Mutex<State>,
    /// Whether this pod has left the register. Held while the register is asked, so that no entry is written after that.
    left: tokio::sync::Mutex<bool>,
}

struct State {
    standing: Standing,
    /// The differences to other pods that hold and were warned about.
    told: BTreeSet<String>,
}

enum Standing {
    /// All living pods agree, and this pod's entry stands until then.
    Agreed { until: Instant },
    /// A living pod does not agree; this one begins nothing until it does.
    Broken { reason: String },
}

impl Agreement {
    pub(super) fn new(preflight: Arc<Preflight>, calls: Arc<Calls>, register: Arc<Register>, lease: Duration) -> Self {
        // Until it is asked for the first time no entry stands.
        let state = State { standing: Standing::Agreed { until: Instant::now() }, told: BTreeSet::new() };
        Self {
            preflight,
            calls,
            register,
            lease,
            forgotten: Notify::new(),
            state: Mutex::new(state),
            left: tokio::sync::Mutex::new(false),
        }
    }

    /// Whether no living pod was found that does not agree.
    pub(super) fn holds(&self) -> Result<(), StoreError> {
        match &self.state().standing {
            Standing::Agreed { .. } => Ok(()),
            Standing::Broken { reason } => Err(StoreError::did_not_run(reason.clone())),
        }
    }

    /// Whether this pod's entry stands in the register. A pod that did not run, or did not reach Redis, for longer than it
    /// stands has to ask anew: pods that do not agree may live now.
    pub(super) fn is_standing(&self) -> Result<(), StoreError> {
        match &self.state().standing {
            Standing::Agreed { until } if *until <= Instant::now() => {
                self.forgotten.notify_one();
                let reason = "this pod was away for longer than its entry in the register stands, and writes it anew";
                Err(StoreError::did_not_run(reason.to_owned()))
            }
            Standing::Agreed { .. } | Standing::Broken { .. } => Ok(()),
        }
    }

    /// Redis was found to have forgotten.
    pub(super) fn may_be_forgotten(&self) {
        self.forgotten.notify_one();
    }

    /// Writes this pod's entry and learns of the other living pods. Nothing is written where one of them does not agree,
    /// nor after this pod has left.
    pub(super) async fn agree(&self) -> Result<(), ConnectError> {
        let left = self.left.lock().await;
        if *left {
            return Ok(());
        }
        let asked = Instant::now();
        match self.preflight.agree(&self.calls).await {
            Ok(agreed) => {
                self.agreed(asked, agreed);
                Ok(())
            }
            Err(failure) => {
                if matches!(failure, ConnectError::Mismatch { .. }) {
                    self.state().standing = Standing::Broken { reason: failure.to_string() };
                }
                Err(failure)
            }
        }
    }

    fn agreed(&self, asked: Instant, Agreed { longest_lease, anyone_never, all_follow, others }: Agreed) {
        self.register.learn(longest_lease, anyone_never, all_follow);
        let mut state = self.state();
        if matches!(state.standing, Standing::Broken { .. }) {
            info!("all living pods agree again: this pod begins flights");
        }
        state.standing = Standing::Agreed { until: asked + ENTRY_STANDS + self.lease };
        let differences = others.iter().map(|other| other.differences.clone()).collect();
        let told = std::mem::replace(&mut state.told, differences);
        for other in others.iter().filter(|other| !told.contains(&other.differences)) {
            let (pod, differences) = (&other.pod, &other.differences);
            warn!(pod, "settings differ from those of a living pod: {differences}");
        }
    }

    /// Writes the entry again and again, and at once when Redis may have forgotten it.
    pub(super) async fn keep(self: Arc<Self>, mut gaps: watch::Receiver<u64>, closed: CancellationToken) {
        let (mut pause, mut is_told) = (period(), false);
        loop {
            tokio::select! {
                () = closed.cancelled() => break,
                gap = gaps.changed() => if gap.is_err() { break },
                () = self.forgotten.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            let told = self.holds().err().map(|broken| broken.reason);
            pause = match self.agree().await {
                Ok(()) => period(),
                Err(failure @ ConnectError::Mismatch { .. }) => {
                    if told.is_none_or(|told| told != failure.to_string()) {
                        error!(%failure, "this pod begins nothing until all living pods agree");
                    }
                    WHILE_BROKEN
                }
                Err(failure) => {
                    // Once: it is tried again each second, for as long as Redis is away.
                    if !std::mem::replace(&mut is_told, true) {
                        warn!(%failure, "this pod's entry in the register could not be written");
                    }
                    PAUSE
                }
            };
            is_told &= pause == PAUSE;
        }
        self.leave().await;
    }

    /// Takes this pod's entry away, for good.
    pub(super) async fn leave(&self) {
        let mut left = self.left.lock().await;
        if std::mem::replace(&mut *left, true) {
            return;
        }
        if let Err(error) = self.calls.leave().await {
            debug!(%error, "this pod's entry in the register stays until it ends by itself");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("BUG: nothing panics with this lock held")
    }
}

/// Random each time.
fn period() -> Duration {
    PERIOD.mul_f64(0.75 + f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0 / 4.0)
}

impl std::fmt::Debug for Agreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agreement").field("holds", &self.holds()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::RedisStore;
    use crate::config::{Config, Uncertain};
    use crate::test_log::Log;
    use crate::test_redis::RedisServer;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn config() -> Config {
        Config { lease: 10 * S, store_timeout: 5 * S, ..Config::default() }
    }

    async fn connect(redis: &RedisServer, pod: &str, config: Config) -> Result<RedisStore, ConnectError> {
        let client = redis::Client::open(redis.url()).expect("a URL");
        RedisStore::connect(client, pod, Arc::new(config), Arc::default()).await
    }

    #[tokio::test]
    async fn each_difference_to_living_pods_is_told_once_in_a_line_that_names_both_values() {
        let redis = RedisServer::start_own(&[]).await;
        let (log, _listening) = Log::of_this_thread();
        let told = || log.lines(&["settings differ"]);
        let old = connect(&redis, "old", config()).await.expect("the first");
        let another = Config { lease: 20 * S, max_concurrent_refreshes: 7, ..config() };

        let _new = connect(&redis, "new", another.clone()).await.expect("it agrees on what must agree");

        let first = told();
        assert_eq!(first.len(), 1, "{first:?}");
        for part in ["pod=\"old\"", "max_concurrent_refreshes (7 here, 10 there)", "lease (20000 here, 10000 there)"] {
            assert!(first[0].contains(part), "no {part}: {first:?}");
        }
        for _ in 0..2 {
            old.agreement.agree().await.expect("it agrees");
        }
        assert!(told().len() == 2 && told()[1].contains("lease (10000 here, 20000 there)"), "{:?}", told());
        let newer = connect(&redis, "newer", another).await.expect("it agrees");
        old.agreement.agree().await.expect("it agrees");
        assert_eq!(told().len(), 3, "what is told already is told by the new pod only: {:?}", told());

        newer.leave().await;
        let strict = Config { uncertain: Uncertain::Never, ..config() };
        let _strict = connect(&redis, "strict", strict).await.expect("it agrees");
        old.agreement.agree().await.expect("it agrees");
        let last = told().pop().expect("a line");
        assert!(last.contains("uncertain (retry here, never there)"), "{last}");
    }

    #[tokio::test]
    async fn longest_lease_and_strictest_policy_of_living_pods_are_known() {
        let redis = RedisServer::start_own(&[]).await;
        let pod = connect(&redis, "pod", config()).await.expect("the first");
        let register = Arc::clone(&pod.agreement.register);
        assert_eq!((register.longest_lease(), register.remembers_strictly()), (10 * S, false));
        let slow = Config { lease: 60 * S, uncertain: Uncertain::Never, ..config() };

        let slow = connect(&redis, "slow", slow).await.expect("it agrees");
        pod.agreement.agree().await.expect("it agrees");
        assert_eq!((register.longest_lease(), register.remembers_strictly()), (60 * S, true));
        slow.leave().await;
        pod.agreement.agree().await.expect("it agrees");

        assert_eq!((register.longest_lease(), register.remembers_strictly()), (10 * S, false));
    }

    #[tokio::test]
    async fn pod_that_has_left_does_not_come_back() {
        let redis = RedisServer::start_own(&[]).await;
        let pod = connect(&redis, "pod", config()).await.expect("the first");

        pod.leave().await;
        pod.agreement.agree().await.expect("nothing is asked any more");

        assert_eq!(redis.cli(&["EXISTS", "rc:{default}:meta"]).await, "0");
    }

    #[tokio::test]
    async fn store_that_is_dropped_takes_its_entry_with_it() {
        let redis = RedisServer::start_own(&[]).await;

        drop(connect(&redis, "pod", config()).await.expect("the first"));

        redis.until(&["EXISTS", "rc:{default}:meta"], "0").await;
    }

    #[tokio::test]
    async fn pod_that_was_away_for_longer_than_its_entry_stands_writes_it_before_it_begins() {
        let redis = RedisServer::start_own(&[]).await;
        let pod = connect(&redis, "pod", config()).await.expect("the first");
        redis.cli(&["DEL", "rc:{default}:meta"]).await;
        // As after a stop of this process for as long.
        pod.agreement.state().standing = Standing::Agreed { until: Instant::now() };

        let refused = pod.check().await.expect_err("its entry is over");

        assert!(refused.reason.contains("register"), "{refused}");
        redis.until(&["HEXISTS", "rc:{default}:meta", "pod:pod"], "1").await;
        let deadline = Instant::now() + 10 * S;
        while pod.check().await.is_err() {
            assert!(Instant::now() < deadline, "it stands again");
            redis.wait(S / 100).await;
        }
    }
}
