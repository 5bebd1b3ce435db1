//! What a request is sent for.

/// What a request is sent for: an extension of every request that the HTTP call is given, so that it can keep what is
/// passed on from taking what refreshes need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// The refresh of a flight, for all its callers.
    Refresh,
    /// A revocation: a caller's, or that of tokens which came for a session that was ended.
    Revocation,
    /// Anything else, for the one caller that sent it.
    PassedOn,
}
