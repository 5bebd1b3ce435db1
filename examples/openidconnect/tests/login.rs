//! The example as its users see it: three replicas over HTTP, a real Redis, and django-oauth-toolkit, which revokes all tokens of a
//! login of which one comes twice (`tests/provider` of the repository; `tests/run install` makes its Python).

#[path = "../src/main.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not run")]
mod example;
mod world;

use std::time::{Duration, SystemTime};

use example::{App, Settings};
use refresh_coordinator::tokens::{SessionTokens, TokenStore};
use reqwest::StatusCode;
use serde_json::json;
use world::{Browser, Provider, Redis};

const S: Duration = Duration::from_secs(1);

/// Of the application, as a process is: it ends with all it has under way when its runtime does.
struct Replica {
    app: App,
    url: String,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Replica {
    async fn start(listener: std::net::TcpListener, settings: Settings) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        listener.set_nonblocking(true).expect("it is ours");
        let app = runtime.spawn(App::start(settings)).await.expect("no panic").expect("provider and redis are there");
        let routes = app.routes();
        runtime.spawn(async move {
            axum::serve(tokio::net::TcpListener::from_std(listener).expect("a listener"), routes).await
        });
        Self { app, url, runtime: Some(runtime) }
    }

    /// As by SIGKILL.
    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Fleet {
    provider: Provider,
    replicas: Vec<Replica>,
    redis: Redis,
    sessions: Redis,
}

impl Fleet {
    async fn start() -> Self {
        _ = rustls::crypto::ring::default_provider().install_default();
        let (provider, redis, sessions) = (Provider::start(), Redis::start(), Redis::start());
        let mut fleet = Self { provider, replicas: Vec::new(), redis, sessions };
        fleet.start_replicas().await;
        fleet
    }

    /// Three of them, in the place of those that were there.
    async fn start_replicas(&mut self) {
        self.replicas.clear();
        let free = || std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listeners = [free(), free(), free()];
        let base_url = format!("http://{}", listeners[0].local_addr().expect("it is bound"));
        self.provider.ask(&json!({ "callbacks": [format!("{base_url}/callback")] }));
        for listener in listeners {
            let settings = Settings {
                issuer: self.provider.issuer(),
                client_id: "login".to_owned(),
                client_secret: "login-secret".to_owned(),
                revocation_url: format!("{}/revoke_token/", self.provider.issuer()),
                base_url: base_url.clone(),
                scopes: Vec::new(),
                redis: self.redis.url(),
                sessions: self.sessions.url(),
            };
            self.replicas.push(Replica::start(listener, settings).await);
        }
    }

    /// Its access token ends, and twenty tabs of the browser ask at once, of which every fourth is closed in mid-request.
    async fn rotate(&self, browser: &Browser) {
        let token = self.expire(browser).await;
        let living: Vec<_> = self.replicas.iter().filter(|replica| replica.runtime.is_some()).collect();
        let tab = |tab: usize| tokio::spawn(browser.clone().into_get(format!("{}/me", living[tab % living.len()].url)));
        let tabs: Vec<_> = (0..20).map(tab).collect();
        for (number, tab) in tabs.into_iter().enumerate() {
            if number % 4 == 3 {
                tab.abort();
            } else {
                let (status, body) = tab.await.expect("no panic");
                assert!(status == StatusCode::OK && body.contains("\"sub\""), "{status} {body}");
            }
        }
        assert_eq!(self.presented(&token), 1);
    }

    fn url(&self, replica: usize, path: &str) -> String {
        format!("{}{path}", self.replicas[replica].url)
    }

    /// A browser that has logged in: at one replica, and called back at another.
    async fn logged_in(&self) -> Browser {
        let mut browser = Browser::default();
        let (status, body) = browser.follow(&self.url(2, "/login")).await;
        assert!(status == StatusCode::OK && body.contains("\"sub\""), "{status} {body}");
        browser
    }

    async fn held(&self, browser: &Browser) -> Option<SessionTokens> {
        let session = browser.cookie("session").expect("it has logged in");
        self.replicas[0].app.tokens().store().load(session).await.expect("redis answers")
    }

    /// Its access token is over from now on. Answers the refresh token.
    async fn expire(&self, browser: &Browser) -> String {
        let held = self.held(browser).await.expect("it is logged in");
        let refresh_token = held.refresh_token().expose().to_owned();
        let over = SessionTokens::new("an old one", refresh_token.clone(), SystemTime::now() - 400 * S, 300 * S);
        let session = browser.cookie("session").expect("it has logged in");
        self.replicas[0].app.tokens().store().put(session, &over).await.expect("redis writes");
        refresh_token
    }

