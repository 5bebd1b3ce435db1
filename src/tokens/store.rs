//! What a session store is asked, and what it answers.

use super::session_tokens::SessionTokens;
use crate::secret::Secret;

/// Where an application keeps the tokens of its sessions.
///
/// Each call is one atomic step of the store, and may be made by any pod at any time. A call that fails may have been done all
/// the same: doing it again changes nothing. Calls are given up after a while
/// ([`store_timeout`](super::AccessTokens::store_timeout)).
///
/// [`MemoryTokens`](super::MemoryTokens) is one to read, [the module](super) has the one statement in SQL.
pub trait TokenStore: Send + Sync + 'static {
    /// What the store says when it fails. It must not hold a token.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The session's tokens. None where there is no such session, or none any more.
    fn load(&self, session: &str) -> impl Future<Output = Result<Option<SessionTokens>, Self::Error>> + Send;

    /// Replaces the tokens if the session still holds one of these refresh tokens and `new` is exactly one write later
    /// ([`SessionTokens::writes`]): see [`SessionTokens::may_replace`]. Without the second check two claims of a session that are
    /// refreshed at once would overwrite each other.
    fn swap(
        &self,
        session: &str,
        walked: &[Secret],
        new: &SessionTokens,
    ) -> impl Future<Output = Result<Swap, Self::Error>> + Send;

    /// Ends the session, where it still holds one of these refresh tokens. [`Swap::Written`] says that it has ended now.
    fn end(&self, session: &str, refused: &[Secret]) -> impl Future<Output = Result<Swap, Self::Error>> + Send;
}

/// What a store has done, or found instead.
#[derive(Clone, Debug)]
pub enum Swap {
    /// It is done.
    Written,
    /// Nothing was done: the session holds these tokens.
    Newer(SessionTokens),
    /// Nothing was done: there is no such session, or none any more.
    Gone,
}
