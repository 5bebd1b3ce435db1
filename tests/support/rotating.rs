//! A provider inside the test process that rotates: it notes who came with which token, and which one was presented for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use refresh_coordinator::{
    Attempt, ProviderFailure, Refresh, RefreshCoordinator, RefreshError, Refreshed, TokenResponse,
};
use tokio::sync::Semaphore;

/// Tokens are `<family>.<generation>`.
#[derive(Clone)]
pub struct Rotating(Arc<Inner>);

struct Inner {
    books: Mutex<Books>,
    expires_in: u64,
    /// A permit for each answer that may be given.
    answers: Semaphore,
}

#[derive(Default)]
struct Books {
    presented: Vec<Presented>,
    newest: HashMap<String, u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// The caller's own token.
    pub asked: String,
    pub token: String,
}

impl Rotating {
    /// Its access tokens live for so many seconds.
    pub fn new(expires_in: u64) -> Self {
        let answers = Semaphore::new(Semaphore::MAX_PERMITS);
        Self(Arc::new(Inner { books: Mutex::default(), expires_in, answers }))
    }

    /// Answers nobody until it is released.
    pub fn hold(&self) {
        self.0.answers.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub fn release(&self) {
        self.0.answers.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// A caller with a credential, whose function presents the token that it is handed.
    pub async fn refresh(&self, pod: &RefreshCoordinator, token: &str) -> Result<Refreshed, RefreshError> {
        let (provider, asked) = (self.clone(), token.to_owned());
        let family = token.split_once('.').expect("a token").0;
        let refresh = Refresh::new(token).session(family).client("app", "pw").token_from_attempt();
        pod.refresh(refresh, async move |attempt: Attempt| provider.present(asked, attempt.token().to_owned()).await)
            .await
    }

    async fn present(&self, asked: String, token: String) -> Result<TokenResponse, ProviderFailure> {
        let (family, _) = token.split_once('.').expect("a token");
        let family = family.to_owned();
        self.books().presented.push(Presented { asked, token });
        self.0.answers.acquire().await.expect("never closed").forget();
        let next = {
            let mut books = self.books();
            let newest = books.newest.entry(family.clone()).or_insert(1);
            *newest += 1;
            *newest
        };
        let body = format!(
            r#"{{"access_token":"of {family}.{next}","expires_in":{},"refresh_token":"{family}.{next}"}}"#,
            self.0.expires_in
        );
        Ok(TokenResponse::from_json(body).expect("tokens"))
    }

    /// In their order.
    pub fn presented(&self) -> Vec<Presented> {
        self.books().presented.clone()
    }

    /// Tokens that were presented more than once.
    pub fn twice(&self) -> Vec<String> {
        let mut tokens: Vec<_> = self.presented().into_iter().map(|presented| presented.token).collect();
        tokens.sort();
        tokens.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone()).collect()
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.0.books.lock().expect("no panics")
    }
}

pub fn new_token(refreshed: &Result<Refreshed, RefreshError>) -> String {
    let refreshed = refreshed.as_ref().unwrap_or_else(|error| panic!("logged out: {error}"));
    refreshed.tokens().refresh_token().expect("a refresh token").to_owned()
}
