//! What is known of a chain of tokens in memory: the link of a record, the answer that is held, and what a flight finds.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::identity::Hash;
use crate::store::contract::{Begun, Held};

/// Where a token stands in its chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Who may say that it was used.
    pub(super) holder: Hash,
    pub(super) generation: u64,
    /// The highest generation that somebody came with directly.
    pub(super) used: u64,
    /// Until when a caller with an older token may present it. None once it was rotated, or is dead.
    pub(super) given_until: Option<Instant>,
    /// The flight of the token before it.
    pub(super) before: Hash,
    /// The claim that the token was given to, as it is called with it, and for how long that is known.
    pub(super) to: Option<(Hash, Duration)>,
}

/// An answer that is held for a token.
#[derive(Debug)]
pub(super) struct HeldAnswer {
    pub(super) claim: Hash,
    pub(super) holder: Hash,
    pub(super) attempt: Uuid,
    pub(super) fence: u64,
    pub(super) at: Instant,
    pub(super) until: Instant,
    pub(super) generation: u64,
    pub(super) used: u64,
    /// The flight of the token before this one.
    pub(super) before: Option<Hash>,
    /// The flight of the token in it.
    pub(super) next: Hash,
    pub(super) sealed: Vec<u8>,
}

impl HeldAnswer {
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.until <= now
    }
}

/// What a flight finds of its chain.
pub(super) enum Found<N> {
    /// What it is to be told, whatever else is known of its token.
    Told(Begun<N>),
    /// The answer that is held for it, should nothing that is fresh stand.
    Held {
        held: Held,
        /// Somebody has ended the session of the token that followed: a newcomer is to look at that first.
        next_has_ended: bool,
    },
    /// Its answer is held, and it is to present the token all the same, or another claim's is.
    Rotated,
    Nothing,
}
