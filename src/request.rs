//! Words: what a caller asks for, and what it cannot ask for.

use crate::secret::Secret;

/// One request to refresh: the token, and everything its answer depends on.
///
/// Two requests share one flight when their tokens are equal *and* everything else here but the session is: the
/// client and its credential, the parameters, the DPoP key. A request that differs in any of these waits for the other. It is
/// then served alone, or, where the token was rotated meanwhile, refused with
/// [`AnotherClaim`](crate::Refusal::AnotherClaim) until `keep_outcome` is over.
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
    /// A refresh of this token. It is checked when it is used: 1 byte to 8 KiB of visible ASCII.
    pub fn new(token: impl Into<Secret>) -> Self {
        Self {
            token: token.into(),
            session: None,
            client: None,
            parameters: Vec::new(),
            dpop_key: None,
            sharing: Sharing::Equal,
        }
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
}

/// A request that no provider could answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRefresh {
    /// The refresh token is empty.
    #[error("the refresh token is empty")]
    EmptyToken,
    /// The refresh token is longer than 8 KiB.
    #[error("the refresh token has {bytes} bytes, allowed are 8192")]
    LongToken {
        /// How long it is.
        bytes: usize,
    },
    /// The refresh token has a character outside of VSCHAR (RFC 6749 appendix A.17).
    #[error("the refresh token has a character that is not visible ASCII")]
    UnprintableToken,
    /// The session id is empty; leave it out instead.
    #[error("the session id is empty")]
    EmptySession,
}
