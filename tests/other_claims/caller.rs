//! A caller of one claim that keeps the refresh token which it was given, as a part of an application does that has none in common
//! with the others of its login.

use std::time::Duration;

use refresh_coordinator::{RefreshCoordinator, RefreshError, Refreshed};
use tokio::time::Instant;

use crate::provider::Provider;

#[derive(Clone)]
pub(crate) struct Caller {
    provider: Provider,
    pub(crate) scope: String,
    /// That it comes with.
    pub(crate) token: String,
}

impl Caller {
    pub(crate) fn new(provider: &Provider, scope: impl Into<String>, token: &str) -> Self {
        Self { provider: provider.clone(), scope: scope.into(), token: token.to_owned() }
    }

    /// Three callers, each of a scope of its own, with the token of the login.
    pub(crate) fn three(provider: &Provider, token: &str) -> [Self; 3] {
        ["mail", "files", "calendar"].map(|scope| Self::new(provider, scope, token))
    }

    /// Comes with its token, and loses the answer.
    pub(crate) async fn asks(&self, pod: &RefreshCoordinator) -> Result<Refreshed, RefreshError> {
        self.provider.refresh(pod, &self.token, &self.scope).await
    }

    /// Comes with its token, must be served, and keeps the token that it is given.
    pub(crate) async fn goes_on(&mut self, pod: &RefreshCoordinator) {
        let told = self.asks(pod).await;
        self.keeps(&told);
    }

    /// What it is told that is not to pass by itself: it comes again until then, or for half a minute.
    pub(crate) async fn told_at_last(&self, pod: &RefreshCoordinator) -> Result<Refreshed, RefreshError> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match self.asks(pod).await {
                Err(error) if error.is_transient() && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                told => return told,
            }
        }
    }

    /// Keeps the token of an answer, which must be one of its own.
    pub(crate) fn keeps(&mut self, told: &Result<Refreshed, RefreshError>) {
        let Self { scope, token, .. } = self;
        let refreshed = told.as_ref().unwrap_or_else(|error| panic!("{scope} with {token} is not served: {error:?}"));
        let (tokens, given) = (refreshed.tokens(), refreshed.tokens().refresh_token().expect("a refresh token"));
        assert_eq!(tokens.access_token(), format!("{scope} of {given}"), "{scope} with {token} has another's answer");
        assert_eq!(tokens.scope(), Some(scope.as_str()));
        given.clone_into(token);
    }
}
