//! Headers of an answer that break the rules of HTTP/1.1: such a header is dropped or unfolded as the answer is read, and
//! named in the log once.
//!
//! The parser drops them without a word, so the bytes are looked at on their way to it. Those for which it would drop the
//! whole answer are written as others for which it drops the header alone. An answer of HTTP/1.0 is handed to it as one of
//! HTTP/1.1, because it takes no chunks in one; nothing else is asked on that connection.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};

/// A connection that looks at its answers.
pub(super) struct Watched<S> {
    stream: S,
    expected: Expected,
    head: Head,
}

/// Tells the connection that a request is sent on it, so that what comes next is the head of an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    is_answer_next: AtomicBool,
    is_http10: AtomicBool,
}

impl Expected {
    pub(super) fn answer(&self) {
        self.0.is_answer_next.store(true, Ordering::Relaxed);
    }

    /// Whether an answer of HTTP/1.0 came: it does not say whether another request may follow.
    pub(super) fn is_http10(&self) -> bool {
        self.0.is_http10.load(Ordering::Relaxed)
    }
}

impl<S> fmt::Debug for Watched<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched(..)")
    }
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S) -> (Self, Expected) {
        let expected = Expected::default();
        (Self { stream, expected: expected.clone(), head: Head::Over }, expected)
    }
}

impl<S: Read + Unpin> Read for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.expected.0.is_answer_next.swap(false, Ordering::Relaxed) {
            this.head = Head::begin();
        }
        if matches!(this.head, Head::Over) {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        // Into memory that is initialized, to look at it without unsafe code: heads only, never bodies that follow.
        let mut bytes = [0; 4096];
        let room = buffer.remaining().min(bytes.len());
        let mut read = hyper::rt::ReadBuf::new(&mut bytes[..room]);
        let polled = Pin::new(&mut this.stream).poll_read(cx, read.unfilled());
        let length = read.filled().len();
        if this.head.look_at(&mut bytes[..length]) == Version::Http10 {
            this.expected.0.is_http10.store(true, Ordering::Relaxed);
        }
        buffer.put_slice(&bytes[..length]);
        polled
    }
}

impl<S: Write + Unpin> Write for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }
}

/// How far the head of an answer was seen.
enum Head {
    Over,
    Within {
        /// The line so far; of a longer one its beginning.
        line: Vec<u8>,
        /// The status line is still to come.
        is_first: bool,
        /// Another head follows (RFC 9110 section 15.2).
        is_interim: bool,
        /// Of the last header line.
        name: String,
    },
}

/// What an answer says that it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http10,
    Another,
}

/// Valid nowhere in a header.
const INVALID: u8 = 1;

/// Of a line so much is looked at.
const LONGEST_LINE: usize = 8 * 1024;

impl Head {
    fn begin() -> Self {
        Self::Within { line: Vec::new(), is_first: true, is_interim: false, name: String::new() }
    }

    fn look_at(&mut self, bytes: &mut [u8]) -> Version {
        let mut version = Version::Another;
        for part in bytes.split_inclusive_mut(|byte| *byte == b'\n') {
            let Self::Within { line, is_first, .. } = self else { break };
            if *is_first && as_http11(line, part) {
                version = Version::Http10;
            }
            let is_last_return = |part: &[u8], index| part.get(index + 1).is_none_or(|next| *next == b'\n');
            for index in 0..part.len() {
                if part[index] == b'\0' || part[index] == b'\r' && !is_last_return(part, index) {
                    part[index] = INVALID;
                }
            }
            let room = LONGEST_LINE.saturating_sub(line.len()).min(part.len());
            line.extend_from_slice(&part[..room]);
            if part.ends_with(b"\n") {
                self.end_line();
            }
        }
        version
    }

    fn end_line(&mut self) {
        let Self::Within { line, is_first, is_interim, name } = self else { return };
        let ended = std::mem::take(line);
        let ended = ended.trim_ascii_end();
        if *is_first {
            // A blank line before the status line is passed over.
            if !ended.is_empty() {
                *is_first = false;
                let status = ended.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
                *is_interim = status.starts_with(b"1") && status != b"101";
            }
        } else if ended.is_empty() {
            *self = if *is_interim { Self::begin() } else { Self::Over };
        } else if let Some(what) = wrong_with(ended, name) {
            tell(name, what);
        }
    }
}

