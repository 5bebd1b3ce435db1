//! A web application with a login by OpenID Connect, over several replicas: a user who is logged in stays so, and one who logs out is out.
//!
//! ```sh
//! cd examples/openidconnect
//! ISSUER=https://idp.example CLIENT_ID=my-app CLIENT_SECRET=its-secret REVOCATION_URL=https://idp.example/revoke \
//!   BASE_URL=https://app.example SCOPES=offline_access REDIS=redis://coordination SESSIONS=redis://sessions cargo run
//! ```
//!
//! Of it the coordinator is twelve lines: seven in `start`, the layer of `me`, two at the end of `log_in`, one in `logout` and one in
//! `main`. `tests/login.rs` runs three replicas of it against django-oauth-toolkit.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreProviderMetadata};
use openidconnect::{
    AsyncHttpClient, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointMaybeSet, EndpointNotSet,
    EndpointSet, HttpRequest, HttpResponse, IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope,
    TokenResponse as _,
};
use refresh_coordinator::adapters::axum::{FreshToken, fresh_tokens, serve_and_close};
use refresh_coordinator::adapters::reqwest::{client_builder, present, revoke};
use refresh_coordinator::tokens::{AccessTokens, RedisTokens};
use refresh_coordinator::{Config, RefreshCoordinator, TokenResponse};

type Error = Box<dyn std::error::Error + Send + Sync>;
type Oidc = CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointMaybeSet>;

/// A session that nobody has used for so long is over.
const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A login that takes longer begins anew, in seconds.
const LOGIN_SECONDS: u32 = 600;

/// What the operator says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The provider: its discovery document is read at start.
    pub issuer: String,
    pub client_id: String,
    pub client_secret: String,
    /// Discovery need not tell it.
    pub revocation_url: String,
    /// Where browsers find this application.
    pub base_url: String,
    /// Beside `openid`. Many providers give a refresh token only with `offline_access`.
    pub scopes: Vec<String>,
    /// What coordinates the replicas.
    pub redis: String,
    /// What holds their sessions: another server, that forgets nothing.
    pub sessions: String,
}

/// A replica. Clones share everything.
#[derive(Clone)]
pub struct App {
    oidc: Arc<Oidc>,
    userinfo_url: String,
    scopes: Vec<String>,
    http: reqwest::Client,
    tokens: AccessTokens<RedisTokens>,
}

impl App {
    /// Reads what the provider says of itself, and joins the other replicas.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        let Settings { issuer, client_id, client_secret, revocation_url, base_url, scopes, redis, sessions } = settings;
        let http = client_builder().connect_timeout(Duration::from_secs(2)).build()?;
        let metadata = CoreProviderMetadata::discover_async(IssuerUrl::new(issuer)?, &Http(&http)).await?;
        let token_url = metadata.token_endpoint().ok_or("the provider has no token endpoint")?.to_string();
        let userinfo_url = metadata.userinfo_endpoint().ok_or("the provider has no userinfo endpoint")?.to_string();
        let (id, secret) = (ClientId::new(client_id.clone()), ClientSecret::new(client_secret.clone()));
        let oidc = CoreClient::from_provider_metadata(metadata, id, Some(secret))
            .set_redirect_uri(RedirectUrl::new(format!("{base_url}/callback"))?);

        let coordinator = RefreshCoordinator::connect(&redis, Config::default()).await?;
        let store = RedisTokens::new(&sessions, "app:tokens:", MONTH)?;
        let (asking, revoking) = (http.clone(), http.clone());
        let tokens = coordinator
            .access_tokens(store, move |attempt, refresh| present(asking.clone(), token_url.clone(), attempt, refresh))
            .revoking(move |refresh| revoke(revoking.clone(), revocation_url.clone(), refresh))
            .client(client_id, client_secret);
        Ok(Self { oidc: Arc::new(oidc), userinfo_url, scopes, http, tokens })
    }

    /// Access tokens for its sessions.
    pub fn tokens(&self) -> &AccessTokens<RedisTokens> {
        &self.tokens
    }

    /// Its routes.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/me", get(me))
            .layer(fresh_tokens(self.tokens.clone(), session))
            .route("/login", get(login))
            .route("/callback", get(callback))
            // POST: a link on another page logs nobody out, as it brings no cookie with it (SameSite=Lax).
            .route("/logout", post(logout))
            .with_state(self.clone())
    }

    /// What came back from the provider becomes a session, of which the browser gets the id.
    async fn log_in(&self, back: &HashMap<String, String>, begun: &str) -> Result<String, Error> {
        let mut begun = begun.splitn(3, '.').map(str::to_owned);
        let (Some(state), Some(nonce), Some(verifier)) = (begun.next(), begun.next(), begun.next()) else {
            return Err("the login was not begun here".into());
        };
        if back.get("state") != Some(&state) {
            return Err("another browser has begun this login".into());
        }
        let code = back.get("code").ok_or("the provider gave no code")?;
        let answer = self
            .oidc
            .exchange_code(AuthorizationCode::new(code.clone()))?
            .set_pkce_verifier(PkceCodeVerifier::new(verifier))
            .request_async(&Http(&self.http))
            .await?;
        // Signature, issuer, audience, end, and that it is of this login.
        let id_token = answer.id_token().ok_or("the provider gave no id token")?;
        id_token.claims(&self.oidc.id_token_verifier(), &Nonce::new(nonce))?;

        // New at every login, or a stranger who knows an older one would be logged in, too.
        let session = CsrfToken::new_random_len(32).secret().clone();
        let tokens = self.tokens.of_login(&TokenResponse::from_json(serde_json::to_string(&answer)?)?);
        self.tokens.store().put(&session, &tokens.ok_or("the provider gave no refresh token")?).await?;
        Ok(session)
    }
}

