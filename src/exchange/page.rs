//! Pages for a browser where tokens should be: somebody between here and the provider wants something of a person.

use crate::token_response::ProviderResponse;

/// Of a body so much is looked at.
const LOOKED_AT: usize = 512;

/// Whether a body is such a page, by its looks or by its type. Servers call much of what they send text/html: JSON, a JWT, what is
/// encoded.
pub(super) fn is_one(response: &ProviderResponse, text: &[u8]) -> bool {
    let is_said = || response.values("content-type").any(|value| value.to_ascii_lowercase().contains("html"));
    looks_so(text)
        || (is_said()
            && serde_json::from_slice::<serde::de::IgnoredAny>(text).is_err()
            && !is_binary(text)
            && !is_signed(text))
}

fn looks_so(text: &[u8]) -> bool {
    let start = text.trim_ascii_start();
    let start = String::from_utf8_lossy(&start[..start.len().min(LOOKED_AT)]).to_ascii_lowercase();
    start.starts_with('<')
        && ["<!doctype html", "<html", "<head", "<body"].iter().any(|element| start.contains(element))
}

fn is_binary(text: &[u8]) -> bool {
    text.iter().take(LOOKED_AT).any(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace())
}

/// A token of JSON (RFC 7519), plain or encrypted.
fn is_signed(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    text.starts_with(b"eyJ") && text.iter().filter(|byte| **byte == b'.').count() >= 2 && !text.contains(&b' ')
}

/// Whether a page has tokens in it, as in a script: its refresh token was taken, though nobody can read the answer. In what is a page
/// for certain, only a name and a value in quotes are; URLs and forms of pages name tokens that they do not give.
pub(super) fn holds_tokens(text: &[u8]) -> bool {
    const NAMES: [&str; 6] =
        ["access_token", "accesstoken", "access-token", "refresh_token", "refreshtoken", "refresh-token"];
    let are_quoted = looks_so(text);
    let text = String::from_utf8_lossy(text).replace("&quot;", "\"").to_ascii_lowercase();
    let is_given = |at: usize, name: &str| {
        let quote = text[..at].chars().next_back().filter(|letter| "\"'".contains(*letter));
        let after = &text[at + name.len()..];
        let after = match quote.and_then(|quote| after.strip_prefix(quote)) {
            Some(after) => after,
            None if are_quoted => return false,
            None => after,
        };
        let Some(value) = after.trim_start().strip_prefix([':', '=', '>']).map(str::trim_start) else { return false };
        let value = match value.strip_prefix(['"', '\'']) {
            Some(value) => value,
            None if are_quoted => return false,
            None => value,
        };
        value.starts_with(|letter: char| letter.is_ascii_alphanumeric())
    };
    NAMES.iter().any(|name| text.match_indices(name).any(|(at, _)| is_given(at, name)))
}
