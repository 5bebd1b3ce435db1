//! A connection whose answers may break the rules of HTTP/1.1: the parser is handed their heads in order.
//!
//! A head is held back until it is whole, and written anew ([`super::head`]): what the parser would refuse would cost an answer
//! that may have rotated the token. Bodies pass as they come.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

use super::head::{Head, Lookout};

/// A connection that looks at its answers.
pub(super) struct Watched<S> {
    stream: S,
    expected: Expected,
    stage: Stage,
}

/// Tells the connection that a request is sent on it, so that what comes next is the head of an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    is_answer_next: AtomicBool,
    is_last: AtomicBool,
}

impl Expected {
    pub(super) fn answer(&self) {
        self.0.is_answer_next.store(true, Ordering::Relaxed);
    }

    /// Whether an answer came after which nothing else is to be asked on this connection: one of another version than HTTP/1.1, or one
    /// whose end is a guess.
    pub(super) fn is_last(&self) -> bool {
        self.0.is_last.load(Ordering::Relaxed)
    }
}

/// How far an answer has come.
enum Stage {
    /// Its head is over.
    Over,
    /// What has come of the head, and of what follows it where that is needed to understand it.
    Head(Vec<u8>, Lookout),
    /// What the parser is handed next, and how much of it was.
    Tidy(Vec<u8>, usize),
}

/// Of a longer head the parser is handed what there is, and refuses it.
const LONGEST_HEAD: usize = 1024 * 1024;

impl<S> fmt::Debug for Watched<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched(..)")
    }
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S) -> (Self, Expected) {
        let expected = Expected::default();
        (Self { stream, expected: expected.clone(), stage: Stage::Over }, expected)
    }
}

impl<S: Read + Unpin> Read for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, expected, stage } = &mut *self;
        loop {
            match stage {
                Stage::Over if expected.0.is_answer_next.swap(false, Ordering::Relaxed) => {
                    *stage = Stage::Head(Vec::new(), Lookout::default());
                }
                Stage::Over => return Pin::new(stream).poll_read(cx, buffer),
                Stage::Tidy(bytes, handed) => {
                    let part = &bytes[*handed..];
                    let part = &part[..part.len().min(buffer.remaining())];
                    buffer.put_slice(part);
                    *handed += part.len();
                    if *handed == bytes.len() {
                        *stage = Stage::Over;
                    }
                    return Poll::Ready(Ok(()));
                }
                Stage::Head(seen, lookout) => {
                    let mut bytes = [MaybeUninit::uninit(); 4096];
                    let mut read = ReadBuf::uninit(&mut bytes);
                    ready!(Pin::new(&mut *stream).poll_read(cx, read.unfilled()))?;
                    let read = read.filled();
                    seen.extend_from_slice(read);
                    let next = if read.is_empty() || seen.len() > LONGEST_HEAD {
                        Some(Stage::Tidy(ended(seen, lookout, &expected.0), 0))
                    } else {
                        tidied(seen, lookout, &expected.0)
                    };
                    match next {
                        // The connection has ended.
                        Some(Stage::Tidy(bytes, _)) if bytes.is_empty() => {
                            *stage = Stage::Over;
                            return Poll::Ready(Ok(()));
                        }
                        Some(next) => *stage = next,
                        None => {}
                    }
                }
            }
        }
    }
}

/// What the parser is handed, once the head is whole. Interim heads (RFC 9110 section 15.2) are left out.
fn tidied(seen: &mut Vec<u8>, lookout: &mut Lookout, flags: &Flags) -> Option<Stage> {
    loop {
        let end = lookout.end_in(seen)?;
        let head = match Head::read(&seen[..end]) {
            Some(head) if head.is_interim() => {
                seen.drain(..end);
                *lookout = Lookout::default();
                continue;
            }
            Some(head) => head,
            // It is of no HTTP: the parser says so.
            None => return Some(Stage::Tidy(std::mem::take(seen), 0)),
        };
        let head = if head.is_as_said(&seen[end..])? { head } else { head.reframed() };
        return Some(Stage::Tidy(written(head, &seen[end..], flags), 0));
    }
}

