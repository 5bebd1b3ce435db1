//! Words: what the signed texts of a request prove of its caller.

/// Which key the caller's tokens will be bound to (RFC 9449).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DpopKey {
    /// None: there is no proof.
    Absent,
    /// The key with this thumbprint (RFC 7638) is the caller's.
    Proven(String),
    /// There is a proof that is not believed: the provider will say what is wrong with it.
    Doubtful,
}

/// The client that has signed an assertion.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signatory {
    pub(super) client: String,
    /// That of the key (RFC 7638): it stands for the client as a secret does for others.
    pub(super) thumbprint: String,
}
