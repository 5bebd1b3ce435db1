//! A connection that knows whether its caller is still there: one that reads its answer slowly is, and one that sends no more may be.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::caller::Caller;

/// A caller that has said the last of what it sends waits for its answer, or has gone: on the wire both look the same. For so long it
/// counts as one that waits. Longer, and refreshes of callers that have gone would be presented while others queue. Where it comes
/// again, the answer is there, and needs less.
const PATIENCE: Duration = Duration::from_secs(2);

/// The stream of a caller.
#[derive(Debug)]
pub(crate) struct Noted<S> {
    stream: Pin<Box<S>>,
    caller: Arc<Caller>,
    sends: Sends,
}

/// What is to come of a caller.
#[derive(Debug)]
enum Sends {
    More,
    /// Its last byte was read.
    NoMore,
    /// The same, and it is answered; until then its end is told to nobody.
    NoMoreAndWaits(Pin<Box<Sleep>>),
}

impl<S> Noted<S> {
    pub(crate) fn new(stream: S, caller: Arc<Caller>) -> Self {
        Self { stream: Box::pin(stream), caller, sends: Sends::More }
    }

    fn noted(&self, written: Result<usize>) -> Poll<Result<usize>> {
        if written.as_ref().is_ok_and(|bytes| *bytes > 0) {
            self.caller.takes();
        }
        Poll::Ready(written)
    }
}

impl<S: AsyncRead> AsyncRead for Noted<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if let Sends::More = self.sends {
            let before = buffer.filled().len();
            ready!(self.stream.as_mut().poll_read(context, buffer))?;
            if buffer.filled().len() == before && buffer.remaining() > 0 {
                self.sends = Sends::NoMore;
                // First its request is looked at, if that has just come as a whole: then it is known whether it is answered.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.caller.sends(&buffer.filled()[before..]);
            return Poll::Ready(Ok(()));
        }
        if !self.caller.may_have_gone() {
            self.sends = Sends::NoMore;
            return Poll::Ready(Ok(()));
        }
        if let Sends::NoMore = self.sends {
            self.sends = Sends::NoMoreAndWaits(Box::pin(sleep(PATIENCE)));
        }
        let Sends::NoMoreAndWaits(until) = &mut self.sends else { unreachable!("BUG: it was set above") };
        until.as_mut().poll(context).map(Ok)
    }
}

impl<S: AsyncWrite> AsyncWrite for Noted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let written = ready!(self.stream.as_mut().poll_write(context, bytes));
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = ready!(self.stream.as_mut().poll_write_vectored(context, pieces));
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.stream.as_mut().poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::callers::Callers;

    const WAITED: Duration = Duration::from_millis(500);

    #[tokio::test(start_paused = true)]
    async fn caller_that_reads_slowly_has_its_answer_and_one_that_reads_nothing_is_cut() {
        let callers = Callers::new(1, 1, None);
        let place = callers.admit(IpAddr::V4(Ipv4Addr::LOCALHOST)).await.expect("a place");
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut stream = Noted::new(ours, Arc::clone(&place.caller));
        drop(place.caller.answering().await);
        let answering = tokio::spawn(async move { stream.write_all(&[b'a'; 640]).await.map(|()| stream) });

        for _ in 0..9 {
            tokio::time::advance(WAITED * 4 / 5).await;
            callers.cut_idle(WAITED);
            theirs.read_exact(&mut [0; 64]).await.expect("it is not cut");
            tokio::task::yield_now().await;
        }
        let _stream = answering.await.expect("no panic").expect("all of it is taken");
        assert!(tokio::time::timeout(Duration::ZERO, place.caller.is_cut()).await.is_err(), "cut while it read");

        tokio::time::advance(WAITED).await;
        callers.cut_idle(WAITED);
        place.caller.is_cut().await;
    }

    /// Reads to the end, and how long that took.
    async fn ended(stream: &mut Noted<tokio::io::DuplexStream>) -> Duration {
        let began = tokio::time::Instant::now();
        assert_eq!(stream.read(&mut [0; 8]).await.expect("readable"), 0);
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn end_of_what_a_caller_sends_is_told_late_while_it_is_answered_and_at_once_else() {
        let callers = Callers::new(1, 1, None);
        let place = callers.admit(IpAddr::V4(Ipv4Addr::LOCALHOST)).await.expect("a place");
        let (ours, theirs) = tokio::io::duplex(64);
        let mut stream = Noted::new(ours, Arc::clone(&place.caller));
        drop(theirs);

        assert_eq!(ended(&mut stream).await, Duration::ZERO);
        let answering = place.caller.answering().await;
        assert_eq!(ended(&mut stream).await, PATIENCE);
        drop(answering);
        assert_eq!(ended(&mut stream).await, Duration::ZERO);
        // As for the one before it, where several were sent at once.
        let answering = place.caller.answering().await;
        assert_eq!(ended(&mut stream).await, PATIENCE);

        callers.cut_idle(PATIENCE);
        drop(answering);
        assert!(place.caller.was_cut(), "it makes way: nobody may wait for it");
    }
}
