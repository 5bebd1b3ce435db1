//! What a caller gets.

use std::fmt;
use std::time::SystemTime;

use super::session_tokens::SessionTokens;
use crate::secret::Secret;

/// An access token that can be used now.
#[derive(Clone)]
pub struct AccessToken(SessionTokens);

impl AccessToken {
    pub(super) fn of(tokens: SessionTokens) -> Self {
        Self(tokens)
    }

    pub(super) fn tokens(&self) -> &SessionTokens {
        &self.0
    }

    /// The token itself, for a header.
    pub fn expose(&self) -> &str {
        self.0.access_token().expose()
    }

    /// When it ends.
    pub fn expires_at(&self) -> SystemTime {
        self.0.expires_at()
    }

    /// Its scope, as the provider named it last.
    pub fn scope(&self) -> Option<&str> {
        self.0.scope()
    }

    /// The session's id token, as the provider gave it last.
    pub fn id_token(&self) -> Option<&Secret> {
        self.0.id_token()
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("expires_at", &self.expires_at()).finish_non_exhaustive()
    }
}
