//! A flight: where it is on its way.

use super::redis::TokenState;
use super::scripts::{Ask, Coming};

/// The newest answer that a walker found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Found {
    /// The token in it.
    pub answer: u8,
    /// Its fence.
    pub fence: u8,
    /// So many were looked at.
    pub looked_at: u8,
}

/// What the provider does with a token that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// What it does with it, and its answer arrives.
    Arrives,
    /// The same, and the answer is too large to be held.
    IsLarge,
    /// The same, and its answer is lost.
    IsLost,
    /// It never got the token, and nobody knows that.
    NeverSent,
    /// It is busy, and touches nothing.
    IsBusy,
    /// It tells a stranger that the token is dead, for it is not the stranger's.
    IsDisowned,
}

/// A call that is under way, or over and not landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// The fence that it is made under.
    pub fence: u8,
    /// What the provider did.
    pub outcome: TokenState,
    /// The server that was noted when the answer came. None while it is on its way.
    pub epoch: Option<u8>,
    /// It was long on its way to Redis.
    pub is_late: bool,
    /// Too large to be held.
    pub is_large: bool,
}

/// What a flight does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// It asks the store.
    Asking,
    /// It was given the lead, under this fence.
    Led(u8),
    /// The token was sent.
    Calling(Call),
    /// It tells the store how far it came: the answer and its fence, or that the way leads nowhere.
    Leaving(Option<(u8, u8)>),
}

/// A flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flight {
    /// The token that its caller came with.
    pub own: u8,
    /// What it asks.
    pub ask: Ask,
    /// What it found on its way. None where it does not walk.
    pub found: Option<Found>,
    /// It has presented a token.
    pub has_called: bool,
    /// What its own call brought, where another leader took over.
    pub overtaken: Option<TokenState>,
    /// It waits behind another client, and has a place in the order.
    pub has_turn: bool,
    /// The server that its lead stands at.
    pub server: u8,
    /// The judge's: the tokens that were used when it began.
    pub uses: u8,
    /// The judge's: when it was given the lead, nobody knew what the provider had done with the token.
    pub is_unsure: bool,
    /// What it does next.
    pub step: Step,
}

impl Flight {
    /// Whether it leads, as far as it knows.
    pub fn is_leading(&self) -> bool {
        matches!(self.step, Step::Led(_) | Step::Calling(_))
    }

    /// Goes on to the token of an answer.
    pub fn goes_on(&mut self, attempt: u8, answer: u8, coming: Coming, from: u8) {
        self.ask = Ask { attempt, token: answer, coming, from, joined: 0, ..self.ask };
    }
}
