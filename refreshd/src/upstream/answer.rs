//! The provider's answer, taken whole: what arrived is not thrown away for how its connection ended.

use std::error::Error;

use http::response::Parts;
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Incoming};
use refresh_coordinator::exchange::SendError;
use serde::de::IgnoredAny;

use super::chain::chain;
use super::open::{Open, moving};

/// An answer with its body, which has `most` bytes at most.
pub(super) async fn whole(
    answer: Response<Incoming>,
    connection: &mut Open,
    most: usize,
) -> Result<Response<Vec<u8>>, SendError> {
    let (parts, mut body) = answer.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        // Nobody asked for another protocol, and what follows is of it.
        return Err(SendError::Unknown("status 101 is no answer to a token request".to_owned()));
    }
    let announced = body.size_hint().lower().min(most as u64);
    let mut bytes = Vec::with_capacity(announced as usize);
    let length = length_beside_no_coding(&parts);
    while length.is_none_or(|length| bytes.len() < length)
        && let Some(frame) = moving(connection, body.frame()).await
    {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) if is_complete(&parts, &bytes, &error) => {
                tracing::debug!(error = chain(&error), "a complete answer ended with a broken connection");
                *connection = None;
                break;
            }
            Err(error) => return Err(SendError::Unknown(chain(&error))),
        };
        // Trailers say nothing that anybody asked for.
        let Ok(data) = frame.into_data() else { continue };
        append(&mut bytes, &data, most)?;
    }
    if let Some(length) = length {
        bytes.truncate(length);
        *connection = None;
    }
    Ok(Response::from_parts(parts, bytes))
}

/// The length of a body that is not coded for its transfer, though a header speaks of that: `Transfer-Encoding: identity`, which
/// some servers still say. Otherwise such a body goes on until the connection ends, and that may stay open.
fn length_beside_no_coding(parts: &Parts) -> Option<usize> {
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter().peekable();
    codings.peek()?;
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return None;
    }
    parts.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn append(bytes: &mut Vec<u8>, data: &Bytes, most: usize) -> Result<(), SendError> {
    if bytes.len() + data.len() > most {
        return Err(SendError::Unknown(format!("the answer has more than {most} bytes (setting --max-answer)")));
    }
    bytes.extend_from_slice(data);
    Ok(())
}

/// Whether nothing of the body can be missing: JSON in braces tells its own end. A form does not; it is taken where the end
/// of the connection was to tell it, and only TLS was not closed in order (RFC 8446 section 6.1), as many servers do.
fn is_complete(parts: &Parts, body: &[u8], error: &hyper::Error) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    if matches!(body.first(), Some(b'{' | b'[')) && serde_json::from_slice::<IgnoredAny>(body).is_ok() {
        return true;
    }
    let until_close =
        !parts.headers.contains_key(header::CONTENT_LENGTH) && !parts.headers.contains_key(header::TRANSFER_ENCODING);
    until_close && is_form(&parts.headers, body) && ended_without_notice(error)
}

/// By its type, or by its looks where that is not said or said to be text.
fn is_form(headers: &HeaderMap, body: &[u8]) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match &essence[..] {
        "application/x-www-form-urlencoded" => !body.is_empty(),
        "" | "text/plain" | "text/html" => {
            !body.starts_with(b"<") && form_urlencoded::parse(body).any(|(name, _)| name == "access_token")
        }
        _ => false,
    }
}

fn ended_without_notice(error: &hyper::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return error.kind() == std::io::ErrorKind::UnexpectedEof;
        }
        cause = error.source();
    }
    false
}
