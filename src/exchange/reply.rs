//! What a caller is answered: the provider's own bytes wherever there are any, else an OAuth error of our own.
//!
//! Clients delete their session on 400 and 401. What may succeed later is therefore 429 or 503 with Retry-After, and
//! 400 is left for requests that cannot be answered and for tokens that are lost.

use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::headers;
use super::parameters::Unreadable;
use super::send_error::SendError;
use super::withheld::withheld;
use crate::error::{RefreshError, Refusal};
use crate::outcome::ProviderFailure;
use crate::token_response::ProviderResponse;
use crate::{Refreshed, Role};

/// How an answer came about; an extension of every response of a [`TokenExchange`](super::TokenExchange).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Served {
    /// A refresh, with tokens.
    Tokens(Role),
    /// A refresh that the provider answered with success, in a form that is not understood: its bytes.
    NotUnderstood,
    /// A refresh that brought none: the provider's answer, or why there is no answer.
    Failed,
    /// A revocation that ended a session: the provider's answer, or why there is none.
    Revocation,
    /// No refresh: the provider's answer, passed on.
    PassedOn,
    /// Refused as it was read; nobody was asked.
    Refused,
}

impl Served {
    /// One word, for a log or a label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tokens(Role::Led) => "led",
            Self::Tokens(Role::JoinedHere) => "joined_here",
            Self::Tokens(Role::JoinedFleet) => "joined_fleet",
            Self::Tokens(Role::Latecomer) => "latecomer",
            Self::NotUnderstood => "not_understood",
            Self::Failed => "failed",
            Self::Revocation => "revocation",
            Self::PassedOn => "passed_on",
            Self::Refused => "refused",
        }
    }
}

/// The fence of the tokens in an answer ([`Refreshed::fence`]), an extension of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceOf(pub u64);

/// An answer of one's own: an OAuth error (RFC 6749 section 5.2) that nobody stores.
///
/// `description` must not hold a secret; characters that the standard does not allow there are replaced.
/// `retry_after` becomes whole seconds, rounded up, at least one.
pub fn oauth_error(
    status: StatusCode,
    error: &str,
    description: &str,
    retry_after: Option<Duration>,
) -> Response<Vec<u8>> {
    let description: String = description
        .chars()
        .map(|c| match c {
            '"' | '\\' => '\'',
            ' '..='~' => c,
            _ => '?',
        })
        .collect();
    let body = serde_json::json!({ "error": error, "error_description": description });
    let mut answer = Response::new(body.to_string().into_bytes());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    if let Some(time) = retry_after {
        // Never early: a caller that comes a second too soon is refused once more.
        let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0)).max(1);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

pub(super) fn to_tokens(refreshed: &Refreshed) -> Response<Vec<u8>> {
    let mut answer = of_provider(refreshed.tokens().response());
    answer.extensions_mut().insert(FenceOf(refreshed.fence()));
    served(Served::Tokens(refreshed.role()), answer)
}

pub(super) fn to_failure(error: &RefreshError) -> Response<Vec<u8>> {
    let answer = match error {
        RefreshError::Invalid(invalid) => return to_unreadable(&Unreadable(invalid.to_string())),
        RefreshError::Provider { failure: ProviderFailure::NotUnderstood { response }, .. } => {
            return served(Served::NotUnderstood, of_provider(response));
        }
        RefreshError::Provider { failure, .. } => to_provider_failure(failure),
        // The provider was asked once more and its words are the better ones.
        RefreshError::Lost { response: Some(response) } => of_provider(response),
        RefreshError::Lost { response: None } => oauth_error(
            StatusCode::BAD_REQUEST,
            "invalid_grant",
            "an earlier refresh of this token was lost, and the new tokens with it: log in again",
            None,
        ),
        RefreshError::SessionEnded => {
            oauth_error(StatusCode::BAD_REQUEST, "invalid_grant", "the session was ended: log in again", None)
        }
        RefreshError::NotUnderWay => unavailable("no refresh is under way", Duration::ZERO),
        RefreshError::Refused(refusal) => to_refusal(refusal),
        RefreshError::TimedOut { retry_after } => unavailable(
            "no answer in time; a refresh that is under way goes on: ask again for its outcome",
            *retry_after,
        ),
        RefreshError::StoreOutage { retry_after, .. } => {
            unavailable("the coordination store is out of reach: try again", *retry_after)
        }
    };
    served(Served::Failed, answer)
}

