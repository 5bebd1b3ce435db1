//! What the operator of an exchange chooses.

use http::HeaderName;
use serde::{Deserialize, Serialize};

#[cfg(feature = "signatures")]
use super::trust::client_keys::ClientKeys;
use crate::chained::chained;
use crate::environment::{self, EnvironmentError};

/// What a [`TokenExchange`](super::TokenExchange) does beyond the standard.
///
/// ```
/// use refresh_coordinator::exchange::ExchangeOptions;
///
/// let options = ExchangeOptions::default().with_only_refresh(true);
/// assert!(!options.trust_callers);
///
/// let read: ExchangeOptions = serde_json::from_str(r#"{"only_refresh": true, "claim_headers": ["x-tenant"]}"#)?;
/// let made = ExchangeOptions::default().with_only_refresh(true).with_claim_headers([http::HeaderName::from_static("x-tenant")]);
/// assert_eq!(read.claim_headers, made.claim_headers);
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// It comes from a file and from the environment as [`Config`](crate::Config) does, but for the keys of clients.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
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
    #[serde(with = "header_or_none", skip_serializing_if = "Option::is_none")]
    pub session_header: Option<HeaderName>,
    /// Headers that carry a credential or name a tenant, such as `X-API-Key`: only callers with equal values share an
    /// answer. They are passed on. Default: none.
    #[serde(with = "headers")]
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
    #[serde(skip)]
    pub client_keys: Option<ClientKeys>,
    /// What an assertion may name as its audience: the provider's issuer and the URL of its token endpoint, as far as the
    /// provider takes them. Default: none.
    pub assertion_audiences: Vec<String>,
}

chained! { ExchangeOptions {
    with_only_refresh(only_refresh: bool) = only_refresh,
    with_trust_callers(trust_callers: bool) = trust_callers,
    with_session_header(session_header: impl Into<Option<HeaderName>>) = session_header.into(),
    with_claim_headers(claim_headers: impl IntoIterator<Item = HeaderName>) = claim_headers.into_iter().collect(),
    with_dpop_htu(dpop_htu: impl IntoIterator<Item: Into<String>>) = dpop_htu.into_iter().map(Into::into).collect(),
    #[cfg(feature = "signatures")]
    with_client_keys(client_keys: impl Into<Option<ClientKeys>>) = client_keys.into(),
    with_assertion_audiences(assertion_audiences: impl IntoIterator<Item: Into<String>>) =
        assertion_audiences.into_iter().map(Into::into).collect(),
} }

impl ExchangeOptions {
    /// The options from the variables that begin with `prefix`, as [`Config::from_env`](crate::Config::from_env) reads its
    /// own: under another prefix, since a variable that is no setting is an error.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError`] names the first variable that is no setting or cannot be read.
    pub fn from_env(prefix: &str) -> Result<Self, EnvironmentError> {
        environment::read(prefix, std::env::vars_os())
    }
}

/// The name of a header, or none.
mod header_or_none {
    use http::HeaderName;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde hands it over so")]
    pub(super) fn serialize<S: Serializer>(name: &Option<HeaderName>, serializer: S) -> Result<S::Ok, S::Error> {
        name.as_ref().map(HeaderName::as_str).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<HeaderName>, D::Error> {
        Option::<String>::deserialize(deserializer)?.map(super::header).transpose()
    }
}

/// Names of headers.
mod headers {
    use http::HeaderName;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(names: &[HeaderName], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(names.iter().map(HeaderName::as_str))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<HeaderName>, D::Error> {
        Vec::<String>::deserialize(deserializer)?.into_iter().map(super::header).collect()
    }
}

fn header<E: serde::de::Error>(name: String) -> Result<HeaderName, E> {
    HeaderName::try_from(name).map_err(|_| E::custom("not the name of a header"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_made_by_methods_read_from_a_file_and_from_variables() {
        let (session, tenant) = (HeaderName::from_static("x-session"), HeaderName::from_static("x-tenant"));
        let made = ExchangeOptions::default()
            .with_only_refresh(true)
            .with_trust_callers(true)
            .with_session_header(session)
            .with_claim_headers([tenant, HeaderName::from_static("x-key")])
            .with_dpop_htu(["https://idp.example/token"])
            .with_assertion_audiences(["https://idp.example"]);
        let file = r#"{"only_refresh":true,"trust_callers":true,"session_header":"x-session","claim_headers":["x-tenant","x-key"],"dpop_htu":["https://idp.example/token"],"assertion_audiences":["https://idp.example"]}"#;
        let variables = [
            ("RC_ONLY_REFRESH", "true"),
            ("RC_TRUST_CALLERS", "true"),
            ("RC_SESSION_HEADER", "X-Session"),
            ("RC_CLAIM_HEADERS", "X-Tenant, X-Key"),
            ("RC_DPOP_HTU", "https://idp.example/token"),
            ("RC_ASSERTION_AUDIENCES", "https://idp.example"),
        ];

        assert_eq!(serde_json::to_string(&made).expect("JSON"), file);
        let read: ExchangeOptions = serde_json::from_str(file).expect("options");
        assert_eq!(format!("{read:?}"), format!("{made:?}"));
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        let read: ExchangeOptions = environment::read("RC_", variables.into_iter()).expect("options");
        assert_eq!(format!("{read:?}"), format!("{made:?}"));
    }

    #[test]
    fn key_that_is_no_option_and_name_that_is_no_headers_are_refused() {
        let read = |json| serde_json::from_str::<ExchangeOptions>(json).expect_err(json).to_string();

        assert!(read(r#"{"claim_header":"x"}"#).starts_with("unknown field `claim_header`, expected one of "));
        assert!(read(r#"{"session_header":"a b"}"#).starts_with("not the name of a header"));
        // They are no text.
        assert!(read(r#"{"client_keys":[]}"#).starts_with("unknown field `client_keys`"));
    }
}
