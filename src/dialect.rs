//! Words: how a provider says what the standard leaves open.

mod dead_token;

use serde::{Deserialize, Serialize};

use crate::chained::chained;
use crate::config_error::{Allowed, ConfigError};

/// The names in wide use, as they are looked for as words of a text that is not read.
#[cfg(feature = "http")]
const NAMES_IN_TEXT: [&str; 5] = [
    "invalid_grant",
    "bad_refresh_token",
    "invalid_refresh_token",
    "refresh_token_reused",
    "refresh_token_already_used",
];

/// Gateways answer 503 where they reached nobody, and some of them also where the connection ended after the request was
/// sent: the provider may have rotated the token then.
#[cfg(any(feature = "http", test))]
const GATEWAY_TEXTS: [&str; 10] = [
    // Envoy: https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage
    "reset reason: connection termination",
    "reset reason: remote reset",
    "reset reason: local reset",
    "reset reason: protocol error",
    "upstream_reset_after_response_started",
    // Varnish: https://varnish-cache.org/docs/trunk/users-guide/troubleshooting.html
    "backend fetch failed",
    // Fastly: https://www.fastly.com/documentation/guides/debugging/common-503-errors
    "first byte timeout",
    // Heroku, also after a request timeout: https://devcenter.heroku.com/articles/error-codes
    "herokucdn.com/error-pages",
    // Akamai, of a POST whose connection ended: https://community.akamai.com/blogs/harsh/2015/06/29/intermittent-503-errors-even-after-increasing-keep-alive-timeout-to-301-as-per-recommandation
    "zero size object",
    // Azure Front Door, also after a timeout or half an answer: https://learn.microsoft.com/en-us/azure/frontdoor/troubleshoot-issues
    "our services aren't available right now",
];

/// Gateways that reached nobody say so at a 502 or 504, too, as where an operator maps statuses: nothing was sent.
#[cfg(any(feature = "http", test))]
const UNREACHED_TEXTS: [&str; 8] = [
    // Envoy, as above.
    "no healthy upstream",
    "reset reason: connection failure",
    "reset reason: remote connection failure",
    "reset reason: local connection failure",
    "reset reason: connection timeout",
    "reset reason: overflow",
    // Squid: https://wiki.squid-cache.org/Features/ErrorPagesCustomization
    "err_connect_fail",
    "err_dns_fail",
];

/// How a provider says what the standard leaves open. What is named here is known beside what is known of all providers.
///
/// ```
/// use refresh_coordinator::{Config, Dialect};
///
/// let dialect = Dialect::default().with_dead_token_errors(["token_gone"]);
/// let config = Config::default().with_dialect(dialect);
/// assert!(config.validate().is_ok());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dialect {
    /// More error names that mean a dead refresh token. Known already, in any spelling: `invalid_grant`, `login_required`, and names that
    /// say what became of a refresh token, such as `invalid_refresh_token`, `refresh_token_reused` or "Refresh token has expired". The
    /// whole description or message of an error counts as a name, too. The case of letters is not looked at.
    /// Default: none. At most 64, of 1 to 200 bytes each.
    pub dead_token_errors: Vec<String>,
    /// Texts in a refusal which say that it will pass, whatever its error is called: the token was not looked at. The case
    /// of letters is not looked at. Default: none. At most 64, of 1 to 200 bytes each.
    pub passing_refusals: Vec<String>,
    /// Texts in a 503 which say that the request may have been processed: those of a gateway that lost its
    /// connection after it had sent the request. The case of letters is not looked at. Default: none beside those of Envoy, Varnish, Fastly,
    /// Heroku, Akamai and Azure Front Door. At most 64, of 1 to 200 bytes each.
    pub gateway_texts: Vec<String>,
}

chained! { Dialect {
    with_dead_token_errors(dead_token_errors: impl IntoIterator<Item: Into<String>>) = texts(dead_token_errors),
    with_passing_refusals(passing_refusals: impl IntoIterator<Item: Into<String>>) = texts(passing_refusals),
    with_gateway_texts(gateway_texts: impl IntoIterator<Item: Into<String>>) = texts(gateway_texts),
} }

fn texts(texts: impl IntoIterator<Item: Into<String>>) -> Vec<String> {
    texts.into_iter().map(Into::into).collect()
}

impl Dialect {
    /// Whether an error of this name says that the token is dead.
    pub(crate) fn is_dead_token(&self, error: &str) -> bool {
        self.dead_token(error).is_some()
    }