/// 429 where this caller asked for too much, 503 where it could not be helped.
fn to_refusal(refusal: &Refusal) -> Response<Vec<u8>> {
    let rotated;
    let (status, description) = match refusal {
        Refusal::AnotherClaim { differs, .. } => {
            rotated = format!("the token was just rotated for {differs}: read the session again, it has a newer one");
            (StatusCode::SERVICE_UNAVAILABLE, &rotated[..])
        }
        Refusal::CoolingDown { .. } => {
            (StatusCode::TOO_MANY_REQUESTS, "this session refreshes too often: keep the access token while it lives")
        }
        Refusal::Limited { .. } => (StatusCode::TOO_MANY_REQUESTS, "the provider asked this session to come later"),
        Refusal::Budget { .. } => (StatusCode::TOO_MANY_REQUESTS, "too many refreshes at once: try again"),
        Refusal::CircuitOpen { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "the provider fails or asked to be left in peace: try again later")
        }
        Refusal::NotReaching { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "this instance cannot reach the provider: try again")
        }
        Refusal::MemoryPressure { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "this instance is short of memory: try again")
        }
        Refusal::Closing { .. } => (StatusCode::SERVICE_UNAVAILABLE, "this instance is shutting down: try again"),
    };
    let description = match refusal.setting() {
        Some(setting) => format!("{description} (setting {setting})"),
        None => description.to_owned(),
    };
    oauth_error(status, "temporarily_unavailable", &description, Some(refusal.retry_after()))
}

/// What the provider answered; where it did not, the token may still be good, and the session with it.
fn to_provider_failure(failure: &ProviderFailure) -> Response<Vec<u8>> {
    if let Some(withheld) = withheld(failure) {
        return unavailable(withheld.description(), withheld.retry_after());
    }
    if let Some(response) = failure.response() {
        return of_provider(response);
    }
    match failure {
        ProviderFailure::NotSent { .. } => unavailable("the provider cannot be reached: try again", Duration::ZERO),
        ProviderFailure::NotProcessed { .. } => {
            unavailable("the provider did not process the request: try again", Duration::ZERO)
        }
        ProviderFailure::NotUnderstood { response } => of_provider(response),
        ProviderFailure::Unknown { .. } => {
            unavailable("the provider was asked and gave no usable answer: try again", Duration::ZERO)
        }
        ProviderFailure::Busy { retry_after, .. } => oauth_error(
            StatusCode::TOO_MANY_REQUESTS,
            "temporarily_unavailable",
            "the provider is busy: try again later",
            Some(retry_after.unwrap_or_default()),
        ),
        // Said by a refresh function of the library's that kept no response.
        ProviderFailure::Denied { error, .. } => {
            oauth_error(StatusCode::BAD_REQUEST, error, "the provider refused the refresh", None)
        }
    }
}

pub(super) fn to_unreadable(Unreadable(description): &Unreadable) -> Response<Vec<u8>> {
    served(Served::Refused, oauth_error(StatusCode::BAD_REQUEST, "invalid_request", description, None))
}

/// The tokens came for a caller that takes another media type. They are not to be had again: that the provider is asked
/// for another form of them would be a reuse.
pub(super) fn to_another_type(content_type: &str) -> Response<Vec<u8>> {
    let description = format!(
        "the token was just refreshed for a caller that accepts {content_type}: accept that, or read the session again"
    );
    served(Served::Failed, unavailable(&description, Duration::ZERO))
}

pub(super) fn to_other_grant() -> Response<Vec<u8>> {
    let description = "only grant_type=refresh_token is served here";
    served(Served::Refused, oauth_error(StatusCode::BAD_REQUEST, "unsupported_grant_type", description, None))
}

pub(super) fn passed_on(answer: Response<Vec<u8>>) -> Response<Vec<u8>> {
    served(Served::PassedOn, headers::back(answer))
}

/// The provider's answer to a revocation, or that it gave none. To ask once more does no harm (RFC 7009 section 2.2).
pub(super) fn to_revocation(answer: Result<Response<Vec<u8>>, SendError>, way: Served) -> Response<Vec<u8>> {
    let answer = match answer {
        Ok(answer) => headers::back(answer),
        Err(error) => {
            tracing::warn!(%error, "a revocation could not be passed on");
            unavailable("the provider could not be asked to revoke the token: try again", Duration::ZERO)
        }
    };
    served(way, answer)
}

pub(super) fn to_no_revocation() -> Response<Vec<u8>> {
    let description = "no revocation endpoint is known here";
    served(Served::Refused, oauth_error(StatusCode::NOT_FOUND, "invalid_request", description, None))
}

