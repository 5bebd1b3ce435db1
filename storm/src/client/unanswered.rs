//! Why a request has no answer.

use std::error::Error;

/// Why there is no answer. Neither URL nor token is in it.
#[derive(Debug)]
pub(crate) struct Unanswered {
    /// Whether the other side can have seen anything of the request.
    pub(crate) may_have_arrived: bool,
    /// From what failed to what it failed for.
    causes: Vec<String>,
}

impl Unanswered {
    pub(super) fn new(may_have_arrived: bool, error: &dyn Error) -> Self {
        let mut causes = vec![error.to_string()];
        let mut cause = error.source();
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        Self { may_have_arrived, causes }
    }

    /// All of it.
    pub(crate) fn reason(&self) -> String {
        self.causes.join(": ")
    }

    /// The innermost cause says what happened; the outer ones say that something did.
    pub(crate) fn cause(&self) -> &str {
        self.causes.last().map_or("", String::as_str)
    }
}
