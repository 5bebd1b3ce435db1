//! Words: what the provider sent, and the tokens in it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::authentication::Authentication;
use crate::secret::Secret;
use fields::Fields;
pub(crate) use fields::LONGEST_LIFE;

pub(crate) mod decoding;
pub(crate) mod dressing;
mod fields;
pub(crate) mod json;
mod xml;

/// What the provider sent, as it sent it: status, the headers that mean something to a client, the body.
#[derive(Clone)]
pub struct ProviderResponse {
    status: u16,
    headers: Vec<(String, String)>,
    body: Arc<Zeroizing<Vec<u8>>>,
    /// The caller that it was sent to takes no such media type: its sender heeds no Accept, so it is for any other caller, too.
    heeds_no_accept: bool,
    /// In which ways the client authenticated that it was sent to, where that matters.
    authentication: Authentication,
}

impl ProviderResponse {
    /// An HTTP status and the bytes that came with it.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = Arc::new(Zeroizing::new(body.into()));
        Self { status, headers: Vec::new(), body, heeds_no_accept: false, authentication: Authentication::default() }
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

    pub(crate) fn heeding_no_accept(self, heeds_no_accept: bool) -> Self {
        Self { heeds_no_accept, ..self }
    }

    pub(crate) fn heeds_no_accept(&self) -> bool {
        self.heeds_no_accept
    }

    pub(crate) fn authenticated(self, authentication: Authentication) -> Self {
        Self { authentication, ..self }
    }

    pub(crate) fn authentication(&self) -> Authentication {
        self.authentication
    }

    /// The values of a header, whatever the case of its name.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers().filter(move |(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The body as text: without its content encoding, where that can be undone, and without a byte order mark.
    pub(crate) fn text(&self) -> Text<'_> {
        match decoding::decoded(self.body(), self.values("content-encoding")) {
            None => Text(Cow::Borrowed(&self.body)),
            Some(text) => Text(Cow::Owned(text)),
        }
    }

    /// A caller that comes `age` later is told what is left of the time to stay away. A date stays the same.
    pub(crate) fn age(&mut self, age: Duration) {
        let pauses = self.headers.iter_mut().filter(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
        for (_, value) in pauses {
            if let Ok(seconds @ 1..) = value.trim().parse::<u64>() {
                *value = seconds.saturating_sub(age.as_secs()).max(1).to_string();
            }
        }
    }

    /// The same answer with another text for its body. What the provider said of the bytes themselves goes with them.
    fn with_text(self, text: Vec<u8>) -> Self {
        const OF_BYTES: [&str; 6] =
            ["content-encoding", "content-md5", "digest", "content-digest", "repr-digest", "etag"];
        let mut response = Self { body: Arc::new(Zeroizing::new(text)), ..self };
        response.headers.retain(|(name, _)| !OF_BYTES.iter().any(|of_bytes| name.eq_ignore_ascii_case(of_bytes)));
        response
    }
}

/// The text of a body; wiped where it is a copy.
pub(crate) struct Text<'a>(Cow<'a, Zeroizing<Vec<u8>>>);

impl Deref for Text<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.0)
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
    /// The presented refresh token is used again: the answer holds no other one.
    is_kept: bool,
}

/// The bytes are no token response: there is no `access_token` in them that could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no token response (RFC 6749 section 5.1): it must be a JSON object, form-encoded or XML, with a non-empty access_token"
)]
pub struct InvalidTokenResponse;

impl TokenResponse {
    /// Reads the body of a 2xx answer.
    ///
    /// # Errors
    ///
    /// [`InvalidTokenResponse`] as [`from_response`](Self::from_response).
    pub fn from_json(body: impl Into<Vec<u8>>) -> Result<Self, InvalidTokenResponse> {
        Self::from_response(ProviderResponse::new(200, body).with_header("content-type", "application/json"))
    }

    /// Reads a whole answer, keeping its status and headers for every caller of the flight.
    ///
    /// Tokens are read out of JSON, of form-encoded bodies and of XML, in UTF-8, UTF-16 or ISO 8859-1, behind a byte order mark, in gzip, deflate and brotli
    /// (RFC 9110 section 8.4.1; up to 1 MiB decoded), in a call of JSONP, and one envelope down, such as
    /// `{"body":{"access_token":...}}`. JSON that has no `access_token` there is read for names with the same letters, such as
    /// `accessToken`, at any depth.
    ///
    /// # Errors
    ///
    /// [`InvalidTokenResponse`] when no non-empty text is found as `access_token`. The text of the error never quotes
    /// the body.
    pub fn from_response(response: ProviderResponse) -> Result<Self, InvalidTokenResponse> {
        let fields = fields::find(&response.text()).ok_or(InvalidTokenResponse)?;
        let is_kept = fields.refresh_token.is_none() && fields.others.is_empty();
        Ok(Self { parts: Arc::new(Parts { fields, response, is_kept }) })
    }

