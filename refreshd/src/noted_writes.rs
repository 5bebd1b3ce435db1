//! A connection that notes when its caller takes bytes of an answer: a caller that reads slowly is not one that is gone.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::caller::Caller;

/// The stream of a caller.
#[derive(Debug)]
pub(crate) struct NotedWrites<S> {
    stream: Pin<Box<S>>,
    caller: Arc<Caller>,
}

impl<S> NotedWrites<S> {
    pub(crate) fn new(stream: S, caller: Arc<Caller>) -> Self {
        Self { stream: Box::pin(stream), caller }
    }

    fn noted(&self, written: Result<usize>) -> Poll<Result<usize>> {
        if written.as_ref().is_ok_and(|bytes| *bytes > 0) {
            self.caller.takes();
        }
        Poll::Ready(written)
    }
}

impl<S: AsyncRead> AsyncRead for NotedWrites<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        self.stream.as_mut().poll_read(context, buffer)
    }
}

impl<S: AsyncWrite> AsyncWrite for NotedWrites<S> {
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
        let mut stream = NotedWrites::new(ours, Arc::clone(&place.caller));
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
}
