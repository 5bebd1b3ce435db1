//! The steps of a call and of a presentation: as pods and provider tell them, and as the history keeps them.

use serde::{Deserialize, Serialize};

/// How far a call is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum CallStep {
    /// Its pod leads, and calls the refresh function.
    Led {
        fence: u64,
    },
    At(Stage),
    /// The refresh function has ended.
    Answered(Answer),
    /// The caller is told.
    Outcome(Outcome),
}

/// A turn of the way of a call to the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// The function was called and has not connected yet.
    Called,
    /// The request is out.
    Sent,
    /// The answer is in hand, and the coordinator does not know it yet.
    Answered,
}

/// What a call came back with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Success {
        successor: String,
    },
    Denied,
    NotSent,
    Busy,
    Unknown,
    /// It panicked, or its future was dropped.
    GivenUp,
}

/// What a caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Success {
        successor: String,
        fence: u64,
        role: String,
    },
    /// The session is over.
    Over {
        why: String,
    },
    /// It may come again.
    Later {
        why: String,
        retry_after_ms: u64,
    },
    /// Its pod ended first.
    Gone,
    /// It went away itself.
    Dropped,
}

/// How far the provider is with a refresh token that arrived.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum PresentationStep {
    /// Written before it is judged.
    Presented {
        token: String,
        call: u64,
    },
    Judged(Verdict),
    Replied(Reply),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    Rotated,
    /// Looked at, and left as it is.
    Untouched,
    /// A token that was used before: its family ends.
    Reused,
    /// A token of a family that has ended.
    Revoked,
    WrongClient,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    Whole,
    /// As its mode says, or nobody was there any more.
    Broken,
}

/// The call id of the driver itself, when it looks whether a session lives.
pub(crate) const BY_DRIVER: u64 = 0;
