//! Words: what the provider sent, and the tokens in it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// What the provider sent, as it sent it: status, the headers that mean something to a client, the body.
#[derive(Clone)]
pub struct ProviderResponse {
    status: u16,
    headers: Vec<(String, String)>,
    body: Arc<Zeroizing<Vec<u8>>>,
}

impl ProviderResponse {
    /// An HTTP status and the bytes that came with it.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: Arc::new(Zeroizing::new(body.into())) }
    }

    /// Adds a header that every caller of the flight gets.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Names and values, in the order they came.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The body, byte for byte. It may hold tokens, or name a user: do not log it.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

impl fmt::Debug for ProviderResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Header values can hold nonces, the body tokens: only their size is told.
        write!(f, "ProviderResponse({}, {} bytes)", self.status, self.body.len())
    }
}

/// A successful answer of the token endpoint (RFC 6749 section 5.1).
///
/// The bytes are kept as they came, so that every caller of a flight can be given the same ones. A clone is the same
/// answer in the same place: it is wiped when the last one is dropped.
///
/// ```
/// use refresh_coordinator::TokenResponse;
///
/// let tokens = TokenResponse::from_json(
///     r#"{"access_token":"a1","token_type":"Bearer","expires_in":300,"refresh_token":"r2","id_token":"i"}"#,
/// )?;
/// assert_eq!(tokens.access_token(), "a1");
/// assert_eq!(tokens.refresh_token(), Some("r2"));
/// assert_eq!(tokens.field("id_token"), Some("i".into()));
/// # Ok::<(), refresh_coordinator::InvalidTokenResponse>(())
/// ```
#[derive(Clone)]
pub struct TokenResponse {
    // Behind a pointer: it goes through many hands on its way to the callers.
    parts: Arc<Parts>,
}

#[derive(Clone)]
struct Parts {
    fields: Fields,
    response: ProviderResponse,
}

#[derive(Clone, Deserialize)]
struct Fields {
    access_token: Secret,
    // Of any JSON type: some providers send strings for numbers, and no oddity is worth losing a rotated token for.
    #[serde(default)]
    token_type: Option<serde_json::Value>,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
    #[serde(default)]
    refresh_token: Option<Secret>,
    #[serde(default)]
    scope: Option<serde_json::Value>,
}

/// The bytes are no token response: they are no JSON object, or one without `access_token`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no token response (RFC 6749 section 5.1): it must be a JSON object with a non-empty access_token")]
pub struct InvalidTokenResponse;

impl TokenResponse {
    /// Reads the body of a 2xx answer.
    ///
    /// # Errors
    ///
    /// [`InvalidTokenResponse`] when it is no JSON object with a non-empty text as `access_token`, when its
    /// `refresh_token` is neither a text nor null, or when one of the fields comes twice. The text of the error never
    /// quotes the body.
    pub fn from_json(body: impl Into<Vec<u8>>) -> Result<Self, InvalidTokenResponse> {
        Self::from_response(ProviderResponse::new(200, body).with_header("content-type", "application/json"))
    }

    /// Reads a whole answer, keeping its status and headers for every caller of the flight.
    ///
    /// # Errors
    ///
    /// As [`from_json`](Self::from_json).
    pub fn from_response(response: ProviderResponse) -> Result<Self, InvalidTokenResponse> {
        let fields: Fields = serde_json::from_slice(response.body()).map_err(|_| InvalidTokenResponse)?;
        if fields.access_token.expose().is_empty() {
            return Err(InvalidTokenResponse);
        }
        Ok(Self { parts: Arc::new(Parts { fields, response }) })
    }

    /// The access token.
    pub fn access_token(&self) -> &str {
        self.parts.fields.access_token.expose()
    }

    /// How the access token is used: `Bearer`, `DPoP`. Empty where the provider left it out.
    pub fn token_type(&self) -> &str {
        self.parts.fields.token_type.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default()
    }

