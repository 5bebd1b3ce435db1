//! Steps 1 and 6: callers of this pod share one flight per token and claim, and get the same ending.
//!
//! [`flights`] is the map where a caller finds its flight, [`waiting`] a caller that waits for the ending, [`guard`] what
//! makes sure that there is one.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::task::Waker;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use self::call_lease::CallLease;
use self::callers::Callers;
use self::ending::Ending;
use self::intent::Intent;
use self::stage::Progress;
use crate::config::Config;
use crate::identity::Hash;

pub(crate) mod before_told;
mod call_lease;
mod callers;
pub(crate) mod ending;
pub(crate) mod flights;
pub(crate) mod guard;
pub(crate) mod intent;
pub(crate) mod stage;
pub(crate) mod early_timer;
pub(crate) mod refreshed;
pub(crate) mod waiting;

/// This pod's part in a flight of the fleet: what its callers wait for. One for each token and claim.
#[derive(Debug)]
pub(crate) struct LocalFlight {
    key: Hash,
    ending: OnceLock<Ending>,
    callers: Mutex<Callers>,
    /// Here, because the flight and its call share this already.
    intent: Intent,
    /// Told when the last caller that waited has left.
    left: Notify,
    lease: CallLease,
    progress: Progress,
}

impl LocalFlight {
    /// Tells every caller. The first ending stays; the flight can still be entered, and tells newcomers the same.
    pub(crate) fn tell(&self, ending: Ending) {
        if self.ending.set(ending).is_ok() {
            let waiting = self.callers().take_all();
            wake_all(waiting);
        }
    }

    /// Tells callers when their time is over, from `now` on and for as long as this is polled. The flight's own task polls
    /// it: a caller may stop to poll its future and still hold it.
    pub(crate) fn keep_time(&self, now: Instant, config: &Config) -> impl Future<Output = Infallible> {
        let look_at = {
            let mut callers = self.callers();
            callers.set_timekeeper(Handle::current().id());
            callers.next_late(now, config)
        };
        async move {
            let mut timer = pin!(sleep_until(look_at));
            loop {
                timer.as_mut().await;
                timer.as_mut().reset(self.tell_late(config));
            }
        }
    }

    /// Tells callers that their time is over. Answers when to do so again.
    fn tell_late(&self, config: &Config) -> Instant {
        let now = Instant::now();
        let mut callers = self.callers();
        let (late, next) = (callers.take_late(now, config), callers.next_late(now, config));
        drop(callers);
        wake_all(late);
        next
    }

    /// Whether callers were told an ending.
    pub(crate) fn is_told(&self) -> bool {
        self.ending.get().is_some()
    }

    pub(crate) fn intent(&self) -> &Intent {
        &self.intent
    }

    /// The lease, where this flight leads.
    pub(crate) fn lease(&self) -> &CallLease {
        &self.lease
    }

    /// How far it has come, for whoever looks.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Whether a caller waits that has time left.
    pub(crate) fn is_waited_for(&self, now: Instant, config: &Config) -> bool {
        self.callers().is_anybody_waiting(now, config)
    }

    /// The flight queues, or waits for a lost leader: from now on its callers wait for `wait_timeout`.
    pub(crate) fn allow_wait_timeout(&self) {
        self.callers().allow_wait_timeout();
    }

    /// `wait_timeout` after the last caller came, whether it still waits or not. None once that was over and no caller may
    /// join any more.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.callers().deadline()
    }

    /// Waits until all callers have left, and lets none join any more.
    pub(crate) async fn deserted(&self) {
        while !self.retire_deserted() {
            self.left.notified().await;
        }
    }

    /// Lets no caller join any more, unless one waits.
    pub(crate) fn retire_deserted(&self) -> bool {
        self.callers().retire_deserted()
    }

    /// Lets no caller join any more, unless one did that still waits.
    pub(crate) fn retire(&self, now: Instant) -> bool {
        self.callers().retire(now)
    }

    fn callers(&self) -> MutexGuard<'_, Callers> {
        self.callers.lock().expect("BUG: nothing panics with this lock held")
    }
}

/// A waker is a stranger's code: one that panics keeps no other caller from being told, and ends no refresh.
fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        // Told by the panic hook already.
        _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }
}
