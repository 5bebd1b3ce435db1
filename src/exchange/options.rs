//! What the operator of an exchange chooses.

use http::HeaderName;

#[cfg(feature = "signatures")]
use super::trust::client_keys::ClientKeys;

/// What a [`TokenExchange`](super::TokenExchange) does beyond the standard.
///
/// ```
/// use refresh_coordinator::exchange::ExchangeOptions;
///
/// let options = ExchangeOptions { only_refresh: true, ..Default::default() };
/// assert!(!options.trust_callers);
/// ```
#[derive(Clone, Debug, Default)]
pub struct ExchangeOptions {
    /// Refuses everything that is no refresh, instead of passing it on. Default: false.
    pub only_refresh: bool,
    /// Every caller that reaches the exchange is entitled: requests that authenticate by `client_assertion`, which differs
    /// with every request and cannot be compared, share an answer like others. Default: false, they are served one
    /// after the other, and a rotated token is refused to the second, unless they are signed by one of `client_keys`.
    pub trust_callers: bool,
    /// The header that names the session that pays for the attempt. The proxy that sets it must have authenticated the
    /// caller, and its value must be stable over rotations. It is not passed on. Default: none, every token is a
    /// session of its own.
    pub session_header: Option<HeaderName>,
    /// Headers that carry a credential or name a tenant, such as `X-API-Key`: only callers with equal values share an
    /// answer. They are passed on. Default: none.
    pub claim_headers: Vec<HeaderName>,
    /// The addresses that a DPoP proof may be made for (RFC 9449 section 4.3, `htu`): those that the provider takes, its own
    /// URL above all. A proof for one of them that is signed by its key, made within 5 min and seen for the first time
    /// proves that the key is the caller's; callers with equal keys share an answer. Every other proof is passed on, too, in
    /// a flight of its own that nobody shares, and the log says why. Needs the feature `signatures`. Default: none, no
    /// proof is believed.
    pub dpop_htu: Vec<String>,
    /// The keys that clients sign their assertions with (`private_key_jwt`). Requests of a client that are signed by one key
    /// share an answer, as those with one secret do. An assertion is believed once, with `iss` and `sub` equal to the
    /// client's id, `aud` among `assertion_audiences`, `jti`, and `exp` within an hour; every other one is passed on in a
    /// flight of its own that nobody shares. Default: none, no assertion is believed.
    #[cfg(feature = "signatures")]
    pub client_keys: Option<ClientKeys>,
    /// What an assertion may name as its audience: the provider's issuer and the URL of its token endpoint, as far as the
    /// provider takes them. Default: none.
    pub assertion_audiences: Vec<String>,
}
