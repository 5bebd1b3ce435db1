//! What a session holds: its access tokens with their ends, and the refresh token that brings the next ones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::claim::Claim;
use super::grant::Grant;
use super::written::{UnreadableTokens, Written, WrittenGrant, secret, zeroizing};
use crate::identity::Hash;
use crate::secret::Secret;

/// So many claims a session holds access tokens for, beside the login's own.
const MOST_CLAIMS: usize = 64;

/// The tokens of a session: one refresh token, the login's own access token, and those of its other claims
/// ([`AccessTokens::claim`](super::AccessTokens::claim)).
#[derive(Clone, Debug)]
pub struct SessionTokens {
    refresh_token: Secret,
    own: Grant,
    id_token: Option<Secret>,
    /// Shared by copies: mostly only one of them is looked at.
    claims: Arc<BTreeMap<Arc<str>, Grant>>,
    /// How often they were replaced.
    writes: u32,
    /// The refresh token that they began with. None where it is the one they hold.
    login: Option<Hash>,
}

impl SessionTokens {
    /// Tokens that were given at `at`, the access token for `lifetime`: 100 years at most.
    pub fn new(
        access_token: impl Into<Secret>,
        refresh_token: impl Into<Secret>,
        at: SystemTime,
        lifetime: Duration,
    ) -> Self {
        Self::of(refresh_token.into(), Grant::new(access_token.into(), at, lifetime), None)
    }

    /// What a login begins with.
    pub(super) fn of(refresh_token: Secret, own: Grant, id_token: Option<Secret>) -> Self {
        Self { refresh_token, own, id_token, claims: Arc::default(), writes: 0, login: None }
    }

    /// These in the place of those that a session holds: one write later, and with the access tokens of its other claims.
    ///
    /// For the tests of a store, and for programs that write to a store without [`AccessTokens`](super::AccessTokens).
    pub fn in_place_of(self, held: &Self) -> Self {
        let row = held.rewritten(self.refresh_token, self.id_token);
        Self { own: self.own, ..row }
    }

    /// The same row one write later, with this refresh token. The fences in it are those of the refresh token that it holds.
    pub(super) fn rewritten(&self, refresh_token: Secret, id_token: Option<Secret>) -> Self {
        let login = Some(self.login());
        let is_rotated = refresh_token.expose() != self.refresh_token.expose();
        let (id_token, writes) = (id_token.or_else(|| self.id_token.clone()), self.writes.wrapping_add(1));
        let mut row = Self { refresh_token, id_token, writes, login, ..self.clone() };
        if is_rotated {
            row.own.fence = None;
            Arc::make_mut(&mut row.claims).values_mut().for_each(|grant| grant.fence = None);
        }
        row
    }

    /// The same row with this access token of a claim. Those of other claims that have ended are left out, and where there are too
    /// many, the one that ends first.
    pub(super) fn with_grant(mut self, claim: &Claim, grant: Grant, now: SystemTime) -> Self {
        let claims = Arc::make_mut(&mut self.claims);
        claims.retain(|_, grant| grant.expires_at > now);
        let Claim::Named(name) = claim else { return Self { own: grant, ..self } };
        claims.remove(name);
        while claims.len() >= MOST_CLAIMS {
            let ends_first = claims.iter().min_by_key(|(_, grant)| grant.expires_at);
            let Some(name) = ends_first.map(|(name, _)| Arc::clone(name)) else { break };
            claims.remove(&name);
        }
        claims.insert(Arc::clone(name), grant);
        self
    }

    pub(super) fn grant(&self, claim: &Claim) -> Option<&Grant> {
        match claim {
            Claim::Login => Some(&self.own),
            Claim::Named(name) => self.claims.get(name),
        }
    }

    /// The claim's access token, and the session's id token.
    pub(super) fn into_grant(self, claim: &Claim) -> (Option<Grant>, Option<Secret>) {
        let grant = match claim {
            Claim::Login => Some(self.own),
            Claim::Named(name) => self.claims.get(name).cloned(),
        };
        (grant, self.id_token)
    }

    /// Whether both are of one login, and not of two users one after the other.
    pub(super) fn is_of_login_of(&self, other: &Self) -> bool {
        self.login() == other.login()
    }

    fn login(&self) -> Hash {
        self.login.unwrap_or_else(|| Hash::unkeyed(self.refresh_token.expose()))
    }

