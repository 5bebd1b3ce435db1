//! What a session holds: an access token with its end, and the refresh token that brings the next one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::token_response::{LONGEST_LIFE, TokenResponse};

/// The tokens of a session.
#[derive(Clone, Debug)]
pub struct SessionTokens {
    access_token: Secret,
    refresh_token: Secret,
    expires_at: SystemTime,
    lifetime: Duration,
    scope: Option<String>,
    id_token: Option<Secret>,
    /// Of the refresh that brought them.
    fence: Option<u64>,
}

/// A store holds something that is none of [`SessionTokens::to_text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what is stored of the session's tokens cannot be read")]
pub struct UnreadableTokens;

impl SessionTokens {
    /// Tokens that were given at `at`, the access token for `lifetime`: 100 years at most.
    pub fn new(
        access_token: impl Into<Secret>,
        refresh_token: impl Into<Secret>,
        at: SystemTime,
        lifetime: Duration,
    ) -> Self {
        let lifetime = lifetime.min(LONGEST_LIFE);
        Self {
            access_token: access_token.into(),
            refresh_token: refresh_token.into(),
            expires_at: at + lifetime,
            lifetime,
            scope: None,
            id_token: None,
            fence: None,
        }
    }

    /// What the provider gave at `at`, for a refresh token that is used again where the answer names no other. An access
    /// token of which the provider does not say how long it lives counts as good for `assumed`.
    pub(super) fn given(
        tokens: &TokenResponse,
        presented: Option<&Secret>,
        at: SystemTime,
        assumed: Duration,
    ) -> Option<Self> {
        let refresh_token = tokens.refresh_token().map(Secret::from).or_else(|| presented.cloned())?;
        let lifetime = tokens.expires_in().unwrap_or(assumed);
        let id_token = tokens.field("id_token").and_then(|token| token.as_str().map(Secret::from));
        let given = Self::new(tokens.access_token(), refresh_token, at, lifetime);
        Some(Self { scope: tokens.scope().map(str::to_owned), id_token, ..given })
    }

    /// The same, brought by the refresh of this fence.
    pub(super) fn of_fence(self, fence: u64) -> Self {
        Self { fence: Some(fence), ..self }
    }

    /// The same, where an answer that leaves a field out means the one from before (RFC 6749 section 6).
    pub(super) fn following(mut self, before: &Self) -> Self {
        self.scope = self.scope.or_else(|| before.scope.clone());
        self.id_token = self.id_token.or_else(|| before.id_token.clone());
        self
    }

    /// The access token.
    pub fn access_token(&self) -> &Secret {
        &self.access_token
    }

    /// The refresh token that brings the next ones. A [`TokenStore`](super::TokenStore) compares it.
    pub fn refresh_token(&self) -> &Secret {
        &self.refresh_token
    }

    /// When the access token ends.
    pub fn expires_at(&self) -> SystemTime {
        self.expires_at
    }

    /// For how long the access token was given.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// The scope of the access token, as the provider named it last.
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// The id token, as the provider gave it last.
    pub fn id_token(&self) -> Option<&Secret> {
        self.id_token.as_ref()
    }

    /// The fence of the refresh that brought them ([`Refreshed::fence`](crate::Refreshed::fence)). None where they came with the login.
    pub fn fence(&self) -> Option<u64> {
        self.fence
    }

    /// Whether these may stand in the place of tokens with one of these refresh tokens. A token that is used again is replaced
    /// by itself only with an access token that lives longer. For stores that compare in Rust.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use refresh_coordinator::tokens::SessionTokens;
    ///
    /// let (now, minute) = (SystemTime::now(), Duration::from_secs(60));
    /// let held = SessionTokens::new("a1", "r1", now, minute);
    /// let new = SessionTokens::new("a2", "r2", now, minute);
    /// assert!(new.may_replace(&held, &["r1".into()]));
    /// assert!(!held.may_replace(&new, &["r0".into()]));
    /// ```
    pub fn may_replace(&self, held: &Self, walked: &[Secret]) -> bool {
        let is_walked = walked.iter().any(|token| token.expose() == held.refresh_token.expose());
        is_walked
            && (held.refresh_token.expose() != self.refresh_token.expose()
                || held.expires_at_ms() < self.expires_at_ms())
    }

