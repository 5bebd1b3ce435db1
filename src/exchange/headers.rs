//! Which headers go where: onward to the provider, to every caller of a flight, and never into a cache.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};

/// What an answer tells a client, and what every caller of its flight is told. Cookies and the like speak to one
/// caller only.
const SHARED: [HeaderName; 7] = [
    header::CONTENT_TYPE,
    // Nobody asked for an encoding. A provider that encodes all the same must be readable to the caller at least.
    header::CONTENT_ENCODING,
    header::CACHE_CONTROL,
    header::PRAGMA,
    header::WWW_AUTHENTICATE,
    header::RETRY_AFTER,
    HeaderName::from_static("dpop-nonce"),
];

/// Headers that speak of one connection only (RFC 9110 section 7.6.1), with those that were in use before it.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The request as it goes to the provider: as it came, but for what belongs to the caller's connection, and the
/// session, which is nobody else's business.
pub(super) fn onward(mut request: Request<Vec<u8>>, session: Option<&HeaderName>) -> Request<Vec<u8>> {
    let headers = request.headers_mut();
    remove_hop_by_hop(headers);
    // An encoded answer could not be read, nor shared with a caller who did not ask for the encoding.
    for name in [header::HOST, header::CONTENT_LENGTH, header::ACCEPT_ENCODING, header::EXPECT] {
        headers.remove(name);
    }
    if let Some(name) = session {
        headers.remove(name);
    }
    request
}

/// An answer as it goes back to the one caller it is for.
pub(super) fn back(mut answer: Response<Vec<u8>>) -> Response<Vec<u8>> {
    remove_hop_by_hop(answer.headers_mut());
    answer.headers_mut().remove(header::CONTENT_LENGTH);
    answer
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// What is shared of an answer's headers. A value that is not UTF-8 cannot be kept and is left out.
pub(super) fn shared(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .iter()
        .filter(|(name, _)| SHARED.contains(name))
        .filter_map(|(name, value)| Some((name.as_str(), std::str::from_utf8(value.as_bytes()).ok()?)))
}

/// RFC 6749 section 5.1: tokens are never stored on the way. What the provider says is left as it is where it
/// forbids storing already.
pub(super) fn forbid_storing(headers: &mut HeaderMap) {
    let is_forbidden = headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|directives| directives.split(','))
        .any(|directive| directive.trim().eq_ignore_ascii_case("no-store"));
    if !is_forbidden {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_goes_onward_without_what_belongs_to_its_connection() {
        let request = Request::post("/token")
            .header("host", "refreshd")
            .header("connection", "close, X-Mine")
            .header("x-mine", "1")
            .header("content-length", "3")
            .header("accept-encoding", "gzip")
            .header("x-session", "s")
            .header("authorization", "Basic eA==")
            .header("x-request-id", "7")
            .body(Vec::new())
            .expect("a request");

        let onward = onward(request, Some(&HeaderName::from_static("x-session")));

        let mut left: Vec<_> = onward.headers().keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "x-request-id"]);
    }

    #[test]
    fn storing_is_forbidden_once() {
        for (sent, expected) in [("private", "no-store"), ("No-Store, max-age=0", "No-Store, max-age=0")] {
            let mut headers = HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static(sent))]);
            forbid_storing(&mut headers);
            assert_eq!(headers.get_all(header::CACHE_CONTROL).iter().collect::<Vec<_>>(), [expected]);
        }
    }
}