    fn presented(&self, token: &str) -> usize {
        self.provider.ask(&json!({ "asked": { "token": token } })).as_array().expect("lines").len()
    }

    fn live(&self) -> u64 {
        self.provider.ask(&json!({ "live": "login" })).as_u64().expect("a number")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn login_lives_through_refreshes_that_all_replicas_are_asked_for_and_ends_with_a_logout_in_mid_flight() {
    let fleet = Fleet::start().await;
    let browser = fleet.logged_in().await;

    for _ in 0..3 {
        let token = fleet.expire(&browser).await;
        let tabs: Vec<_> =
            (0..30).map(|tab| tokio::spawn(browser.clone().into_get(fleet.url(tab % 3, "/me")))).collect();
        for tab in tabs {
            let (status, body) = tab.await.expect("no panic");
            assert!(status == StatusCode::OK && body.contains("\"sub\""), "{status} {body}");
        }
        assert_eq!((fleet.presented(&token), fleet.live()), (1, 1));
    }

    let token = fleet.expire(&browser).await;
    fleet.provider.ask(&json!({ "hold": token }));
    let tab = tokio::spawn(browser.clone().into_get(fleet.url(0, "/me")));
    world::until("the refresh is under way", async || fleet.presented(&token) == 1).await;
    let (status, body) = browser.clone().into_post(fleet.url(1, "/logout")).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "logged out\n"));
    fleet.provider.ask(&json!({ "release": token }));

    assert_eq!(tab.await.expect("no panic").0, StatusCode::UNAUTHORIZED);
    assert!(fleet.held(&browser).await.is_none(), "nothing has come back");
    world::until("what the refresh brought is revoked", async || fleet.live() == 0).await;
    assert_eq!(browser.clone().into_get(fleet.url(2, "/me")).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(fleet.presented(&token), 1);
}

/// Without the coordinator each of these rotations ends all logins: twenty tabs present one token. `LOGINS` is how many there are;
/// default 5, as the provider takes its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_outlive_closed_tabs_a_killed_replica_and_a_coordinator_that_forgets() {
    let mut fleet = Fleet::start().await;
    let mut browsers = Vec::new();
    let logins = std::env::var("LOGINS").ok().and_then(|count| count.parse().ok()).unwrap_or(5);
    for _ in 0..logins {
        browsers.push(fleet.logged_in().await);
    }
    for _ in 0..2 {
        for browser in &browsers {
            fleet.rotate(browser).await;
        }
    }

    fleet.replicas[2].kill();
    for browser in &browsers {
        fleet.rotate(browser).await;
    }

    for replica in &fleet.replicas[..2] {
        replica.app.tokens().coordinator().close(10 * S).await;
    }
    fleet.replicas.clear();
    fleet.redis.forget();
    fleet.start_replicas().await;
    for browser in &browsers {
        fleet.rotate(browser).await;
    }

    assert_eq!(fleet.live(), logins, "logins that live at the provider");
    for browser in &browsers {
        fleet.provider.ask(&json!({ "hold": fleet.expire(browser).await }));
    }
    let token = |held: Option<SessionTokens>| held.expect("it is logged in").refresh_token().expose().to_owned();
    for browser in &browsers {
        let token = token(fleet.held(browser).await);
        let tab = tokio::spawn(browser.clone().into_get(fleet.url(0, "/me")));
        world::until("the refresh is under way", async || fleet.presented(&token) == 1).await;
        assert_eq!(browser.clone().into_post(fleet.url(1, "/logout")).await.0, StatusCode::OK);
        fleet.provider.ask(&json!({ "release": token }));
        assert_eq!(tab.await.expect("no panic").0, StatusCode::UNAUTHORIZED);
        assert!(fleet.held(browser).await.is_none(), "nothing has come back");
    }
    world::until("what the refreshes brought is revoked", async || fleet.live() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn login_that_another_browser_has_begun_brings_no_session() {
    let fleet = Fleet::start().await;

    // State, nonce, and the verifier of PKCE.
    for part in 0..3 {
        let mut browser = Browser::default();
        let at_provider = browser.get(&fleet.url(0, "/login")).await.redirect.expect("to the provider");
        let back = browser.get(&at_provider).await.redirect.expect("back with a code");
        let mut other = Browser::default();
        other.get(&fleet.url(0, "/login")).await;
        browser.mix_login(&other, part);

        let (status, _) = browser.follow(&back).await;

        assert_eq!((status, browser.cookie("session")), (StatusCode::BAD_REQUEST, None), "part {part}");
    }
}
