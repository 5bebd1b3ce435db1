//! Step 2, the contract: what a store is asked, and what it answers.
//!
//! The verbs are those of the scripts in `lua/`. Each is atomic, and idempotent per attempt: asking again after a timeout
//! gets the same answer and charges nothing twice. One suite tests every store by it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::error::Refusal;
use crate::identity::{Hash, Identity};
use crate::outcome::{Outcome, ProviderHealth};

/// A local flight that asks the fleet what to do.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) identity: Identity,
    /// New with every local flight: what makes a repeated `begin` the same `begin`.
    pub(crate) attempt: Uuid,
}

/// What `begin` answers. `N` is where the store's news for a waiting flight come from.
#[derive(Debug)]
pub(crate) enum Begun<N> {
    /// The outcome is already known.
    Landed(StoredOutcome),
    /// Nobody leads: the asker does, from now on.
    Lead(Lease),
    /// Somebody leads, or may come back with the answer.
    Join(Joined<N>),
    /// Too many ask the provider already: the asker has a place in the queue.
    Queued(Queued<N>),
    Rejected(Refusal),
}

impl<N> Begun<N> {
    /// The same answer, with another source of news.
    pub(crate) fn map_news<M>(self, wrap: impl FnOnce(N) -> M) -> Begun<M> {
        match self {
            Self::Landed(landed) => Begun::Landed(landed),
            Self::Lead(lease) => Begun::Lead(lease),
            Self::Join(Joined { fence, leader, news }) => Begun::Join(Joined { fence, leader, news: wrap(news) }),
            Self::Queued(Queued { since, news }) => Begun::Queued(Queued { since, news: wrap(news) }),
            Self::Rejected(refusal) => Begun::Rejected(refusal),
        }
    }
}

/// A flight's place in the queue for a permit.
#[derive(Debug)]
pub(crate) struct Queued<N> {
    /// When it came: what keeps its place when it asks again.
    pub(crate) since: Instant,
    pub(crate) news: N,
}

/// How a flight ended, for the store.
#[derive(Clone, Debug)]
pub(crate) struct Completion {
    pub(crate) outcome: Arc<Outcome>,
    /// What it says of the provider: mostly `Outcome::health`. A call that panicked and one that ran too long end as the
    /// same unknown outcome, and only the latter speaks against the provider.
    pub(crate) health: ProviderHealth,
    /// How long ago the provider answered.
    pub(crate) age: Duration,
}

/// An outcome as the store holds it.
#[derive(Clone, Debug)]
pub(crate) struct StoredOutcome {
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) fence: u64,
    /// How long ago the provider gave it.
    pub(crate) age: Duration,
}

/// A leader's claim on a flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    pub(crate) flight: Hash,
    pub(crate) claim: Hash,
    pub(crate) attempt: Uuid,
    pub(crate) fence: u64,
    /// When it was asked for, which is before the lease began.
    pub(crate) started: Instant,
    /// When the answer came, which is after that.
    pub(crate) granted: Instant,
    pub(crate) history: TokenHistory,
    /// Given by the pod itself, without the fleet (`on_store_outage = local`).
    pub(crate) is_local: bool,
}

/// What is known of the token when a leader starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenHistory {
    Unremarkable,
    /// Leaders of this token were lost: the provider may have rotated it.
    LostLeaders,
    /// It was rotated, and its outcome is no longer kept: the provider will judge a reuse.
    Rotated,
}

/// A flight somebody else leads.
#[derive(Debug)]
pub(crate) struct Joined<N> {
    /// The flight waits for the outcome of this fence; none when it is another claim's, which is not for this caller.
    pub(crate) fence: Option<u64>,
    pub(crate) leader: LeaderSeen,
    pub(crate) news: N,
}

/// What the store knows of the leader of a joined flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaderSeen {
    Living,
    /// Its lease is over; it may still come back with the answer.
    Lost,
}

/// What a waiting flight is told.
#[derive(Debug)]
pub(crate) enum News {
    Landed(StoredOutcome),
    /// Something may have changed: begin again.
    BeginAgain,
}

/// What `renew` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewed {
    Renewed,
    /// A newer fence has the flight. The refresh goes on all the same: a success will land.
    Superseded,
}

/// What stands after `complete`.
#[derive(Debug)]
pub(crate) enum Standing {
    /// What was completed.
    Ours,
    /// A success that landed first. Ours, if it was one, is a second.
    Theirs(StoredOutcome),
    /// Nothing that this leader's callers could be given: its failure came too late to matter.
    Stale,
}

/// The store gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct StoreError {
    pub(crate) reason: String,
    /// Whether it may have done, or may still do, what it was asked.
    pub(crate) may_have_run: bool,
}

impl StoreError {
    /// The store may have done what it was asked, or may still do it.
    pub(crate) fn may_have_run(reason: String) -> Self {
        Self { reason, may_have_run: true }
    }

    /// The store did not do what it was asked, and will not.
    pub(crate) fn did_not_run(reason: String) -> Self {
        Self { reason, may_have_run: false }
    }
}

/// Gaps in which a store may have forgotten.
pub(crate) struct Gaps(Option<watch::Receiver<u64>>);

impl Gaps {
    /// Of a store that counts them.
    pub(crate) fn counted(count: watch::Receiver<u64>) -> Self {
        Self(Some(count))
    }

    /// Of a store that forgets nothing.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Waits for the end of the next gap.
    pub(crate) async fn passed(&mut self) {
        if let Some(gaps) = &mut self.0
            && gaps.changed().await.is_ok()
        {
            return;
        }
        // This store forgets nothing, or is gone.
        std::future::pending().await
    }
}
