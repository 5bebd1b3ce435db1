//! What a request is sent for.

/// What a request is sent for: an extension of every request that the HTTP call is given, so that it can keep what is
/// passed on from taking what refreshes need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// The refresh of a flight, for all its callers.
    Refresh,
    /// A revocation as a caller sent it. Its token may be of any session or of none.
    Revocation,
    /// The revocation of a token that only the coordinator knows: it came for a session that was ended, or is the newest one of such a
    /// session. It is not to wait behind [`Revocation`](Self::Revocation), which anybody may ask for.
    OwnRevocation,
    /// Anything else, for the one caller that sent it.
    PassedOn,
}
