//! One HTTP/2 connection to the provider, which requests share: as many at once as the provider allows streams. One more would wait
//! within the connection, where nobody can tell whether it was sent.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use tokio::time::Instant;

use super::answer::whole;
use super::failed::Failed;
use super::head::LARGEST as LARGEST_HEAD;
use super::open::Stream;

/// A connection that moves in a task of its own. Its clones are the same connection.
#[derive(Clone, Debug)]
pub(super) struct Http2 {
    sender: http2::SendRequest<Full<Bytes>>,
    streams: Arc<Streams>,
    opened: Instant,
}

/// So many requests are sent before the provider's settings have come: more may be more than it allows, and would wait within the
/// connection.
const UNTIL_IT_IS_TOLD: usize = 1;

type Connection = http2::Connection<Stream, Full<Bytes>, TokioExecutor>;

/// Of one connection.
#[derive(Debug)]
struct Streams {
    taken: AtomicUsize,
    /// It knows how many the provider allows at this moment: one until its settings have come, and any number where they name
    /// none. None: it has ended, which requests hear of only when it is dropped.
    connection: Mutex<Option<Connection>>,
}

/// A stream for one request; another request has it once this is dropped.
#[derive(Debug)]
pub(super) struct OneStream(Http2);

impl Http2 {
    pub(super) async fn over(stream: Stream) -> hyper::Result<Self> {
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2.initial_max_send_streams(UNTIL_IT_IS_TOLD).max_header_list_size(LARGEST_HEAD as u32);
        let (sender, connection) = http2.handshake(stream).await?;
        let streams = Arc::new(Streams { taken: AtomicUsize::new(0), connection: Mutex::new(Some(connection)) });
        let moved = Arc::clone(&streams);
        tokio::spawn(async move {
            let ended = poll_fn(|cx| {
                let mut connection = moved.connection();
                let Some(moving) = &mut *connection else { return Poll::Ready(Ok(())) };
                let ended = ready!(Pin::new(moving).poll(cx));
                *connection = None;
                Poll::Ready(ended)
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "a connection to the provider ended early");
            }
        });
        Ok(Self { sender, streams, opened: Instant::now() })
    }

    /// A stream, where the provider allows one more.
    pub(super) fn free_stream(&self) -> Option<OneStream> {
        let most = self.streams.connection().as_ref()?.current_max_send_streams();
        let one_more = |taken| (taken < most).then_some(taken + 1);
        let taken = self.streams.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| OneStream(self.clone()))
    }

    /// The first stream of a connection that has just been opened.
    pub(super) fn first_stream(&self) -> OneStream {
        self.streams.taken.fetch_add(1, Ordering::Relaxed);
        OneStream(self.clone())
    }

    /// How long ago it was opened.
    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl Streams {
    fn connection(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OneStream {
    pub(super) async fn ask(
        &mut self,
        request: Request<Full<Bytes>>,
        max_answer: usize,
    ) -> Result<Response<Vec<u8>>, Failed> {
        let again = request.clone();
        let answer = self.0.sender.try_send_request(request).await;
        let answer = answer.map_err(|error| Failed::on_http2(error, again))?;
        whole(answer, &mut None, max_answer).await
    }

    pub(super) fn is_of(&self, connection: &Http2) -> bool {
        Arc::ptr_eq(&self.0.streams, &connection.streams)
    }
}

impl Drop for OneStream {
    fn drop(&mut self) {
        self.0.streams.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
