//! Step 2, the contract: where all pods agree who leads a flight, and where its outcome lands.
//!
//! Two stores keep it, one suite tests both: [`memory`] for one process, [`redis`] for a fleet. The verbs are
//! those of the scripts in `lua/`. Each is atomic, and idempotent per attempt: asking again after a timeout gets
//! the same answer and charges nothing twice.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::admission::Terms;
use crate::admission::circuit::CircuitState;
use crate::error::Refusal;
use crate::outcome::{Outcome, Verdict};
use crate::token::{Hash, Identity, Request, Secret};

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod contract;
pub(crate) mod memory;
pub(crate) mod redis;

/// The store of one coordinator.
#[derive(Debug)]
pub(crate) enum Store {
    Memory(memory::MemoryPod),
    Redis(redis::RedisStore),
}

/// A local flight that asks the fleet what to do.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) identity: Identity,
    /// New with every local flight: what makes a repeated `begin` the same `begin`.
    pub(crate) attempt: Uuid,
}

/// What `begin` answers.
#[derive(Debug)]
pub(crate) enum Begun {
    /// The outcome is already known.
    Landed(Landed),
    /// Nobody leads: the asker does, from now on.
    Lead(Lease),
    /// Somebody leads, or may come back with the answer.
    Join(Joined),
    /// Too many ask the provider already: the asker has a place in the queue.
    Queued(Queued),
    Rejected(Refusal),
}

/// A flight's place in the queue for a permit.
#[derive(Debug)]
pub(crate) struct Queued {
    /// When it came: what keeps its place when it asks again.
    pub(crate) since: Instant,
    pub(crate) waiting: Waiting,
}

/// How a flight ended, for the store.
#[derive(Clone, Debug)]
pub(crate) struct Completion {
    pub(crate) outcome: Arc<Outcome>,
    /// What it says of the provider. Not the outcome's to tell: of a panic and of a provider that does not answer it
    /// says the same, that nobody knows.
    pub(crate) verdict: Verdict,
    /// How long ago the provider answered.
    pub(crate) held: Duration,
}

/// An outcome as the store holds it.
#[derive(Clone, Debug)]
pub(crate) struct Landed {
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
    pub(crate) before: Before,
    /// Given by the pod itself, without the fleet (`on_store_outage = local`).
    pub(crate) is_alone: bool,
}

/// What is known of the token when a leader starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    Nothing,
    /// Leaders of this token were lost: the provider may have rotated it.
    LostLeaders,
    /// It was rotated, and its outcome is no longer kept: the provider will judge a reuse.
    Rotated,
}

/// A flight somebody else leads.
#[derive(Debug)]
pub(crate) struct Joined {
    /// The fence whose outcome is waited for; none when it is another claim's, which is not ours to get.
    pub(crate) fence: Option<u64>,
    pub(crate) leader: LeaderSeen,
    pub(crate) waiting: Waiting,
}

/// What the store knows of the leader of a joined flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaderSeen {
    Living,
    /// Its lease is over; it may still come back with the answer.
    Lost,
}

/// Where news of a joined flight come from.
#[derive(Debug)]
pub(crate) enum Waiting {
    Memory(memory::Notice),
    /// In memory, for a permit.
    Called(memory::Called),
    Redis(redis::Ticket),
}

/// What a waiting flight is told.
#[derive(Debug)]
pub(crate) enum News {
    Landed(Landed),
    /// Something may have changed: begin again.
    Look,
}

impl Waiting {
    /// Waits for the next news.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost: what came meanwhile is told by the next call, or found by the next `begin`.
    pub(crate) async fn news(&mut self) -> News {
        match self {
            Self::Memory(notice) => notice.news().await,
            Self::Called(called) => called.news().await,
            Self::Redis(ticket) => ticket.news().await,
        }
    }
}

/// What `renew` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewed {
    Renewed,
    /// A newer fence has the flight. The refresh goes on all the same: a success will land.
    Lost,
}

/// What stands after `complete`.
#[derive(Debug)]
pub(crate) enum Standing {
    /// What was completed.
    Ours,
    /// A success that landed first. Ours, if it was one, is a second.
    Theirs(Landed),
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
    /// Asked, and no answer that counts.
    pub(crate) fn unanswered(reason: String) -> Self {
        Self { reason, may_have_run: true }
    }

