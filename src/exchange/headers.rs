//! Which headers go where: onward to the provider, to every caller of a flight, and never into a cache.

use std::collections::HashSet;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};

/// What speaks to one caller only, for the origin that it came from, or of the moment it came.
const NOT_SHARED: [HeaderName; 14] = [
    header::SET_COOKIE,
    HeaderName::from_static("set-cookie2"),
    header::CONTENT_LENGTH,
    // A latecomer would take its tokens for older than they are said to be: their age is taken off `expires_in`.
    header::DATE,
    header::ALT_SVC,
    header::STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("clear-site-data"),
    header::PUBLIC_KEY_PINS,
    HeaderName::from_static("expect-ct"),
    HeaderName::from_static("nel"),
    HeaderName::from_static("report-to"),
    HeaderName::from_static("reporting-endpoints"),
    HeaderName::from_static("accept-ch"),
    HeaderName::from_static("origin-agent-cluster"),
];

/// What begins so says which other origins may read the answer (CORS).
const OF_OTHER_ORIGINS: &str = "access-control-";

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
    for name in [header::HOST, header::CONTENT_LENGTH, header::EXPECT] {
        headers.remove(name);
    }
    // An encoded answer could not be shared with a caller who did not ask for the encoding. Said, because no Accept-Encoding
    // at all means any (RFC 9110 section 12.5.3).
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
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
    for name in named_by_connection(headers).iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn named_by_connection(headers: &HeaderMap) -> HashSet<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect()
}

/// What is shared of an answer's headers: all as they came, but for those that mean one caller or one connection. A value that is not UTF-8 cannot be kept and is left out.
pub(super) fn shared(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let of_connection = named_by_connection(headers);
    headers
        .iter()
        .filter(move |(name, _)| {
            !(NOT_SHARED.contains(name)
                || HOP_BY_HOP.contains(name)
                || of_connection.contains::<HeaderName>(name)
                || name.as_str().starts_with(OF_OTHER_ORIGINS))
        })
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
            .header("accept-encoding", "gzip, br")
            .header("x-session", "s")
            .header("authorization", "Basic eA==")
            .header("x-request-id", "7")
            .body(Vec::new())
            .expect("a request");

        let onward = onward(request, Some(&HeaderName::from_static("x-session")));

        let mut left: Vec<_> = onward.headers().keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept-encoding", "authorization", "x-request-id"]);
        assert_eq!(onward.headers()["accept-encoding"], "identity");
    }

    #[test]
    fn headers_are_shared_as_they_came_but_for_those_of_one_caller_or_connection_or_origin() {
        let names = [
            "content-type",
            "location",
            "retry-after",
            "x-ratelimit-reset",
            "dpop-nonce",
            "x-mine",
            "set-cookie",
            "connection",
            "transfer-encoding",
            "content-length",
            "alt-svc",
            "strict-transport-security",
            "clear-site-data",
            "access-control-allow-origin",
            "access-control-max-age",
            "date",
        ];
        let mut headers: HeaderMap =
            names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1"))).collect();
        headers.insert("connection", HeaderValue::from_static("close, X-Mine"));

        let shared: Vec<_> = shared(&headers).map(|(name, _)| name).collect();

        assert_eq!(shared, names[..5]);
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