    /// What in the name of an error says that the token is dead. Nothing but known words is in it: it may be logged.
    pub(crate) fn dead_token<'a>(&self, error: &'a str) -> Option<&'a str> {
        let is_listed = || self.dead_token_errors.iter().any(|name| name.eq_ignore_ascii_case(error));
        dead_token::named_in(error).or_else(|| is_listed().then_some(error))
    }

    /// The name of a dead token that stands in a text as a word of its own.
    #[cfg(feature = "http")]
    pub(crate) fn dead_token_in(&self, text: &[u8]) -> Option<&str> {
        let text = String::from_utf8_lossy(&text[..text.len().min(LOOKED_THROUGH)]).to_ascii_lowercase();
        let is_end =
            |letter: Option<char>| letter.is_none_or(|letter| !(letter.is_alphanumeric() || "_-".contains(letter)));
        NAMES_IN_TEXT.into_iter().chain(self.dead_token_errors.iter().map(String::as_str)).find(|name| {
            let name = name.to_ascii_lowercase();
            let mut places = text.match_indices(&name);
            places
                .any(|(at, _)| is_end(text[..at].chars().next_back()) && is_end(text[at + name.len()..].chars().next()))
        })
    }

    /// Whether a refusal with this body will pass.
    #[cfg(feature = "http")]
    pub(crate) fn is_passing(&self, body: &[u8]) -> bool {
        holds_any(body, self.passing_refusals.iter().map(String::as_str))
    }

    /// Whether a 503 with this body may come after the request was processed.
    #[cfg(any(feature = "http", test))]
    pub(crate) fn may_be_processed(&self, body: &[u8]) -> bool {
        holds_any(body, GATEWAY_TEXTS.into_iter().chain(self.gateway_texts.iter().map(String::as_str)))
    }

    /// Whether a 502 or 504 with this body is of a gateway that had sent nothing.
    #[cfg(any(feature = "http", test))]
    pub(crate) fn is_unreached(&self, body: &[u8]) -> bool {
        holds_any(body, UNREACHED_TEXTS.into_iter()) && !self.may_be_processed(body)
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        const MOST: usize = 64;
        const LONGEST: usize = 200;
        for (setting, texts) in [
            ("dialect.dead_token_errors", &self.dead_token_errors),
            ("dialect.passing_refusals", &self.passing_refusals),
            ("dialect.gateway_texts", &self.gateway_texts),
        ] {
            let wrong = texts.iter().find(|text| !(1..=LONGEST).contains(&text.len()));
            let value = match wrong {
                Some(text) => format!("a text of {} bytes", text.len()),
                None if texts.len() > MOST => format!("{} texts", texts.len()),
                None => continue,
            };
            return Err(ConfigError { setting, value, allowed: Allowed::Texts { most: MOST, longest: LONGEST } });
        }
        Ok(())
    }
}

/// How much of a body is looked through: what a gateway or a provider says of itself stands at the beginning.
#[cfg(any(feature = "http", test))]
const LOOKED_THROUGH: usize = 16 * 1024;

#[cfg(any(feature = "http", test))]
fn holds_any<'a>(body: &[u8], texts: impl Iterator<Item = &'a str>) -> bool {
    let mut texts = texts.peekable();
    if texts.peek().is_none() {
        return false;
    }
    let body = String::from_utf8_lossy(&body[..body.len().min(LOOKED_THROUGH)]).to_ascii_lowercase();
    texts.any(|text| body.contains(&text.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_token_is_known_by_a_name_that_is_listed_too() {
        let dialect = Dialect { dead_token_errors: vec!["token_gone".to_owned()], ..Dialect::default() };

        assert!(["Token_Gone", "invalid_grant"].into_iter().all(|name| dialect.is_dead_token(name)));
        assert!(!dialect.is_dead_token("token_gone.") && !Dialect::default().is_dead_token("token_gone"));
        assert_eq!(dialect.dead_token("the token hush: invalid_grant"), Some("invalid_grant"));
    }

    #[test]
    fn gateway_that_reached_nobody_is_told_from_one_that_lost_its_connection() {
        let is_processed = |body: &str| Dialect::default().may_be_processed(body.as_bytes());

        assert!(is_processed(
            "upstream connect error or disconnect/reset before headers. reset reason: connection termination"
        ));
        assert!(!is_processed(
            "upstream connect error or disconnect/reset before headers. reset reason: connection failure"
        ));
        assert!(is_processed("<TITLE>Error</TITLE> Service Unavailable - Zero size object"));
        assert!(is_processed("<h2>Our services aren't available right now</h2>"));
        assert!(!is_processed("no healthy upstream") && !is_processed("Service Unavailable - DNS failure"));
        let is_unreached = |body: &str| Dialect::default().is_unreached(body.as_bytes());
        assert!(is_unreached("No healthy upstream") && is_unreached("x. reset reason: connection timeout"));
        assert!(!is_unreached("Bad Gateway") && !is_unreached("reset reason: connection termination"));
    }
}
