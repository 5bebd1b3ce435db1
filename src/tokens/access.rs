//! Access tokens for sessions: built, asked, ended.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::access_token::AccessToken;
use super::brought;
use super::claim::Claim;
use super::error::TokenError;
use super::held::Held;
use super::session_tokens::SessionTokens;
use super::settings::{Boxed, Settings, Urgency};
use super::store::TokenStore;
use super::unwritten::Unwritten;
use super::used::UsedSessions;
use crate::coordinator::RefreshCoordinator;
use crate::error::{Differs, Refusal};
use crate::leader::Attempt;
use crate::outcome::ProviderFailure;
use crate::request::Refresh;
use crate::secret::Secret;
use crate::token_response::TokenResponse;

/// Hands out valid access tokens for sessions, and keeps the session store right.
///
/// One per client of a provider, shared by clones. See the [module](super) for an example.
#[must_use]
pub struct AccessTokens<S> {
    pub(super) coordinator: RefreshCoordinator,
    pub(super) store: Arc<S>,
    pub(super) settings: Arc<Settings>,
    /// Whose access token it hands out.
    pub(super) claim: Claim,
    /// Where sessions are kept fresh: those to look after.
    pub(super) used: Option<Arc<UsedSessions>>,
    /// Those whose rows are behind.
    pub(super) unwritten: Arc<Unwritten>,
}

impl RefreshCoordinator {
    /// Access tokens for the sessions in this store. `present` asks the provider: it is handed the [`Attempt`], with the token
    /// to present, and the [`Refresh`] that it is of, with client and parameters. Like a refresh function
    /// ([`refresh`](Self::refresh)) it runs once per flight in the fleet, in a task of its own.
    pub fn access_tokens<S, P, F>(&self, store: S, present: P) -> AccessTokens<S>
    where
        S: TokenStore,
        P: Fn(Attempt, Refresh) -> F + Send + Sync + 'static,
        F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
    {
        let present = Arc::new(move |attempt, refresh| Box::pin(present(attempt, refresh)) as Boxed<_>);
        AccessTokens {
            coordinator: self.clone(),
            store: Arc::new(store),
            settings: Arc::new(Settings::new(present)),
            claim: Claim::Login,
            used: None,
            unwritten: Arc::default(),
        }
    }
}

impl<S: TokenStore> AccessTokens<S> {
    /// A confidential client: see [`Refresh::client`].
    pub fn client(self, id: impl Into<String>, secret: impl Into<Secret>) -> Self {
        self.with(|settings| settings.template = settings.template.clone().client(id, secret))
    }

    /// A client without a credential: see [`Refresh::public_client`].
    pub fn public_client(self, id: impl Into<String>) -> Self {
        self.with(|settings| settings.template = settings.template.clone().public_client(id))
    }

