//! A provider of single-use tokens inside the test process: each access token is bound to the scope that was asked for, and a token
//! that comes twice costs its family.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use refresh_coordinator::{
    Attempt, ProviderFailure, Refresh, RefreshCoordinator, RefreshError, Refreshed, TokenResponse,
};
use tokio::sync::{Semaphore, watch};

/// That of the one client.
const SECRET: &str = "pw";

/// Tokens are `<family>.<generation>`.
#[derive(Clone)]
pub(crate) struct Provider(Arc<Inner>);

struct Inner {
    books: Mutex<Books>,
    expires_in: Duration,
    takes: Duration,
    arrived: watch::Sender<usize>,
    /// A permit for each answer that may be given.
    answers: Semaphore,
}

#[derive(Default)]
struct Books {
    presented: Vec<Presented>,
    newest: HashMap<String, u32>,
    /// Families that a token which came twice has cost.
    lost: Vec<String>,
    /// Tokens that a client has revoked.
    revoked: Vec<String>,
    wrong_secrets: usize,
}

/// A token that came with the client's secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Presented {
    /// The caller's own token.
    pub(crate) asked: String,
    pub(crate) token: String,
    pub(crate) scope: String,
}

impl Provider {
    /// Its access tokens live for so long, and it takes so long for each answer.
    pub(crate) fn new(expires_in: Duration, takes: Duration) -> Self {
        let (arrived, answers) = (watch::Sender::new(0), Semaphore::new(Semaphore::MAX_PERMITS));
        Self(Arc::new(Inner { books: Mutex::default(), expires_in, takes, arrived, answers }))
    }

    /// Answers at once; its access tokens live for five minutes.
    pub(crate) fn prompt() -> Self {
        Self::new(Duration::from_secs(300), Duration::ZERO)
    }

    /// Answers nobody until it is released.
    pub(crate) fn hold(&self) {
        self.0.answers.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(crate) fn release(&self) {
        self.0.answers.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// A caller of the one client that asks for this scope, and presents the token that it is handed.
    pub(crate) async fn refresh(
        &self,
        pod: &RefreshCoordinator,
        token: &str,
        scope: &str,
    ) -> Result<Refreshed, RefreshError> {
        self.refresh_with(pod, token, scope, SECRET).await
    }

    /// The same with a secret that may be wrong.
    pub(crate) async fn refresh_with(
        &self,
        pod: &RefreshCoordinator,
        token: &str,
        scope: &str,
        secret: &str,
    ) -> Result<Refreshed, RefreshError> {
        let (provider, is_right) = (self.clone(), secret == SECRET);
        let (asked, scope) = (token.to_owned(), scope.to_owned());
        let refresh = self.request(token, &scope).client("app", secret);
        pod.refresh(refresh, async move |attempt: Attempt| {
            let presented = Presented { asked, token: attempt.token().to_owned(), scope };
            provider.answer(presented, is_right).await
        })
        .await
    }

    /// What the one client asks for.
    pub(crate) fn request(&self, token: &str, scope: &str) -> Refresh {
        let provider = self.clone();
        Refresh::new(token)
            .session(family_of(token))
            .client("app", SECRET)
            .parameters([("scope", scope)])
            .token_from_attempt()
            .revoking(move |token| {
                provider.books().revoked.push(token.expose().to_owned());
                async { Ok::<_, std::io::Error>(()) }
            })
    }

    pub(crate) async fn answer(&self, presented: Presented, is_right: bool) -> Result<TokenResponse, ProviderFailure> {
        if is_right {
            self.books().presented.push(presented.clone());
        }
        self.0.arrived.send_modify(|arrived| *arrived += 1);
        if !self.0.takes.is_zero() {
            tokio::time::sleep(self.0.takes).await;
        }
        self.0.answers.acquire().await.expect("never closed").forget();
        if is_right {
            return self.judge(&presented);
        }
        self.books().wrong_secrets += 1;
        Err(ProviderFailure::denied("invalid_client"))
    }

    fn judge(&self, Presented { token, scope, .. }: &Presented) -> Result<TokenResponse, ProviderFailure> {
        let family = family_of(token);
        let mut books = self.books();
        let newest = *books.newest.entry(family.to_owned()).or_insert(1);
        if newest != generation_of(token) || books.lost.iter().any(|lost| lost == family) {
            books.lost.push(family.to_owned());
            return Err(ProviderFailure::denied("invalid_grant"));
        }
        let next = newest + 1;
        books.newest.insert(family.to_owned(), next);
        let life = self.0.expires_in.as_secs();
        let body = format!(
            r#"{{"access_token":"{scope} of {family}.{next}","token_type":"Bearer","expires_in":{life},"refresh_token":"{family}.{next}","scope":"{scope}"}}"#
        );
        Ok(TokenResponse::from_json(body).expect("tokens"))
    }

    /// In their order.
    pub(crate) fn presented(&self) -> Vec<Presented> {
        self.books().presented.clone()
    }

    /// Tokens that were presented more than once.
    pub(crate) fn twice(&self) -> Vec<String> {
        let mut tokens: Vec<_> = self.presented().into_iter().map(|presented| presented.token).collect();
        tokens.sort();
        tokens.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone()).collect()
    }

    /// Families that were revoked because a token came twice.
    pub(crate) fn lost(&self) -> Vec<String> {
        self.books().lost.clone()
    }

    /// Tokens that the client has revoked.
    pub(crate) fn revoked(&self) -> Vec<String> {
        self.books().revoked.clone()
    }

    pub(crate) fn wrong_secrets(&self) -> usize {
        self.books().wrong_secrets
    }

    /// The newest token of a family.
    pub(crate) fn newest(&self, family: &str) -> String {
        format!("{family}.{}", self.books().newest.get(family).copied().unwrap_or(1))
    }

    /// Waits until so many presentations have arrived.
    pub(crate) async fn asked(&self, times: usize) {
        let mut arrived = self.0.arrived.subscribe();
        let asked = arrived.wait_for(|arrived| *arrived >= times);
        let asked = tokio::time::timeout(Duration::from_secs(60), asked).await;
        asked.unwrap_or_else(|_| panic!("not asked {times} times")).expect("the provider lives");
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.books.lock().expect("no panics")
    }
}

pub(crate) fn family_of(token: &str) -> &str {
    token.split_once('.').expect("a token").0
}

pub(crate) fn generation_of(token: &str) -> u32 {
    token.split_once('.').expect("a token").1.parse().expect("a number")
}
