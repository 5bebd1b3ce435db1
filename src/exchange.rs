//! Token request in, token response out: the way of a refresh over HTTP (feature `http`).
//!
//! A [`TokenExchange`] reads what a client would send to a token endpoint, has the coordinator refresh, and answers
//! what the provider answered, byte for byte, to every caller of the flight. It knows OAuth 2.0 (RFC 6749) and its
//! outcome classes, and no socket: the HTTP call itself is a closure. `refreshd` is made of it; a coordinated
//! client can be, too.

mod answer;
mod client;
mod dpop;
mod form;
mod headers;
mod options;
mod reply;
mod request;
mod send_error;

use std::future::Future;

use http::{Request, Response};

pub use answer::{LARGEST_ANSWER, read_answer};
pub use options::ExchangeOptions;
pub use reply::{Served, oauth_error};
pub use send_error::SendError;

use crate::outcome::ProviderFailure;
use crate::{Attempt, RefreshCoordinator};
use request::Asked;

/// Answers token requests: a refresh goes to the provider once per flight, anything else once, as it is.
///
/// ```
/// use http::{Request, Response};
/// use refresh_coordinator::exchange::{ExchangeOptions, TokenExchange};
/// use refresh_coordinator::{Config, RefreshCoordinator};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let coordinator = RefreshCoordinator::in_memory(Config::default())?;
/// let exchange = TokenExchange::new(coordinator, ExchangeOptions::default());
///
/// let request = Request::post("/token")
///     .header("content-type", "application/x-www-form-urlencoded")
///     .body(b"grant_type=refresh_token&refresh_token=r1&client_id=app".to_vec())?;
/// let answer = exchange
///     .exchange(request, async |request: Request<Vec<u8>>| {
///         // Here stands the HTTP call. It runs once, for all callers of the flight.
///         assert!(request.headers().contains_key("content-type"));
///         Ok(Response::new(br#"{"access_token":"a2","refresh_token":"r2"}"#.to_vec()))
///     })
///     .await;
/// assert_eq!(answer.body(), br#"{"access_token":"a2","refresh_token":"r2"}"#);
/// assert_eq!(answer.headers()["cache-control"], "no-store");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TokenExchange {
    coordinator: RefreshCoordinator,
    options: ExchangeOptions,
}

impl TokenExchange {
    /// An exchange in front of this coordinator.
    pub fn new(coordinator: RefreshCoordinator, options: ExchangeOptions) -> Self {
        Self { coordinator, options }
    }

    /// Answers one token request. `send` performs the HTTP call, once: without retries, redirects or decompression. It
    /// is given the request without Host, Content-Length, Accept-Encoding, Expect, the session header and the headers
    /// that belong to one connection only.
    ///
    /// Every answer says `Cache-Control: no-store` and carries a [`Served`] among its extensions. The answers of the
    /// exchange's own are OAuth errors, and none is a 401: clients drop their session for it.
    ///
    /// # Cancellation
    ///
    /// A refresh that has begun goes on without its caller, and its outcome is there for the caller that asks next. A
    /// request that is passed on is dropped with its caller.
    pub async fn exchange<S, F>(&self, request: Request<Vec<u8>>, send: S) -> Response<Vec<u8>>
    where
        S: FnOnce(Request<Vec<u8>>) -> F + Send + 'static,
        F: Future<Output = Result<Response<Vec<u8>>, SendError>> + Send + 'static,
    {
        let asked = request::read(&request, &self.options);
        let onward = headers::onward(request, self.options.session_header.as_ref());
        let mut answer = match asked {
            Err(unreadable) => reply::to_unreadable(&unreadable),
            Ok(Asked::Refresh(refresh)) => {
                let call = move |attempt: Attempt| async move {
                    let outcome = match send(onward).await {
                        Ok(answer) => read_answer(answer),
                        Err(error) => Err(error.into()),
                    };
                    outcome.inspect_err(|failure| tell(failure, attempt.fence))
                };
                match self.coordinator.refresh(refresh, call).await {
                    Ok(refreshed) => reply::to_tokens(&refreshed),
                    Err(error) => reply::to_failure(&error),
                }
            }
            Ok(Asked::Other) if self.options.only_refresh => reply::to_other_grant(),
            Ok(Asked::Other) => match send(onward).await {
                Ok(answer) => reply::passed_on(answer),
                Err(error) => reply::to_send_error(&error),
            },
        };
        headers::forbid_storing(answer.headers_mut());
        answer
    }
}

/// Logs why a flight brought no tokens: once, where it was led, and nothing the provider wrote but its error code.
fn tell(failure: &ProviderFailure, fence: u64) {
    match failure {
        // Every day's work: sessions end.
        ProviderFailure::Denied { .. } => tracing::info!(fence, %failure, "a refresh brought no tokens"),
        ProviderFailure::NotSent { .. } | ProviderFailure::Busy { .. } | ProviderFailure::Unknown { .. } => {
            tracing::warn!(fence, %failure, "a refresh brought no tokens");
        }
    }
}

#[cfg(test)]
mod tests;
