//! A token endpoint that is asked by reqwest (feature `reqwest`).
//!
//! ```no_run
//! use refresh_coordinator::adapters::reqwest::{client_builder, present, revoke};
//! use refresh_coordinator::tokens::MemoryTokens;
//! use refresh_coordinator::{Config, RefreshCoordinator};
//!
//! # async fn build() -> Result<(), Box<dyn std::error::Error>> {
//! let coordinator = RefreshCoordinator::connect("redis://redis.internal", Config::default()).await?;
//! let (asking, revoking) = (client_builder().build()?, client_builder().build()?);
//! let access_tokens = coordinator
//!     .access_tokens(MemoryTokens::new(), move |attempt, refresh| {
//!         present(asking.clone(), "https://idp.example/token", attempt, refresh)
//!     })
//!     .revoking(move |refresh| revoke(revoking.clone(), "https://idp.example/revoke", refresh))
//!     .client("my-app", "its-secret");
//! # Ok(()) }
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::{Serializer, byte_serialize};
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Response};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};
use zeroize::Zeroizing;

use crate::exchange::{read_answer, tells_its_end};
use crate::leader::Attempt;
use crate::outcome::ProviderFailure;
use crate::request::Refresh;
use crate::secret::Secret;
use crate::token_response::TokenResponse;

/// The most that is read of an answer.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// A client as it must be for a token endpoint: a redirect is not followed, for it would present the token again, and nothing
/// is sent twice. Add what you need: proxies, certificates, `connect_timeout`.
pub fn client_builder() -> ClientBuilder {
    Client::builder().redirect(Policy::none()).retry(reqwest::retry::never())
}

/// Presents the attempt's token at this URL, as this refresh says: form-encoded, with the client's credentials as RFC 6749
/// section 2.3.1 wants them, and every other parameter of the refresh.
///
/// It is the function of [`access_tokens`](crate::RefreshCoordinator::access_tokens), and of
/// [`refresh`](crate::RefreshCoordinator::refresh) with [`Refresh::token_from_attempt`]. The call is dropped when the attempt's
/// deadline is over; what the client is told of timeouts ends it as unknown.
///
/// # Errors
///
/// [`ProviderFailure`]: `NotSent` where no connection came about, `Unknown` where the request may have arrived, else what
/// [`read_answer`] says.
///
/// # Cancellation
///
/// The request may have arrived.
pub async fn present(
    client: Client,
    url: impl AsRef<str>,
    attempt: Attempt,
    refresh: Refresh,
) -> Result<TokenResponse, ProviderFailure> {
    let token = Secret::from(attempt.token());
    let parameters = refresh.parameters.iter().map(|(name, value)| (name.as_str(), value.expose()));
    let own = [("grant_type", "refresh_token"), ("refresh_token", token.expose())];
    let request = request(&client, url.as_ref(), &refresh, own.into_iter().chain(parameters))?;
    attempt.before_sending().await?;
    read_answer(answered(&client, request).await?)
}

/// Revokes the token of this refresh (RFC 7009) at the provider's revocation endpoint.
///
/// It is the function of [`AccessTokens::revoking`](crate::tokens::AccessTokens::revoking).
///
/// # Errors
///
/// [`ProviderFailure`] where the answer is no success. A token that the provider does not know is one.
///
/// # Cancellation
///
/// The request may have arrived.
pub async fn revoke(client: Client, url: impl AsRef<str>, refresh: Refresh) -> Result<(), ProviderFailure> {
    let own = [("token", refresh.token().expose()), ("token_type_hint", "refresh_token")];
    let request = request(&client, url.as_ref(), &refresh, own.into_iter())?;
    is_done(answered(&client, request).await?)
}

/// Ends the session that this refresh's token is of, at a logout endpoint that takes a refresh token, as Keycloak's does
/// (`/realms/REALM/protocol/openid-connect/logout`).
///
/// It is the function of [`AccessTokens::revoking`](crate::tokens::AccessTokens::revoking) in the place of [`revoke`], for an application
/// whose logout is to end the single sign-on of that browser, too: Keycloak then tells the session's other clients. By `revoke` it ends
/// what the application itself has of the session, and the user may be let in again without a password; and in releases of
/// 2024 and before what the application has of **all** the user's sessions, with the consent
/// ([keycloak#35486](https://github.com/keycloak/keycloak/issues/35486)): there this one is right in any case.
///
/// # Errors
///
/// [`ProviderFailure`] where the answer is neither a success nor says that the token is dead: then the session is over already.
///
/// # Cancellation
///
/// The request may have arrived.
pub async fn log_out(client: Client, url: impl AsRef<str>, refresh: Refresh) -> Result<(), ProviderFailure> {
    let request = request(&client, url.as_ref(), &refresh, [("refresh_token", refresh.token().expose())].into_iter())?;
    match is_done(answered(&client, request).await?) {
        Err(ProviderFailure::Denied { is_token_dead: true, .. }) => Ok(()),
        done => done,
    }
}