    /// The same, as the answer to a presentation of this refresh token: one that only repeats it gives no successor.
    pub(crate) fn answering(self, presented: &Secret) -> Self {
        let Fields { refresh_token, others, .. } = &self.parts.fields;
        let is_presented = |given: &Secret| given.expose().trim() == presented.expose().trim();
        let is_kept = refresh_token.iter().chain(others).all(is_presented);
        self.keeping(is_kept)
    }

    /// The same, where the presented refresh token is used again, or is not, whatever the answer holds.
    pub(crate) fn keeping(mut self, is_kept: bool) -> Self {
        if is_kept != self.parts.is_kept {
            Arc::make_mut(&mut self.parts).is_kept = is_kept;
        }
        self
    }

    /// Whether the presented refresh token is used again.
    pub(crate) fn is_kept(&self) -> bool {
        self.parts.is_kept
    }

    /// The access token.
    pub fn access_token(&self) -> &str {
        self.parts.fields.access_token.expose()
    }

    /// How the access token is used: `Bearer`, `DPoP`. Empty where the provider left it out.
    pub fn token_type(&self) -> &str {
        self.parts.fields.token_type.as_deref().unwrap_or_default()
    }

    /// How long the access token lives from now, if the provider said so; 100 years at most.
    pub fn expires_in(&self) -> Option<Duration> {
        self.parts.fields.expires_in
    }

    /// The next refresh token; some providers repeat the presented one. None means: keep the one you have (RFC 6749
    /// section 6).
    pub fn refresh_token(&self) -> Option<&str> {
        self.parts.fields.refresh_token.as_ref().map(Secret::expose)
    }

    /// The scope of the access token; None means: as requested.
    pub fn scope(&self) -> Option<&str> {
        self.parts.fields.scope.as_deref()
    }

    /// Any other field beside the access token, such as `id_token`. Of a form-encoded answer it is a text.
    pub fn field(&self, name: &str) -> Option<serde_json::Value> {
        fields::member(&self.response().text(), name)
    }

    /// The provider's bytes, status and headers.
    pub fn response(&self) -> &ProviderResponse {
        &self.parts.response
    }

    /// The same answer for a caller that comes `age` later: `expires_in` is less by it, in the field and in the
    /// bytes, a number as a number and text as text. Nothing else is touched, but that an encoded body is decoded and that
    /// a byte order mark is left out.
    pub(crate) fn aged(&self, age: Duration) -> Self {
        let Some(left) = self.expires_in().map(|lifetime| Duration::from_secs(lifetime.saturating_sub(age).as_secs()))
        else {
            return self.clone();
        };
        let mut aged = Parts::clone(&self.parts);
        aged.fields.expires_in = Some(left);
        let text = self.response().text();
        if let Some(span) = fields::lifetime_span(&text) {
            let left = left.as_secs().to_string();
            // Sized at once: a buffer that grows would leave unwiped copies behind.
            let mut bytes = Vec::with_capacity(text.len() - span.len() + left.len());
            bytes.extend_from_slice(&text[..span.start]);
            bytes.extend_from_slice(left.as_bytes());
            bytes.extend_from_slice(&text[span.end..]);
            aged.response = aged.response.with_text(bytes);
        }
        Self { parts: Arc::new(aged) }
    }
}

