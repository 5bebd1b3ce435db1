//! What tells a flight that waits in memory: for its leader, or in the queue for a permit.

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::identity::Hash;
use crate::store::contract::{News, StoredOutcome};

/// Where a waiting flight's news come from.
#[derive(Debug)]
pub(crate) enum MemoryNews {
    Leader(Notice),
    Queue(Turn),
}

impl MemoryNews {
    pub(crate) async fn news(&mut self) -> News {
        match self {
            Self::Leader(notice) => notice.news().await,
            Self::Queue(turn) => turn.news().await,
        }
    }
}

/// What waiting flights are told: which claim landed, and with what.
pub(super) type LandedClaim = (Hash, StoredOutcome);

/// Told when a joined flight ends, or when it is time to see whether its leader still lives.
#[derive(Debug)]
pub(crate) struct Notice {
    claim: Hash,
    told: watch::Receiver<Option<LandedClaim>>,
    look_at: Instant,
}

impl Notice {
    pub(super) fn new(claim: Hash, told: watch::Receiver<Option<LandedClaim>>, look_at: Instant) -> Self {
        Self { claim, told, look_at }
    }

    async fn news(&mut self) -> News {
        tokio::select! {
            changed = self.told.changed() => match (changed, &*self.told.borrow_and_update()) {
                // Handed over, not looked up: a newcomer may have led the next flight already.
                (Ok(()), Some((claim, landed))) if *claim == self.claim => News::Landed(landed.clone()),
                _ => News::BeginAgain,
            },
            () = tokio::time::sleep_until(self.look_at) => News::BeginAgain,
        }
    }
}

/// Told when a queued flight has a permit, or when it is time to see whether one has come back by itself.
#[derive(Debug)]
pub(crate) struct Turn {
    came: oneshot::Receiver<()>,
    look_at: Instant,
}

impl Turn {
    pub(super) fn new(came: oneshot::Receiver<()>, look_at: Instant) -> Self {
        Self { came, look_at }
    }

    async fn news(&mut self) -> News {
        tokio::select! {
            // It has come, or the budget is gone: to begin again is right in both.
            _ = &mut self.came => {}
            () = tokio::time::sleep_until(self.look_at) => {}
        }
        News::BeginAgain
    }
}
