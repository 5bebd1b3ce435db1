//! How the end of an answer's body is told, read off its head as leniently as the head itself, and off the body where that shows that the
//! head is wrong.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::faults::tell;

/// How the end of the body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// No header says so.
    Unsaid,
    /// In chunks, or to a length that is said beside it where there are none.
    Chunked {
        otherwise: Option<u64>,
    },
    Length(u64),
    /// Headers say so in a way that is no rule: it is read until the connection ends, or to a length that is said beside it.
    Odd(Option<u64>),
}

const CODING: &[u8] = b"transfer-encoding";
const LENGTH: &[u8] = b"content-length";

impl Framing {
    pub(super) fn of(headers: &[(&[u8], Cow<'_, [u8]>)]) -> Self {
        let members = |of: &'static [u8]| {
            let values = headers.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(of)).map(|(_, value)| value);
            values.flat_map(|value| value.split(|byte| *byte == b',')).map(|member| unquoted(member.trim_ascii()))
        };
        // `Transfer-Encoding: identity`, which some servers still say, or what is no coding of a transfer.
        let is_uncoded = members(CODING).next().is_some();
        let said: BTreeSet<Option<u64>> = members(LENGTH).map(length).collect();
        let lengths: Vec<u64> = said.iter().copied().flatten().collect();
        let length = if let [length] = lengths[..] { Some(length) } else { None };
        if members(CODING).any(|coding| coding.eq_ignore_ascii_case(b"chunked")) {
            return Self::Chunked { otherwise: length };
        }
        if said.contains(&None) || lengths.len() > 1 {
            tell(LENGTH, "it is no length, or several");
            return Self::Odd(length);
        }
        match length {
            _ if is_uncoded => Self::Odd(length),
            None => Self::Unsaid,
            Some(length) => Self::Length(length),
        }
    }

    /// Whether the body is framed so, by what of it is there so far. None: that cannot be told yet.
    pub(super) fn is_as_said(self, body: &[u8]) -> Option<bool> {
        /// The length of a chunk has no more.
        const MOST_DIGITS: usize = 16;
        let Self::Chunked { .. } = self else { return Some(true) };
        let digits = body.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        match body.get(digits) {
            _ if digits > MOST_DIGITS => Some(false),
            None => None,
            Some(next) => Some(digits > 0 && b"\r\n; \t".contains(next)),
        }
    }

    /// How a body is read that is not framed so.
    pub(super) fn reframed(self) -> Self {
        tell(CODING, "the body is not chunked");
        match self {
            Self::Chunked { otherwise } => Self::Odd(otherwise),
            Self::Length(length) => Self::Odd(Some(length)),
            Self::Unsaid | Self::Odd(_) => self,
        }
    }
}

pub(super) fn is_framing(name: &[u8]) -> bool {
    [CODING, LENGTH].iter().any(|framing| name.eq_ignore_ascii_case(framing))
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

fn length(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    // The parser takes two numbers for something else.
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok().filter(|length| *length < u64::MAX - 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of these lines, which have a colon each.
    fn framing(lines: &str) -> Framing {
        let headers = lines.split("\r\n").map(|line| line.split_once(':').expect("a header"));
        let headers = headers.map(|(name, value)| (name.trim().as_bytes(), Cow::Borrowed(value.trim().as_bytes())));
        Framing::of(&headers.collect::<Vec<_>>())
    }

    #[test]
    fn end_of_a_body_is_told_by_what_says_so_for_certain() {
        use Framing::{Chunked, Length, Odd, Unsaid};

        for (lines, expected) in [
            ("x: 1", Unsaid),
            ("content-length: 4", Length(4)),
            ("Content-Length : 4, 4\r\ncontent-length: 4", Length(4)),
            ("content-length: +4\r\ncontent-length: \"4\"", Length(4)),
            ("content-length: 4\r\ncontent-length: 5", Odd(None)),
            ("content-length: 4\r\ncontent-length:", Odd(Some(4))),
            ("content-length: -1", Odd(None)),
            ("content-length: 0x4", Odd(None)),
            ("content-length: 4.0", Odd(None)),
            ("content-length: 99999999999999999999", Odd(None)),
            ("content-length: 18446744073709551615", Odd(None)),
            ("transfer-encoding: chunked", Chunked { otherwise: None }),
            ("transfer-encoding: gzip, Chunked\r\ncontent-length: 4", Chunked { otherwise: Some(4) }),
            ("transfer-encoding: \"chunked\"\r\ntransfer-encoding: identity", Chunked { otherwise: None }),
            ("transfer-encoding: identity", Odd(None)),
            ("transfer-encoding: identity\r\ncontent-length: 4", Odd(Some(4))),
            ("transfer-encoding: UTF-8\r\ncontent-length: 4", Odd(Some(4))),
            ("transfer-encoding:\r\ncontent-length: 4", Odd(Some(4))),
        ] {
            assert_eq!(framing(lines), expected, "{lines}");
        }
    }

    #[test]
    fn body_that_is_not_chunked_as_it_says_is_known_by_its_first_bytes() {
        let chunked = Framing::Chunked { otherwise: Some(4) };
        for body in ["4\r\n", "00fF;x=1", "0\r", "4 \r\n", "4\n"] {
            assert_eq!(chunked.is_as_said(body.as_bytes()), Some(true), "{body:?}");
        }
        for body in ["{", "access", "\r\n", " 4", "12345678901234567", "a\0", "\u{feff}{"] {
            assert_eq!(chunked.is_as_said(body.as_bytes()), Some(false), "{body:?}");
        }
        for body in ["", "4", "acce"] {
            assert_eq!(chunked.is_as_said(body.as_bytes()), None, "{body:?}");
        }
        assert_eq!(Framing::Unsaid.is_as_said(b""), Some(true));
        assert_eq!(chunked.reframed(), Framing::Odd(Some(4)));
    }
}
