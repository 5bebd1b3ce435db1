//! Whether all of an answer is there, also where neither its length nor its connection says so.

use http::{HeaderMap, header};

use crate::token_response::decoding::{self, Coding};
use crate::token_response::dressing;

/// Whether a body tells its own end, and has come to it: JSON, XML, or what is encoded in gzip or brotli. An HTTP client that knows it
/// need not throw away an answer whose connection broke, or that was announced to be longer: its refresh token may have been
/// rotated.
///
/// ```
/// use http::HeaderMap;
/// use refresh_coordinator::exchange::tells_its_end;
///
/// let headers = HeaderMap::new();
/// assert!(tells_its_end(&headers, br#"{"access_token":"a2"}"#));
/// assert!(!tells_its_end(&headers, br#"{"access_token":"a"#));
/// assert!(!tells_its_end(&headers, b"access_token=a2"), "the next byte may be another one of the token");
/// ```
pub fn tells_its_end(headers: &HeaderMap, body: &[u8]) -> bool {
    let encodings = || headers.get_all(header::CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    match decoding::decoded(body, encodings()) {
        None => dressing::has_ended(body),
        // These are decoded only as a whole.
        Some(_) if decoding::outermost(body, encodings()) == Coding::Whole => true,
        Some(text) => dressing::has_ended(&text),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn encoded_body_has_ended_where_its_coding_has() {
        let headers =
            |coding: &'static str| HeaderMap::from_iter([(header::CONTENT_ENCODING, coding.parse().expect("a value"))]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"access_token=a2").expect("memory");
        let gzip = gzip.finish().expect("memory");
        let mut deflate = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        deflate.write_all(br#"{"access_token":"a2"}"#).expect("memory");
        let deflate = deflate.finish().expect("memory");

        assert!(tells_its_end(&headers("gzip"), &gzip) && tells_its_end(&HeaderMap::new(), &gzip));
        assert!(tells_its_end(&headers("deflate"), &deflate));
        for (coding, body) in [("gzip", &gzip), ("deflate", &deflate)] {
            for length in 0..body.len() - 8 {
                assert!(!tells_its_end(&headers(coding), &body[..length]), "{coding} {length}");
            }
        }
        assert!(tells_its_end(&headers("gzip"), b"{}"), "it is not encoded as it says");
    }
}