/// Writes a status line of HTTP/1.0, of which `line` was seen before, as one of HTTP/1.1. Whether it was one.
fn as_http11(line: &[u8], part: &mut [u8]) -> bool {
    const OLD: &[u8] = b"HTTP/1.0";
    let is_old = |rest: &&[u8]| !rest.is_empty() && part.starts_with(rest);
    let Some(last) = OLD.strip_prefix(line).filter(is_old).map(|rest| rest.len() - 1) else { return false };
    part[last] = b'1';
    true
}

/// What is wrong with a header line. `name` is that of the line before, and then of this one.
fn wrong_with(line: &[u8], name: &mut String) -> Option<&'static str> {
    if line[0] == b' ' || line[0] == b'\t' {
        return Some("it is folded");
    }
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        name.clear();
        return Some("it has no colon");
    };
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let written = &line[..colon];
    // Not what may be anything: it is a name only as far as it looks like one.
    *name = written.iter().take(64).take_while(|byte| is_token(byte)).map(|byte| char::from(*byte)).collect();
    if written.trim_ascii_end().len() < written.len() {
        Some("there are blanks before its colon")
    } else if written.is_empty() {
        Some("its name is empty")
    } else if !written.iter().all(is_token) {
        Some("its name has characters that no name has")
    } else if line[colon..].iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        Some("its value has control characters")
    } else {
        None
    }
}

/// Once for each name and fault, and for so many of them: what a provider sends is not to fill a log.
fn tell(name: &str, what: &'static str) {
    const MOST: usize = 64;
    static TOLD: Mutex<BTreeSet<(String, &str)>> = Mutex::new(BTreeSet::new());
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.len() < MOST && told.insert((name.to_ascii_lowercase(), what)) {
        tracing::warn!(header = name, what, "the provider sends a header that breaks the rules of HTTP");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_the_rules_is_found() {
        let lines: [(&str, Option<&str>, &str); 9] = [
            ("content-type: a/b", None, "content-type"),
            ("x:", None, "x"),
            ("\tc3; path=/", Some("it is folded"), "before"),
            ("X-Mine : 1", Some("there are blanks before its colon"), "X-Mine"),
            (": 1", Some("its name is empty"), ""),
            ("x y: 1", Some("its name has characters that no name has"), "x"),
            ("x: a\u{1}b", Some("its value has control characters"), "x"),
            ("x: a\tb\u{e9}", None, "x"),
            ("nonsense", Some("it has no colon"), ""),
        ];

        for (line, expected, named) in lines {
            let mut name = "before".to_owned();
            assert_eq!((wrong_with(line.as_bytes(), &mut name), &name[..]), (expected, named), "{line:?}");
        }
    }

    #[test]
    fn head_is_over_where_the_body_begins() {
        let head = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\nx: 1\r\n\r\n";
        for cut in 1..head.len() {
            let (mut seen, mut bytes) = (Head::begin(), *head);
            seen.look_at(&mut bytes[..cut]);
            assert!(matches!(seen, Head::Within { .. }), "{cut}");
            seen.look_at(&mut bytes[cut..]);
            assert!(matches!(seen, Head::Over), "{cut}");
            assert_eq!(&bytes, head);
        }
    }

    #[test]
    fn answer_of_http10_is_read_as_one_of_http11_however_it_arrives() {
        let answer = *b"\r\nHTTP/1.0 200 OK\r\nx: HTTP/1.0\r\n\r\nHTTP/1.0";
        for cut in 0..answer.len() {
            let (mut seen, mut bytes) = (Head::begin(), answer);
            let (one, other) = bytes.split_at_mut(cut);
            let versions = [seen.look_at(one), seen.look_at(other)];

            assert!(versions.contains(&Version::Http10), "{cut}");
            assert_eq!(&bytes, b"\r\nHTTP/1.1 200 OK\r\nx: HTTP/1.0\r\n\r\nHTTP/1.0", "{cut}");
        }
        assert_eq!(Head::begin().look_at(&mut b"HTTP/1.1 200 OK\r\n".to_owned()), Version::Another);
    }

    #[test]
    fn only_bytes_of_the_head_are_written_otherwise() {
        let mut bytes = *b"HTTP/1.1 200 OK\r\nx: \0\r1\r\n\r\n\0\r1";

        Head::begin().look_at(&mut bytes);

        assert_eq!(&bytes, b"HTTP/1.1 200 OK\r\nx: \x01\x011\r\n\r\n\0\r1");
    }
}
