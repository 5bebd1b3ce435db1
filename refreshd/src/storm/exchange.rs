//! One presentation over HTTP: a refresh token in, tokens or a failure out.

use std::time::Duration;

use http::header;
use refresh_coordinator::exchange::read_answer;
use refresh_coordinator::{ProviderFailure, Secret, TokenResponse};

/// A token endpoint and the client that asks it.
pub(super) struct Exchange {
    http: reqwest::Client,
    url: String,
    client_id: String,
    client_secret: Option<Secret>,
}

impl Exchange {
    pub(super) fn new(http: reqwest::Client, url: &str, client_id: &str, client_secret: Option<&Secret>) -> Self {
        Self { http, url: url.to_owned(), client_id: client_id.to_owned(), client_secret: client_secret.cloned() }
    }

    /// Presents the token once.
    pub(super) async fn present(&self, token: &Secret) -> Result<TokenResponse, ProviderFailure> {
        let answer = self.request(token).send().await.map_err(failure)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.map_err(failure)?;
        let mut response = http::Response::new(body.to_vec());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        read_answer(response)
    }

    /// A client with a secret authenticates as RFC 6749 section 2.3.1 prefers it.
    fn request(&self, token: &Secret) -> reqwest::RequestBuilder {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", token.expose());
        let mut request = self.http.post(&self.url).header(header::ACCEPT, "application/json");
        match &self.client_secret {
            None => _ = form.append_pair("client_id", &self.client_id),
            Some(secret) => request = request.basic_auth(encode(&self.client_id), Some(encode(secret.expose()))),
        }
        request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.finish())
    }
}

/// The client that all presentations of a pod share: one attempt, no redirect, whatever the answer.
///
/// `HTTPS_PROXY` and its like are heeded, but not for this machine itself.
pub(super) fn client(urls: &[String], connections: usize, limit: Duration) -> reqwest::Result<reqwest::Client> {
    // Building a client panics without a process-wide TLS provider. Whoever installed one before did the same.
    _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = reqwest::Client::builder();
    if urls.iter().all(|url| is_here(url)) {
        client = client.no_proxy();
    }
    client
        .retry(reqwest::retry::never())
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .timeout(limit)
        .pool_max_idle_per_host(connections)
        .build()
}

fn is_here(url: &str) -> bool {
    let host = reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.is_some_and(|host| host == "localhost" || host == "[::1]" || host.starts_with("127."))
}

/// An error of the client, without its URL.
fn failure(error: reqwest::Error) -> ProviderFailure {
    let not_sent = error.is_connect() || error.is_builder();
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        reason = format!("{reason}: {error}");
        cause = error.source();
    }
    if not_sent { ProviderFailure::not_sent(reason) } else { ProviderFailure::unknown(reason) }
}

fn encode(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