/// The same where nothing else comes: a head that is whole is understood all the same.
fn ended(seen: &mut Vec<u8>, lookout: &mut Lookout, flags: &Flags) -> Vec<u8> {
    let head = lookout.end_in(seen).and_then(|end| Some((Head::read(&seen[..end])?, end)));
    match head {
        Some((head, end)) => written(head, &seen[end..], flags),
        None => std::mem::take(seen),
    }
}

fn written(head: Head<'_>, rest: &[u8], flags: &Flags) -> Vec<u8> {
    if head.is_last() {
        flags.is_last.store(true, Ordering::Relaxed);
    }
    let mut tidy = head.written();
    tidy.extend_from_slice(rest);
    tidy
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What the parser is handed of these bytes, which arrive in two parts.
    fn handed(bytes: &[u8], cut: usize) -> (Vec<u8>, bool) {
        let (flags, mut lookout) = (Flags::default(), Lookout::default());
        let mut seen = bytes[..cut].to_vec();
        let mut rest = &bytes[cut..];
        let stage = tidied(&mut seen, &mut lookout, &flags).or_else(|| {
            seen.extend_from_slice(std::mem::take(&mut rest));
            tidied(&mut seen, &mut lookout, &flags)
        });
        let Some(Stage::Tidy(tidy, 0)) = stage else { panic!("a whole head, cut at {cut}") };
        ([&tidy, rest].concat(), flags.is_last.into_inner())
    }

    #[test]
    fn head_is_written_anew_and_its_body_left_however_they_arrive() {
        let answer =
            b"\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.0 200 OK\nx: HTTP/1.0\n\n\0\r1\r\n\r\nHTTP/1.0";
        for cut in 0..answer.len() {
            let (bytes, is_last) = handed(answer, cut);

            let expected = b"HTTP/1.1 200 OK\r\nx: HTTP/1.0\r\n\r\n\0\r1\r\n\r\nHTTP/1.0";
            assert_eq!((String::from_utf8_lossy(&bytes), is_last), (String::from_utf8_lossy(expected), true), "{cut}");
        }
        assert_eq!(handed(b"HTTP/1.1 200 OK\r\n\r\n", 3), (b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), false));
    }

    #[test]
    fn head_that_is_not_whole_and_what_is_no_http_stay_as_they_are() {
        let mut part = b"HTTP/1.1 200 OK\r\nx: 1\r\n".to_vec();
        assert!(tidied(&mut part, &mut Lookout::default(), &Flags::default()).is_none());
        assert_eq!(handed(b"{\"access_token\":\"a\"}\r\n\r\n", 5).0, b"{\"access_token\":\"a\"}\r\n\r\n");
    }

    #[test]
    fn body_that_is_not_chunked_as_its_head_says_is_handed_as_it_came() {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";
        for (body, length, is_last) in [
            ("{\"a\":1}", "", true),
            ("access_token=a", "", true),
            ("{\"a\":1}", "content-length: 7\r\n", true),
            ("7\r\n{\"a\":1}\r\n0\r\n\r\n", "", false),
        ] {
            let answer = format!("{head}{length}\r\n{body}");
            let framing = if is_last { length } else { "transfer-encoding: chunked\r\n" };
            for cut in 0..answer.len() {
                let (bytes, last) = handed(answer.as_bytes(), cut);

                let expected = format!("HTTP/1.1 200 OK\r\n{framing}\r\n{body}");
                assert_eq!((String::from_utf8_lossy(&bytes), last), (expected.into(), is_last), "{cut}");
            }
        }
        assert_eq!(
            handed(b"HTTP/1.1 204 x\r\ntransfer-encoding: chunked\r\n\r\n", 3).0,
            b"HTTP/1.1 204 x\r\ntransfer-encoding: chunked\r\n\r\n"
        );
    }

    #[test]
    fn head_that_ends_with_its_connection_is_handed_as_far_as_it_came() {
        let ended = |bytes: &[u8]| ended(&mut bytes.to_vec(), &mut Lookout::default(), &Flags::default());

        assert_eq!(ended(b"HTTP/1.1 200 O"), b"HTTP/1.1 200 O");
        let whole = b"HTTP/1.1  200 OK\ntransfer-encoding: chunked\n\nac";
        assert_eq!(ended(whole), b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nac");
    }
}
