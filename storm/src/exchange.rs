//! One presentation over HTTP: a refresh token in, tokens or a failure out.

use base64::prelude::{BASE64_STANDARD, Engine};
use http::{HeaderValue, Request, Uri, header};
use refresh_coordinator::exchange::read_answer;
use refresh_coordinator::{ProviderFailure, Secret, TokenResponse};

use crate::client::{Client, Unanswered};

/// A token endpoint and the client that asks it.
pub(crate) struct Exchange {
    http: Client,
    url: Uri,
    client_id: String,
    /// How a client with a secret authenticates.
    authorization: Option<HeaderValue>,
}

impl Exchange {
    pub(crate) fn new(http: Client, url: Uri, client_id: &str, client_secret: Option<&Secret>) -> Self {
        let authorization = client_secret.map(|secret| basic(client_id, secret));
        Self { http, url, client_id: client_id.to_owned(), authorization }
    }

    /// Presents the token once.
    pub(crate) async fn present(&self, token: &Secret) -> Result<TokenResponse, ProviderFailure> {
        read_answer(self.http.ask(self.request(token)).await.map_err(failure)?)
    }

    fn request(&self, token: &Secret) -> Request<Vec<u8>> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", token.expose());
        if self.authorization.is_none() {
            form.append_pair("client_id", &self.client_id);
        }
        let mut request = Request::new(form.finish().into_bytes());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.url.clone();
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        request
    }
}

/// As RFC 6749 section 2.3.1 prefers it.
fn basic(client_id: &str, secret: &Secret) -> HeaderValue {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let credentials = BASE64_STANDARD.encode(format!("{}:{}", encode(client_id), encode(secret.expose())));
    let mut value = HeaderValue::try_from(format!("Basic {credentials}")).expect("BUG: base64 is ASCII");
    value.set_sensitive(true);
    value
}

fn failure(unanswered: Unanswered) -> ProviderFailure {
    let Unanswered { may_have_arrived, reason, .. } = unanswered;
    if may_have_arrived { ProviderFailure::unknown(reason) } else { ProviderFailure::not_sent(reason) }
}
