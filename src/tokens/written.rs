//! A session's row as one text. A store may be read by another release: fields may be added, and are never given another meaning.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::grant::Grant;
use crate::secret::Secret;

/// A store holds something that is none of [`SessionTokens::to_text`](super::SessionTokens::to_text).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what is stored of the session's tokens cannot be read")]
pub struct UnreadableTokens;

#[derive(Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) access_token: Zeroizing<String>,
    pub(super) refresh_token: Zeroizing<String>,
    pub(super) expires_at_ms: i64,
    pub(super) lifetime_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id_token: Option<Zeroizing<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fence: Option<u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) claims: BTreeMap<String, WrittenGrant>,
    /// Stores read it in here, too.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) writes: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) login: Option<String>,
}

/// The access token of a claim.
#[derive(Serialize, Deserialize)]
pub(super) struct WrittenGrant {
    pub(super) access_token: Zeroizing<String>,
    pub(super) expires_at_ms: i64,
    pub(super) lifetime_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fence: Option<u64>,
}

fn is_zero(writes: &u32) -> bool {
    *writes == 0
}

impl Written {
    pub(super) fn text(&self) -> Secret {
        Secret::from(serde_json::to_string(self).expect("BUG: texts and numbers are written as JSON"))
    }

    /// The error quotes nothing.
    pub(super) fn from_text(text: &str) -> Result<Self, UnreadableTokens> {
        serde_json::from_str(text).map_err(|_| UnreadableTokens)
    }
}

impl WrittenGrant {
    pub(super) fn of(grant: &Grant) -> Self {
        Self {
            access_token: zeroizing(&grant.access_token),
            expires_at_ms: grant.expires_at_ms(),
            lifetime_ms: i64::try_from(grant.lifetime.as_millis()).unwrap_or(i64::MAX),
            scope: grant.scope.clone(),
            fence: grant.fence,
        }
    }

    pub(super) fn read(self) -> Result<Grant, UnreadableTokens> {
        let ms = |number: i64| u64::try_from(number).map(Duration::from_millis).map_err(|_| UnreadableTokens);
        Ok(Grant {
            access_token: secret(&self.access_token),
            expires_at: UNIX_EPOCH.checked_add(ms(self.expires_at_ms)?).ok_or(UnreadableTokens)?,
            lifetime: ms(self.lifetime_ms)?,
            scope: self.scope,
            fence: self.fence,
        })
    }
}

pub(super) fn zeroizing(secret: &Secret) -> Zeroizing<String> {
    Zeroizing::new(secret.expose().to_owned())
}

pub(super) fn secret(text: &Zeroizing<String>) -> Secret {
    Secret::from(text.as_str())
}