    /// The login's own access token.
    pub fn access_token(&self) -> &Secret {
        &self.own.access_token
    }

    /// The refresh token that brings the next ones. A [`TokenStore`](super::TokenStore) compares it.
    pub fn refresh_token(&self) -> &Secret {
        &self.refresh_token
    }

    /// When the login's own access token ends.
    pub fn expires_at(&self) -> SystemTime {
        self.own.expires_at
    }

    /// For how long the login's own access token was given.
    pub fn lifetime(&self) -> Duration {
        self.own.lifetime
    }

    /// The scope of the login's own access token, as the provider named it last.
    pub fn scope(&self) -> Option<&str> {
        self.own.scope.as_deref()
    }

    /// The id token, as the provider gave it last.
    pub fn id_token(&self) -> Option<&Secret> {
        self.id_token.as_ref()
    }

    /// The fence of the refresh that brought the login's own access token ([`Refreshed::fence`](crate::Refreshed::fence)). None where
    /// it came with the login, or the refresh token was rotated for another claim since.
    pub fn fence(&self) -> Option<u64> {
        self.own.fence
    }

    /// The claims that it holds access tokens of, beside the login's own: names that were given to
    /// [`AccessTokens::claim`](super::AccessTokens::claim).
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.claims.keys().map(|name| &**name)
    }

    /// How often the session's tokens were replaced since it began. A [`TokenStore`](super::TokenStore) compares it.
    pub fn writes(&self) -> u32 {
        self.writes
    }

    /// Whether these may replace `held`: it has one of the `walked` refresh tokens, and nobody has written since these were made
    /// from it. For stores that compare in Rust.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use refresh_coordinator::tokens::SessionTokens;
    ///
    /// let (now, minute) = (SystemTime::now(), Duration::from_secs(60));
    /// let held = SessionTokens::new("a1", "r1", now, minute);
    /// let new = SessionTokens::new("a2", "r2", now, minute).in_place_of(&held);
    /// assert!(new.may_replace(&held, &["r1".into()]));
    /// assert!(!new.may_replace(&held, &["r0".into()]), "not of the walk");
    /// assert!(!held.may_replace(&new, &["r2".into()]), "a late writer");
    /// ```
    pub fn may_replace(&self, held: &Self, walked: &[Secret]) -> bool {
        let is_walked = walked.iter().any(|token| token.expose() == held.refresh_token.expose());
        is_walked && self.writes == held.writes.wrapping_add(1)
    }

    /// When the login's own access token ends, in milliseconds since 1970: for stores that show it in a column.
    pub fn expires_at_ms(&self) -> i64 {
        self.own.expires_at_ms()
    }

    /// Everything in one text, for a store to keep. It holds the tokens.
    pub fn to_text(&self) -> Secret {
        let WrittenGrant { access_token, expires_at_ms, lifetime_ms, scope, fence } = WrittenGrant::of(&self.own);
        let written = Written {
            access_token,
            refresh_token: zeroizing(&self.refresh_token),
            expires_at_ms,
            lifetime_ms,
            scope,
            id_token: self.id_token.as_ref().map(zeroizing),
            fence,
            claims: self.claims.iter().map(|(name, grant)| (name.to_string(), WrittenGrant::of(grant))).collect(),
            writes: self.writes,
            login: self.login.map(|login| login.to_string()),
        };
        written.text()
    }

    /// Reads what [`to_text`](Self::to_text) wrote.
    ///
    /// # Errors
    ///
    /// [`UnreadableTokens`] where it is none. The error quotes nothing.
    pub fn from_text(text: &str) -> Result<Self, UnreadableTokens> {
        let written = Written::from_text(text)?;
        let Written { access_token, expires_at_ms, lifetime_ms, scope, fence, .. } = written;
        let own = WrittenGrant { access_token, expires_at_ms, lifetime_ms, scope, fence };
        let claims = written.claims.into_iter().map(|(name, grant)| Ok((name.into(), grant.read()?)));
        let login = written.login.map(|login| Hash::from_hex(&login).ok_or(UnreadableTokens));
        Ok(Self {
            refresh_token: secret(&written.refresh_token),
            own: own.read()?,
            id_token: written.id_token.as_ref().map(secret),
            claims: Arc::new(claims.collect::<Result<_, UnreadableTokens>>()?),
            writes: written.writes,
            login: login.transpose()?,
        })
    }
}

#[cfg(test)]
mod tests;
