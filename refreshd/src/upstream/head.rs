//! The head of an answer, read as leniently as HTTP clients in wide use read it, and written as the rules want it: what breaks them is
//! mended or left out, and named in the log once.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// More headers than any provider sends. Of those that are too many, the ones that say how to read the answer stay.
pub(super) const MOST_HEADERS: usize = 1000;

/// The parser takes no longer head.
const LARGEST: usize = 256 * 1024;

/// Where the head ends that these bytes begin with, if it is whole.
pub(super) fn end_of(bytes: &[u8]) -> Option<usize> {
    let (mut end, mut has_begun) = (0, false);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        end += line.len();
        let is_blank = line.trim_ascii().is_empty();
        if is_blank && has_begun && line.ends_with(b"\n") {
            return Some(end);
        }
        // A blank line before the status line is passed over.
        has_begun |= !is_blank;
    }
    None
}

/// The head of an answer.
pub(super) struct Head<'a> {
    is_http11: bool,
    status: [u8; 3],
    reason: Vec<u8>,
    headers: Vec<(&'a [u8], Cow<'a, [u8]>)>,
    framing: Framing,
}

/// How the end of the body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// No header says so.
    Unsaid,
    Chunked,
    Length(u64),
    /// Headers say so in a way that is no rule: it is read until the connection ends, or to a length that is said beside it.
    Odd(Option<u64>),
}

impl<'a> Head<'a> {
    /// None: these bytes are no head of HTTP/1.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut lines = bytes.split(|byte| *byte == b'\n').skip_while(|line| line.trim_ascii().is_empty());
        let (version, status, reason) = status_line(lines.next()?)?;
        let mut headers: Vec<(&[u8], Cow<'_, [u8]>)> = Vec::new();
        // Whether the last line is one of those.
        let mut is_open = false;
        for line in lines.map(<[u8]>::trim_ascii_end).take_while(|line| !line.is_empty()) {
            if line[0] == b' ' || line[0] == b'\t' {
                let last = headers.last_mut().filter(|_| is_open);
                tell(last.as_ref().map_or(&[], |(name, _)| *name), "it is folded");
                if let Some((_, value)) = last {
                    let value = value.to_mut();
                    if !value.is_empty() {
                        value.push(b' ');
                    }
                    value.extend_from_slice(line.trim_ascii());
                }
                continue;
            }
            let read = header(line);
            is_open = read.is_some();
            headers.extend(read.map(|(name, value)| (name, Cow::Borrowed(value))));
        }
        let framing = Framing::of(&headers);
        headers.retain(|(name, value)| !is_framing(name) && is_clean(name, value));
        Some(Self { is_http11: version == Version::Http11, status, reason, headers, framing })
    }

    /// Whether another head follows.
    pub(super) fn is_interim(&self) -> bool {
        self.status[0] == b'1' && self.status != *b"101"
    }

    /// Whether nothing else is to be asked on its connection.
    pub(super) fn is_last(&self) -> bool {
        !self.is_http11 || matches!(self.framing, Framing::Odd(_))
    }

