//! A provider inside the test process: the judge. It notes what was presented and answers when it is told to.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use refresh_coordinator::{Attempt, ProviderFailure, TokenResponse};
use tokio::sync::{Semaphore, watch};

type Answer = Result<TokenResponse, ProviderFailure>;
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

#[derive(Clone)]
pub struct Provider(Arc<Inner>);

struct Inner {
    presented: Mutex<HashMap<String, usize>>,
    total: watch::Sender<usize>,
    /// A permit for each answer that may be given.
    answers: Semaphore,
}

impl Provider {
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
            presented: Mutex::default(),
            total: watch::Sender::new(0),
            answers: Semaphore::new(answers),
        }))
    }

    /// Lets `answers` more presentations be answered.
    pub fn release(&self, answers: usize) {
        self.0.answers.add_permits(answers);
    }

    /// A refresh function that presents this token: its successor has a tick more.
    pub fn refresh(&self, token: &str) -> impl FnOnce(Attempt) -> Boxed<Answer> + Send + use<> {
        self.answering(token, |token| Ok(rotated(token)))
    }

    /// A refresh function that presents this token and gets this answer.
    pub fn answering<A>(&self, token: &str, answer: A) -> impl FnOnce(Attempt) -> Boxed<Answer> + Send + use<A>
    where
        A: FnOnce(&str) -> Answer + Send + 'static,
    {
        let provider = self.clone();
        let token = token.to_owned();
        move |_attempt| {
            Box::pin(async move {
                provider.note(&token);
                provider.0.answers.acquire().await.expect("never closed").forget();
                answer(&token)
            })
        }
    }

    fn note(&self, token: &str) {
        *self.0.presented.lock().expect("not poisoned").entry(token.to_owned()).or_default() += 1;
        self.0.total.send_modify(|total| *total += 1);
    }

    /// How often this token was presented.
    pub fn presented(&self, token: &str) -> usize {
        self.0.presented.lock().expect("not poisoned").get(token).copied().unwrap_or_default()
    }

    /// How often anything was presented.
    pub fn total(&self) -> usize {
        *self.0.total.borrow()
    }

    /// Waits until so many presentations have arrived.
    pub async fn asked(&self, times: usize) {
        let mut total = self.0.total.subscribe();
        let asked = total.wait_for(|total| *total >= times);
        let asked = tokio::time::timeout(Duration::from_secs(30), asked).await;
        asked.unwrap_or_else(|_| panic!("asked {} times, not {times}", self.total())).expect("the provider lives");
    }
}

/// The answer to a presentation of `token`.
pub fn rotated(token: &str) -> TokenResponse {
    let body = format!(
        r#"{{"access_token":"access-for-{token}","token_type":"Bearer","expires_in":3600,"refresh_token":"{token}'"}}"#
    );
    TokenResponse::from_json(body).expect("a token response")
}
