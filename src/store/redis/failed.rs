//! How a try at Redis fails, and what is told of it.

use redis::RedisError;

use super::verdict::Verdict;
use crate::store::contract::StoreError;

/// How a single try fails.
#[derive(Debug)]
pub(super) enum Failed {
    /// No connection could be made, so nothing was sent. None: not in time.
    Unconnected(Option<RedisError>),
    /// The connection ended, or another could not be made beside it. What was sent may have run.
    Broken(RedisError),
    /// No answer in time. It may come later, and the command may run.
    Silent,
    /// An error reply: it did not run. Or a reply of a kind that this release does not know.
    Refused { verdict: Verdict, error: RedisError },
}

/// Why a call has no reply.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) error: StoreError,
    /// A script failed, or a key holds what it should not.
    pub(super) is_wrong: bool,
    /// None: it was repeated for as long as a call may take, and got no answer that counts.
    pub(super) time_left: TimeLeft,
}

/// Whether a call was given up before its time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeLeft {
    Some,
    None,
}

impl Failed {
    pub(super) fn may_have_run(&self) -> bool {
        match self {
            Self::Broken(_) | Self::Silent => true,
            // An error without a code is none of Redis': a reply that this release cannot read.
            Self::Refused { error, .. } => error.code().is_none(),
            Self::Unconnected(_) => false,
        }
    }

    /// What Redis said, or the way there.
    pub(super) fn said(&self) -> Option<String> {
        match self {
            Self::Unconnected(error) => error.as_ref().map(ToString::to_string),
            Self::Broken(error) | Self::Refused { error, .. } => Some(error.to_string()),
            Self::Silent => None,
        }
    }

    /// As the end of a call: this try or one before it may have run.
    pub(super) fn settled(&self, reason: String, may_have_run: bool, time_left: TimeLeft) -> Unanswered {
        let error = if may_have_run { StoreError::may_have_run(reason) } else { StoreError::did_not_run(reason) };
        let is_wrong = matches!(self, Self::Refused { verdict: Verdict::Wrong, error } if error.code().is_some());
        Unanswered { error, is_wrong, time_left }
    }
}
