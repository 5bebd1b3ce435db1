//! Words: what a flight ends with, and what follows from it for the token.
//!
//! The refresh function answers with a [`TokenResponse`] or a [`ProviderFailure`]. [`Outcome`]'s methods tell which class
//! that is and what became of the token; for how long it is kept follows in [`retention`](crate::retention).

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

    /// The same answer for somebody who comes `age` later: `expires_in` is less by it, in the field and in the
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

/// Why a refresh brought no tokens, sorted by what is known of the refresh token afterwards.
///
/// The four ways decide who is given the failure, for how long, and whether the token may be presented again:
/// choose by what happened to the token, not by the look of the error.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderFailure {
    /// Nothing was sent: name resolution, connecting or TLS failed. The token is untouched, the attempt is free.
    #[error("nothing was sent to the provider: {reason}")]
    NotSent {
        /// What failed, for the log. Must not hold a secret.
        reason: String,
    },
    /// The provider understood and said no (RFC 6749 section 5.2).
    #[error("the provider refused the refresh: {error}")]
    Denied {
        /// The OAuth error code; `invalid_grant` means that the token is dead.
        error: String,
        /// What the provider sent, for every caller of the flight.
        response: Option<ProviderResponse>,
    },
    /// The provider is overloaded or limits us: 429, or 503 with Retry-After. The token is untouched. A 503 keeps
    /// everybody away and is known by its `response`; anything else keeps this session away.
    #[error("the provider is busy")]
    Busy {
        /// How long the provider asks us to stay away (RFC 9110 section 10.2.3).
        retry_after: Option<Duration>,
        /// What the provider sent, for every caller of the flight.
        response: Option<ProviderResponse>,
    },
    /// The request may have reached the provider, and nobody knows what it did: a 5xx, a reset, a timeout, an
    /// unreadable answer. The token may have been rotated.
    #[error("nobody knows what the provider did: {reason}")]
    Unknown {
        /// What happened, for the log. Must not hold a secret.
        reason: String,
        /// What the provider sent, if anything, for every caller of the flight.
        response: Option<ProviderResponse>,
    },
}

impl ProviderFailure {
    /// Nothing was sent, for this reason.
    pub fn not_sent(reason: impl Into<String>) -> Self {
        Self::NotSent { reason: reason.into() }
    }

    /// The provider's OAuth error code.
    pub fn denied(error: impl Into<String>) -> Self {
        Self::Denied { error: error.into(), response: None }
    }

    /// The provider asks to stay away: this session, or all with the response of a 503
    /// ([`with_response`](Self::with_response)).
    pub fn busy(retry_after: Option<Duration>) -> Self {
        Self::Busy { retry_after, response: None }
    }

    /// Sent, or perhaps sent, without an answer that tells.
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown { reason: reason.into(), response: None }
    }

    /// Adds what the provider sent, so that every caller of the flight gets it.
    pub fn with_response(mut self, answer: ProviderResponse) -> Self {
        match &mut self {
            Self::NotSent { .. } => {}
            Self::Denied { response, .. } | Self::Busy { response, .. } | Self::Unknown { response, .. } => {
                *response = Some(answer);
            }
        }
        self
    }

    /// What the provider sent, if it sent anything.
    pub fn response(&self) -> Option<&ProviderResponse> {
        match self {
            Self::NotSent { .. } => None,
            Self::Denied { response, .. } | Self::Busy { response, .. } | Self::Unknown { response, .. } => {
                response.as_ref()
            }
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NotSent { .. } | Self::Busy { .. } | Self::Unknown { .. } => true,
            Self::Denied { error, .. } => {
                matches!(error.as_str(), "temporarily_unavailable" | "server_error" | "slow_down" | "use_dpop_nonce")
            }
        }
    }

    /// The same failure for somebody who comes `age` later: less is left of what the provider asked to wait.
    pub(crate) fn aged(&self, age: Duration) -> Self {
        let mut aged = self.clone();
        if let Self::Busy { retry_after: Some(left), .. } = &mut aged {
            *left = left.saturating_sub(age);
        }
        aged
    }

    /// Whether the token is dead. No other denial says anything about it.
    pub(crate) fn is_invalid_grant(&self) -> bool {
        matches!(self, Self::Denied { error, .. } if error == "invalid_grant")
    }
}

