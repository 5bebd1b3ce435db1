//! One HTTP/1.1 connection to the provider, moved along by the request that has it for itself.

use std::task::{Context, Waker};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use tokio::time::Instant;

use super::answer::whole;
use super::failed::Failed;
use super::head::MOST_HEADERS;
use super::open::{Open, Stream, move_on, moving};
use super::untidy::{Expected, Watched};

/// A connection on which nothing else is asked until the answer is there.
#[derive(Debug)]
pub(super) struct Http1 {
    sender: http1::SendRequest<Full<Bytes>>,
    connection: Open,
    expected: Expected,
    opened: Instant,
}

impl Http1 {
    /// Answers are read as leniently as curl reads them: what breaks the rules in their heads is mended, or left out.
    pub(super) async fn over(stream: Stream) -> hyper::Result<Self> {
        let (stream, expected) = Watched::new(stream);
        let (sender, connection) = http1::Builder::new().max_headers(MOST_HEADERS).handshake(stream).await?;
        Ok(Self { sender, connection: Some(connection), expected, opened: Instant::now() })
    }

    pub(super) async fn ask(
        &mut self,
        request: Request<Full<Bytes>>,
        max_answer: usize,
    ) -> Result<Response<Vec<u8>>, Failed> {
        let Self { sender, connection, expected, opened: _ } = self;
        expected.answer();
        let answer = moving(connection, sender.try_send_request(request)).await?;
        whole(answer, connection, max_answer).await
    }

    /// How long ago it was opened.
    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Whether it is open and waits for a request, as far as it has heard.
    pub(super) fn is_free(&mut self) -> bool {
        // Without a waker: the task that asked last is not to be woken by what comes next.
        move_on(&mut self.connection, &mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.sender.is_ready() && !self.expected.is_last()
    }
}
