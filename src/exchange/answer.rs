//! What an answer of the provider means for the token: the table of outcome classes, read off an HTTP response.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, Response, StatusCode, header};
use serde::Deserialize;

use super::headers;
use crate::outcome::ProviderFailure;
use crate::token_response::{ProviderResponse, TokenResponse};

/// The largest body of an answer that is shared. Redis takes outcomes of up to this size sealed, that is with headers and
/// some hundred bytes more. A token response has 1 to 8 KiB.
pub const LARGEST_ANSWER: usize = 64 * 1024;

/// Reads an answer of the token endpoint: tokens, or why there are none and what that says of the refresh token.
///
/// Status, body and the headers that mean something to a client are kept for every caller of the flight, and
/// nothing of the body is quoted in an error but a short OAuth error code.
///
/// ```
/// use http::Response;
/// use refresh_coordinator::{ProviderFailure, exchange::read_answer};
///
/// let answer = Response::builder().status(400).body(br#"{"error":"invalid_grant"}"#.to_vec())?;
/// let failure = read_answer(answer).unwrap_err();
/// assert!(matches!(&failure, ProviderFailure::Denied { error, .. } if error == "invalid_grant"));
/// # Ok::<(), http::Error>(())
/// ```
///
/// # Errors
///
/// `Denied` for a 4xx and for a 2xx with an OAuth error; `Busy` for a 429, and for a 503 that says when to come
/// again; `Unknown` for everything that may have rotated the token: other 5xx, redirects, an unreadable 2xx, and
/// tokens in a body of more than [`LARGEST_ANSWER`] bytes, which no store would take.
pub fn read_answer(answer: Response<Vec<u8>>) -> Result<TokenResponse, ProviderFailure> {
    let (parts, body) = answer.into_parts();
    let (status, retry_after) = (parts.status, retry_after(&parts.headers));
    let error = error_code(&body);
    if body.len() > LARGEST_ANSWER && status.is_success() {
        return Err(ProviderFailure::unknown(format!("the answer has {} bytes, too many to share", body.len())));
    }
    let response = shareable(status, &parts.headers, body);

    let failure = match status {
        StatusCode::TOO_MANY_REQUESTS => ProviderFailure::busy(retry_after),
        StatusCode::SERVICE_UNAVAILABLE if retry_after.is_some() => ProviderFailure::busy(retry_after),
        _ if status.is_success() => match TokenResponse::from_response(response.clone()) {
            Ok(tokens) => return Ok(tokens),
            Err(unreadable) => match error {
                Some(error) => ProviderFailure::denied(error),
                None => ProviderFailure::unknown(format!("status {}, and {unreadable}", status.as_u16())),
            },
        },
        _ if status.is_client_error() => {
            ProviderFailure::denied(error.unwrap_or_else(|| format!("http_{}", status.as_u16())))
        }
        _ => ProviderFailure::unknown(format!("status {}", status.as_u16())),
    };
    Err(failure.with_response(response))
}

/// What every caller of the flight gets. An error page too large to share is told by its status alone.
fn shareable(status: StatusCode, all: &HeaderMap, body: Vec<u8>) -> ProviderResponse {
    let is_whole = body.len() <= LARGEST_ANSWER;
    let body = if is_whole { body } else { Vec::new() };
    headers::shared(all)
        .filter(|(name, _)| is_whole || !name.starts_with("content-"))
        .fold(ProviderResponse::new(status.as_u16(), body), |response, (name, value)| response.with_header(name, value))
}

#[derive(Deserialize)]
struct OAuthError {
    error: String,
}

/// The OAuth error code of a body. It reaches logs, so only what looks like a code is taken: an error message, a
/// URL or a token in its place is not.
fn error_code(body: &[u8]) -> Option<String> {
    const LONGEST: usize = 40;
    let OAuthError { error } = serde_json::from_slice(body).ok()?;
    let is_code = (1..=LONGEST).contains(&error.len())
        && error.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    Some(if is_code { error } else { "unnamed_error".to_owned() })
}

