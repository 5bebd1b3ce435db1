//! What the operator of an exchange chooses.

use http::HeaderName;

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
    /// after the other, and a rotated token is refused to the second.
    pub trust_callers: bool,
    /// The header that names the session that pays for the attempt. The proxy that sets it must have authenticated the
    /// caller, and its value must be stable over rotations. It is not passed on. Default: none, every token is a
    /// session of its own.
    pub session_header: Option<HeaderName>,
}