    /// As HTTP/1.1 writes it.
    pub(super) fn written(mut self) -> Vec<u8> {
        let mut head = [b"HTTP/1.1 ", &self.status[..], b" ", &self.reason, b"\r\n"].concat();
        match self.framing {
            Framing::Unsaid | Framing::Odd(None) => {}
            Framing::Chunked => head.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            Framing::Length(length) | Framing::Odd(Some(length)) => {
                head.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
            }
        }
        let size = |(name, value): &(&[u8], Cow<'_, [u8]>)| name.len() + value.len() + 4;
        if self.headers.len() >= MOST_HEADERS || self.headers.iter().map(size).sum::<usize>() > LARGEST {
            tell(b"", "there are more headers than are read");
            self.headers.sort_by_key(|(name, _)| !is_telling(name));
        }
        for (name, value) in self.headers.iter().take(MOST_HEADERS - 1) {
            if head.len() + name.len() + value.len() > LARGEST {
                continue;
            }
            [*name, b": ", value, b"\r\n"].iter().for_each(|part| head.extend_from_slice(part));
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

impl Framing {
    fn of(headers: &[(&[u8], Cow<'_, [u8]>)]) -> Self {
        let members = |of: &'static [u8]| {
            let values = headers.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(of)).map(|(_, value)| value);
            values.flat_map(|value| value.split(|byte| *byte == b',')).map(|member| unquoted(member.trim_ascii()))
        };
        // `Transfer-Encoding: identity`, which some servers still say, or what is no coding of a transfer.
        let is_uncoded = members(CODING).next().is_some();
        if members(CODING).any(|coding| coding.eq_ignore_ascii_case(b"chunked")) {
            return Self::Chunked;
        }
        let said: BTreeSet<Option<u64>> = members(LENGTH).map(length).collect();
        let lengths: Vec<u64> = said.iter().copied().flatten().collect();
        let length = if let [length] = lengths[..] { Some(length) } else { None };
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
}

const CODING: &[u8] = b"transfer-encoding";
const LENGTH: &[u8] = b"content-length";

fn is_framing(name: &[u8]) -> bool {
    [CODING, LENGTH].iter().any(|framing| name.eq_ignore_ascii_case(framing))
}

/// Headers that say how to read an answer, or when to come again.
fn is_telling(name: &[u8]) -> bool {
    const TELLING: [&[u8]; 10] = [
        b"content-type",
        b"content-encoding",
        b"connection",
        b"location",
        b"www-authenticate",
        b"dpop-nonce",
        b"date",
        b"cache-control",
        b"retry-after",
        b"ratelimit",
    ];
    TELLING.iter().any(|telling| name.eq_ignore_ascii_case(telling))
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http11,
    Another,
}

/// Version, status and reason, whatever stands between them.
fn status_line(line: &[u8]) -> Option<(Version, [u8; 3], Vec<u8>)> {
    let line = line.trim_ascii();
    let end = |part: &[u8]| part.iter().position(u8::is_ascii_whitespace).unwrap_or(part.len());
    let (version, rest) = line.split_at(end(line));
    let is_http = version.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"HTTP/"));
    if !is_http && !version.eq_ignore_ascii_case(b"ICY") {
        return None;
    }
    let rest = rest.trim_ascii_start();
    let (status, reason) = rest.split_at(end(rest));
    let status: [u8; 3] = status.try_into().ok()?;
    if !(status.iter().all(u8::is_ascii_digit) && status[0] != b'0') {
        return None;
    }
    let reason = reason.trim_ascii().iter().map(|byte| if is_in_value(*byte) { *byte } else { b'?' }).collect();
    let version = if version == b"HTTP/1.1" { Version::Http11 } else { Version::Another };
    Some((version, status, reason))
}

/// Name and value of a header line that can be read.
fn header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        tell(b"", "it has no colon");
        return None;
    };
    let (written, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    let name = written.trim_ascii_end();
    // Not what may be anything: it is a name only as far as it looks like one.
    let told = &name[..name.iter().take(64).take_while(|byte| is_token(byte)).count()];
    if name.len() < written.len() {
        tell(told, "there are blanks before its colon");
    }
    if name.is_empty() {
        tell(told, "its name is empty");
        return None;
    }
    if !name.iter().all(is_token) {
        tell(told, "its name has characters that no name has");
        return None;
    }
    Some((name, value))
}

/// Whether a value can be written, which is asked once it is unfolded.
fn is_clean(name: &[u8], value: &[u8]) -> bool {
    let is_clean = value.iter().all(|byte| is_in_value(*byte));
    if !is_clean {
        tell(name, "its value has control characters");
    }
    is_clean
}

fn is_in_value(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

/// Once for each name and fault, and for so many of them: what a provider sends is not to fill a log.
fn tell(name: &[u8], what: &'static str) {
    const MOST: usize = 64;
    static TOLD: Mutex<BTreeSet<(String, &str)>> = Mutex::new(BTreeSet::new());
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.len() < MOST && told.insert((name.clone(), what)) {
        tracing::warn!(header = name, what, "the provider sends a header that breaks the rules of HTTP");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(head: &str) -> String {
        let read = Head::read(head.as_bytes()).unwrap_or_else(|| panic!("a head: {head:?}"));
        String::from_utf8_lossy(&read.written()).into_owned()
    }

    #[test]
    fn headers_that_break_the_rules_are_mended_or_left_out() {
        for (lines, expected) in [
            ("content-type: a/b\r\nx:", "content-type: a/b\r\nx: \r\n"),
            ("Set-Cookie: visid=a1b2\r\n    c3; path=/", "Set-Cookie: visid=a1b2 c3; path=/\r\n"),
            ("content-type:\n\ta/b\r\n\r\n", "content-type: a/b\r\n"),
            (" folded at once\r\nx: 1", "x: 1\r\n"),
            ("no colon\r\n folded\r\nx: 1", "x: 1\r\n"),
            ("X-Mine : 1", "X-Mine: 1\r\n"),
            (": 1\r\nx y: 1\r\nx\u{e9}: 1\r\nx: a\u{1}b\r\ny: a\rb\r\nz: a\tb\u{e9}\r\r", "z: a\tb\u{e9}\r\n"),
        ] {
            assert_eq!(
                written(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n")),
                format!("HTTP/1.1 200 OK\r\n{expected}\r\n")
            );
        }
    }

    #[test]
    fn status_line_is_read_whatever_stands_between_its_parts() {
        for line in [
            "HTTP/1.1 200 OK",
            "HTTP/1.0  200\tOK",
            "http/1.1 200 OK ",
            "HTTP/1.2 200 OK",
            "HTTP/2 200 OK",
            "ICY 200 OK",
        ] {
            let head = format!("{line}\r\n\r\n");
            assert_eq!(written(&head), "HTTP/1.1 200 OK\r\n\r\n", "{line}");
            let is_last = Head::read(head.as_bytes()).expect("a head").is_last();
            assert_eq!(is_last, !line.starts_with("HTTP/1.1"), "{line}");
        }
        assert_eq!(written("HTTP/1.1 299 a\u{1}\u{e9}\n\n"), "HTTP/1.1 299 a?\u{e9}\r\n\r\n");
        assert_eq!(written("HTTP/1.1 200\r\n\r\n"), "HTTP/1.1 200 \r\n\r\n");
        for nothing in
            ["{\"a\":1}", "HTTP/1.1 OK", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 000 x", "HTTP/1.1", "SSH-2.0"]
        {
            assert!(Head::read(format!("{nothing}\r\n\r\n").as_bytes()).is_none(), "{nothing}");
        }
    }

    #[test]
    fn end_of_a_body_is_told_by_what_says_so_for_certain() {
        use Framing::{Chunked, Length, Odd, Unsaid};

        for (lines, expected) in [
            ("x: 1", Unsaid),
            ("content-length: 4", Length(4)),
            ("Content-Length : 4, 4\r\ncontent-length: 4", Length(4)),
            ("content-length: +4\r\ncontent-length: \"4\"", Length(4)),
            ("content-length:\r\n 4", Length(4)),
            ("content-length: 4\r\ncontent-length: 5", Odd(None)),
            ("content-length: 4\r\ncontent-length:", Odd(Some(4))),
            ("content-length: -1", Odd(None)),
            ("content-length: 0x4", Odd(None)),
            ("content-length: 4.0", Odd(None)),
            ("content-length: 99999999999999999999", Odd(None)),
            ("content-length: 18446744073709551615", Odd(None)),
            ("transfer-encoding: chunked", Chunked),
            ("transfer-encoding: gzip, Chunked\r\ncontent-length: 4", Chunked),
            ("transfer-encoding: \"chunked\"\r\ntransfer-encoding: identity", Chunked),
            ("transfer-encoding: identity", Odd(None)),
            ("transfer-encoding: identity\r\ncontent-length: 4", Odd(Some(4))),
            ("transfer-encoding: UTF-8\r\ncontent-length: 4", Odd(Some(4))),
            ("transfer-encoding:\r\ncontent-length: 4", Odd(Some(4))),
        ] {
            let head = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n");
            let read = Head::read(head.as_bytes()).expect("a head");
            assert_eq!((read.framing, read.is_last()), (expected, matches!(expected, Odd(_))), "{lines}");
            assert_eq!(read.headers.len(), usize::from(lines == "x: 1"), "{lines}");
        }
    }

    #[test]
    fn of_too_many_headers_those_stay_that_say_how_to_read_the_answer() {
        for (line, lines) in
            [("set-cookie: a=b\r\n".to_owned(), 5000), (format!("x: {}\r\n", "a".repeat(300 * 1024)), 2)]
        {
            let head =
                format!("HTTP/1.1 200 OK\r\n{}content-encoding: gzip\r\ncontent-length: 4\r\n\r\n", line.repeat(lines));

            let written = written(&head);

            assert!(written.contains("content-encoding: gzip\r\n") && written.contains("content-length: 4\r\n"));
            assert!(written.len() <= LARGEST + 100 && written.lines().count() <= MOST_HEADERS + 2);
        }
    }
}