/// What a flight ended with.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Success(TokenResponse),
    Failure(ProviderFailure),
    /// An earlier leader was lost with its answer, or the policy forbids to ask again: the token may have been
    /// rotated and the successor is gone. Holds the provider's refusal where there was one.
    Lost(Option<ProviderResponse>),
}

/// The clear word for an outcome, for redis-cli, metrics and logs. Nobody acts on it but the scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Success,
    Denied,
    Busy,
    NotSent,
    Unknown,
    Lost,
}

impl Class {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denied => "denied",
            Self::Busy => "busy",
            Self::NotSent => "not_sent",
            Self::Unknown => "unknown",
            Self::Lost => "lost",
        }
    }
}

/// What became of the refresh token that was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenState {
    /// The provider gave a successor: a second presentation would be a reuse.
    Rotated,
    /// The provider gave none: the same token is used again.
    Kept,
    /// `invalid_grant`.
    Dead,
    /// It was not looked at, as far as anyone knows.
    Untouched,
    /// Nobody knows.
    Unknown,
}

impl TokenState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Rotated => "rotated",
            Self::Kept => "kept",
            Self::Dead => "dead",
            Self::Untouched => "untouched",
            Self::Unknown => "unknown",
        }
    }
}

/// What an outcome says of the provider, for the circuit and the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Healthy,
    Failing,
    /// Nothing of the provider's health.
    Neutral,
    /// 429: this session is to stay away, for as long as the provider says, if it does.
    SessionLimited(Option<Duration>),
    /// 503 with Retry-After: everybody is to stay away.
    FleetLimited(Duration),
}

/// A provider that asks to stay away for longer is asked again after this.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);
impl Outcome {
    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Success(_) => Class::Success,
            Self::Failure(ProviderFailure::Denied { .. }) => Class::Denied,
            Self::Failure(ProviderFailure::Busy { .. }) => Class::Busy,
            Self::Failure(ProviderFailure::NotSent { .. }) => Class::NotSent,
            Self::Failure(ProviderFailure::Unknown { .. }) => Class::Unknown,
            Self::Lost(_) => Class::Lost,
        }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::Success(_) => Verdict::Healthy,
            Self::Failure(ProviderFailure::Unknown { .. }) => Verdict::Failing,
            Self::Failure(ProviderFailure::Busy { retry_after, response }) => match (retry_after, response) {
                (Some(retry_after), Some(response)) if response.status() == 503 => Verdict::FleetLimited(*retry_after),
                (retry_after, _) => Verdict::SessionLimited(*retry_after),
            },
            Self::Failure(ProviderFailure::Denied { .. } | ProviderFailure::NotSent { .. }) | Self::Lost(_) => {
                Verdict::Neutral
            }
        }
    }

    /// Whether the session pays for it: not where nothing was sent, nor where the client was at fault or has only to
    /// come again with a nonce.
    pub(crate) fn is_charged(&self) -> bool {
        match self {
            Self::Failure(ProviderFailure::NotSent { .. }) => false,
            Self::Failure(ProviderFailure::Denied { error, .. }) => !matches!(
                error.as_str(),
                "invalid_client" | "unauthorized_client" | "unsupported_grant_type" | "use_dpop_nonce"
            ),
            Self::Success(_) | Self::Failure(_) | Self::Lost(_) => true,
        }
    }

    pub(crate) fn token_state(&self) -> TokenState {
        match self {
            Self::Success(tokens) if tokens.refresh_token().is_some() => TokenState::Rotated,
            Self::Success(_) => TokenState::Kept,
            Self::Failure(ProviderFailure::Denied { error, .. }) if error == "invalid_grant" => TokenState::Dead,
            Self::Failure(
                ProviderFailure::Denied { .. } | ProviderFailure::Busy { .. } | ProviderFailure::NotSent { .. },
            ) => TokenState::Untouched,
            Self::Failure(ProviderFailure::Unknown { .. }) => TokenState::Unknown,
            Self::Lost(_) => TokenState::Dead,
        }
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

        let printed = format!("{:?} {:?}", tokens, Outcome::Success(tokens.clone()));

        assert!(!printed.contains("hush"), "{printed}");
    }
}
