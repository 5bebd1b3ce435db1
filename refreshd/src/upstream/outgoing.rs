//! A request as it is written to an endpoint of the provider: what came, at the provider's own URL.

use http::header::AUTHORIZATION;
use http::{Extensions, Request, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use refresh_coordinator::exchange::SendError;

use super::address::with_query;

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
        Some(query) => with_query(uri, query).map_err(|error| SendError::NotSent(error.to_string()))?,
    };
    Ok((request, parts.extensions))
}