fn is_done(answer: Response<Vec<u8>>) -> Result<(), ProviderFailure> {
    let status = answer.status();
    // A success of AWS WAF asks for a proof instead: the provider was not reached.
    if status.is_success() && !answer.headers().contains_key("x-amzn-waf-action") {
        return Ok(());
    }
    let unread = || ProviderFailure::not_processed(format!("status {}", status.as_u16()));
    Err(read_answer(answer).err().unwrap_or_else(unread))
}

fn request<'a>(
    client: &Client,
    url: &str,
    refresh: &Refresh,
    parameters: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<reqwest::Request, ProviderFailure> {
    let mut form = Serializer::new(String::new());
    form.extend_pairs(parameters);
    let mut request = client
        .post(url)
        .header(ACCEPT, "application/json")
        .header(ACCEPT_ENCODING, "identity")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    match refresh.client.as_ref().map(|client| (client.id.as_str(), &client.credential)) {
        None => {}
        Some((id, None)) => _ = form.append_pair("client_id", id),
        Some((id, Some(secret))) => request = request.header(AUTHORIZATION, basic(id, secret)?),
    }
    request.body(form.finish()).build().map_err(|error| ProviderFailure::not_sent(reason(error)))
}

/// Both are form-encoded first: that is what the standard says, and most forget.
fn basic(id: &str, secret: &Secret) -> Result<HeaderValue, ProviderFailure> {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = Zeroizing::new(format!("{}:{}", encoded(id), encoded(secret.expose())));
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&text).map_err(|error| ProviderFailure::not_sent(error.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn answered(client: &Client, request: reqwest::Request) -> Result<Response<Vec<u8>>, ProviderFailure> {
    let mut answer = client.execute(request).await.map_err(|error| {
        if error.is_connect() || error.is_builder() {
            ProviderFailure::not_sent(reason(error))
        } else {
            ProviderFailure::unknown(reason(error))
        }
    })?;
    let mut body = Vec::new();
    loop {
        let part = match answer.chunk().await {
            Ok(Some(part)) => part,
            Ok(None) => break,
            // Nothing of it can be missing, however the connection ended.
            Err(_) if tells_its_end(answer.headers(), &body) => break,
            // What a refusal says of the token its status says.
            Err(_) if answer.status().is_client_error() => break,
            Err(error) => return Err(ProviderFailure::unknown(reason(error))),
        };
        if body.len() + part.len() > LARGEST_ANSWER {
            return Err(ProviderFailure::unknown(format!("an answer of more than {LARGEST_ANSWER} bytes")));
        }
        body.extend_from_slice(&part);
    }
    let mut read = Response::new(body);
    *read.status_mut() = answer.status();
    *read.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(read)
}

/// The innermost cause tells most. Without the URL, which may hold a secret.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        text = inner.to_string();
        cause = inner;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_form_encoded_before_they_are_base64() {
        let header = basic("my app", &"s:e+c%ret".into()).expect("a header");

        assert_eq!(header, format!("Basic {}", STANDARD.encode("my+app:s%3Ae%2Bc%25ret")));
        assert!(header.is_sensitive());
    }

    #[test]
    fn public_client_names_itself_in_the_body() {
        // Where another crate of a build chose reqwest without a provider of cryptography, a client asks for one.
        #[cfg(feature = "tls")]
        let _ = rustls::crypto::ring::default_provider().install_default();
        let refresh = Refresh::new("r 1").public_client("app");

        let request =
            request(&Client::new(), "http://localhost/token", &refresh, [("refresh_token", "r 1")].into_iter())
                .expect("a request");

        let body = request.body().and_then(reqwest::Body::as_bytes).expect("a body");
        assert_eq!(String::from_utf8_lossy(body), "refresh_token=r+1&client_id=app");
        assert!(request.headers().get(AUTHORIZATION).is_none());
        assert_eq!(request.headers()[ACCEPT], "application/json");
    }
}
