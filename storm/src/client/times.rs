//! How long a request may take.

use std::time::Duration;

#[derive(Clone, Copy)]
pub(super) struct Times {
    /// Connecting alone.
    pub(super) connect: Duration,
    /// From connecting to the last byte of the answer.
    pub(super) whole: Duration,
}
