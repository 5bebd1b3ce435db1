//! An application that refreshes with the `oauth2` crate: the same calls as before, over another HTTP client.
//!
//! ```sh
//! SESSION=s REFRESH_TOKEN=r1 cargo run --example oauth2 --features oauth2,reqwest -- https://idp.example/token redis://localhost
//! ```
//!
//! `openidconnect` 4 takes the same HTTP client. `tests/examples.rs` runs it against a provider that revokes whatever comes twice.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oauth2::basic::BasicClient;
use oauth2::{
    AsyncHttpClient, ClientId, ClientSecret, EndpointNotSet, EndpointSet, HttpRequest, HttpResponse, RefreshToken,
    TokenResponse, TokenUrl,
};
use refresh_coordinator::adapters::oauth2::Coordinated;
use refresh_coordinator::adapters::reqwest::client_builder;
use refresh_coordinator::{Config, RefreshCoordinator, Verdict};

type Error = Box<dyn std::error::Error + Send + Sync>;
type Client = BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// Where this application keeps the refresh token of each session. Yours is a database.
pub type Sessions = Arc<Mutex<HashMap<String, String>>>;

/// `oauth2` 5 comes with reqwest 0.12; this takes the one that you have.
#[derive(Clone)]
pub struct Http(reqwest::Client);

impl<'c> AsyncHttpClient<'c> for Http {
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

/// An application over one provider. Clones share everything.
#[derive(Clone)]
pub struct App {
    client: Client,
    http: Coordinated<Http>,
    sessions: Sessions,
}

impl App {
    /// Refreshes through this coordinator, and keeps tokens in these sessions.
    pub fn new(token_url: &str, coordinator: RefreshCoordinator, sessions: Sessions) -> Result<Self, Error> {
        let client = BasicClient::new(ClientId::new("my-app".into()))
            .set_client_secret(ClientSecret::new("its-secret".into()))
            .set_token_uri(TokenUrl::new(token_url.to_owned())?);
        let store = Arc::clone(&sessions);
        // Written before anybody hears, by whoever leads: a handler that is dropped after `await` writes nothing.
        // One that follows no redirects.
        let http = Http(client_builder().build()?);
        let http = Coordinated::new(coordinator, http).before_told(move |asked, refreshed| {
            if let Some(new) = refreshed.tokens().refresh_token() {
                // Only over the token that was asked with, or one between: not over what is newer.
                let is_old = |held: &str| {
                    held == asked.expose() || refreshed.passed().iter().any(|passed| passed.expose() == held)
                };
                let mut sessions = store.lock().expect("BUG: nothing panics with this lock held");
                for held in sessions.values_mut().filter(|held| is_old(held)) {
                    new.clone_into(held);
                }
            }
            // A store that can fail is tried again where this is an error.
            ready(Ok::<(), Infallible>(()))
        });
        Ok(Self { client, http, sessions })
    }

    /// An access token of a session. None: it is over, log in again.
    pub async fn access_token(&self, session: &str) -> Result<Option<String>, Error> {
        let held = self.sessions.lock().expect("BUG: nothing panics with this lock held").get(session).cloned();
        let Some(held) = held else { return Ok(None) };
        let http = self.http.for_session(session);
        match self.client.exchange_refresh_token(&RefreshToken::new(held)).request_async(&http).await {
            Ok(tokens) => Ok(Some(tokens.access_token().secret().clone())),
            // Nothing else ends a session: neither an outage nor a wrong client secret.
            Err(error) => match self.http.verdict(&error) {
                Verdict::SessionOver => Ok(None),
                other => Err(format!("{other:?}").into()),
            },
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, token_url, redis] = &arguments[..] else { return Err("usage: TOKEN_URL REDIS".into()) };
    let coordinator = RefreshCoordinator::connect(redis, Config::default()).await?;
    let (session, token) = (std::env::var("SESSION")?, std::env::var("REFRESH_TOKEN")?);
    let sessions = Sessions::new(Mutex::new(HashMap::from([(session.clone(), token)])));
    let app = App::new(token_url, coordinator.clone(), sessions)?;
    match app.access_token(&session).await? {
        Some(_) => println!("a new access token"),
        None => println!("the session is over"),
    }
    coordinator.close(Duration::from_secs(20)).await;
    Ok(())
}
