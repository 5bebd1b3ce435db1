//! What a session's row is to the handle of one claim.

use super::access_token::AccessToken;
use super::claim::Claim;
use super::grant::Grant;
use super::session_tokens::SessionTokens;
use crate::secret::Secret;

/// A session's row as the handle of one claim sees it: of all its access tokens one counts.
#[derive(Clone, Debug)]
pub(super) struct Held {
    row: SessionTokens,
    claim: Claim,
}

impl Held {
    pub(super) fn new(row: SessionTokens, claim: &Claim) -> Self {
        Self { row, claim: claim.clone() }
    }

    pub(super) fn row(&self) -> &SessionTokens {
        &self.row
    }

    pub(super) fn into_row(self) -> SessionTokens {
        self.row
    }

    pub(super) fn claim(&self) -> &Claim {
        &self.claim
    }

    /// None where the row has none for this claim.
    pub(super) fn grant(&self) -> Option<&Grant> {
        self.row.grant(&self.claim)
    }

    pub(super) fn refresh_token(&self) -> &Secret {
        self.row.refresh_token()
    }

    /// The fence of the answer that its caller has already. A row forgets those of refresh tokens that it does not hold any more: no
    /// outcome of the one that it holds is that old.
    pub(super) fn fence(&self) -> Option<u64> {
        self.grant()?.fence
    }

    /// Whether this claim's access token is the same as before, or is not there any more: then nobody has refreshed it since.
    pub(super) fn is_unchanged_since(&self, before: &Self) -> bool {
        match (self.grant(), before.grant()) {
            (None, _) => true,
            (Some(now), Some(then)) => now.has_same_token(then),
            (Some(_), None) => false,
        }
    }

    /// Whether this is the access token of this claim.
    pub(super) fn has_access_token(&self, token: &str) -> bool {
        self.grant().is_some_and(|grant| grant.access_token.expose() == token)
    }

    /// Whether there is more to go by than there was before: another refresh token, or another access token of this claim.
    pub(super) fn is_newer_than(&self, before: &Self) -> bool {
        self.refresh_token().expose() != before.refresh_token().expose() || !self.is_unchanged_since(before)
    }

    /// What its caller is handed, where that lives.
    pub(super) fn into_access_token(self) -> AccessToken {
        let (grant, id_token) = self.row.into_grant(&self.claim);
        AccessToken::new(grant.expect("BUG: what lives is there"), id_token)
    }
}