/// When to come again (RFC 9110 section 10.2.3): seconds, or a date, which is compared with the provider's own clock
/// where the answer tells it.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let now = headers
        .get(header::DATE)
        .and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok())
        .unwrap_or_else(SystemTime::now);
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, headers: &[(&str, &str)], body: &str) -> Result<TokenResponse, ProviderFailure> {
        let mut answer = Response::builder().status(status);
        for (name, value) in headers {
            answer = answer.header(*name, *value);
        }
        read_answer(answer.body(body.as_bytes().to_vec()).expect("a response"))
    }

    /// The class as one word, and what decides about it.
    fn class(answer: Result<TokenResponse, ProviderFailure>) -> String {
        match answer {
            Ok(_) => "success".to_owned(),
            Err(ProviderFailure::Denied { error, .. }) => format!("denied {error}"),
            Err(ProviderFailure::Busy { retry_after: None, .. }) => "busy".to_owned(),
            Err(ProviderFailure::Busy { retry_after: Some(time), .. }) => format!("busy {}", time.as_secs()),
            Err(ProviderFailure::Unknown { .. }) => "unknown".to_owned(),
            Err(ProviderFailure::NotSent { .. }) => "not sent".to_owned(),
        }
    }

    #[test]
    fn every_answer_has_its_class() {
        let date = ("date", "Tue, 24 Nov 2026 10:00:00 GMT");
        let later = ("retry-after", "Tue, 24 Nov 2026 10:01:30 GMT");
        let long_error = format!(r#"{{"error":"{}"}}"#, "a".repeat(41));
        type Headers<'a> = &'a [(&'a str, &'a str)];
        let cases: &[(u16, Headers<'_>, &str, &str)] = &[
            (200, &[], r#"{"access_token":"a"}"#, "success"),
            (201, &[], r#"{"access_token":"a","error":null}"#, "success"),
            (200, &[], r#"{"error":"bad_refresh_token"}"#, "denied bad_refresh_token"),
            (200, &[], "<html>", "unknown"),
            (200, &[], "", "unknown"),
            (204, &[], "", "unknown"),
            (400, &[], r#"{"error":"invalid_grant","error_description":"x"}"#, "denied invalid_grant"),
            (401, &[], r#"{"error":"invalid_client"}"#, "denied invalid_client"),
            (400, &[], r#"{"error":"use_dpop_nonce"}"#, "denied use_dpop_nonce"),
            (400, &[], "", "denied http_400"),
            (403, &[("retry-after", "5")], "<html>", "denied http_403"),
            (400, &[], r#"{"error":{"code":1}}"#, "denied http_400"),
            (400, &[], r#"{"error":"the token t0k3n is bad"}"#, "denied unnamed_error"),
            (400, &[], &long_error, "denied unnamed_error"),
            (429, &[], "", "busy"),
            (429, &[("retry-after", "7")], r#"{"error":"slow_down"}"#, "busy 7"),
            (429, &[("retry-after", "soon")], "", "busy"),
            (429, &[later, date], "", "busy 90"),
            (429, &[("retry-after", "Tue, 24 Nov 2020 10:00:00 GMT")], "", "busy 0"),
            (503, &[("retry-after", "7")], "", "busy 7"),
            (503, &[], "", "unknown"),
            (503, &[("retry-after", "soon")], "", "unknown"),
            (500, &[("retry-after", "7")], "", "unknown"),
            (502, &[], r#"{"error":"invalid_grant"}"#, "unknown"),
            (302, &[("location", "/login")], "", "unknown"),
        ];

        for (status, headers, body, expected) in cases {
            assert_eq!(class(read(*status, headers, body)), *expected, "{status} {headers:?} {body}");
        }
    }

    #[test]
    fn status_body_and_meaningful_headers_are_kept() {
        let sent = [
            ("content-type", "application/json;charset=UTF-8"),
            ("set-cookie", "a=b"),
            ("www-authenticate", "Basic"),
            ("www-authenticate", "DPoP"),
            ("dpop-nonce", "n"),
            ("connection", "close"),
        ];

        let failure = read(401, &sent, "{ \"error\" : \"invalid_client\" }\n").expect_err("a 401");

        let response = failure.response().expect("kept");
        assert_eq!((response.status(), response.body()), (401, "{ \"error\" : \"invalid_client\" }\n".as_bytes()));
        assert_eq!(response.headers().collect::<Vec<_>>(), [sent[0], sent[2], sent[3], sent[4]]);
    }

    #[test]
    fn body_too_large_to_share_is_left_out_of_an_error_and_makes_a_success_unknown() {
        let padding = " ".repeat(LARGEST_ANSWER);
        let page = [("content-type", "application/json"), ("dpop-nonce", "n")];

        let error = read(400, &page, &format!(r#"{{"error":"invalid_grant"}}{padding}"#)).expect_err("a 400");
        let tokens = read(200, &page, &format!(r#"{{"access_token":"a"}}{padding}"#)).expect_err("too large");

        let response = error.response().expect("the status");
        assert_eq!((response.status(), response.body().len()), (400, 0));
        assert_eq!(response.headers().collect::<Vec<_>>(), [page[1]]);
        assert_eq!(class(Err(error)), "denied invalid_grant");
        assert!(tokens.response().is_none());
        assert_eq!(class(Err(tokens)), "unknown");
    }
}
