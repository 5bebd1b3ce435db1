//! Handlers of axum 0.8 that are handed a valid access token (feature `axum`).
//!
//! [`fresh_tokens`] is a layer that knows which session a request is of; [`FreshToken`] is what a handler takes, or [`FreshTokens`], where the
//! API that it asks may refuse a token before its end. A caller
//! without a valid session is answered 401. Where the token cannot be refreshed at the moment the answer is 503 with Retry-After, and
//! where the settings are at fault 500: nobody is logged out for a wrong client secret.
//!
//! ```
//! use axum::Router;
//! use axum::routing::get;
//! use refresh_coordinator::adapters::axum::{FreshToken, fresh_tokens, routes};
//! use refresh_coordinator::tokens::{AccessTokens, MemoryTokens};
//!
//! fn app(access_tokens: AccessTokens<MemoryTokens>) -> Router {
//!     let coordinator = access_tokens.coordinator().clone();
//!     // A session that was looked up and not only sent: here by a layer that runs before.
//!     let session_from = |parts: &http::request::Parts| parts.extensions.get::<String>().cloned();
//!     Router::new()
//!         .route("/orders", get(async |token: FreshToken| format!("asked with {} bytes", token.expose().len())))
//!         .layer(fresh_tokens(access_tokens, session_from))
//!         .merge(routes(coordinator))
//! }
//! ```
//!
//! [`serve_and_close`] ends both in the right order: first the server drains, then the coordinator closes.

use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use tracing::{error, info};

use crate::coordinator::RefreshCoordinator;
use crate::secret::Secret;
use crate::tokens::{AccessToken, AccessTokens, TokenStore};
use crate::verdict::Verdict;

pub use self::closing::{Told, serve_and_close};

mod closing;

type Asked = Pin<Box<dyn Future<Output = Result<AccessToken, NoToken>> + Send>>;

/// The access token of a session, or another one than this.
type OfSession = dyn Fn(Option<Secret>) -> Asked + Send + Sync;

type Source = dyn Fn(&Parts) -> Result<Arc<OfSession>, NoToken> + Send + Sync;

/// A valid access token of the request's session.
#[derive(Clone, Debug)]
pub struct FreshToken(pub AccessToken);

/// The access tokens of the request's session: for a handler that asks for another one where its API has refused the first.
///
/// ```
/// use http::StatusCode;
/// use refresh_coordinator::adapters::axum::{FreshTokens, NoToken};
///
/// # async fn ask(_: &str) -> StatusCode { StatusCode::OK }
/// async fn orders(tokens: FreshTokens) -> Result<StatusCode, NoToken> {
///     let token = tokens.token().await?;
///     match ask(token.expose()).await {
///         StatusCode::UNAUTHORIZED => Ok(ask(tokens.instead_of(&token).await?.expose()).await),
///         status => Ok(status),
///     }
/// }
/// ```
#[derive(Clone)]
pub struct FreshTokens(Arc<OfSession>);

/// What the layer leaves with each request.
#[derive(Clone)]
pub struct TokenSource(Arc<Source>);

/// Why a handler is not run, as its caller is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoToken(Verdict);

/// A layer, by which the handlers behind it may take a [`FreshToken`]. `session_from` says which session a request is of, if any:
/// it must have been authenticated, for it pays for attempts and its tokens are handed out.
pub fn fresh_tokens<S: TokenStore>(
    access_tokens: AccessTokens<S>,
    session_from: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static,
) -> Extension<TokenSource> {
    Extension(TokenSource(Arc::new(move |parts| {
        let session = session_from(parts).ok_or(NoToken(Verdict::SessionOver))?;
        let access_tokens = access_tokens.clone();
        Ok(Arc::new(move |refused| {
            let (session, access_tokens) = (session.clone(), access_tokens.clone());
            Box::pin(async move { asked(&access_tokens, &session, refused).await })
        }))
    })))
}

