//! Why a pod does not take part.

use crate::error::ConnectError;

pub(super) struct NotEnrolled {
    pub(super) error: ConnectError,
    /// Redis is not there, or not ready: what is wrong may pass by itself.
    pub(super) is_away: bool,
}
