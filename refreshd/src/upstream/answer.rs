//! The provider's answer, taken whole: what arrived is not thrown away for how its connection ended.

use std::error::Error;
use std::time::Duration;

use http::response::Parts;
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use refresh_coordinator::exchange::{SendError, tells_its_end};
use refresh_coordinator::{ProviderResponse, TokenResponse};

use super::chain::chain;
use super::failed::Failed;
use super::open::{Open, moving};

/// For so long more is waited for, where all of an answer seems to be there and neither its length nor its connection says so.
const SETTLED: Duration = Duration::from_secs(1);

/// An answer with its body, which has `most` bytes at most.
pub(super) async fn whole(
    answer: Response<Incoming>,
    connection: &mut Open,
    most: usize,
) -> Result<Response<Vec<u8>>, Failed> {
    let (parts, mut body) = answer.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        // Nobody asked for another protocol, and what follows is of it.
        return Err(SendError::Unknown("status 101 is no answer to a token request".to_owned()).into());
    }
    let announced = body.size_hint().lower().min(most as u64);
    let mut bytes = Vec::with_capacity(announced as usize);
    loop {
        let frame = match tokio::time::timeout(SETTLED, moving(connection, body.frame())).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) if is_complete(&parts, &bytes, &error) => {
                tracing::debug!(error = chain(&error), "a complete answer ended with a broken connection");
                *connection = None;
                break;
            }
            Ok(Some(Err(error))) => {
                let cut_off = cut_off(parts, bytes, connection, chain(&error));
                return cut_off.map_err(|failed| Failed::in_answer(failed, &error));
            }
            Err(_) if is_whole(&parts.headers, &bytes) && is_last_word(&parts, &bytes) => {
                tracing::debug!("a complete answer was announced to be longer");
                *connection = None;
                break;
            }
            Err(_) => continue,
        };
        // Trailers say nothing that anybody asked for.
        let Ok(data) = frame.into_data() else { continue };
        let room = most - bytes.len();
        bytes.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            let reason = format!("the answer has more than {most} bytes (setting --max-answer)");
            return Ok(cut_off(parts, bytes, connection, reason)?);
        }
    }
    Ok(Response::from_parts(parts, bytes))
}

/// An answer of which only the beginning is there: enough where the status alone says what became of the token.
fn cut_off(
    mut parts: Parts,
    mut bytes: Vec<u8>,
    connection: &mut Open,
    reason: String,
) -> Result<Response<Vec<u8>>, SendError> {
    if !says_enough(parts.status) {
        return Err(SendError::Unknown(reason));
    }
    tracing::debug!(reason, status = parts.status.as_u16(), "a refusal was cut off");
    *connection = None;
    if parts.headers.remove(header::CONTENT_ENCODING).is_some() {
        // Nobody could undo it.
        bytes.clear();
    }
    Ok(Response::from_parts(parts, bytes))
}

/// Whether it says that no tokens were given, whatever the body has to add.
fn says_enough(status: StatusCode) -> bool {
    status.is_client_error()
        || status.is_redirection() && status != StatusCode::SEE_OTHER
        || status == StatusCode::SERVICE_UNAVAILABLE
}

/// Whether nothing that counts can be missing of the body: it tells its own end, as JSON does, or it is a form in which something
/// else follows the tokens.
fn is_whole(headers: &HeaderMap, body: &[u8]) -> bool {
    if tells_its_end(headers, body) {
        return true;
    }
    let Some(last) = body.iter().rposition(|byte| *byte == b'&').filter(|_| is_form(headers, body)) else {
        return false;
    };
    ["access_token", "refresh_token"]
        .iter()
        .all(|token| form_urlencoded::parse(&body[..last]).any(|(name, _)| name == *token))
}

/// Whether nothing else of weight is to come, as after a line that says how far a stream has got.
fn is_last_word(parts: &Parts, body: &[u8]) -> bool {
    let encodings = parts.headers.get_all(header::CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let answer = ProviderResponse::new(parts.status.as_u16(), body);
    let answer = encodings.fold(answer, |answer, encoding| answer.with_header("content-encoding", encoding));
    says_enough(parts.status) || TokenResponse::from_response(answer).is_ok()
}

/// Whether nothing can be missing of an answer whose connection broke. Any form is taken where the end of the connection was to tell its end, and only TLS was
/// not closed in order (RFC 8446 section 6.1), as many servers do.
fn is_complete(parts: &Parts, body: &[u8], error: &hyper::Error) -> bool {
    if is_whole(&parts.headers, body) {
        return true;
    }
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
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
