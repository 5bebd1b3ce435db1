//! The fences this pod knows of: how it notices that Redis has forgotten.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::contract::FENCES_END;

#[derive(Debug, Default)]
pub(crate) struct Fences {
    /// The highest that Redis was seen to give.
    seen: AtomicU64,
    /// The highest that this pod gave itself, without Redis; 0 if it gave none.
    given: AtomicU64,
}

impl Fences {
    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    pub(super) fn see(&self, fence: u64) {
        if fence < FENCES_END {
            self.seen.fetch_max(fence, Ordering::Relaxed);
        }
    }

    pub(super) fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// This pod has given a lease by itself: Redis is to be told of its fence.
    pub(crate) fn give(&self, fence: u64) {
        self.given.fetch_max(fence, Ordering::Relaxed);
    }
}
