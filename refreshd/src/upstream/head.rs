//! The head of an answer, read as leniently as HTTP clients in wide use read it, and written as the rules want it: what breaks them is
//! mended or left out, and named in the log once.

use std::borrow::Cow;

use super::faults::tell;
use super::framing::{Framing, is_framing};

/// More headers than any provider sends. Of those that are too many, the ones that say how to read the answer stay.
pub(super) const MOST_HEADERS: usize = 1000;

/// No longer head is taken.
pub(super) const LARGEST: usize = 256 * 1024;

/// Looks for the end of a head while it arrives: at each byte once.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    seen: usize,
    has_begun: bool,
    /// Whether something stands in the line so far.
    is_filled: bool,
    end: Option<usize>,
}

impl Lookout {
    /// Where the head ends that these bytes begin with, if it is whole. They are those of the last call, and more.
    pub(super) fn end_in(&mut self, bytes: &[u8]) -> Option<usize> {
        while self.end.is_none() && self.seen < bytes.len() {
            let byte = bytes[self.seen];
            self.seen += 1;
            if byte != b'\n' {
                self.is_filled |= !byte.is_ascii_whitespace();
                continue;
            }
            if self.has_begun && !self.is_filled {
                self.end = Some(self.seen);
            }
            // A blank line before the status line is passed over.
            self.has_begun |= std::mem::take(&mut self.is_filled);
        }
        self.end
    }
}

/// The head of an answer.
pub(super) struct Head<'a> {
    is_http11: bool,
    status: [u8; 3],
    reason: Vec<u8>,
    headers: Vec<(&'a [u8], Cow<'a, [u8]>)>,
    framing: Framing,
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

    /// Whether the body is framed as the head says, by what of it is there so far. None: that cannot be told yet.
    pub(super) fn is_as_said(&self, body: &[u8]) -> Option<bool> {
        let has_body = ![*b"204", *b"304"].contains(&self.status);
        if has_body { self.framing.is_as_said(body) } else { Some(true) }
    }

    /// The same, of an answer whose body is not framed so.
    pub(super) fn reframed(self) -> Self {
        Self { framing: self.framing.reframed(), ..self }
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
            Framing::Chunked { .. } => head.extend_from_slice(b"transfer-encoding: chunked\r\n"),
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
