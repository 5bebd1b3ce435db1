//! A client of an API, made with tower: a layer puts a valid access token of the session on each request that goes out.
//!
//! ```sh
//! cargo run --example tower --features reqwest -- https://idp.example redis://coordination redis://sessions https://api.example/orders
//! ```
//!
//! `tests/examples.rs` runs it against a provider that revokes whatever comes twice.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request};
use refresh_coordinator::adapters::reqwest::{client_builder, present};
use refresh_coordinator::tokens::{AccessTokens, RedisTokens};
use refresh_coordinator::{Config, RefreshCoordinator, Verdict};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Whose request it is: goes into its extensions. Authenticated, not only sent: its tokens are spent.
#[derive(Clone, Debug)]
pub struct Session(pub String);

/// Why a request was not sent.
#[derive(Clone, Debug)]
pub struct NoToken {
    /// What to answer: 401, 503 with Retry-After, or 500.
    pub verdict: Verdict,
}

impl std::fmt::Display for NoToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("there is no access token for this request")
    }
}

impl std::error::Error for NoToken {}

/// The layer. Clones share everything.
#[derive(Clone)]
pub struct WithToken {
    tokens: AccessTokens<RedisTokens>,
}

impl WithToken {
    /// The same on each replica.
    pub async fn new(provider: &str, redis: &str, sessions: &str, config: Config) -> Result<Self, Error> {
        let coordinator = RefreshCoordinator::connect(redis, config).await?;
        let store = RedisTokens::new(sessions, "app:tokens:", Duration::from_secs(30 * 24 * 60 * 60))?;
        let (http, url) = (client_builder().build()?, format!("{provider}/token"));
        let tokens = coordinator
            .access_tokens(store, move |attempt, refresh| present(http.clone(), url.clone(), attempt, refresh))
            .client("my-app", "its-secret");
        Ok(Self { tokens })
    }

    /// To put sessions in at login, to end them, and to close the coordinator at the end.
    pub fn tokens(&self) -> &AccessTokens<RedisTokens> {
        &self.tokens
    }
}

impl<S> Layer<S> for WithToken {
    type Service = Authorized<S>;

    fn layer(&self, api: S) -> Authorized<S> {
        Authorized { api, tokens: self.tokens.clone() }
    }
}

/// The API, as it is called with the layer around it.
#[derive(Clone)]
pub struct Authorized<S> {
    api: S,
    tokens: AccessTokens<RedisTokens>,
}

impl<S, B> Service<Request<B>> for Authorized<S>
where
    S: Service<Request<B>, Error: Into<Error>, Response: Send, Future: Send> + Clone + Send + 'static,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.api.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that is ready goes with this request, a clone that is not yet stays.
        let later = self.api.clone();
        let (mut api, tokens) = (mem::replace(&mut self.api, later), self.tokens.clone());
        Box::pin(async move {
            let Session(session) = request.extensions_mut().remove().ok_or("a request without a session")?;
            let token = match tokens.token(&session).await {
                Ok(token) => token,
                Err(error) => return Err(NoToken { verdict: error.verdict() }.into()),
            };
            let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose()))?;
            bearer.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, bearer);
            api.call(request).await.map_err(Into::into)
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, provider, redis, sessions, url] = &arguments[..] else {
        return Err("usage: PROVIDER REDIS SESSIONS URL".into());
    };
    let with_token = WithToken::new(provider, redis, sessions, Config::default()).await?;
    // One that follows no redirects: the token is for this API.
    let http = client_builder().build()?;
    let send = move |request: Request<Vec<u8>>| {
        let http = http.clone();
        async move { Ok::<_, Error>(http.execute(request.try_into()?).await?) }
    };
    let mut api = ServiceBuilder::new()
        .layer(with_token.clone())
        // Within the layer: a refresh that takes long is not the API's fault.
        .timeout(Duration::from_secs(10))
        .service(service_fn(send));
    for session in std::io::stdin().lines() {
        let request = Request::get(url).extension(Session(session?)).body(Vec::new())?;
        match api.ready().await?.call(request).await {
            Ok(answer) => println!("{}", answer.status()),
            Err(error) => match error.downcast_ref::<NoToken>() {
                Some(NoToken { verdict }) => println!("{error}: {verdict:?}"),
                None => println!("{error}"),
            },
        }
    }
    with_token.tokens().coordinator().close(Duration::from_secs(20)).await;
    Ok(())
}