pub(super) fn to_send_error(error: &SendError) -> Response<Vec<u8>> {
    tracing::warn!(%error, "a request that is no refresh could not be passed on");
    let answer = match error {
        SendError::NotSent(_) => unavailable("the provider cannot be reached: try again", Duration::ZERO),
        SendError::NotProcessed(_) => {
            unavailable("the provider did not process the request: try again", Duration::ZERO)
        }
        // Without Retry-After: an authorization code that is presented again can cost the tokens it gave.
        SendError::Unknown(_) => oauth_error(
            StatusCode::BAD_GATEWAY,
            "temporarily_unavailable",
            "the provider was asked and gave no usable answer",
            None,
        ),
    };
    served(Served::PassedOn, answer)
}

fn unavailable(description: &str, retry_after: Duration) -> Response<Vec<u8>> {
    oauth_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", description, Some(retry_after))
}

/// The provider's answer as it came.
fn of_provider(response: &ProviderResponse) -> Response<Vec<u8>> {
    let mut answer = Response::new(response.body().to_vec());
    *answer.status_mut() = StatusCode::from_u16(response.status()).unwrap_or(StatusCode::BAD_GATEWAY);
    for (name, value) in response.headers() {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            answer.headers_mut().append(name, value);
        }
    }
    answer
}

fn served(how: Served, mut answer: Response<Vec<u8>>) -> Response<Vec<u8>> {
    answer.extensions_mut().insert(how);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(answer: &Response<Vec<u8>>) -> &str {
        answer.headers()[header::RETRY_AFTER].to_str().expect("digits")
    }

    #[test]
    fn refusals_are_transient_and_say_when_to_come_again() {
        let time = Duration::from_millis(1200);
        let errors = [
            RefreshError::Refused(Refusal::AnotherClaim { differs: crate::Differs::Client, retry_after: time }),
            RefreshError::Refused(Refusal::CircuitOpen { retry_after: time }),
            RefreshError::Refused(Refusal::NotReaching { retry_after: time }),
            RefreshError::Refused(Refusal::MemoryPressure { retry_after: time }),
            RefreshError::Refused(Refusal::Closing { retry_after: time }),
            RefreshError::TimedOut { retry_after: time },
            RefreshError::StoreOutage { reason: "hush".to_owned(), retry_after: time },
        ];

        for error in errors {
            let answer = to_failure(&error);

            assert_eq!((answer.status().as_u16(), seconds(&answer)), (503, "2"), "{error}");
            let body = String::from_utf8_lossy(answer.body());
            assert!(body.starts_with(r#"{"error":"temporarily_unavailable","error_description":""#), "{body}");
            assert!(!body.contains("hush"));
            assert_eq!(answer.headers()[header::PRAGMA], "no-cache");
        }
    }

    #[test]
    fn who_asks_too_much_is_told_so_and_by_which_setting() {
        let time = Duration::from_millis(1200);
        let refusals = [
            (Refusal::CoolingDown { retry_after: time }, "(setting max_refresh_attempts)"),
            (Refusal::Budget { retry_after: time }, "(setting max_concurrent_refreshes)"),
            (Refusal::Limited { retry_after: time }, "come later\"}"),
        ];

        for (refusal, governed_by) in refusals {
            let answer = to_failure(&RefreshError::Refused(refusal));

            assert_eq!((answer.status().as_u16(), seconds(&answer)), (429, "2"));
            let body = String::from_utf8_lossy(answer.body());
            assert!(body.starts_with(r#"{"error":"temporarily_unavailable","#) && body.contains(governed_by), "{body}");
        }
    }

    #[test]
    fn silence_of_the_provider_costs_nobody_the_session() {
        let failures = [
            ProviderFailure::not_sent("x"),
            ProviderFailure::unknown("x"),
            ProviderFailure::not_processed("x"),
            ProviderFailure::busy(None),
        ];

        let answers = failures.map(|failure| to_failure(&RefreshError::Provider { failure, fence: 1 }));

        let told: Vec<_> = answers.iter().map(|answer| (answer.status().as_u16(), seconds(answer))).collect();
        assert_eq!(told, [(503, "1"), (503, "1"), (503, "1"), (429, "1")]);
    }

    #[test]
    fn lost_token_is_the_one_verdict_of_our_own() {
        let own = to_failure(&RefreshError::Lost { response: None });
        let theirs = to_failure(&RefreshError::Lost { response: Some(ProviderResponse::new(400, "x")) });

        assert_eq!(own.status(), 400);
        assert!(own.body().starts_with(br#"{"error":"invalid_grant""#));
        assert_eq!((theirs.status().as_u16(), theirs.body().as_slice()), (400, b"x".as_slice()));
    }

    #[test]
    fn description_keeps_to_the_characters_of_the_standard() {
        let answer = oauth_error(StatusCode::BAD_REQUEST, "e", "a\"b\\c\nd\u{e9}", None);

        assert_eq!(answer.body(), br#"{"error":"e","error_description":"a'b'c?d?"}"#);
    }
}
