//! Words: what a caller asks for, and what it cannot ask for.

mod revoking;

pub(crate) use self::revoking::Revoking;
use crate::authentication::Authentication;
use crate::secret::Secret;

/// One request to refresh: the token, and everything its answer depends on.
///
/// Two requests share one flight when their tokens are equal *and* everything else here but the session is: the
/// client and its credential, the parameters, the DPoP key. A request that differs in any of these waits for the other. It is
/// then served alone. Where the token was rotated meanwhile, it follows with the newest token, or is refused with
/// [`AnotherClaim`](crate::Refusal::AnotherClaim) until `keep_outcome` is over, as [`OtherClaims`](crate::OtherClaims) says.
///
/// ```
/// use refresh_coordinator::Refresh;
///
/// let refresh = Refresh::new("the-refresh-token")
///     .session("session-4711")
///     .client("my-app", "the-client-secret")
///     .parameters([("scope", "openid email")]);
/// assert!(!format!("{refresh:?}").contains("the-"));
/// ```
#[derive(Clone, Debug)]
pub struct Refresh {
    pub(crate) token: Secret,
    pub(crate) session: Option<Secret>,
    pub(crate) client: Option<Client>,
    pub(crate) parameters: Vec<(String, Secret)>,
    pub(crate) dpop_key: Option<String>,
    pub(crate) sharing: Sharing,
    /// Whether the refresh function presents the token that it is handed.
    pub(crate) presents: Presents,
    /// What its leader does with tokens of a session that was ended meanwhile.
    pub(crate) revoking: Option<Revoking>,
    /// Nobody waits for it.
    pub(crate) is_background: bool,
    /// The fence of the answer that the caller has already.
    pub(crate) newer_than: Option<u64>,
    /// In which ways its client authenticates: no part of what must be equal for an answer to be shared.
    pub(crate) authentication: Authentication,
}

/// Which token a refresh function presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presents {
    /// The one it was made with.
    ItsOwn,
    /// `Attempt::token`, which may be a newer one.
    TheGiven,
}

#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) credential: Option<Secret>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Callers with an equal claim get one answer.
    Equal,
    /// Nobody else's claim can be equal.
    Alone,
}

impl Refresh {
    /// A refresh of this token. It is checked when it is used: 1 byte to [`max_token`](crate::Config::max_token) of any text.
    pub fn new(token: impl Into<Secret>) -> Self {
        Self {
            token: token.into(),
            session: None,
            client: None,
            parameters: Vec::new(),
            dpop_key: None,
            sharing: Sharing::Equal,
            presents: Presents::ItsOwn,
            revoking: None,
            is_background: false,
            newer_than: None,
            authentication: Authentication::default(),
        }
    }

    /// The token that is to be presented.
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// The session that pays for the attempt. It must be stable over rotations and authenticated, or a stranger
    /// could use up somebody else's attempts. Default: every token is a session of its own.
    pub fn session(mut self, id: impl Into<Secret>) -> Self {
        self.session = Some(id.into());
        self
    }

    /// A confidential client, by whatever method it authenticates to the provider.
    pub fn client(mut self, id: impl Into<String>, secret: impl Into<Secret>) -> Self {
        self.client = Some(Client { id: id.into(), credential: Some(secret.into()) });
        self
    }

    /// A client without a credential (RFC 6749 section 2.1).
    pub fn public_client(mut self, id: impl Into<String>) -> Self {
        self.client = Some(Client { id: id.into(), credential: None });
        self
    }

