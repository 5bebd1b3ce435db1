//! An HTTP client for `oauth2` 5, and for what is built on it, such as `openidconnect` 4 (feature `oauth2`).
//!
//! [`Coordinated`] stands where the crate takes an HTTP client. A refresh goes to the provider once per flight of the fleet;
//! everything else, such as the exchange of an authorization code, goes there as it is.
//!
//! ```
//! use oauth2::basic::BasicClient;
//! use oauth2::{ClientId, ClientSecret, HttpRequest, HttpResponse, RefreshToken, TokenResponse, TokenUrl};
//! use refresh_coordinator::adapters::oauth2::Coordinated;
//! use refresh_coordinator::{Config, RefreshCoordinator};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Any client that oauth2 takes: `reqwest::Client`, or a function.
//! let http_client = |_: HttpRequest| async {
//!     let body = br#"{"access_token":"a2","token_type":"bearer","refresh_token":"r2"}"#;
//!     Ok::<_, std::io::Error>(HttpResponse::new(body.to_vec()))
//! };
//! let coordinated = Coordinated::new(RefreshCoordinator::in_memory(Config::default())?, http_client);
//!
//! let client = BasicClient::new(ClientId::new("app".into()))
//!     .set_client_secret(ClientSecret::new("secret".into()))
//!     .set_token_uri(TokenUrl::new("https://idp.example/token".into())?);
//! let old = RefreshToken::new("r1".into());
//! let tokens = client
//!     .exchange_refresh_token(&old)
//!     .request_async(&coordinated.for_session("session-4711"))
//!     .await
//!     .map_err(|error| format!("{:?}", coordinated.verdict(&error)))?;
//! assert_eq!(tokens.refresh_token().unwrap().secret(), "r2");
//! # Ok(()) }
//! ```

use std::fmt::{self, Display};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue};
use oauth2::{AsyncHttpClient, ErrorResponse, HttpRequest, HttpResponse, RequestTokenError};

use crate::coordinator::RefreshCoordinator;
use crate::exchange::{ExchangeOptions, SendError, Served, TokenExchange};
use crate::flight::refreshed::Refreshed;
use crate::leader::Attempt;
use crate::secret::Secret;
use crate::verdict::Verdict;

/// Between this client and its exchange: it is not sent on.
const SESSION: HeaderName = HeaderName::from_static("x-refresh-coordinator-session");

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
type BeforeTold = dyn Fn(Secret, Refreshed) -> Boxed<'static, Result<(), NotDone>> + Send + Sync;

/// The hook failed; why is the application's to log.
struct NotDone;

/// Wraps an HTTP client, so that the refreshes among its requests are coordinated. Shared by clones.
#[derive(Clone)]
#[must_use]
pub struct Coordinated<C> {
    exchange: TokenExchange,
    coordinator: RefreshCoordinator,
    inner: Arc<C>,
    session: Option<Secret>,
    before_told: Option<Arc<BeforeTold>>,
}

/// Why a [`Coordinated`] client has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoordinatedError {
    /// The provider or the coordinator asks to come later, or nobody knows what the provider did. The session is as good as
    /// before.
    #[error("no answer now, status {status}")]
    NotNow {
        /// When asking again makes sense.
        after: Duration,
        /// The status that a client over HTTP would have got.
        status: u16,
    },
    /// The id of the session cannot stand in a header: visible ASCII characters can.
    #[error("the session's id cannot be used")]
    Session,
}

impl<C> Coordinated<C> {
    /// Refreshes through this coordinator, and asks by this client. That must follow no redirects.
    pub fn new(coordinator: RefreshCoordinator, inner: C) -> Self {
        let options = ExchangeOptions { session_header: Some(SESSION), ..ExchangeOptions::default() };
        let exchange = TokenExchange::new(coordinator.clone(), options);
        Self { exchange, coordinator, inner: Arc::new(inner), session: None, before_told: None }
    }

    /// The same client for one session, which pays for the attempt: see [`Refresh::session`](crate::Refresh::session).
    pub fn for_session(&self, session: impl Into<Secret>) -> Self {
        let Self { exchange, coordinator, inner, session: _, before_told } = self;
        let (exchange, coordinator, inner) = (exchange.clone(), coordinator.clone(), Arc::clone(inner));
        Self { exchange, coordinator, inner, session: Some(session.into()), before_told: before_told.clone() }
    }

