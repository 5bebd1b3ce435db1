//! Which client asks: client authentication (RFC 6749 section 2.3, RFC 7523), by whatever method it comes.

use std::collections::HashSet;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use super::options::ExchangeOptions;
use super::pair::MARK;
use super::parameters::Parameters;
use super::proven::Signatory;
use super::trust::Trust;
use crate::authentication::Authentication;
use crate::identity::Hash;
use crate::request::Refresh;
use crate::secret::Secret;

/// Adds the client and its credential to the refresh, and takes them out of the parameters: it is the same client
/// however it authenticates.
///
/// Nothing is checked here: the provider judges the credential of the leader, and nobody else gets the answer
/// without the same one. A client that authenticates in several ways has the same one only where all are equal. In which ways it does
/// is noted beside: a refusal is for those that do the same.
pub(super) fn authenticated(
    refresh: Refresh,
    headers: &HeaderMap,
    parameters: &mut Parameters,
    options: &ExchangeOptions,
    trust: &Trust,
) -> Refresh {
    let is_jwt = parameters.given("client_assertion_type").all(|of_type| of_type == JWT_BEARER);
    let id = parameters.take("client_id").map(|id| canonical(id.expose()));
    let secret = parameters.take("client_secret").map(|secret| canonical(secret.expose()));
    let assertion = parameters.take("client_assertion");
    let is_named = id.is_some() || assertion.is_some();
    let is_given = |secret: &Secret| !secret.expose().is_empty();
    let mut authentication = Authentication::NONE;
    for (is_there, way) in [
        (id.is_some(), Authentication::ID),
        (secret.as_ref().is_some_and(is_given), Authentication::SECRET),
        (assertion.is_some(), Authentication::ASSERTION),
    ] {
        authentication = if is_there { authentication.and(way) } else { authentication };
    }
    let mut client = Credentials { id, all: Vec::new(), known: HashSet::new() };
    client.add(secret);
    let is_proven = assertion
        .as_ref()
        .filter(|_| is_jwt)
        .and_then(|assertion| trust.signatory(assertion))
        .is_some_and(|signatory| client.signed_by(signatory));
    let is_compared = assertion.is_none() || is_proven || options.trust_callers;
    let refresh = if is_compared { refresh } else { refresh.alone() };
    for authorization in different(headers.get_all(AUTHORIZATION)) {
        // An access token, most likely an expired one: it differs from tab to tab, and names no client.
        if !(is_named && is_access_token(authorization)) {
            authentication = authentication.and(client.authorized_by(authorization));
        }
    }
    for name in &options.claim_headers {
        for value in different(headers.get_all(name)) {
            client.add(Some(Secret::from(format!("{MARK}\n{name} {}", value.as_bytes().escape_ascii()))));
        }
    }
    client.named(Refresh { authentication, ..refresh })
}

/// RFC 7523 section 2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What tells a client apart from others, in the order it was found.
struct Credentials {
    id: Option<Secret>,
    all: Vec<Secret>,
    /// Their hashes, to find them by.
    known: HashSet<Hash>,
}

impl Credentials {
    fn add(&mut self, credential: Option<Secret>) {
        if let Some(credential) = credential.filter(|credential| !credential.expose().is_empty())
            && self.known.insert(Hash::unkeyed(credential.expose()))
        {
            self.all.push(credential);
        }
    }

    /// False: the request names another client than the one that has signed.
    fn signed_by(&mut self, Signatory { client, thumbprint }: Signatory) -> bool {
        let client = canonical(&client);
        let is_same = self.id.as_ref().is_none_or(|id| id.expose() == client.expose());
        if is_same {
            self.id = Some(client);
            self.add(Some(Secret::from(format!("{MARK}\nassertion {thumbprint}"))));
        }
        is_same
    }

    fn authorized_by(&mut self, authorization: &HeaderValue) -> Authentication {
        let (way, credential) = match basic(authorization) {
            Some((user, password)) if self.id.as_ref().is_none_or(|id| id.expose() == user.expose()) => {
                self.id = Some(user);
                (Authentication::BASIC, password)
            }
            // Of a gateway perhaps, or not to be read: a credential all the same. Escaped, as a header is not always text,
            // and different bytes must stay different.
            _ => {
                let escaped = format!("{MARK}\nauthorization {}", authorization.as_bytes().escape_ascii());
                (Authentication::AUTHORIZATION, Secret::from(escaped))
            }
        };
        self.add(Some(credential));
        way
    }

    fn named(self, refresh: Refresh) -> Refresh {
        let Self { id, all, known: _ } = self;
        let credential = match &all[..] {
            [] => None,
            [credential] => Some(credential.clone()),
            several => Some(listed(several)),
        };
        match (id, credential) {
            (None, None) => refresh,
            (Some(id), None) => refresh.public_client(id.expose()),
            (id, Some(credential)) => refresh.client(id.as_ref().map_or("", Secret::expose), credential),
        }
    }
}

/// Several credentials as one, each with its length, so that no two lists look alike.
fn listed(several: &[Secret]) -> Secret {
    let parts = several.iter().map(|credential| (credential.expose().len().to_string(), credential.expose()));
    // Sized at once: a buffer that grows would leave unwiped copies behind.
    let room = parts.clone().map(|(length, text)| 2 + length.len() + text.len()).sum::<usize>();
    let mut text = String::with_capacity(MARK.len_utf8() + room);
    text.push(MARK);
    for (length, credential) in parts {
        for part in ["\n", &length, " ", credential] {
            text.push_str(part);
        }
    }
    Secret::from(text)
}

/// Values of a header; equal ones are one.
fn different<'a>(values: impl IntoIterator<Item = &'a HeaderValue>) -> impl Iterator<Item = &'a HeaderValue> {
    let mut seen = HashSet::new();
    values.into_iter().filter(move |value| seen.insert(value.as_bytes()))
}

/// RFC 6750 section 2.1, RFC 9449 section 7.1.
fn is_access_token(authorization: &HeaderValue) -> bool {
    let scheme = authorization.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"bearer") || scheme.eq_ignore_ascii_case(b"dpop")
}

/// Id and secret out of `Basic`.
fn basic(authorization: &HeaderValue) -> Option<(Secret, Secret)> {
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
    Some((canonical(id), canonical(secret)))
}

/// One text for all spellings of an id or a secret: as it is, or form-encoded, as the standard wants it in `Basic` (RFC
/// 6749 section 2.3.1) and many clients leave out. Two secrets that are spellings of each other count as one here: to
/// know one is to know the other.
fn canonical(text: &str) -> Secret {
    let mut text = Zeroizing::new(text.to_owned());
    // Twice: the encoding of a secret that looks encoded itself.
    for _ in 0..2 {
        if let Ok(decoded) = percent_decode_str(&text).decode_utf8() {
            text = Zeroizing::new(decoded.into_owned());
        }
    }
    Secret::from(text.replace('+', " "))
}