    /// When the access token ends, in milliseconds since 1970: for stores that compare it themselves.
    pub fn expires_at_ms(&self) -> i64 {
        let since = self.expires_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    /// Everything in one text, for a store to keep. It holds the tokens.
    pub fn to_text(&self) -> Secret {
        let written = Written {
            access_token: Zeroizing::new(self.access_token.expose().to_owned()),
            refresh_token: Zeroizing::new(self.refresh_token.expose().to_owned()),
            expires_at_ms: self.expires_at_ms(),
            lifetime_ms: i64::try_from(self.lifetime.as_millis()).unwrap_or(i64::MAX),
            scope: self.scope.clone(),
            id_token: self.id_token.as_ref().map(|token| Zeroizing::new(token.expose().to_owned())),
            fence: self.fence,
        };
        Secret::from(serde_json::to_string(&written).expect("BUG: texts and numbers are written as JSON"))
    }

    /// Reads what [`to_text`](Self::to_text) wrote.
    ///
    /// # Errors
    ///
    /// [`UnreadableTokens`] where it is none. The error quotes nothing.
    pub fn from_text(text: &str) -> Result<Self, UnreadableTokens> {
        let written: Written = serde_json::from_str(text).map_err(|_| UnreadableTokens)?;
        let ms = |number: i64| u64::try_from(number).map(Duration::from_millis).map_err(|_| UnreadableTokens);
        let secret = |text: Zeroizing<String>| Secret::from(text.as_str());
        Ok(Self {
            access_token: secret(written.access_token),
            refresh_token: secret(written.refresh_token),
            expires_at: UNIX_EPOCH.checked_add(ms(written.expires_at_ms)?).ok_or(UnreadableTokens)?,
            lifetime: ms(written.lifetime_ms)?,
            scope: written.scope,
            id_token: written.id_token.map(secret),
            fence: written.fence,
        })
    }
}

/// A store may be read by another release: fields may be added, and are never given another meaning.
#[derive(Serialize, Deserialize)]
struct Written {
    access_token: Zeroizing<String>,
    refresh_token: Zeroizing<String>,
    expires_at_ms: i64,
    lifetime_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id_token: Option<Zeroizing<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fence: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn given(body: &str) -> SessionTokens {
        let tokens = TokenResponse::from_json(body).expect("tokens");
        SessionTokens::given(&tokens, Some(&"r1".into()), UNIX_EPOCH + 1000 * S, 60 * S).expect("a refresh token")
    }

    #[test]
    fn text_holds_everything() {
        let tokens =
            given(r#"{"access_token":"a","refresh_token":"r2","expires_in":300,"scope":"openid","id_token":"i"}"#)
                .of_fence(7);

        let read = SessionTokens::from_text(tokens.to_text().expose()).expect("its own text");

        assert_eq!((read.access_token().expose(), read.refresh_token().expose()), ("a", "r2"));
        assert_eq!((read.expires_at(), read.lifetime()), (UNIX_EPOCH + 1300 * S, 300 * S));
        assert_eq!((read.scope(), read.id_token().map(Secret::expose)), (Some("openid"), Some("i")));
        assert_eq!(read.fence(), Some(7));
        for text in ["", "{}", "null", r#"{"access_token":"a","refresh_token":"r","expires_at_ms":-1,"lifetime_ms":1}"#]
        {
            assert_eq!(SessionTokens::from_text(text).err(), Some(UnreadableTokens), "{text}");
        }
    }

    #[test]
    fn access_token_that_is_given_for_ever_is_held_and_written_as_any_other() {
        let forever = given(r#"{"access_token":"a","refresh_token":"r2","expires_in":9223372036854775807}"#);
        let own = SessionTokens::new("a", "r", SystemTime::now(), Duration::MAX);

        for tokens in [forever, own] {
            let read = SessionTokens::from_text(tokens.to_text().expose()).expect("its own text");
            assert_eq!(read.lifetime(), LONGEST_LIFE);
            assert_eq!(read.expires_at_ms(), tokens.expires_at_ms());
        }
    }

    #[test]
    fn what_an_answer_leaves_out_stays_as_it_was() {
        let before = given(r#"{"access_token":"a","refresh_token":"r2","scope":"openid","id_token":"i"}"#);

        let after = given(r#"{"access_token":"b"}"#).following(&before);

        assert_eq!((after.scope(), after.id_token().map(Secret::expose)), (Some("openid"), Some("i")));
        assert_eq!((after.refresh_token().expose(), after.lifetime()), ("r1", 60 * S), "kept, and assumed");
    }

    #[test]
    fn token_that_is_used_again_is_replaced_only_by_one_that_lives_longer() {
        let (short, long) =
            (given(r#"{"access_token":"a","expires_in":60}"#), given(r#"{"access_token":"b","expires_in":61}"#));
        let walked = ["r1".into()];

        assert!(long.may_replace(&short, &walked));
        assert!(!short.may_replace(&long, &walked) && !long.may_replace(&long, &walked));
        assert!(!long.may_replace(&short, &["r0".into()]), "not of the walk");
    }
}
