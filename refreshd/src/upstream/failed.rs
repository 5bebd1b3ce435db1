//! How a request to the provider fails, and whether the provider can have processed it.

use std::error::Error;

use http::Request;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::TrySendError;
use refresh_coordinator::exchange::SendError;

use super::chain::chain;

/// Why there is no answer, with the request where it is sure that it was not processed. No `Debug`: the request is a
/// secret.
pub(super) struct Failed {
    pub(super) error: SendError,
    pub(super) unprocessed: Option<Request<Full<Bytes>>>,
    /// HTTP/2 is not to be spoken to the provider any more.
    pub(super) is_http2_unfit: bool,
}

impl From<SendError> for Failed {
    fn from(error: SendError) -> Self {
        Self { error, unprocessed: None, is_http2_unfit: false }
    }
}

impl From<TrySendError<Request<Full<Bytes>>>> for Failed {
    /// Nothing of the request was written where it comes back, as on a connection that was just being closed.
    fn from(mut error: TrySendError<Request<Full<Bytes>>>) -> Self {
        let unprocessed = error.take_message();
        let reason = chain(error.error());
        let error = if unprocessed.is_some() {
            SendError::NotSent(reason)
        } else if is_refused(error.error()) {
            // It came there: that says nothing against the way to the provider, which is everybody's.
            SendError::NotProcessed(reason)
        } else {
            SendError::Unknown(reason)
        };
        Self { error, unprocessed, is_http2_unfit: false }
    }
}

impl Failed {
    /// As a request fails on HTTP/2, where the provider may vouch for not having processed it. `request` is the same once
    /// more.
    pub(super) fn on_http2(error: TrySendError<Request<Full<Bytes>>>, request: Request<Full<Bytes>>) -> Self {
        let is_http2_unfit = is_unfit(error.error());
        let mut failed = Self { is_http2_unfit, ..Self::from(error) };
        if matches!(failed.error, SendError::NotSent(_) | SendError::NotProcessed(_)) {
            failed.unprocessed.get_or_insert(request);
        }
        failed
    }

    /// As an answer on HTTP/2 breaks off.
    pub(super) fn in_answer(error: SendError, cause: &hyper::Error) -> Self {
        Self { is_http2_unfit: is_unfit(cause), ..Self::from(error) }
    }
}

fn http2(error: &hyper::Error) -> Option<&h2::Error> {
    error.source()?.downcast_ref()
}

/// Whether the provider's HTTP/2 breaks the rules, so that its answers are lost with the tokens in them; or whether it wants HTTP/1.1
/// (RFC 9113 section 7).
fn is_unfit(error: &hyper::Error) -> bool {
    http2(error).is_some_and(|error| error.is_library() || error.reason() == Some(h2::Reason::HTTP_1_1_REQUIRED))
}

/// Whether the provider vouches for not having processed the request (RFC 9113 section 8.7): it refused the stream or HTTP/2 for it, or
/// went away in order and named an earlier one as its last. Only such streams are told so; others end with the
/// connection.
fn is_refused(error: &hyper::Error) -> bool {
    http2(error).is_some_and(|error| {
        let refusals = [h2::Reason::REFUSED_STREAM, h2::Reason::HTTP_1_1_REQUIRED];
        let is_refused = error.is_reset() && error.reason().is_some_and(|reason| refusals.contains(&reason));
        let is_gone = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        error.is_remote() && (is_refused || is_gone)
    })
}