    /// All other parameters of the token request: see [`Refresh::parameters`].
    pub fn parameters<N, V>(self, parameters: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<Secret>,
    {
        self.with(|settings| settings.template = settings.template.clone().parameters(parameters))
    }

    /// A handle for access tokens of the same sessions with another audience, resource or narrower scope. It refreshes with these
    /// parameters, over the same store and from the one refresh token that a session holds.
    ///
    /// ```
    /// # use refresh_coordinator::{tokens::MemoryTokens, *};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let coordinator = RefreshCoordinator::in_memory(Config::default())?;
    /// let access_tokens = coordinator
    ///     .access_tokens(MemoryTokens::new(), |attempt, refresh| async move {
    ///         // `reqwest::present` sends the parameters of `refresh`, too.
    /// #       drop((attempt, refresh));
    /// #       Ok(TokenResponse::from_json(r#"{"access_token":"b1","expires_in":300,"refresh_token":"r2"}"#).expect("tokens"))
    ///     })
    ///     .client("my-app", "its-secret");
    /// let billing = access_tokens.claim("billing", [("audience", "https://billing.example")]);
    ///
    /// let login = TokenResponse::from_json(r#"{"access_token":"a1","expires_in":300,"refresh_token":"r1"}"#)?;
    /// access_tokens.store().put("session-4711", access_tokens.of_login(&login).expect("a refresh token"));
    /// assert_eq!(billing.token("session-4711").await?.expose(), "b1");
    /// assert_eq!(access_tokens.token("session-4711").await?.expose(), "a1");
    /// # Ok(()) }
    /// ```
    ///
    /// * Sessions hold the access token under this name. Use one name for one set of parameters in all pods, and a new name when the
    ///   parameters change: otherwise callers get the old access token until it ends.
    /// * The parameters are added to those of this handle: what is in both is sent twice. All else is as this handle has it.
    /// * A session holds access tokens of 64 claims beside the login's own. One more displaces the one that ends first, which is
    ///   brought again when somebody asks for it. Those that have ended are left out when a session is written.
    /// * Call [`keep_fresh`](Self::keep_fresh) on each handle that is to be kept fresh.
    ///   [`end_session`](Self::end_session) on any handle ends the whole session.
    /// * A refusal that speaks of the refresh token (`invalid_grant`, or another of [`Dialect`](crate::Dialect)) ends the session, whichever
    ///   claim met it. Any other refusal (`invalid_target`, `invalid_scope`, a consent that is missing, also where Entra says that by the
    ///   sub-error of an `invalid_grant`) is this claim's alone.
    /// * While an older release of this crate writes to the same sessions, what it writes holds no claims: they are refreshed again.
    ///
    /// Use it where the next refresh token keeps all that the login was granted, whatever the refresh asks for, and where a refresh ends no
    /// other access token: as the standards have it (RFC 6749 section 6, RFC 8707 section 2.2), Auth0
    /// ([multi-resource refresh tokens](https://auth0.com/docs/secure/tokens/refresh-tokens/multi-resource-refresh-token)), or Entra
    /// ([refresh tokens](https://learn.microsoft.com/en-us/entra/identity-platform/refresh-tokens)). Elsewhere one claim takes from the
    /// others what they have: [django-oauth-toolkit](https://github.com/django-oauth/django-oauth-toolkit/blob/master/oauth2_provider/oauth2_validators.py)
    /// narrows the next refresh token and ends the access token before, and so does
    /// [GitHub](https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/refreshing-user-access-tokens) with the
    /// latter. Where a [`Preset`](crate::Preset) says [`OtherClaims::Refuse`](crate::OtherClaims::Refuse), claims are not for that provider.
    ///
    /// # Panics
    ///
    /// Where the name is empty, has more than 64 bytes, or a control character.
    pub fn claim<N, V>(&self, name: &str, parameters: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<Secret>,
    {
        Self { claim: Claim::named(name), used: None, ..self.clone() }.parameters(parameters)
    }

    /// How much of an access token's life is left when it is refreshed; never more than half of it. Default: a tenth of its
    /// life, at least 5 s.
    pub fn refresh_before(self, left: Duration) -> Self {
        self.with(|settings| settings.refresh_before = Some(left))
    }

    /// How long a caller waits for new tokens while the old access token lives: then it gets the old one, and the refresh goes
    /// on. Default: 2 s.
    pub fn patience(self, patience: Duration) -> Self {
        self.with(|settings| settings.patience = patience)
    }

    /// How long an access token counts as good where the provider does not say (`expires_in`). Default: 5 min.
    pub fn assumed_lifetime(self, lifetime: Duration) -> Self {
        self.with(|settings| settings.assumed_lifetime = lifetime)
    }

    /// How long a call to the session store may take. Default: 5 s.
    pub fn store_timeout(self, patience: Duration) -> Self {
        self.with(|settings| settings.store_timeout = patience)
    }

    /// Revokes tokens at the provider (RFC 7009): those of a session that is ended, and those that a refresh brings for a
    /// session that ended meanwhile. The function is handed the [`Refresh`] with the token to revoke
    /// ([`Refresh::token`]). Default: none, they live on until they end by themselves.
    pub fn revoking<R, F>(self, revoke: R) -> Self
    where
        R: Fn(Refresh) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), ProviderFailure>> + Send + 'static,
    {
        self.with(|settings| settings.revoke = Some(Arc::new(move |refresh| Box::pin(revoke(refresh)) as Boxed<_>)))
    }

    /// Another clock than [`SystemTime::now`]: for tests, where time is paused.
    ///
    /// ```
    /// # use refresh_coordinator::{tokens::MemoryTokens, *};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// # let coordinator = RefreshCoordinator::in_memory(Config::default()).unwrap();
    /// # let access_tokens = coordinator.access_tokens(MemoryTokens::new(), |_, _| async {
    /// #     Err(ProviderFailure::not_sent("there is no provider"))
    /// # });
    /// let (wall, started) = (std::time::SystemTime::now(), tokio::time::Instant::now());
    /// let access_tokens = access_tokens.clock(move || wall + started.elapsed());
    /// # }
    /// ```
    pub fn clock(self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.clock = Arc::new(now))
    }

    /// What to keep for a session that begins with this answer of the token endpoint. None where it holds no refresh token.
    pub fn of_login(&self, tokens: &TokenResponse) -> Option<SessionTokens> {
        brought::login(tokens, self.settings.now(), self.settings.assumed_lifetime)
    }