    /// All other parameters of the token request. Their order does not matter, nor that of the words in `scope`;
    /// an absent parameter is not an empty one. Names may repeat (RFC 8707 `resource`).
    pub fn parameters<N, V>(mut self, parameters: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<Secret>,
    {
        self.parameters.extend(parameters.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// The parameters that it was given ([`parameters`](Self::parameters)), in their order: for a function that sends them itself.
    ///
    /// ```
    /// use refresh_coordinator::Refresh;
    ///
    /// let refresh = Refresh::new("token").parameters([("scope", "openid"), ("resource", "https://a.example")]);
    /// let resource = refresh.parameter_list().find(|(name, _)| *name == "resource");
    /// assert_eq!(resource.map(|(_, value)| value.expose()), Some("https://a.example"));
    /// ```
    pub fn parameter_list(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.parameters.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The thumbprint (RFC 7638) of the DPoP key the access token will be bound to (RFC 9449): an answer is only
    /// shared among holders of the same key.
    pub fn dpop_key(mut self, thumbprint: impl Into<String>) -> Self {
        self.dpop_key = Some(thumbprint.into());
        self
    }

    /// Serves this request alone, after every other flight of the token, or refuses it where that rotated the token.
    /// For credentials that differ with every request (`client_assertion`, RFC 7523) and therefore cannot be compared.
    pub fn alone(mut self) -> Self {
        self.sharing = Sharing::Alone;
        self
    }

    /// Says that the refresh function presents [`Attempt::token`](crate::Attempt::token), and no token of its own.
    ///
    /// Then new tokens that nobody has used yet are not lost with the answer that brought them: they are held for
    /// [`keep_until_used`](crate::Config::keep_until_used), and a caller that comes with the old token once more is handed
    /// them, or, where the access token is over, what the provider gives for the newer refresh token. Only for a client
    /// with a credential ([`client`](Self::client)); for others nothing changes.
    pub fn token_from_attempt(mut self) -> Self {
        self.presents = Presents::TheGiven;
        self
    }

    /// Says that nobody waits for this refresh: it is made before the access token's end, so that callers need not wait later.
    ///
    /// * It takes a permit ([`max_concurrent_refreshes`](crate::Config::max_concurrent_refreshes)) that is free while nobody queues
    ///   for one, and leaves half of them to callers, where there is more than one. Else it is refused at once with
    ///   [`Refusal::Budget`](crate::Refusal::Budget). Nor is it the probe of a half-open circuit.
    /// * It is refused while its session cools down or has no attempts left. It begins no cooldown and is not counted as an attempt:
    ///   ask at most once per access token lifetime, and leave failures to a caller.
    /// * It leads nothing while the store is away, whatever `on_store_outage` says. Where it is refused, nothing is counted or logged.
    /// * A caller that asks meanwhile joins it, and waits itself where the background refresh is refused.
    pub fn background(mut self) -> Self {
        self.is_background = true;
        self
    }

    /// Asks for a newer answer than the one of this fence ([`Refreshed::fence`](crate::Refreshed::fence)), which the caller has. If the
    /// provider keeps its refresh tokens, an answer is shared until a tenth of its life is left. For this caller the provider is asked
    /// instead of sharing an answer of this fence or an earlier one; from then on nobody gets the old answer, even if that call fails.
    /// A rotated token is never presented for this.
    pub fn newer_than(mut self, fence: u64) -> Self {
        self.newer_than = Some(fence);
        self
    }

    /// Sets the function that revokes a refresh token at the provider (RFC 7009). It revokes what this refresh brings if its
    /// session has ended meanwhile. Given to [`end_session`](crate::RefreshCoordinator::end_session), it revokes the session's
    /// newest token. The function is handed the token. It runs in a task of its own, and again where it fails or panics, for
    /// `wait_timeout` at most. Default: none, such tokens live until they end by themselves. It changes nothing about who shares an
    /// answer; of callers that do, the first one's function counts.
    pub fn revoking<R, F, E>(mut self, revoke: R) -> Self
    where
        R: Fn(Secret) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        self.revoking = Some(Revoking::new(revoke));
        self
    }
}

/// A request that no provider could answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRefresh {
    /// The refresh token is empty.
    #[error("the refresh token is empty")]
    EmptyToken,
    /// The refresh token is longer than [`max_token`](crate::Config::max_token).
    #[error("the refresh token has {bytes} bytes, allowed are {most} (setting max_token)")]
    LongToken {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        most: usize,
    },
    /// The session id is empty; leave it out instead.
    #[error("the session id is empty")]
    EmptySession,
}
