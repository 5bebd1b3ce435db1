//! Whether a right that the user had when this pod began was taken from it since.
//!
//! Commands that need such a right are refused at once, and no outage begins: what needs none of them goes on. The pod says what is
//! missing, and is not ready until it is given back: it tries by itself whenever it is asked whether it is ready.

use std::sync::{Mutex, MutexGuard};

use tracing::{info, warn};

use super::verdict::is_missing_right;

#[derive(Default)]
pub(super) struct TakenRights {
    /// What Redis said when it refused a call.
    said: Mutex<Option<String>>,
}

impl TakenRights {
    /// A call of a script was refused for this reason.
    pub(super) fn note(&self, reason: &str) {
        if is_missing_right(reason) && self.said().replace(reason.to_owned()).is_none() {
            warn!(reason, "redis takes a right from this pod: what needs it is refused until it is given back");
        }
    }

    pub(super) fn are_missed(&self) -> bool {
        self.said().is_some()
    }

    /// All that are needed were tried, and are there.
    pub(super) fn are_back(&self) {
        if self.said().take().is_some() {
            info!("redis gives this pod all rights that it needs again");
        }
    }

    fn said(&self) -> MutexGuard<'_, Option<String>> {
        self.said.lock().expect("BUG: nothing panics with this lock held")
    }
}
