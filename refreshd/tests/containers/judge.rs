//! The storm's provider: new logins, and what its log says of them.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::compose::Project;

#[derive(Clone)]
pub(crate) struct Provider {
    url: String,
    http: reqwest::Client,
}

#[derive(serde::Deserialize)]
struct Batch {
    batch: usize,
    tokens: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
pub(crate) struct Counts {
    pub(crate) presentations: u64,
    pub(crate) rotations: u64,
    /// Logins with a used token that came again.
    pub(crate) families_revoked: u64,
}

impl Provider {
    pub(crate) fn of(project: &Project) -> Self {
        Self { url: project.provider_url(), http: client(Duration::from_secs(10)) }
    }

    /// A new login: its number, and its refresh token.
    pub(crate) async fn login(&self) -> (usize, String) {
        let mut batch: Batch = self.ask(self.http.post(format!("{}/storm/batches/1", self.url))).await;
        (batch.batch, batch.tokens.remove(0))
    }

    /// The sum over these logins.
    pub(crate) async fn counts(&self, batches: Vec<usize>) -> Counts {
        let mut sum = Counts::default();
        for batch in batches {
            let counts: Counts = self.ask(self.http.get(format!("{}/storm/batches/{batch}", self.url))).await;
            sum.presentations += counts.presentations;
            sum.rotations += counts.rotations;
            sum.families_revoked += counts.families_revoked;
        }
        sum
    }

    async fn ask<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> T {
        let answer = request.send().await.expect("the provider answers").bytes().await.expect("a body");
        serde_json::from_slice(&answer).expect("JSON")
    }
}

/// One attempt, no proxy, an answer within this time.
pub(crate) fn client(timeout: Duration) -> reqwest::Client {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| _ = rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder()
        .no_proxy()
        .retry(reqwest::retry::never())
        .redirect(reqwest::redirect::Policy::none())
        .tls_certs_only([])
        // A connection to a container that was cut off stays silent for ever.
        .pool_max_idle_per_host(0)
        .timeout(timeout)
        .build()
        .expect("a client")
}
