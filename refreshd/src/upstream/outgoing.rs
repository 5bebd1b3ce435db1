//! A request as it is written to an endpoint of the provider: what came, at the provider's own URL.

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{Extensions, Request, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use refresh_coordinator::exchange::SendError;

use super::address::with_query;

/// As SETTINGS_MAX_HEADER_LIST_SIZE counts them (RFC 9113 section 6.5.2). Many servers take 8 KiB, and some end the whole connection
/// for more.
const LARGE_HEADERS: usize = 4 * 1024;
/// For each header.
const BESIDE: usize = 32;

/// Whether its headers, of which the URL is one, may be more than the provider takes.
pub(super) fn has_large_headers(request: &Request<Full<Bytes>>) -> bool {
    let path = request.uri().path_and_query().map_or(0, |path| ":path".len() + path.as_str().len() + BESIDE);
    let of_header = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + BESIDE;
    path + request.headers().iter().map(of_header).sum::<usize>() > LARGE_HEADERS
}

/// The request to this URL, and what goes with it in this process.
pub(super) fn outgoing(request: Request<Vec<u8>>, uri: &Uri) -> Result<(Request<Full<Bytes>>, Extensions), SendError> {
    let (parts, body) = request.into_parts();
    let mut request = Request::new(Full::from(body));
    *request.method_mut() = parts.method;
    *request.headers_mut() = parts.headers;
    if let http::header::Entry::Occupied(mut credentials) = request.headers_mut().entry(AUTHORIZATION) {
        // HTTP/2 would keep it for as long as the connection lives, to write it shorter the next time.
        credentials.iter_mut().for_each(|value| value.set_sensitive(true));
    }
    *request.uri_mut() = match parts.uri.query() {
        None => uri.clone(),
        // One that is too long was answered before anybody led (`Upstream::has_room_for`).
        Some(query) => with_query(uri, query).map_err(|error| SendError::NotSent(error.to_string()))?,
    };
    Ok((request, parts.extensions))
}
