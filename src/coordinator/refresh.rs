//! How a coordinator is asked for a refresh.

use std::sync::Arc;

use super::RefreshCoordinator;
use super::caller::RefreshFuture;
use crate::error::RefreshError;
use crate::flight::before_told::BeforeTold;
use crate::flight::refreshed::Refreshed;
use crate::leader::Attempt;
use crate::outcome::ProviderFailure;
use crate::request::Refresh;
use crate::token_response::TokenResponse;

impl RefreshCoordinator {
    /// Refreshes a token: by `call`, or by the flight of the same request that is under way in the fleet already.
    ///
    /// `call` runs at most once per flight in the fleet, in a task of its own. An application that must write the new tokens
    /// down before any caller hears of them asks by [`refresh_with`](Self::refresh_with).
    ///
    /// # Errors
    ///
    /// [`RefreshError`] tells whether asking again may help and when.
    ///
    /// # Panics
    ///
    /// When it is polled outside a tokio runtime with timers.
    ///
    /// # Cancellation
    ///
    /// The refresh goes on for everybody else, and its outcome is there for the caller that asks again. A future that was
    /// never polled starts nothing.
    pub fn refresh<C, F>(
        &self,
        refresh: Refresh,
        call: C,
    ) -> impl Future<Output = Result<Refreshed, RefreshError>> + use<'_, C, F>
    where
        C: FnOnce(Attempt) -> F + Send + 'static,
        F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
    {
        self.refresh_before(refresh, call, None)
    }

    /// As [`refresh`](Self::refresh), with something to be done before any caller hears of new tokens: mostly to write them to
    /// the session store.
    ///
    /// First the store of this coordinator has the tokens, then `before_told` runs, then callers are told, those of other pods, too.
    /// It runs in a task of its own, even when all callers have gone. Code after `refresh().await` does not: an HTTP server drops
    /// the handler when its caller leaves. It is retried until it succeeds, or until `wait_timeout` after the last caller came (at
    /// least a `lease`). If it does not succeed in time, callers get the tokens all the same, and pods that wait run their own hooks.
    /// Once it has succeeded, the new refresh token counts as used.
    ///
    /// If a pod is lost before its hook has succeeded, the next caller with the token gets the tokens, after its own hook has run.
    /// So several pods may write the same tokens: replace a stored token only if it is the one that was asked with, or one of
    /// [`Refreshed::passed`]. The first caller's hook runs for all callers of its flight.
    ///
    /// # Errors
    ///
    /// As [`refresh`](Self::refresh). What the hook's error is, only it can log.
    ///
    /// # Panics
    ///
    /// As [`refresh`](Self::refresh). A hook that panics has failed once.
    ///
    /// # Cancellation
    ///
    /// As [`refresh`](Self::refresh); the hook runs.
    ///
    /// # Examples
    ///
    /// ```
    /// use refresh_coordinator::{Config, Refresh, RefreshCoordinator, Refreshed, TokenResponse};
    ///
    /// # use std::sync::{Arc, Mutex};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let coordinator = RefreshCoordinator::in_memory(Config::default())?;
    /// let session = Arc::new(Mutex::new("old-token".to_owned()));
    ///
    /// let written = Arc::clone(&session);
    /// let call = |_attempt| async {
    ///     let body = r#"{"access_token":"a","token_type":"Bearer","refresh_token":"new-token"}"#;
    ///     Ok(TokenResponse::from_json(body).expect("a token response"))
    /// };
    /// coordinator
    ///     .refresh_with(Refresh::new("old-token"), call, move |refreshed: Refreshed| {
    ///         let session = Arc::clone(&written);
    ///         async move {
    ///             // In SQL: UPDATE sessions SET token = new WHERE token = old.
    ///             let mut session = session.lock().expect("no panics");
    ///             if *session == "old-token" {
    ///                 *session = refreshed.tokens().refresh_token().unwrap_or("old-token").to_owned();
    ///             }
    ///             Ok::<_, std::io::Error>(())
    ///         }
    ///     })
    ///     .await?;
    ///
    /// assert_eq!(*session.lock().expect("no panics"), "new-token");
    /// # Ok(()) }
    /// ```
    pub fn refresh_with<C, F, H, W, E>(
        &self,
        refresh: Refresh,
        call: C,
        before_told: H,
    ) -> impl Future<Output = Result<Refreshed, RefreshError>> + use<'_, C, F, H, W, E>
    where
        C: FnOnce(Attempt) -> F + Send + 'static,
        F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
        H: Fn(Refreshed) -> W + Send + Sync + 'static,
        W: Future<Output = Result<(), E>> + Send + 'static,
    {
        self.refresh_before(refresh, call, Some(Arc::new(BeforeTold::new(before_told))))
    }

    /// Both of these.
    pub(crate) fn refresh_before<C, F>(
        &self,
        refresh: Refresh,
        call: C,
        before_told: Option<Arc<BeforeTold>>,
    ) -> impl Future<Output = Result<Refreshed, RefreshError>> + use<'_, C, F>
    where
        C: FnOnce(Attempt) -> F + Send + 'static,
        F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
    {
        RefreshFuture::new(&self.inner, refresh, Some(call), before_told)
    }

    /// Joins a refresh of this request that is under way on any pod, and never starts one. Returns that refresh's outcome, or one
    /// that is still fresh or held.
    ///
    /// For a caller that has a token which is good for now, and only wants the newer one if that comes anyway.
    ///
    /// # Errors
    ///
    /// [`RefreshError::NotUnderWay`] where nobody refreshes the token; others as [`refresh`](Self::refresh).
    ///
    /// # Panics
    ///
    /// As [`refresh`](Self::refresh).
    ///
    /// # Cancellation
    ///
    /// What is under way goes on.
    ///
    /// # Examples
    ///
    /// ```
    /// use refresh_coordinator::{Config, Refresh, RefreshCoordinator, RefreshError};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let coordinator = RefreshCoordinator::in_memory(Config::default())?;
    ///
    /// let waited = coordinator.wait_for(Refresh::new("token")).await;
    ///
    /// assert!(matches!(waited, Err(RefreshError::NotUnderWay)));
    /// # Ok(()) }
    /// ```
    pub fn wait_for(&self, refresh: Refresh) -> impl Future<Output = Result<Refreshed, RefreshError>> + use<'_> {
        type Never = fn(Attempt) -> std::future::Pending<Result<TokenResponse, ProviderFailure>>;
        RefreshFuture::<Never>::new(&self.inner, refresh, None, None)
    }
}
