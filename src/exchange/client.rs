//! Which client asks: client authentication (RFC 6749 section 2.3, RFC 7523), by whatever method it comes.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::form::{Form, Unreadable};
use super::options::ExchangeOptions;
use crate::request::Refresh;
use crate::secret::Secret;

/// Adds the client and its credential to the refresh, so that it is the same client by Basic as in the body.
///
/// Nothing is checked here: the provider judges the credential of the leader, and nobody else gets the answer
/// without the same one.
pub(super) fn authenticated(
    refresh: Refresh,
    headers: &HeaderMap,
    form: &Form,
    options: &ExchangeOptions,
) -> Result<Refresh, Unreadable> {
    // A parameter without a value counts as left out (RFC 6749 section 3.2).
    let given = |name| form.get(name).filter(|value| !value.is_empty());
    let (id, secret, assertion) = (given("client_id"), given("client_secret"), given("client_assertion"));
    let mut authorizations = headers.get_all(AUTHORIZATION).iter();
    let (authorization, another) = (authorizations.next(), authorizations.next());

    let ways = [authorization.is_some(), another.is_some(), secret.is_some(), assertion.is_some()];
    if ways.into_iter().filter(|way| *way).count() > 1 {
        return Err("the client authenticates in several ways (RFC 6749 section 2.3)".into());
    }

    if let Some(authorization) = authorization {
        return match basic(authorization) {
            Some((user, _)) if id.is_some_and(|id| id != user) => {
                Err("client_id is another client than the one in Authorization".into())
            }
            Some((user, password)) => Ok(refresh.client(user, password)),
            // Bearer, Negotiate, or a Basic that cannot be read: a credential all the same. Escaped, as a header is
            // not always text, and different bytes must stay different.
            None => Ok(refresh.client(id.unwrap_or_default(), authorization.as_bytes().escape_ascii().to_string())),
        };
    }
    if assertion.is_some() && !options.trust_callers {
        return Ok(refresh.alone());
    }
    Ok(match (id, form.get("client_secret")) {
        (id, Some(secret)) => refresh.client(id.unwrap_or_default(), secret),
        (Some(id), None) => refresh.public_client(id),
        (None, None) => refresh,
    })
}

/// Id and secret out of `Basic`. Both are form-encoded inside (RFC 6749 section 2.3.1).
fn basic(authorization: &HeaderValue) -> Option<(String, Secret)> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let (scheme, credentials) = authorization.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(LENIENT.decode(credentials.trim()).ok()?).ok()?;
    let decoded = Secret::from(decoded);
    let (id, secret) = decoded.expose().split_once(':')?;
    Some((form_decoded(id)?, Secret::from(form_decoded(secret)?)))
}

fn form_decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_encoding::percent_decode_str(&text).decode_utf8().ok().map(|text| text.into_owned())
}