    /// Known to be of no use, and therefore not asked.
    pub(crate) fn not_asked(reason: String) -> Self {
        Self { reason, may_have_run: false }
    }
}

// What Redis takes is boxed: its futures are large, and every flight in memory would be as large, and moved about.
impl Store {
    /// What the request is called here.
    pub(crate) fn identity(&self, request: Request, pepper: Option<&Secret>) -> Identity {
        match self {
            Self::Memory(_) => request.in_process(pepper),
            Self::Redis(_) => request.in_fleet(pepper),
        }
    }

    /// Asks, in one atomic step, what a flight is to do. `joined` is the fence it joined before, if it did.
    pub(crate) async fn begin(&self, ask: &Ask, joined: Option<u64>, terms: &Terms) -> Result<Begun, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.begin(ask, joined, terms)),
            Self::Redis(redis) => Box::pin(redis.begin(ask, joined, terms)).await,
        }
    }

    /// Moves the lease on, if no newer leader has the flight.
    pub(crate) async fn renew(&self, lease: &Lease) -> Result<Renewed, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.renew(lease)),
            Self::Redis(redis) => Box::pin(redis.renew(lease)).await,
        }
    }

    /// Lands an outcome, frees lease, permit and probe, moves the circuit and tells who waits, in one step.
    pub(crate) async fn complete(
        &self,
        lease: &Lease,
        ask: &Ask,
        completion: &Completion,
    ) -> Result<Standing, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.complete(lease, ask, completion)),
            Self::Redis(redis) => Box::pin(redis.complete(lease, ask, completion)).await,
        }
    }

    /// Gives back a lead whose refresh function was never polled, with its permit, its probe and its charge.
    pub(crate) async fn abandon(&self, lease: &Lease, ask: &Ask) -> Result<(), StoreError> {
        match self {
            Self::Memory(memory) => memory.abandon(lease, ask),
            Self::Redis(redis) => Box::pin(redis.abandon(lease, ask)).await?,
        }
        Ok(())
    }

    /// Makes an attempt arrive as abandoned whose `begin` may still be on its way, and gives up its place in the
    /// queue.
    pub(crate) async fn disown(&self, ask: &Ask, queued_since: Option<Instant>) -> Result<(), StoreError> {
        match self {
            // A begin in memory is never on its way.
            Self::Memory(memory) => memory.leave_queue(ask, queued_since),
            Self::Redis(redis) => Box::pin(redis.disown(ask, queued_since)).await?,
        }
        Ok(())
    }

    /// The circuit, as it stands.
    pub(crate) async fn circuit_state(&self) -> Result<CircuitState, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.circuit_state()),
            Self::Redis(redis) => Box::pin(redis.circuit_state()).await,
        }
    }

    /// Whether the store answers.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Redis(redis) => Box::pin(redis.check()).await,
        }
    }

    /// Notes an outcome that could not be shared yet: it goes first when the store is back. Until the guard is
    /// dropped.
    pub(crate) fn hold(&self) -> Option<redis::Held> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(redis) => Some(redis.hold()),
        }
    }

    /// Whether the store is known not to answer. [`gaps`](Self::gaps) tell when it does again.
    pub(crate) fn is_out_of_reach(&self) -> bool {
        match self {
            Self::Memory(_) => false,
            Self::Redis(redis) => redis.is_out_of_reach(),
        }
    }

    /// Told when the store may have forgotten what it held, and when it is back.
    pub(crate) fn gaps(&self) -> Gaps {
        match self {
            Self::Memory(_) => Gaps(None),
            Self::Redis(redis) => Gaps(Some(redis.gaps())),
        }
    }

    /// Waits for outcomes that the store was not told of yet.
    pub(crate) async fn drained(&self) {
        match self {
            Self::Memory(_) => {}
            Self::Redis(redis) => redis.drained().await,
        }
    }

    /// Ends what the store runs in the background. What waits is told to look, and finds the store closed.
    pub(crate) fn close(&self) {
        match self {
            Self::Memory(_) => {}
            Self::Redis(redis) => redis.close(),
        }
    }
}

/// Gaps in which a store may have forgotten.
pub(crate) struct Gaps(Option<tokio::sync::watch::Receiver<u64>>);

impl Gaps {
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
