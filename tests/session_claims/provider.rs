//! A provider inside the test process that gives access tokens for the audience that is asked for, all from one login.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use refresh_coordinator::tokens::{AccessTokens, TokenStore};
use refresh_coordinator::{Attempt, ProviderFailure, Refresh, RefreshCoordinator, TokenResponse};
use tokio::sync::{Semaphore, watch};

/// What it does with a refresh token that is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tokens {
    /// It is over. One that comes again costs its family.
    SingleUse,
    /// It stays, and no other is given.
    Kept,
    /// It stays, and a new one is given beside it.
    Reusable,
}

/// Refresh tokens are `<family>.<generation>`.
#[derive(Clone)]
pub(crate) struct Provider(Arc<Inner>);

struct Inner {
    tokens: Tokens,
    books: Mutex<Books>,
    arrived: watch::Sender<usize>,
    /// A permit for each answer that may be given.
    answers: Semaphore,
}

#[derive(Default)]
struct Books {
    presented: Vec<(String, String)>,
    generations: HashMap<String, u32>,
    lost: Vec<String>,
    revoked: Vec<String>,
    lives: HashMap<String, u32>,
}

impl Provider {
    pub(crate) fn of(tokens: Tokens) -> Self {
        let (arrived, answers) = (watch::Sender::new(0), Semaphore::new(Semaphore::MAX_PERMITS));
        Self(Arc::new(Inner { tokens, books: Mutex::default(), arrived, answers }))
    }

    /// Answers nobody until it is released.
    pub(crate) fn hold(&self) {
        self.0.answers.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(crate) fn release(&self) {
        self.0.answers.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// Access tokens for this audience live for so many seconds, instead of 300.
    pub(crate) fn lives(&self, audience: &str, seconds: u32) {
        self.books().lives.insert(audience.to_owned(), seconds);
    }

    /// Access tokens of the sessions in this store, of the one client.
    pub(crate) fn access<T: TokenStore>(&self, pod: &RefreshCoordinator, store: T) -> AccessTokens<T> {
        let (asked, revoked) = (self.clone(), self.clone());
        pod.access_tokens(store, move |attempt, refresh| {
            let asked = asked.clone();
            async move { asked.present(&attempt, &refresh).await }
        })
        .client("app", "pw")
        .revoking(move |refresh| {
            revoked.books().revoked.push(refresh.token().expose().to_owned());
            async { Ok(()) }
        })
    }

    async fn present(&self, attempt: &Attempt, refresh: &Refresh) -> Result<TokenResponse, ProviderFailure> {
        let audience = refresh.parameter_list().find(|(name, _)| *name == "audience");
        let audience = audience.map_or("login", |(_, audience)| audience.expose()).to_owned();
        self.books().presented.push((audience.clone(), attempt.token().to_owned()));
        self.0.arrived.send_modify(|arrived| *arrived += 1);
        self.0.answers.acquire().await.expect("never closed").forget();
        if audience == "forbidden" {
            return Err(ProviderFailure::denied("invalid_target"));
        }
        self.judge(&audience, attempt.token())
    }

    fn judge(&self, audience: &str, token: &str) -> Result<TokenResponse, ProviderFailure> {
        let (family, generation) = token.split_once('.').expect("a token");
        let mut books = self.books();
        let newest = books.generations.entry(family.to_owned()).or_insert(1);
        let is_reused = self.0.tokens == Tokens::SingleUse && newest.to_string() != generation;
        *newest += 1;
        let (access, next) = (*newest, format!("{family}.{newest}"));
        if is_reused || books.lost.iter().any(|lost| lost == family) {
            books.lost.push(family.to_owned());
            return Err(ProviderFailure::denied("invalid_grant"));
        }
        let life = books.lives.get(audience).copied().unwrap_or(300);
        let refresh_token = match self.0.tokens {
            Tokens::Kept => String::new(),
            Tokens::SingleUse | Tokens::Reusable => format!(r#","refresh_token":"{next}""#),
        };
        let body =
            format!(r#"{{"access_token":"{audience} of {family}.{access}","expires_in":{life}{refresh_token}}}"#);
        Ok(TokenResponse::from_json(body).expect("tokens"))
    }

    /// Audience and token of each presentation, in their order.
    pub(crate) fn presented(&self) -> Vec<(String, String)> {
        self.books().presented.clone()
    }

    pub(crate) fn presentations(&self) -> usize {
        self.books().presented.len()
    }

    /// Refresh tokens that came more than once.
    pub(crate) fn twice(&self) -> Vec<String> {
        let mut tokens: Vec<_> = self.presented().into_iter().map(|(_, token)| token).collect();
        tokens.sort();
        tokens.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone()).collect()
    }

    /// Tokens that the client has revoked.
    pub(crate) fn revoked(&self) -> Vec<String> {
        self.books().revoked.clone()
    }

    /// Waits until so many presentations have arrived.
    pub(crate) async fn asked(&self, times: usize) {
        let mut arrived = self.0.arrived.subscribe();
        let asked = tokio::time::timeout(Duration::from_secs(60), arrived.wait_for(|arrived| *arrived >= times)).await;
        asked.unwrap_or_else(|_| panic!("not asked {times} times")).expect("the provider lives");
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.books.lock().expect("no panics")
    }
}
