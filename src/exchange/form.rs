//! Parameters of a token request that are form-encoded, as in a body or a query (RFC 6749 appendix B).

use percent_encoding::{NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use zeroize::Zeroizing;

use super::pair::{MARK, Pair, exact};
use crate::secret::Secret;

/// The parameters in the order they came.
pub(super) fn pairs(text: &[u8]) -> impl Iterator<Item = Pair> {
    text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = (&pair[..equals], pair.get(equals + 1..).unwrap_or_default());
        (decoded(name), Secret::from(decoded(value)))
    })
}

/// A body that holds these parameters.
pub(super) fn written<'a>(parameters: impl Iterator<Item = (&'a str, &'a Secret)> + Clone) -> Vec<u8> {
    // Sized at once: a buffer that grows would leave unwiped copies behind.
    let room = parameters.clone().map(|(name, value)| name.len() + 3 * value.expose().len() + 2).sum();
    let mut body = Vec::with_capacity(room);
    for (name, value) in parameters {
        if !body.is_empty() {
            body.push(b'&');
        }
        body.extend_from_slice(name.as_bytes());
        body.push(b'=');
        utf8_percent_encode(value.expose(), NON_ALPHANUMERIC).for_each(|part| body.extend_from_slice(part.as_bytes()));
    }
    body
}

/// The text that these bytes stand for.
fn decoded(encoded: &[u8]) -> String {
    let spaced: Zeroizing<Vec<u8>> =
        Zeroizing::new(encoded.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect());
    // Sized at once: a buffer that grows would leave unwiped copies behind.
    let mut bytes = Vec::with_capacity(spaced.len());
    bytes.extend(percent_decode(&spaced));
    text(bytes)
}

/// The text that these bytes are. Bytes that are no UTF-8 stay different from all others.
pub(super) fn text(bytes: Vec<u8>) -> String {
    match String::from_utf8(bytes) {
        Ok(text) => exact(text),
        Err(error) => format!("{MARK}{}", Zeroizing::new(error.into_bytes()).escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_stays_different_from_every_other() {
        let texts =
            ["a+b", "a%2Bb", "%ff", "%fe", "%5cxff", "%EF%BF%BD", "%EF%BF%BD%5cxff", "%EF%BF%BD%EF%BF%BD", "", "%"];

        let decoded: Vec<String> = texts.iter().map(|text| decoded(text.as_bytes())).collect();

        let different: std::collections::HashSet<_> = decoded.iter().collect();
        assert_eq!((decoded[0].as_str(), decoded[1].as_str(), different.len()), ("a b", "a+b", texts.len()));
    }

    #[test]
    fn parameters_are_read_however_they_are_written() {
        let read: Vec<_> =
            pairs(b"&a=1&&b=x%3dy=z&c&=d&a=1&").map(|(name, value)| (name, value.expose().to_owned())).collect();

        let expected = [("a", "1"), ("b", "x=y=z"), ("c", ""), ("", "d"), ("a", "1")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
