//! Why a request has no answer.

use std::error::Error;

use refresh_coordinator_cli::{chain, innermost};

/// Why there is no answer. Neither URL nor token is in it.
#[derive(Debug)]
pub(crate) struct Unanswered {
    /// Whether the other side can have seen anything of the request.
    pub(crate) may_have_arrived: bool,
    /// The error and its causes.
    pub(crate) reason: String,
    /// The innermost cause alone, for a line that says already what failed.
    pub(crate) cause: String,
}

impl Unanswered {
    pub(super) fn new(may_have_arrived: bool, error: &(dyn Error + 'static)) -> Self {
        Self { may_have_arrived, reason: chain(error), cause: innermost(error) }
    }
}