    /// A valid access token of the session: the one in the store, or, where that is about to end, what a refresh brings.
    ///
    /// `session` must be stable over rotations and authenticated: a cookie that was looked up, not one that was only sent. It
    /// pays for the attempts ([`Refresh::session`]).
    ///
    /// * New tokens are written to the store by the leader, before any caller of the fleet hears of them. The leader reads the
    ///   session again first: where that holds newer tokens or has ended, nothing is presented.
    /// * Where the refresh fails, or takes longer than [`patience`](Self::patience), the old access token is handed out for as
    ///   long as it lives.
    /// * New tokens of a session that has ended meanwhile are revoked ([`revoking`](Self::revoking)).
    ///
    /// # Errors
    ///
    /// [`TokenError::verdict`] says what to do: log in, come again, or mend the settings.
    ///
    /// # Cancellation
    ///
    /// A refresh that is under way goes on, and its tokens are written.
    pub async fn token(&self, session: &str) -> Result<AccessToken, TokenError<S::Error>> {
        let Some(held) = self.load(session).await? else { return Err(TokenError::SessionOver { refusal: None }) };
        let token = if self.settings.is_due(held.grant()) {
            // Boxed, because it is rare, and every request would be as large.
            Box::pin(self.refreshed(session, held, Urgency::Waited)).await?
        } else {
            held.into_access_token()
        };
        self.is_handed_out(session, &token);
        Ok(token)
    }

    /// Another access token of the session than this one, which a resource server has refused though its time is not over: revoked
    /// there, or at the provider. It is what the session holds by now, where that is another one, else what a refresh brings.
    ///
    /// Fifty requests that were refused with the same token, on whichever pods, are one refresh. The token says which ones those are:
    /// give the one that was sent.
    ///
    /// ```
    /// # use refresh_coordinator::{tokens::{AccessTokens, MemoryTokens}, *};
    /// # async fn ask(_: &str) -> u16 { 200 }
    /// # async fn orders(access_tokens: &AccessTokens<MemoryTokens>, session: &str) -> Result<u16, Box<dyn std::error::Error>> {
    /// let token = access_tokens.token(session).await?;
    /// let mut status = ask(token.expose()).await;
    /// if status == 401 {
    ///     let another = access_tokens.token_instead_of(session, token.expose()).await?;
    ///     // Once: whatever is refused with this one, a third would not mend.
    ///     status = ask(another.expose()).await;
    /// }
    /// # Ok(status) }
    /// ```
    ///
    /// It is a refresh as any other, with the same limits: an attempt of its session, that is refused while the session cools down. A
    /// resource server that refuses every token costs a session its attempts ([`max_refresh_attempts`](crate::Config::max_refresh_attempts)),
    /// and no more.
    ///
    /// # Errors
    ///
    /// As [`token`](Self::token). The token that was refused is never handed out instead, however long it lives; so this waits as a
    /// caller does whose token is over, and not for [`patience`](Self::patience) only.
    ///
    /// # Cancellation
    ///
    /// As [`token`](Self::token).
    #[doc(alias = "force_refresh")]
    #[doc(alias = "invalidate")]
    #[doc(alias = "refresh_now")]
    pub async fn token_instead_of(&self, session: &str, refused: &str) -> Result<AccessToken, TokenError<S::Error>> {
        let held = self.load(session).await?.ok_or(TokenError::SessionOver { refusal: None })?;
        let urgency = if held.has_access_token(refused) { Urgency::Insisted } else { Urgency::Waited };
        let token = if urgency == Urgency::Insisted || self.settings.is_due(held.grant()) {
            // Boxed, because it is rare.
            Box::pin(self.refreshed(session, held, urgency)).await?
        } else {
            held.into_access_token()
        };
        if token.expose() == refused {
            // The row is behind, or the provider has given the same one again.
            let (differs, retry_after) = (Differs::Claim, Duration::from_secs(1));
            return Err(TokenError::Refresh(Refusal::AnotherClaim { differs, retry_after }.into()));
        }
        self.is_handed_out(session, &token);
        Ok(token)
    }

    fn is_handed_out(&self, session: &str, token: &AccessToken) {
        if let Some(used) = &self.used {
            used.used(session, self.fresh_until(session, token.grant()));
        }
    }

    /// The coordinator behind it.
    pub fn coordinator(&self) -> &RefreshCoordinator {
        &self.coordinator
    }

    /// The session store behind it.
    pub fn store(&self) -> &S {
        &self.store
    }

    pub(super) async fn load(&self, session: &str) -> Result<Option<Held>, TokenError<S::Error>> {
        Ok(self.in_time(self.store.load(session)).await?.map(|row| Held::new(row, &self.claim)))
    }

    /// A call to the store, for as long as one may take.
    pub(super) async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, S::Error>>,
    ) -> Result<T, TokenError<S::Error>> {
        let patience = self.settings.store_timeout;
        match tokio::time::timeout(patience, call).await {
            Ok(answered) => answered.map_err(TokenError::Store),
            Err(_elapsed) => Err(TokenError::StoreTimedOut { patience }),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<S> Clone for AccessTokens<S> {
    fn clone(&self) -> Self {
        let Self { coordinator, store, settings, claim, used, unwritten } = self;
        let (coordinator, store, settings) = (coordinator.clone(), Arc::clone(store), Arc::clone(settings));
        Self {
            coordinator,
            store,
            settings,
            claim: claim.clone(),
            used: used.clone(),
            unwritten: Arc::clone(unwritten),
        }
    }
}

impl<S> fmt::Debug for AccessTokens<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessTokens").field("coordinator", &self.coordinator).finish_non_exhaustive()
    }
}
