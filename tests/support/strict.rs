//! A provider that rotates, and revokes the family of a token that comes twice: what single-use providers do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use refresh_coordinator::{ProviderFailure, TokenResponse};
use tokio::sync::{Semaphore, watch};

/// Tokens are `<family>.<generation>`.
#[derive(Clone)]
pub struct StrictProvider(Arc<Inner>);

struct Inner {
    books: Mutex<Books>,
    presented: watch::Sender<usize>,
    answered: watch::Sender<usize>,
    /// A permit for each answer that may be given.
    answers: Semaphore,
}

#[derive(Default)]
struct Books {
    generations: HashMap<String, u32>,
    presented: HashMap<String, usize>,
    revoked: Vec<String>,
    refuses_with: Option<&'static str>,
}

impl StrictProvider {
    /// Answers at once.
    pub fn open() -> Self {
        Self::with_answers(Semaphore::MAX_PERMITS)
    }

    /// Answers when it is released.
    pub fn held() -> Self {
        Self::with_answers(0)
    }

    fn with_answers(answers: usize) -> Self {
        Self(Arc::new(Inner {
            books: Mutex::default(),
            presented: watch::Sender::new(0),
            answered: watch::Sender::new(0),
            answers: Semaphore::new(answers),
        }))
    }

    /// Lets `answers` more presentations be answered.
    pub fn release(&self, answers: usize) {
        self.0.answers.add_permits(answers);
    }

    /// From now on every token is refused so.
    pub fn refuse_with(&self, error: &'static str) {
        self.books().refuses_with = Some(error);
    }

    /// The answer to a presentation, as the bytes of an HTTP body or an OAuth error.
    pub async fn answer(&self, token: &str) -> Result<String, &'static str> {
        self.0.presented.send_modify(|times| *times += 1);
        self.0.answers.acquire().await.expect("never closed").forget();
        let answer = self.judge(token);
        self.0.answered.send_modify(|times| *times += 1);
        answer
    }

    /// The same for a refresh function.
    pub async fn present(&self, token: &str) -> Result<TokenResponse, ProviderFailure> {
        let body = self.answer(token).await.map_err(ProviderFailure::denied)?;
        Ok(TokenResponse::from_json(body).expect("a token response"))
    }

    fn judge(&self, token: &str) -> Result<String, &'static str> {
        let mut books = self.books();
        *books.presented.entry(token.to_owned()).or_default() += 1;
        if let Some(error) = books.refuses_with {
            return Err(error);
        }
        let (family, generation) = token.rsplit_once('.').ok_or("invalid_grant")?;
        let generation: u32 = generation.parse().map_err(|_| "invalid_grant")?;
        let newest = *books.generations.entry(family.to_owned()).or_insert(1);
        if newest != generation || books.revoked.iter().any(|revoked| revoked == family) {
            books.revoked.push(family.to_owned());
            return Err("invalid_grant");
        }
        let next = generation + 1;
        books.generations.insert(family.to_owned(), next);
        Ok(format!(
            r#"{{"access_token":"of {family}.{next}","token_type":"Bearer","expires_in":300,"refresh_token":"{family}.{next}"}}"#
        ))
    }

    /// A client revokes this token (RFC 7009).
    pub fn revoke(&self, token: &str) {
        self.books().revoked.push(token.to_owned());
    }

    /// How often anything was presented.
    pub fn presentations(&self) -> usize {
        *self.0.presented.borrow()
    }

    /// How often the token was that came most often.
    pub fn presented_at_most(&self) -> usize {
        self.books().presented.values().copied().max().unwrap_or_default()
    }

    /// Families that were revoked because a token came twice, and tokens that clients have revoked.
    pub fn revoked(&self) -> Vec<String> {
        self.books().revoked.clone()
    }

    /// Waits until so many presentations have arrived.
    pub async fn asked(&self, times: usize) {
        until(&self.0.presented, times).await;
    }

    /// Waits until so many were answered.
    pub async fn answered(&self, times: usize) {
        until(&self.0.answered, times).await;
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.books.lock().expect("not poisoned")
    }
}

async fn until(counted: &watch::Sender<usize>, times: usize) {
    let mut counted = counted.subscribe();
    let reached = tokio::time::timeout(Duration::from_secs(60), counted.wait_for(|count| *count >= times)).await;
    reached.unwrap_or_else(|_| panic!("not {times} times")).expect("the provider lives");
}