async fn asked<S: TokenStore>(
    access_tokens: &AccessTokens<S>,
    session: &str,
    refused: Option<Secret>,
) -> Result<AccessToken, NoToken> {
    let handed = match refused {
        None => access_tokens.token(session).await,
        Some(refused) => access_tokens.token_instead_of(session, refused.expose()).await,
    };
    handed.map_err(|error| {
        // The chain of causes, once: it holds no token and no id of a session.
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        info!(%error, cause, "a request gets no access token");
        NoToken(error.verdict())
    })
}

/// `/readyz`, which answers whether a refresh could begin now, and `/metrics` in the text format of Prometheus.
pub fn routes(coordinator: RefreshCoordinator) -> Router {
    let counted = coordinator.clone();
    let ready = async move || match coordinator.check_store().await {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    };
    let metrics = async move || ([(CONTENT_TYPE, "text/plain; version=0.0.4")], written(&counted));
    Router::new().route("/readyz", get(ready)).route("/metrics", get(metrics))
}

fn written(coordinator: &RefreshCoordinator) -> String {
    let mut text = format!(
        "# HELP refresh_coordinator_in_flight Flights under way in this pod.\n\
         # TYPE refresh_coordinator_in_flight gauge\nrefresh_coordinator_in_flight {}\n",
        coordinator.in_flight()
    );
    for (name, value, help) in coordinator.metrics().iter() {
        let name = format!("refresh_coordinator_{name}_total");
        let help = help.replace('\\', "\\\\").replace('\n', " ");
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n"));
    }
    text
}

impl Deref for FreshToken {
    type Target = AccessToken;

    fn deref(&self) -> &AccessToken {
        &self.0
    }
}

impl<S: Send + Sync> FromRequestParts<S> for FreshToken {
    type Rejection = NoToken;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoToken> {
        of_session(parts)?(None).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for FreshTokens {
    type Rejection = NoToken;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoToken> {
        of_session(parts).map(Self)
    }
}

fn of_session(parts: &Parts) -> Result<Arc<OfSession>, NoToken> {
    let Some(TokenSource(source)) = parts.extensions.get() else {
        let error = "a handler takes a FreshToken, and no layer of fresh_tokens stands before it".to_owned();
        return Err(NoToken(Verdict::Misconfigured { error }));
    };
    source(parts)
}

impl FreshTokens {
    /// A valid access token: see [`AccessTokens::token`].
    ///
    /// # Errors
    ///
    /// [`NoToken`], with which the caller is to be answered.
    ///
    /// # Cancellation
    ///
    /// As [`AccessTokens::token`].
    pub async fn token(&self) -> Result<FreshToken, NoToken> {
        (self.0)(None).await.map(FreshToken)
    }

    /// Another one than this, which a resource server has refused: see [`AccessTokens::token_instead_of`].
    ///
    /// # Errors
    ///
    /// As [`token`](Self::token).
    ///
    /// # Cancellation
    ///
    /// As [`AccessTokens::token`].
    pub async fn instead_of(&self, refused: &FreshToken) -> Result<FreshToken, NoToken> {
        (self.0)(Some(refused.expose().into())).await.map(FreshToken)
    }
}

impl NoToken {
    /// What the answer goes by.
    pub fn verdict(&self) -> &Verdict {
        &self.0
    }
}

impl IntoResponse for NoToken {
    fn into_response(self) -> Response {
        let status = match &self.0 {
            Verdict::SessionOver => StatusCode::UNAUTHORIZED,
            Verdict::TryAgain { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Verdict::Misconfigured { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut answer = status.into_response();
        let headers = answer.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self.0 {
            // RFC 9110 section 15.5.2 wants a challenge.
            Verdict::SessionOver => _ = headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            Verdict::TryAgain { after } => _ = headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after))),
            Verdict::Misconfigured { error } => error!(error, "no access token can be had: the settings are at fault"),
        }
        answer
    }
}

/// Never early: a caller that comes a second too soon is refused once more.
fn whole_seconds(after: Duration) -> u64 {
    after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0)).max(1)
}

impl std::fmt::Debug for FreshTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FreshTokens").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenSource").finish_non_exhaustive()
    }
}