impl fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenResponse")
            .field("token_type", &self.token_type())
            .field("expires_in", &self.expires_in())
            .field("rotated", &!self.is_kept())
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
            br#"{"access_token":"a","expires_in":"0"}"#
        );
        assert_eq!(
            tokens(r#"{"access_token":"a"}"#).aged(Duration::from_secs(40)).response().body(),
            br#"{"access_token":"a"}"#
        );
    }

    #[test]
    fn life_is_read_however_it_is_said_within_bounds() {
        let (none, most) = (Some(Duration::ZERO), Some(LONGEST_LIFE));
        for (said, expected) in [
            ("3600.9", Some(Duration::from_secs(3600))),
            ("\" 60 \"", Some(Duration::from_secs(60))),
            ("-1", none),
            ("\"-0.5\"", none),
            ("9223372036854775807", most),
            ("18446744073709551616", most),
            ("1e400", most),
            ("\"inf\"", most),
            ("\"NaN\"", None),
            ("\"never\"", None),
            ("\"\"", None),
            ("null", None),
            ("{}", None),
        ] {
            let body = format!(r#"{{"access_token":"a","expires_in":{said}}}"#);
            let tokens = tokens(&body);

            assert_eq!(tokens.expires_in(), expected, "{said}");
            // To compute with it is safe, and what is aged can be read.
            _ = std::time::SystemTime::now() + tokens.expires_in().unwrap_or_default();
            let aged = tokens.aged(Duration::from_secs(2));
            assert!(TokenResponse::from_response(aged.response().clone()).is_ok(), "{said}");
        }
    }

    #[test]
    fn tokens_in_another_character_set_are_read_and_handed_on_as_they_came() {
        let text = r#"{"access_token":"a","refresh_token":"r","name":"Jos\u{e9}","expires_in":3600}"#
            .replace("\\u{e9}", "\u{e9}");
        let latin: Vec<u8> = text.chars().map(|letter| letter as u8).collect();
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for body in [latin, [&[0xff, 0xfe], &wide[..]].concat(), wide] {
            let tokens = TokenResponse::from_response(ProviderResponse::new(200, body.clone())).expect("tokens");

            assert_eq!((tokens.access_token(), tokens.refresh_token()), ("a", Some("r")));
            assert_eq!(tokens.field("name"), Some("Jos\u{e9}".into()));
            let aged = tokens.aged(Duration::from_secs(10));
            // What cannot be told to latecomers as less is not taken for said.
            assert_eq!((aged.response().body(), aged.expires_in()), (&body[..], None));
        }
    }

    #[test]
    fn moment_at_which_the_access_token_ends_is_no_span_and_stays_as_it_is() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
        for (said, least) in [
            (format!("{}", now + 3600), 3590),
            (format!("\"{}\"", now + 3600), 3590),
            (format!("{}", (now + 3600) * 1000), 3590),
            (format!("{}.0", now + 3600), 3590),
            (format!("{}", now - 5), 0),
        ] {
            let body = format!(r#"{{"access_token":"a","expires_in":{said}}}"#);
            let tokens = tokens(&body);

            let life = tokens.expires_in().expect("it says so").as_secs();
            assert!((least..=3600).contains(&life), "{said}: {life}");
            let aged = tokens.aged(Duration::from_secs(10));
            assert_eq!(aged.response().body(), body.as_bytes());
            assert_eq!(aged.expires_in(), Some(Duration::from_secs(life.saturating_sub(10))));
        }
    }

    #[test]
    fn tokens_are_found_in_every_form_that_is_understood_and_age_in_it() {
        for body in [
            r#"{"status":0,"body":{"access_token":"a","expires_in":"3600","refresh_token":"r"}}"#,
            r#" [{"access_token":"a","expires_in":3600,"refresh_token":"r"}] "#,
            r#"{"expires_in":3600.0,"access_token":"b","data":{"refresh_token":"r"},"access_token":"a"}"#,
            "\u{feff}{\"access_token\":\"a\",\"expires_in\":3600,\"refresh_token\":\"r\"}",
            "access_token=%61&expires_in=3600&refresh_token=r\n",
            r#"{"accessToken":"a","expiresIn":3600,"refreshToken":"r"}"#,
            r#"{"Result":{"x":{"AccessToken":"a","ExpiresIn":"3600"}},"RefreshToken":"r"}"#,
            r#"keep( {"access_token":"a","refresh_token":"r","expires_in":3600} );"#,
            ")]}'\n{\"access_token\":\"a\",\"refresh_token\":\"r\",\"expires_in\":3600}",
            "{\"access_token\":\"a\",\"refresh_token\":\"r\",\"expires_in\":3600}\0",
            r#"{"access_token":"a","refresh_token":"r","expires_in":36e5,"expires_in_sec":3600}"#,
            "\nrefresh_token=r&expires_in=3600&access_token=a",
            "<?xml version=\"1.0\"?><OAuth><refresh_token>r</refresh_token><expires_in> 3600 </expires_in><access_token>a</access_token></OAuth>",
        ] {
            let tokens = tokens(body);
            assert_eq!((tokens.access_token(), tokens.refresh_token()), ("a", Some("r")), "{body}");

            let aged = tokens.aged(Duration::from_secs(10));

            let expected = body.replace("3600.0", "3590").replace("3600", "3590");
            let expected = expected.trim_start_matches('\u{feff}');
            assert_eq!(String::from_utf8_lossy(aged.response().body()), expected);
            assert_eq!(aged.expires_in(), Some(Duration::from_secs(3590)));
        }
    }

    #[test]
    fn token_is_kept_where_no_other_one_is_given_anywhere() {
        let is_kept = |body: &str| tokens(body).answering(&Secret::from("r1")).is_kept();

        for body in [
            r#"{"access_token":"a"}"#,
            r#"{"access_token":"a","refresh_token":"r1","data":{"refresh_token":"r1"}}"#,
            r#"{"access_token":"a","refresh_token":null,"refresh_token_expires_in":5}"#,
            r#"{"access_token":"a","refresh_token":false}"#,
            "access_token=a&refresh_token=",
            "access_token=a&refresh_token=r1",
            "access_token=a&refresh_token=r1&refresh_token=r%31&refresh_token_expires_in=5",
            r#"{"access_token":"a","refresh_token":"r1","refresh_token":"r1"}"#,
            r#"{"access_token":"a","refresh_token":{},"refresh_token_expires_in":5}"#,
            r#"{"access_token":"a","refresh_token":["r1"]}"#,
            r#"{"access_token":"a","refresh_token":" r1\n"}"#,
            r#"{"access_token":"a","refresh_token":"null"}"#,
            "access_token=a&refresh_token=undefined",
            r#"{"accessToken":"a","refreshToken":"r1"}"#,
            r#"{"x":{"y":{"access_token":"a"}}}"#,
            r#"keep({"access_token":"a","refresh_token":"r1"});"#,
            "<r><access_token>a</access_token><refresh_token/></r>",
            "<r><accessToken>a</accessToken><refreshToken>r1</refreshToken></r>",
        ] {
            assert!(is_kept(body), "{body}");
        }
        for body in [
            r#"{"access_token":"a","refresh_token":"r2"}"#,
            r#"{"access_token":"a","refresh_token":7}"#,
            r#"{"access_token":"a","refreshToken":"r2"}"#,
            r#"{"access_token":"a","refresh_token":"r1","user":{"tokens":[{"refresh_token":"r2"}]}}"#,
            "access_token=a&refresh_token=r2",
            "access_token=a&refresh_token=r1&refresh_token=r2",
            r#"{"access_token":"a","refresh_token":"r2","refresh_token":"r1"}"#,
            r#"{"access_token":"a","refresh_token":"r1","refresh_token":"r2"}"#,
            r#"{"access_token":"a","refresh_token":{"value":"r2"}}"#,
            r#"{"access_token":"a","refresh_token":["r2"]}"#,
            r#"{"access_token":"a","new_refresh_token":"r2"}"#,
            r#"{"access_token":"a","a":{"b":{"c":{"d":{"e":{"refresh_token":"r2"}}}}}}"#,
            "<r><access_token>a</access_token><refresh_token>r2</refresh_token></r>",
            "<r><access_token>a</access_token><refresh_token><value>r2</value></refresh_token></r>",
            "<r><access_token>a</access_token><refresh_token>r1<!-- x --></refresh_token></r>",
            "<r><access_token>a</access_token><refresh_token>r1</refresh_token><new_refresh_token>r2</new_refresh_token></r>",
        ] {
            assert!(!is_kept(body), "{body}");
        }
    }

    #[test]
    fn later_caller_is_told_what_is_left_of_the_time_to_stay_away() {
        let aged = |value: &str, seconds: u64| {
            let mut response = ProviderResponse::new(429, "").with_header("Retry-After", value);
            response.age(Duration::from_millis(seconds * 1000 + 900));
            response.values("retry-after").collect::<String>()
        };

        assert_eq!([aged("30", 10), aged("30", 0), aged("30", 40), aged("0", 1)], ["20", "30", "1", "0"]);
        assert_eq!(aged("Tue, 24 Nov 2026 10:00:00 GMT", 9), "Tue, 24 Nov 2026 10:00:00 GMT");
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
