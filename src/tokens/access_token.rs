//! What a caller gets.

use std::fmt;
use std::time::SystemTime;

use super::grant::Grant;
use crate::secret::Secret;

/// An access token that can be used now.
#[derive(Clone)]
pub struct AccessToken {
    grant: Grant,
    id_token: Option<Secret>,
}

impl AccessToken {
    pub(super) fn new(grant: Grant, id_token: Option<Secret>) -> Self {
        Self { grant, id_token }
    }

    pub(super) fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The token itself, for a header.
    pub fn expose(&self) -> &str {
        self.grant.access_token.expose()
    }

    /// When it ends.
    pub fn expires_at(&self) -> SystemTime {
        self.grant.expires_at
    }

    /// Its scope, as the provider named it last.
    pub fn scope(&self) -> Option<&str> {
        self.grant.scope.as_deref()
    }

    /// The session's id token, as the provider gave it last.
    pub fn id_token(&self) -> Option<&Secret> {
        self.id_token.as_ref()
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("expires_at", &self.expires_at()).finish_non_exhaustive()
    }
}
