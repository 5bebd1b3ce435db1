//! What is known of a flight that follows other claims, and of its token.

use std::time::Duration;

use crate::identity::Hash;
use crate::store::contract::{self, Ask, Coming, StoredOutcome};
use crate::store::memory::family::FamilyRecord;
use crate::store::memory::news::MemoryNews;

pub(super) type Followed = contract::Followed<MemoryNews>;

/// What is known of the token that a flight comes with.
pub(super) struct Seen {
    pub(super) id: Hash,
    pub(super) holder: Hash,
    /// The family's key, sealed for the holder.
    pub(super) key: Option<Vec<u8>>,
    pub(super) place: u64,
    /// It belonged to a login when the flight came.
    pub(super) is_member: bool,
    pub(super) is_rotated: bool,
    /// Whether anything says that it is no made-up one.
    pub(super) is_proven: bool,
    /// The claim that it was given to, and for how long that is known.
    pub(super) to: Option<(Hash, Duration)>,
    /// How that claim is called with the token before, while anything is held for that.
    pub(super) to_came: Option<Hash>,
    /// Whether it was given to the claim that asks, and nobody has come with it.
    pub(super) is_given_unused: bool,
    /// The claim that presents it, or has.
    pub(super) presents: Option<Hash>,
    /// What another claim was given for it, and what is held for it.
    pub(super) other: Option<(Hash, StoredOutcome)>,
    /// Whether its claim came to the login that is named after the holder, where the token belongs to another.
    pub(super) came_there: bool,
    pub(super) is_held: bool,
    /// The token that followed, where it stands, for how long the claim is known that was given it, whether an answer is held for it, and
    /// in which login it was presented.
    pub(super) next: Option<Hash>,
    pub(super) next_place: Option<u64>,
    pub(super) next_holds: Option<Duration>,
    pub(super) is_next_held: bool,
    pub(super) went_on_in: Option<Hash>,
}

impl Seen {
    /// Whether the family tells nothing newer than this token: it is the newest, or the family's key does not stand beside it.
    pub(super) fn is_end(&self, family: &FamilyRecord, flight: &Hash) -> bool {
        family.newest.as_ref().is_none_or(|newest| newest.flight == *flight) || self.key.is_none()
    }
}

/// A flight that asks: as what, and for whom.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) ask: &'a Ask,
    /// The question of its caller's own token, where its turn has led it on from there.
    pub(super) own: Option<&'a Ask>,
    pub(super) may_lead: bool,
}

impl<'a> Asker<'a> {
    /// Of its caller's own token.
    pub(super) fn first(self) -> &'a Ask {
        self.own.unwrap_or(self.ask)
    }

    pub(super) fn is_led_on(self) -> bool {
        matches!(self.ask.coming, Coming::Claiming { .. })
    }

    pub(super) fn comes_directly(self) -> bool {
        !self.is_led_on() && !matches!(self.ask.coming, Coming::Taking { .. } | Coming::Walking { .. })
    }
}
