//! What moves an open HTTP/1.1 connection: the request that waits for its answer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Context;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_rustls::MaybeHttpsStream;

use super::counted::Counted;
use super::route::Hop;
use super::untidy::Watched;

/// What leads to the provider.
pub(super) type Stream = Counted<MaybeHttpsStream<Hop>>;

/// What moves an HTTP/1.1 connection. None: it is closed, or moves by itself.
pub(super) type Open = Option<http1::Connection<Watched<Stream>, Full<Bytes>>>;

/// Waits for a step of an exchange and moves the connection meanwhile.
pub(super) async fn moving<F: Future>(connection: &mut Open, step: F) -> F::Output {
    let mut step = pin!(step);
    poll_fn(|cx| {
        // First, as it brings what the step waits for. Its end is told to the step, too.
        move_on(connection, cx);
        step.as_mut().poll(cx)
    })
    .await
}

/// Moves it as far as it goes now.
pub(super) fn move_on(connection: &mut Open, cx: &mut Context<'_>) {
    if connection.as_mut().is_some_and(|open| Pin::new(open).poll(cx).is_ready()) {
        *connection = None;
    }
}
