//! What may happen.

use std::fmt::{self, Display};

/// One thing that happens. Callers by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A caller comes.
    Come(usize),
    /// A thief takes the first caller's token.
    Steal(usize),
    /// A flight asks the store.
    Ask(usize),
    /// A flight sends the token.
    Present(usize),
    /// The same, and the provider leaves the token as it was.
    PresentToBusy(usize),
    /// The outcome lands.
    Complete(usize),
    /// The same, and the caller does not get it.
    CompleteMissed(usize),
    /// The pod of a caller tells how far the way from an older token goes.
    Leave(usize),
    /// A pod dies.
    Crash(usize),
    /// A record of a token is lost, or that of the family.
    Evict(Option<u8>),
    /// Redis loses what is held for a token.
    EvictHeld(u8),
    /// A replica is promoted without so many writes.
    Promote(usize),
    /// The same, and what lands again comes too late to be held.
    PromoteLater(usize),
    /// Redis loses all it has.
    Flush,
    /// A moment passes: what has just landed is over.
    Lull,
    /// The access tokens are over.
    Age,
}

/// The name of a caller.
pub fn name(index: usize) -> char {
    char::from(b'A' + index as u8)
}

impl Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Come(caller) => write!(f, "{} comes", name(caller)),
            Self::Steal(caller) => write!(f, "{} steals the token of A", name(caller)),
            Self::Ask(caller) => write!(f, "the flight of {} asks", name(caller)),
            Self::Present(caller) => write!(f, "the flight of {} presents", name(caller)),
            Self::PresentToBusy(caller) => write!(f, "the flight of {} presents to a busy provider", name(caller)),
            Self::Complete(caller) => write!(f, "the outcome of {} lands", name(caller)),
            Self::CompleteMissed(caller) => {
                write!(f, "the outcome of {0} lands, and {0} does not get it", name(caller))
            }
            Self::Leave(caller) => write!(f, "the pod of {} tells how far the way goes", name(caller)),
            Self::Crash(caller) => write!(f, "the pod of {} dies", name(caller)),
            Self::Evict(Some(token)) => write!(f, "Redis loses the record of T{token}"),
            Self::Evict(None) => write!(f, "Redis loses the family"),
            Self::Promote(lost) => write!(f, "a replica is promoted without the last {lost} writes"),
            Self::PromoteLater(lost) => {
                write!(f, "a replica is promoted without the last {lost} writes, and hears late of what it lacks")
            }
            Self::EvictHeld(token) => write!(f, "Redis loses what is held for T{token}"),
            Self::Flush => write!(f, "Redis loses all it has"),
            Self::Lull => write!(f, "what has just landed is over"),
            Self::Age => write!(f, "the access tokens are over"),
        }
    }
}