    /// How long the access token lives from now, if the provider said so.
    pub fn expires_in(&self) -> Option<Duration> {
        let seconds = match self.parts.fields.expires_in.as_ref()? {
            serde_json::Value::Number(number) => number.as_u64().or_else(|| number.as_f64().map(|n| n as u64)),
            serde_json::Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        seconds.map(Duration::from_secs)
    }

    /// The next refresh token. None means: keep the one you have (RFC 6749 section 6).
    pub fn refresh_token(&self) -> Option<&str> {
        self.parts.fields.refresh_token.as_ref().map(Secret::expose).filter(|token| !token.is_empty())
    }

    /// The scope of the access token; None means: as requested.
    pub fn scope(&self) -> Option<&str> {
        self.parts.fields.scope.as_ref().and_then(serde_json::Value::as_str)
    }

    /// Any other top-level field, such as `id_token`.
    pub fn field(&self, name: &str) -> Option<serde_json::Value> {
        let mut all: serde_json::Map<_, _> = serde_json::from_slice(self.parts.response.body()).ok()?;
        all.remove(name)
    }

    /// The provider's bytes, status and headers.
    pub fn response(&self) -> &ProviderResponse {
        &self.parts.response
    }

    /// The same answer for a caller that comes `age` later: `expires_in` is less by it, in the field and in the
    /// bytes, and nothing else is touched.
    pub(crate) fn aged(&self, age: Duration) -> Self {
        let Some(left) = self.expires_in().map(|lifetime| lifetime.saturating_sub(age).as_secs()) else {
            return self.clone();
        };
        let mut aged = Parts::clone(&self.parts);
        aged.fields.expires_in = Some(left.into());
        let body = self.response().body();
        if let Some(span) = value_span(body, "expires_in") {
            let mut bytes = Vec::with_capacity(body.len());
            bytes.extend_from_slice(&body[..span.start]);
            bytes.extend_from_slice(left.to_string().as_bytes());
            bytes.extend_from_slice(&body[span.end..]);
            aged.response.body = Arc::new(Zeroizing::new(bytes));
        }
        Self { parts: Arc::new(aged) }
    }
}

/// Where in `body` the value of a top-level field stands.
fn value_span(body: &[u8], name: &str) -> Option<std::ops::Range<usize>> {
    let fields: std::collections::HashMap<std::borrow::Cow<'_, str>, &RawValue> = serde_json::from_slice(body).ok()?;
    let raw = fields.get(name)?.get();
    // The raw value is a part of the body, so the distance of the two is its place.
    let start = raw.as_ptr() as usize - body.as_ptr() as usize;
    Some(start..start + raw.len())
}

impl fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenResponse")
            .field("token_type", &self.token_type())
            .field("expires_in", &self.expires_in())
            .field("rotated", &self.refresh_token().is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(json: &str) -> TokenResponse {
        TokenResponse::from_json(json).expect("a token response")
    }

    #[test]
    fn latecomer_gets_the_same_bytes_but_for_expires_in() {
        let body = "{ \"access_token\":\"a\\u0062\",\n \"expires_in\" : 3600 , \"x\":{\"expires_in\":1},\"refresh_token\":\"r\"}\n";

        let aged = tokens(body).aged(Duration::from_secs(61));

        let expected = body.replacen("3600", "3539", 1);
        assert_eq!(aged.response().body(), expected.as_bytes());
        assert_eq!(aged.expires_in(), Some(Duration::from_secs(3539)));
    }

    #[test]
    fn aging_never_goes_below_zero_and_needs_no_expires_in() {
        assert_eq!(
            tokens(r#"{"access_token":"a","expires_in":"30"}"#).aged(Duration::from_secs(40)).response().body(),
            br#"{"access_token":"a","expires_in":0}"#
        );
        assert_eq!(
            tokens(r#"{"access_token":"a"}"#).aged(Duration::from_secs(40)).response().body(),
            br#"{"access_token":"a"}"#
        );
    }

    #[test]
    fn what_is_no_token_response_is_refused() {
        for body in ["", "[]", "{}", r#"{"access_token":""}"#, r#"{"access_token":1}"#, "null"] {
            assert!(TokenResponse::from_json(body).is_err(), "{body}");
        }
    }

    #[test]
    fn debug_tells_no_token() {
        let tokens = tokens(r#"{"access_token":"hush1","refresh_token":"hush2","id_token":"hush3"}"#);

        let printed = format!("{tokens:?} {:?}", tokens.response());

        assert!(!printed.contains("hush"), "{printed}");
    }
}
