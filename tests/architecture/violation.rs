//! Something to mend: where, what is wrong, and the remedy.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// From the root of the repository, with `/`.
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl Violation {
    pub(crate) fn new(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}
