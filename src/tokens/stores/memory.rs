//! Sessions' tokens in the process's own memory.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::secret::Secret;
use crate::tokens::session_tokens::SessionTokens;
use crate::tokens::store::{Swap, TokenStore};

/// Sessions' tokens in memory, shared by clones: for one process, and for tests. It holds them until they are ended.
#[derive(Clone, Default)]
pub struct MemoryTokens(Arc<Mutex<HashMap<String, SessionTokens>>>);

impl MemoryTokens {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a session, or lets it begin anew: at login.
    pub fn put(&self, session: impl Into<String>, tokens: SessionTokens) {
        self.sessions().insert(session.into(), tokens);
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.sessions().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, SessionTokens>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenStore for MemoryTokens {
    type Error = Infallible;

    async fn load(&self, session: &str) -> Result<Option<SessionTokens>, Infallible> {
        Ok(self.sessions().get(session).cloned())
    }

    async fn swap(&self, session: &str, walked: &[Secret], new: &SessionTokens) -> Result<Swap, Infallible> {
        Ok(match self.sessions().get_mut(session) {
            None => Swap::Gone,
            Some(held) if new.may_replace(held, walked) => {
                *held = new.clone();
                Swap::Written
            }
            Some(held) => Swap::Newer(held.clone()),
        })
    }

    async fn end(&self, session: &str, refused: &[Secret]) -> Result<Swap, Infallible> {
        let mut sessions = self.sessions();
        Ok(match sessions.get(session) {
            None => Swap::Gone,
            Some(held) if refused.iter().any(|token| token.expose() == held.refresh_token().expose()) => {
                sessions.remove(session);
                Swap::Written
            }
            Some(held) => Swap::Newer(held.clone()),
        })
    }
}

impl fmt::Debug for MemoryTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTokens").field("sessions", &self.len()).finish()
    }
}
