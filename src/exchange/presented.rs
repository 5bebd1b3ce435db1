//! Where the refresh token stands in a request, so that a newer one can be presented, or revoked, in its place.
//!
//! Only where that is plain: in one place of a body that is read, in a request that nobody has signed. Any other request is
//! presented as it came, and goes along no chain.

use std::ops::Range;

use http::{HeaderMap, Request, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{form, json};
use crate::secret::Secret;

/// The place of the token in a body, and how it is written there.
#[derive(Debug)]
pub(super) struct Place {
    span: Range<usize>,
    is_json: bool,
    token: Secret,
}

impl Place {
    /// None where another token must not be written into the request, or where that is not plain.
    pub(super) fn of(token: &Secret, request: &Request<Vec<u8>>) -> Option<Self> {
        Self::named("refreshtoken", token, request)
    }

    /// The same of a token that is to be revoked.
    pub(super) fn of_revoked(token: &Secret, request: &Request<Vec<u8>>) -> Option<Self> {
        Self::named("token", token, request)
    }

    fn named(name: &'static str, token: &Secret, request: &Request<Vec<u8>>) -> Option<Self> {
        let is_token = |other: &str| is_like(other, name);
        let (headers, body) = (request.headers(), request.body());
        let is_encoded = headers.get_all(header::CONTENT_ENCODING).iter().any(|coding| coding != "identity");
        let query = request.uri().query().unwrap_or_default();
        if is_encoded || is_signed(headers) || form::pairs(query.as_bytes()).any(|(name, _)| is_token(&name)) {
            return None;
        }
        let is_json = json::is_likely(body);
        let span = if is_json { in_json(token, body, is_token) } else { in_form(token, body, is_token) }?;
        Some(Self { span, is_json, token: token.clone() })
    }

    /// Writes the token that is to be presented, where it is another one.
    pub(super) fn present(self, token: &str, body: &mut Vec<u8>) {
        if token == self.token.expose() {
            return;
        }
        let written = if self.is_json {
            serde_json::Value::from(token).to_string()
        } else {
            utf8_percent_encode(token, NON_ALPHANUMERIC).to_string()
        };
        let written = Secret::from(written);
        // Sized at once: a buffer that grows would leave unwiped copies behind.
        let mut there = Vec::with_capacity(body.len() + written.expose().len());
        there.extend_from_slice(&body[..self.span.start]);
        there.extend_from_slice(written.expose().as_bytes());
        there.extend_from_slice(&body[self.span.end..]);
        *body = there;
    }
}

fn in_form(token: &Secret, body: &[u8], is_token: impl Fn(&str) -> bool) -> Option<Range<usize>> {
    let (mut start, mut found) = (0, None);
    for pair in body.split(|byte| *byte == b'&') {
        if let Some((name, value)) = form::pairs(pair).next()
            && is_token(&name)
        {
            let equals = pair.iter().position(|byte| *byte == b'=')?;
            if found.is_some() || value.expose() != token.expose() {
                return None;
            }
            found = Some(start + equals + 1..start + pair.len());
        }
        start += pair.len() + 1;
    }
    found
}

fn in_json(token: &Secret, body: &[u8], is_token: impl Fn(&str) -> bool) -> Option<Range<usize>> {
    let (written, span) = json::only_text(body, is_token)?;
    (written.expose() == token.expose()).then_some(span)
}

/// As a lenient provider reads names: `Refresh_Token`, `refreshToken`.
fn is_like(other: &str, name: &'static str) -> bool {
    let letters = other.bytes().filter(|byte| *byte != b'_' && *byte != b'-').map(|byte| byte.to_ascii_lowercase());
    letters.eq(name.bytes())
}

/// Whether something in the headers says what the body is: a signature (RFC 9421), a digest (RFC 9530), or a scheme of
/// authorization that may be one.
fn is_signed(headers: &HeaderMap) -> bool {
    let is_signature =
        |name: &str| ["signature", "digest", "hmac", "content-md5"].iter().any(|part| name.contains(part));
    let is_plain =
        |scheme: &[u8]| [&b"basic"[..], b"bearer", b"dpop"].iter().any(|plain| scheme.eq_ignore_ascii_case(plain));
    headers.keys().any(|name| is_signature(name.as_str()))
        || headers.get_all(header::AUTHORIZATION).iter().any(|value| {
            let scheme = value.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
            !is_plain(scheme)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presented(target: &str, headers: &[(&str, &str)], body: &str, token: &str) -> Option<String> {
        let mut request = Request::post(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body.as_bytes().to_vec()).expect("a request");
        let place = Place::of(&Secret::from("r 1"), &request)?;
        place.present(token, request.body_mut());
        Some(String::from_utf8(request.into_body()).expect("UTF-8"))
    }

    #[test]
    fn newer_token_stands_where_the_old_one_stood_and_nothing_else_changes() {
        let form = |body, token| presented("/t", &[("authorization", "Basic YTpi")], body, token);
        let body = "grant_type=refresh_token&refresh_token=r+1&scope=a+b";

        assert_eq!(form(body, "r 1").as_deref(), Some(body), "the same token is not written anew");
        assert_eq!(form(body, "a&b=c").as_deref(), Some("grant_type=refresh_token&refresh_token=a%26b%3Dc&scope=a+b"));
        assert_eq!(form("refreshToken=r%201", "x").as_deref(), Some("refreshToken=x"));
        assert_eq!(
            form(r#" {"refresh_token": "r 1", "n":1}"#, "a\"b").as_deref(),
            Some(r#" {"refresh_token": "a\"b", "n":1}"#)
        );
        assert_eq!(
            form("\u{feff}{\"other\":\"r 1\",\"refresh_token\":\"r\\u00201\"}", "x").as_deref(),
            Some("\u{feff}{\"other\":\"r 1\",\"refresh_token\":\"x\"}"),
            "however it is written, and whatever else has the same value"
        );
    }

    #[test]
    fn request_that_is_signed_or_not_plain_is_presented_as_it_came() {
        let body = "refresh_token=r+1";
        let none = |target, headers: &[(&str, &str)], body| presented(target, headers, body, "x").is_none();

        assert!(none("/t", &[("content-digest", "sha-256=:x:")], body));
        assert!(none("/t", &[("x-hub-signature-256", "x")], body));
        assert!(none("/t", &[("authorization", "AWS4-HMAC-SHA256 x")], body));
        assert!(none("/t", &[("content-encoding", "gzip")], body));
        assert!(none("/t?refresh_token=r+1", &[], body));
        assert!(none("/t", &[], "refresh_token=r+1&RefreshToken=r+1"));
        assert!(none("/t", &[], r#"{"refresh_token":"r 1","refreshToken":"r 1"}"#));
    }
}
