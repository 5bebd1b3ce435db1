//! What a flight knows of its way at such a store.

use super::super::scripts::Ask as OwnAsk;
use super::begin::{Ask, Coming};
use super::follow::Origin;

/// An answer that a flight has found that walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Walk {
    /// The token in it.
    pub next: u8,
    /// The access token is good.
    pub is_good: bool,
    /// It was not the first.
    pub is_long: bool,
}

/// What a flight knows beside its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Course {
    /// As what it comes to the token that it asks about.
    pub coming: Coming,
    /// The place that it comes from.
    pub from: u8,
    /// It has joined a leader.
    pub has_joined: bool,
    /// It asks where the other claims went.
    pub is_following: bool,
    /// How far it walked.
    pub walk: Option<Walk>,
    /// From where it comes in its turn.
    pub origin: Option<Origin>,
    /// The token that it was led on from, and as what it came to that.
    pub led_on: Option<(u8, Coming, u8)>,
    /// A newest token that others had presented when it came to that.
    pub presented_since: u8,
}

impl Course {
    /// What the flight asks of the store.
    pub fn question(&self, ask: &OwnAsk) -> Ask {
        let Self { coming, from, has_joined, .. } = *self;
        Ask { flight: ask.flight, claim: ask.claim, token: ask.token, coming, from, has_joined }
    }

    /// The token that it was led on from, and its place.
    pub fn own_in_turn(&self) -> Option<(u8, u8)> {
        let is_led_on = self.coming == Coming::Claim;
        self.led_on.zip(self.origin).filter(|_| is_led_on).map(|((token, ..), origin)| (token, origin.place))
    }
}