    /// Sets what is done before any caller hears of new tokens: write them to the session store here, and not after `.await`, where a
    /// closed tab would drop the write. The hook is handed the refresh token that the caller came with, and what it brought. It is
    /// retried while it fails, and may run on several pods, as [`refresh_with`](RefreshCoordinator::refresh_with) says: replace a stored
    /// token only if it is that one, or one of [`Refreshed::passed`]. Default: none.
    pub fn before_told<H, F, E>(mut self, hook: H) -> Self
    where
        H: Fn(Secret, Refreshed) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        self.before_told = Some(Arc::new(move |asked, refreshed| {
            let done = hook(asked, refreshed);
            Box::pin(async { done.await.map_err(|_| NotDone) })
        }));
        self
    }

    /// What to do about an error of `request_async`.
    pub fn verdict<T: ErrorResponse>(&self, error: &RequestTokenError<CoordinatedError, T>) -> Verdict {
        match error {
            RequestTokenError::Request(CoordinatedError::NotNow { after, .. }) => Verdict::TryAgain { after: *after },
            RequestTokenError::Request(error @ CoordinatedError::Session) => {
                Verdict::Misconfigured { error: error.to_string() }
            }
            RequestTokenError::ServerResponse(response) => {
                let written = serde_json::to_value(response).unwrap_or_default();
                let code = written["error"].as_str().unwrap_or("an error without a name").to_owned();
                if self.coordinator.config().dialect.is_dead_token(&code) {
                    Verdict::SessionOver
                } else if matches!(&*code, "temporarily_unavailable" | "server_error" | "slow_down") {
                    Verdict::TryAgain { after: Duration::from_secs(1) }
                } else {
                    Verdict::Misconfigured { error: code }
                }
            }
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
                Verdict::Misconfigured { error: "the provider's answer is not understood".to_owned() }
            }
        }
    }
}

impl<'c, C> AsyncHttpClient<'c> for Coordinated<C>
where
    C: Send + Sync + 'static,
    for<'i> C: AsyncHttpClient<'i, Error: Display, Future: Send>,
{
    type Error = CoordinatedError;
    type Future = Boxed<'c, Result<HttpResponse, CoordinatedError>>;

    fn call(&'c self, mut request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            request.headers_mut().remove(SESSION);
            if let Some(session) = &self.session {
                let value = HeaderValue::from_str(session.expose()).map_err(|_| CoordinatedError::Session)?;
                request.headers_mut().insert(SESSION, value);
            }
            let inner = Arc::clone(&self.inner);
            let send = move |request: HttpRequest| async move {
                if let Some(attempt) = request.extensions().get::<Attempt>().cloned() {
                    attempt.before_sending().await.map_err(|error| SendError::NotSent(error.to_string()))?;
                }
                // What it says of its errors does not tell whether anything was sent.
                inner.call(request).await.map_err(|error| SendError::Unknown(error.to_string()))
            };
            told(match self.before_told.clone() {
                Some(hook) => self.exchange.exchange_with(request, send, move |asked, new| hook(asked, new)).await,
                None => self.exchange.exchange(request, send).await,
            })
        })
    }
}

/// What `oauth2` can read is an answer. It knows no time to come again, and takes every status for a verdict.
fn told(answer: HttpResponse) -> Result<HttpResponse, CoordinatedError> {
    let status = answer.status();
    let is_refresh = !matches!(answer.extensions().get(), Some(Served::PassedOn));
    let is_passing =
        !status.is_success() && (!status.is_client_error() || matches!(status.as_u16(), 408 | 421 | 425 | 429));
    if is_refresh && is_passing {
        let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let after = Duration::from_secs(seconds.unwrap_or(1).max(1));
        return Err(CoordinatedError::NotNow { after, status: status.as_u16() });
    }
    Ok(answer)
}

impl<C> fmt::Debug for Coordinated<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coordinated").field("coordinator", &self.coordinator).finish_non_exhaustive()
    }
}
