//! Answers of the provider that are no callers' business: a client would do harm with them, so it is answered in our own words.

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName};

use super::pause;
use crate::outcome::ProviderFailure;
use crate::token_response::ProviderResponse;

/// Why an answer is not handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Withheld {
    /// HTTP clients follow it by themselves, with the same body: each caller would present the token, past the coordinator.
    Redirect,
    /// It is known to pass, and clients drop their session for what it is called (`invalid_grant`). Until when the provider asks to be
    /// left alone, if it does.
    WillPass { retry_after: Option<Duration> },
}

impl Withheld {
    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Redirect => "the provider's token endpoint is elsewhere, and was not asked",
            Self::WillPass { .. } => "the provider refused the refresh for now, and the token is as it was: try again",
        }
    }

    pub(super) fn retry_after(self) -> Duration {
        match self {
            Self::Redirect | Self::WillPass { retry_after: None } => Duration::ZERO,
            Self::WillPass { retry_after: Some(time) } => time,
        }
    }
}

/// Whether callers are told of this failure without what the provider sent.
pub(super) fn withheld(failure: &ProviderFailure) -> Option<Withheld> {
    match failure {
        ProviderFailure::NotProcessed { response: Some(response), .. } => match response.status() {
            // After a 303, which says that the request was processed, nobody sends the body again.
            300..400 => Some(Withheld::Redirect),
            // The status itself says that it will pass.
            408 | 421 | 425 | 500.. => None,
            _ => Some(Withheld::WillPass { retry_after: pause_of(response) }),
        },
        ProviderFailure::NotProcessed { .. }
        | ProviderFailure::NotSent { .. }
        | ProviderFailure::Denied { .. }
        | ProviderFailure::Busy { .. }
        | ProviderFailure::NotUnderstood { .. }
        | ProviderFailure::Unknown { .. } => None,
    }
}

fn pause_of(response: &ProviderResponse) -> Option<Duration> {
    let headers: HeaderMap = response
        .headers()
        .filter_map(|(name, value)| Some((name.parse::<HeaderName>().ok()?, value.parse().ok()?)))
        .collect();
    pause::asked_for(&headers)
}

/// Where a redirect leads, for the log: scheme and host of an absolute address. Path, query and all else are the provider's
/// text, and may hold a secret.
pub(super) fn elsewhere(response: &ProviderResponse) -> Option<String> {
    const LONGEST_HOST: usize = 253;
    let address: http::Uri = response.values(header::LOCATION.as_str()).next()?.parse().ok()?;
    let (scheme, host) = (address.scheme_str()?, address.host()?);
    let is_plain = (1..=LONGEST_HOST).contains(&host.len())
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-[]:".contains(&byte));
    (is_plain && matches!(scheme, "http" | "https")).then(|| format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn not_processed(status: u16) -> ProviderFailure {
        ProviderFailure::not_processed("x").with_response(ProviderResponse::new(status, "x"))
    }

    #[test]
    fn only_redirects_that_are_followed_with_the_body_are_withheld() {
        let seen = ProviderFailure::unknown("x").with_response(ProviderResponse::new(303, "x"));

        assert_eq!([301, 302, 307, 308].map(|status| withheld(&not_processed(status))), [Some(Withheld::Redirect); 4]);
        assert_eq!([408, 421, 425, 503].map(|status| withheld(&not_processed(status))), [None; 4]);
        assert_eq!(withheld(&seen), None);
    }

    #[test]
    fn refusal_that_will_pass_is_withheld_with_the_time_that_the_provider_named() {
        let told = |response: ProviderResponse| withheld(&ProviderFailure::not_processed("x").with_response(response));
        let bare = ProviderResponse::new(400, r#"{"error":"invalid_grant"}"#);
        let of = |retry_after| Some(Withheld::WillPass { retry_after });

        assert_eq!(told(bare.clone()), of(None));
        assert_eq!(told(bare.with_header("Retry-After", "7")), of(Some(Duration::from_secs(7))));
        assert_eq!([200, 401, 429].map(|status| withheld(&not_processed(status))), [of(None); 3]);
    }

    #[test]
    fn log_is_told_of_scheme_and_host_only() {
        let told = |location: &str| elsewhere(&ProviderResponse::new(307, "").with_header("Location", location));

        assert_eq!(told("https://me:pw@idp.example:8443/t?code=hush").as_deref(), Some("https://idp.example"));
        assert_eq!(told("http://[::1]/").as_deref(), Some("http://[::1]"));
        for nothing in ["/elsewhere?code=hush", "javascript://hush/", "not an address", "", "https://a_b!/"] {
            assert_eq!(told(nothing), None, "{nothing}");
        }
        assert_eq!(told(&format!("https://{}/", "a".repeat(254))), None);
        assert_eq!(elsewhere(&ProviderResponse::new(307, "")), None);
    }
}
