//! The adapters, as an application uses them: replicas of the example over HTTP, a real Redis, and a provider that revokes the
//! family of a token that comes twice.

#[path = "../examples/axum.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not run")]
mod example;
#[path = "support/http_provider.rs"]
mod http_provider;
mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use oauth2::basic::BasicClient;
use oauth2::{ClientId, ClientSecret, HttpRequest, HttpResponse, RefreshToken, TokenResponse as _, TokenUrl};
use refresh_coordinator::adapters::axum::{FreshTokens, NoToken, fresh_tokens};
use refresh_coordinator::adapters::oauth2::Coordinated;
use refresh_coordinator::adapters::reqwest::{client_builder, log_out, present, revoke};
use refresh_coordinator::tokens::{AccessTokens, MemoryTokens, RedisTokens, SessionTokens, TokenStore};
use refresh_coordinator::{Config, ProviderFailure, Refresh, RefreshCoordinator, RefreshError, TokenResponse, Verdict};
use reqwest::StatusCode;
use support::redis::RedisServer;
use support::strict::StrictProvider;
use support::wait::until;

const S: Duration = Duration::from_secs(1);
const SESSIONS: usize = 20;
const TABS: usize = 20;

/// Where another crate of a build chose reqwest without a provider of cryptography, a client asks for one.
fn choose_cryptography() {
    #[cfg(feature = "tls")]
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Replicas of the example: what coordinates them, where they are, and what a browser needs.
struct Fleet {
    pods: Vec<(AccessTokens<RedisTokens>, String)>,
    store: RedisTokens,
    http: reqwest::Client,
}

impl Fleet {
    async fn start(provider: &str, redis: &RedisServer, sessions: &RedisServer) -> Self {
        redis.in_use("app").await;
        let mut pods = Vec::new();
        for _ in 0..3 {
            let config = Config::default().with_namespace("app").with_lease(S);
            let access_tokens = example::access_tokens(provider, redis.url(), sessions.url(), config);
            let access_tokens = access_tokens.await.expect("redis is there");
            let url = http_provider::serve_app(example::app(access_tokens.clone())).await;
            pods.push((access_tokens, url));
        }
        let store = pods[0].0.store().clone();
        Self { pods, store, http: client_builder().build().expect("a client") }
    }

    async fn log_in(&self, session: &str, refresh_token: &str) {
        let over = SessionTokens::new("an old one", refresh_token, SystemTime::now() - 400 * S, 300 * S);
        self.store.put(session, &over).await.expect("redis writes");
    }

    /// Its access token is over from now on.
    async fn expire(&self, session: &str) {
        let held = self.store.load(session).await.expect("redis answers").expect("it was never logged out");
        self.log_in(session, held.refresh_token().expose()).await;
    }

    /// What a tab that asks this replica is answered.
    fn tab(&self, replica: usize, session: &str) -> impl Future<Output = (StatusCode, String)> + Send + use<> {
        let url = format!("{}/orders", self.pods[replica % 3].1);
        let asked = self.http.get(url).header("cookie", format!("session={session}")).send();
        async move {
            let answer = asked.await.expect("an answer");
            (answer.status(), answer.text().await.expect("a body"))
        }
    }

    /// One rotation of all sessions, with many tabs each, of which every fourth is closed at once.
    async fn rotate(&self, generation: usize) {
        for session in 0..SESSIONS {
            let name = format!("session-{session}");
            self.expire(&name).await;
            let tabs: Vec<_> = (0..TABS).map(|tab| tokio::spawn(self.tab(tab, &name))).collect();
            for (number, tab) in tabs.into_iter().enumerate() {
                if number % 4 == 3 {
                    tab.abort();
                } else {
                    let (status, token) = tab.await.expect("no panics");
                    assert_eq!((status, token), (StatusCode::OK, format!("of f{session}.{generation}")));
                }
            }
        }
    }
}

/// What a logout endpoint is sent, and how its answers are read: a token that is dead there is of a session that is over.
#[tokio::test]
async fn session_is_ended_at_a_logout_endpoint_that_takes_refresh_tokens() {
    choose_cryptography();
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let asked = Arc::clone(&seen);
    let answer = async move |headers: axum::http::HeaderMap, body: String| {
        let authorization = headers.get("authorization").map(|value| value.to_str().expect("text").to_owned());
        asked.lock().expect("no panics").push(format!("{} {body}", authorization.unwrap_or_default()));
        let error = |error: &str, why: &str| format!(r#"{{"error":"{error}","error_description":"{why}"}}"#);
        match &*body {
            "refresh_token=lives" | "refresh_token=lives&client_id=spa" => (StatusCode::NO_CONTENT, String::new()),
            "refresh_token=dead" => (StatusCode::BAD_REQUEST, error("invalid_grant", "Invalid refresh token")),
            "refresh_token=of+another" => {
                (StatusCode::UNAUTHORIZED, error("unauthorized_client", "Invalid client or Invalid client credentials"))
            }
            _ => (StatusCode::BAD_GATEWAY, "<html>".to_owned()),
        }
    };
    let url = http_provider::serve_app(axum::Router::new().route("/logout", axum::routing::post(answer))).await;
    let (client, url) = (client_builder().build().expect("a client"), format!("{url}/logout"));
    let ended = async |refresh: Refresh| log_out(client.clone(), &url, refresh).await;
    let of_app = |token: &str| Refresh::new(token).client("app", "pw");

    ended(of_app("lives")).await.expect("it has ended");
    ended(Refresh::new("lives").public_client("spa")).await.expect("it has ended");
    ended(of_app("dead")).await.expect("it is over");
    let wrong = ended(of_app("of another")).await.expect_err("the client is not the token's");
    assert!(matches!(wrong, ProviderFailure::Denied { is_token_dead: false, .. }), "{wrong:?}");
    ended(of_app("")).await.expect_err("a gateway");

    let basic = "Basic YXBwOnB3";
    assert_eq!(
        seen.lock().expect("no panics")[..2],
        [format!("{basic} refresh_token=lives"), " refresh_token=lives&client_id=spa".to_owned()]
    );
}

#[tokio::test]
async fn complete_answer_is_taken_though_its_connection_broke() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const TOKENS: &str = r#"{"access_token":"a2","refresh_token":"r2"}"#;
    choose_cryptography();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/token", listener.local_addr().expect("it is bound"));
    let provider = tokio::spawn(async move {
        for body in [TOKENS, &TOKENS[..TOKENS.len() - 1]] {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut read = Vec::new();
            while !read.ends_with(b"refresh_token=r1") {
                assert!(stream.read_buf(&mut read).await.expect("a request") > 0);
            }
            assert!(String::from_utf8_lossy(&read).contains("accept-encoding: identity"));
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.expect("written");
        }
    });
    let ask = || async {
        let coordinator = RefreshCoordinator::in_memory(Config::default()).expect("the defaults");
        let (client, url, refresh) = (client_builder().build().expect("a client"), url.clone(), Refresh::new("r1"));
        coordinator.refresh(refresh.clone(), move |attempt| present(client, url, attempt, refresh)).await
    };

    let (whole, half) = (ask().await, ask().await);

    assert_eq!(whole.expect("tokens").tokens().refresh_token(), Some("r2"));
    assert!(matches!(half, Err(RefreshError::Provider { failure: ProviderFailure::Unknown { .. }, .. })), "{half:?}");
    provider.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_sessions_outlive_closed_tabs_rotations_and_a_coordinator_that_forgets_over_three_replicas() {
    choose_cryptography();
    let (redis, sessions) = (RedisServer::start_own(&[]).await, RedisServer::start_own(&[]).await);
    let judge = StrictProvider::open();
    let provider = http_provider::serve(judge.clone()).await;
    let fleet = Fleet::start(&provider, &redis, &sessions).await;
    for session in 0..SESSIONS {
        fleet.log_in(&format!("session-{session}"), &format!("f{session}.1")).await;
    }

    for generation in 2..=4 {
        fleet.rotate(generation).await;
    }
    for (access_tokens, _) in &fleet.pods {
        access_tokens.coordinator().close(10 * S).await;
    }
    redis.cli(&["FLUSHALL"]).await;
    let fleet = Fleet::start(&provider, &redis, &sessions).await;
    fleet.rotate(5).await;

    assert_eq!((judge.presentations(), judge.revoked().len()), (4 * SESSIONS, 0));
    assert_eq!(sessions.keys("*").await.len(), SESSIONS, "nobody is logged out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logout_on_one_replica_in_the_middle_of_a_refresh_on_another_stands() {
    choose_cryptography();
    let (redis, sessions) = (RedisServer::start_own(&[]).await, RedisServer::start_own(&[]).await);
    let judge = StrictProvider::held();
    let provider = http_provider::serve(judge.clone()).await;
    let fleet = Fleet::start(&provider, &redis, &sessions).await;
    fleet.log_in("s", "f.1").await;
    let tab = tokio::spawn(fleet.tab(0, "s"));
    judge.asked(1).await;

    let logout = fleet.http.get(format!("{}/logout", fleet.pods[1].1)).header("cookie", "session=s").send().await;
    assert_eq!(logout.expect("an answer").text().await.expect("a body"), "logged out");
    judge.release(1);

    assert_eq!(tab.await.expect("no panics").0, StatusCode::UNAUTHORIZED);
    // The token of the session, and the one that came after its end. They are revoked in tasks of their own.
    until("both are revoked", async || {
        let mut revoked = judge.revoked();
        revoked.sort();
        revoked == ["f.1", "f.2"]
    })
    .await;
    assert!(sessions.keys("*").await.is_empty(), "nothing has come back");
    assert_eq!(fleet.tab(2, "s").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(judge.presentations(), 1);
}

#[tokio::test]
async fn axum_answers_by_verdict_and_tells_of_itself() {
    choose_cryptography();
    let (redis, sessions) = (RedisServer::start_own(&[]).await, RedisServer::start_own(&[]).await);
    let judge = StrictProvider::open();
    let provider = http_provider::serve(judge.clone()).await;
    let fleet = Fleet::start(&provider, &redis, &sessions).await;
    let get = |path: &str| fleet.http.get(format!("{}{path}", fleet.pods[0].1)).header("cookie", "session=s").send();

    assert_eq!(get("/orders").await.expect("an answer").status(), StatusCode::UNAUTHORIZED);
    assert_eq!(get("/readyz").await.expect("an answer").status(), StatusCode::OK);

    fleet.log_in("s", "f.1").await;
    judge.refuse_with("temporarily_unavailable");
    let later = get("/orders").await.expect("an answer");
    assert_eq!(
        (later.status(), &later.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().expect("a value"))
    );

    fleet.log_in("s", "g.1").await;
    judge.refuse_with("invalid_client");
    assert_eq!(get("/orders").await.expect("an answer").status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(sessions.keys("*").await.len(), 1, "nobody is logged out for a wrong secret");

    let metrics = get("/metrics").await.expect("an answer").text().await.expect("a body");
    assert!(metrics.contains("\nrefresh_coordinator_led_total 2\n"), "{metrics}");
}

/// The API behind the handler refuses a token that has not ended.
#[tokio::test]
async fn handler_of_axum_gets_another_token_where_its_api_refuses_the_first() {
    choose_cryptography();
    let (store, judge) = (MemoryTokens::new(), StrictProvider::open());
    let asked = judge.clone();
    let access_tokens = RefreshCoordinator::in_memory(Config::default()).expect("possible settings").access_tokens(
        store.clone(),
        move |attempt, _| {
            let asked = asked.clone();
            async move { asked.present(attempt.token()).await }
        },
    );
    let orders = async |tokens: FreshTokens| {
        let token = tokens.token().await?;
        let token = if token.expose() == "revoked" { tokens.instead_of(&token).await? } else { token };
        Ok::<_, NoToken>(token.expose().to_owned())
    };
    let session = |parts: &axum::http::request::Parts| Some(parts.headers.get("session")?.to_str().ok()?.to_owned());
    let app = axum::Router::new().route("/orders", axum::routing::get(orders));
    let url = http_provider::serve_app(app.layer(fresh_tokens(access_tokens, session))).await;
    store.put("s", SessionTokens::new("revoked", "f.1", SystemTime::now(), 300 * S));
    let client = client_builder().build().expect("a client");
    let get = async |session: &str| {
        let answer = client.get(format!("{url}/orders")).header("session", session).send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("a body"))
    };

    let handed = (StatusCode::OK, "of f.2".to_owned());
    let (one, other) = tokio::join!(get("s"), get("s"));
    assert_eq!((one, other), (handed.clone(), handed.clone()));
    assert_eq!(get("s").await, handed);
    assert_eq!(get("another").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!((judge.presentations(), judge.revoked().len()), (1, 0));
}

/// The refresh of a token by the reqwest adapter.
async fn presented(url: &str, token: &str) -> Result<TokenResponse, ProviderFailure> {
    let coordinator = RefreshCoordinator::in_memory(Config::default()).expect("possible settings");
    let refresh = Refresh::new(token).client("my-app", "its-secret").token_from_attempt();
    let (http, url, request) = (client_builder().build().expect("a client"), url.to_owned(), refresh.clone());
    let refreshed = coordinator.refresh(refresh, move |attempt| present(http, url, attempt, request)).await;
    match refreshed {
        Ok(refreshed) => Ok(refreshed.tokens().clone()),
        Err(RefreshError::Provider { failure, .. }) => Err(failure),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn reqwest_tells_what_was_not_sent_from_what_is_unknown() {
    choose_cryptography();
    let judge = StrictProvider::open();
    let url = http_provider::serve(judge.clone()).await;
    let redirects = axum::Router::new().route(
        "/token",
        axum::routing::post(|| async { (axum::http::StatusCode::TEMPORARY_REDIRECT, [("location", "/elsewhere")]) }),
    );
    let redirects = redirects.route("/revoke", axum::routing::post(|| async { axum::http::StatusCode::NO_CONTENT }));
    let redirecting = http_provider::serve_app(redirects).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let closing = format!("http://{}/token", silent.local_addr().expect("its address"));
    tokio::spawn(async move {
        while let Ok((connection, _)) = silent.accept().await {
            // It reads the request, and goes away.
            connection.readable().await.expect("a request comes");
            drop(connection);
        }
    });
    // A port that no test is given.
    let nobody = "http://127.0.0.1:1/token";

    let tokens = presented(&format!("{url}/token"), "f.1").await.expect("tokens");
    assert_eq!(tokens.refresh_token(), Some("f.2"));
    let told = presented(&format!("{url}/token"), "f.1").await;
    assert!(matches!(&told, Err(ProviderFailure::Denied { error, .. }) if error == "invalid_grant"), "{told:?}");
    let told = presented(nobody, "g.1").await;
    assert!(matches!(told, Err(ProviderFailure::NotSent { .. })), "{told:?}");
    let told = presented(&closing, "g.1").await;
    assert!(matches!(told, Err(ProviderFailure::Unknown { .. })), "{told:?}");
    let told = presented(&format!("{redirecting}/token"), "g.1").await;
    assert!(matches!(told, Err(ProviderFailure::NotProcessed { .. })), "not followed: {told:?}");

    let http = client_builder().build().expect("a client");
    let refresh = Refresh::new("f.2").public_client("app");
    revoke(http.clone(), format!("{url}/revoke"), refresh.clone()).await.expect("revoked");
    revoke(http, format!("{redirecting}/revoke"), refresh).await.expect("a success without a body is one, too");
    assert_eq!(judge.revoked(), ["f", "f.2"]);
}

#[tokio::test]
async fn oauth2_refreshes_once_for_fifty_callers_and_writes_before_any_of_them_hears() {
    choose_cryptography();
    let judge = StrictProvider::open();
    let asked = judge.clone();
    let http = move |request: HttpRequest| {
        let asked = asked.clone();
        async move {
            let form: Vec<(String, String)> = form_urlencoded::parse(request.body()).into_owned().collect();
            let token = form.iter().find(|(name, _)| name == "refresh_token").map_or("", |(_, value)| value);
            let (status, body) = match asked.answer(token).await {
                Ok(body) => (200, body),
                Err("broken") => return Err(std::io::Error::other("reset")),
                Err(error) => (400, format!(r#"{{"error":"{error}"}}"#)),
            };
            let mut answer = HttpResponse::new(body.into_bytes());
            *answer.status_mut() = status.try_into().expect("a status");
            Ok(answer)
        }
    };
    let written = Arc::new(Mutex::new(Vec::new()));
    let hook = Arc::clone(&written);
    let config = Config::default().with_keep_failure(Duration::ZERO);
    let coordinated = Coordinated::new(RefreshCoordinator::in_memory(config).expect("possible settings"), http)
        .before_told(move |asked, refreshed| {
            let pair = (asked.expose().to_owned(), refreshed.tokens().refresh_token().map(str::to_owned));
            let mut written = hook.lock().expect("no panics");
            written.push(pair);
            // The session store fails at first.
            std::future::ready(if written.len() == 1 { Err("out of reach") } else { Ok(()) })
        });
    let client = BasicClient::new(ClientId::new("app".into()))
        .set_client_secret(ClientSecret::new("secret".into()))
        .set_token_uri(TokenUrl::new("https://idp.example/token".into()).expect("a URL"));
    let refresh = |token: &str| {
        let (client, coordinated, token) =
            (client.clone(), coordinated.for_session("s"), RefreshToken::new(token.into()));
        async move { client.exchange_refresh_token(&token).request_async(&coordinated).await }
    };

    let callers: Vec<_> = (0..50).map(|_| tokio::spawn(refresh("f.1"))).collect();
    for caller in callers {
        let tokens = caller.await.expect("no panics").expect("tokens");
        assert_eq!(tokens.refresh_token().expect("a refresh token").secret(), "f.2");
        let pair = ("f.1".to_owned(), Some("f.2".to_owned()));
        assert_eq!(*written.lock().expect("no panics"), [pair.clone(), pair]);
    }
    assert_eq!(judge.presentations(), 1);

    judge.refuse_with("invalid_client");
    let wrong = refresh("g.1").await.expect_err("refused");
    assert_eq!(coordinated.verdict(&wrong), Verdict::Misconfigured { error: "invalid_client".to_owned() });
    judge.refuse_with("broken");
    let broken = refresh("h.1").await.expect_err("no answer");
    assert!(matches!(coordinated.verdict(&broken), Verdict::TryAgain { .. }), "{broken:?}");
    judge.refuse_with("invalid_grant");
    let dead = refresh("i.1").await.expect_err("refused");
    assert_eq!(coordinated.verdict(&dead), Verdict::SessionOver);
}