/// Sends the browser to the provider. What the way back is checked by stays with the browser: any replica may be asked then.
async fn login(State(app): State<App>) -> impl IntoResponse {
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let (url, state, nonce) = app
        .oidc
        .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
        .add_scopes(app.scopes.iter().cloned().map(Scope::new))
        .set_pkce_challenge(challenge)
        .url();
    let begun = format!("{}.{}.{}", state.secret(), nonce.secret(), verifier.secret());
    ([(SET_COOKIE, cookie("login", &begun, LOGIN_SECONDS))], Redirect::to(url.as_str()))
}

async fn callback(
    State(app): State<App>,
    Query(back): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, (StatusCode, &'static str)> {
    let begun = read_cookie(&headers, "login").unwrap_or_default();
    match app.log_in(&back, &begun).await {
        Ok(session) => {
            let cookies = [cookie("session", &session, MONTH.as_secs() as u32), cookie("login", "", 0)];
            Ok((AppendHeaders(cookies.map(|cookie| (SET_COOKIE, cookie))), Redirect::to("/me")))
        }
        // The error may quote what the provider sent, so the browser is not shown it. Log it in a way that shows no token.
        Err(_) => Err((StatusCode::BAD_REQUEST, "the login failed: begin again at /login\n")),
    }
}

/// What the provider's userinfo endpoint says: any API that takes its access tokens goes here.
async fn me(State(app): State<App>, token: FreshToken) -> Result<String, StatusCode> {
    let ask = || app.http.get(&app.userinfo_url).bearer_auth(token.expose()).send();
    let answer = match ask().await {
        // What is only read may be asked for again: its connection may have been closed while it was idle.
        Err(error) if error.is_request() => ask().await,
        answer => answer,
    };
    let answer = answer.and_then(reqwest::Response::error_for_status).map_err(|_| StatusCode::BAD_GATEWAY)?;
    answer.text().await.map_err(|_| StatusCode::BAD_GATEWAY)
}

/// Out on all replicas: a refresh that is under way brings nobody tokens, and what it brings is revoked.
async fn logout(State(app): State<App>, request: Request) -> Response {
    if let Some(session) = session(&request.into_parts().0)
        && app.tokens.end_session(&session).await.is_err()
    {
        return (StatusCode::SERVICE_UNAVAILABLE, "you are still logged in: try again\n").into_response();
    }
    ([(SET_COOKIE, cookie("session", "", 0))], "logged out\n").into_response()
}

/// The session of a request: 256 random bits that stand in the store, or there is no session.
fn session(parts: &Parts) -> Option<String> {
    read_cookie(&parts.headers, "session")
}

fn read_cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let cookies = headers.get(COOKIE)?.to_str().ok()?.split("; ");
    cookies.filter_map(|cookie| cookie.split_once('=')).find(|(of, _)| *of == name).map(|(_, value)| value.to_owned())
}

/// No script reads it, no other page sends it along with a POST, and it goes over TLS only (or to localhost).
fn cookie(name: &str, value: &str, seconds: u32) -> String {
    format!("{name}={value}; Max-Age={seconds}; Path=/; HttpOnly; Secure; SameSite=Lax")
}

/// openidconnect 4 comes with reqwest 0.12; this takes the one that refreshes go by.
struct Http<'a>(&'a reqwest::Client);

impl<'c> AsyncHttpClient<'c> for Http<'_> {
    type Error = reqwest::Error;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, reqwest::Error>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let mut answer = self.0.execute(request.try_into()?).await?;
            let mut response = HttpResponse::default();
            *response.status_mut() = answer.status();
            std::mem::swap(response.headers_mut(), answer.headers_mut());
            *response.body_mut() = answer.bytes().await?.into();
            Ok(response)
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "cryptography is chosen twice")?;
    let variable = |name: &str| std::env::var(name).map_err(|error| format!("{name}: {error}"));
    let app = App::start(Settings {
        issuer: variable("ISSUER")?,
        client_id: variable("CLIENT_ID")?,
        client_secret: variable("CLIENT_SECRET")?,
        revocation_url: variable("REVOCATION_URL")?,
        base_url: variable("BASE_URL")?,
        scopes: variable("SCOPES")?.split_whitespace().map(str::to_owned).collect(),
        redis: variable("REDIS")?,
        sessions: variable("SESSIONS")?,
    })
    .await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    let (coordinator, routes, grace) = (app.tokens().coordinator().clone(), app.routes(), Duration::from_secs(25));
    let end = async { tokio::signal::ctrl_c().await.expect("a signal handler") };
    serve_and_close(coordinator, grace, end, |told| axum::serve(listener, routes).with_graceful_shutdown(told)).await?;
    Ok(())
}
