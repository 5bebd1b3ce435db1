//! `AccessTokens` loses no login: callers that go away, a coordinator that forgets, a logout in the middle of a refresh, a
//! session store that fails. The judge is a provider that revokes the family of a token that comes twice.

mod support;

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use refresh_coordinator::tokens::{AccessTokens, MemoryTokens, RedisTokens, SessionTokens, TokenError, TokenStore};
use refresh_coordinator::{Config, MemoryStore, ProviderFailure, RefreshCoordinator, TokenResponse, Verdict};
use support::fleet::connect_to;
use support::redis::RedisServer;
use support::session_stores::{Failing, StaleOnce};
use support::strict::StrictProvider;
use tokio::time::Instant;

const S: Duration = Duration::from_secs(1);

fn config() -> Config {
    Config::default().with_namespace("tokens").with_lease(3 * S).with_store_timeout(3 * S)
}

fn in_memory() -> RefreshCoordinator {
    RefreshCoordinator::in_memory(config()).expect("possible settings")
}

async fn over(redis: &RedisServer) -> RefreshCoordinator {
    connect_to(redis.url(), &config()).await
}

fn over_store<T: TokenStore>(coordinator: &RefreshCoordinator, store: T, provider: &StrictProvider) -> AccessTokens<T> {
    over_store_of(coordinator, store, provider, Duration::ZERO)
}

/// The same, with a provider that takes some time.
fn over_store_of<T: TokenStore>(
    coordinator: &RefreshCoordinator,
    store: T,
    provider: &StrictProvider,
    takes: Duration,
) -> AccessTokens<T> {
    let (asked, revoked) = (provider.clone(), provider.clone());
    coordinator
        .access_tokens(store, move |attempt, _| {
            let asked = asked.clone();
            async move {
                if !takes.is_zero() {
                    tokio::time::sleep(takes).await;
                }
                asked.present(attempt.token()).await
            }
        })
        .client("app", "pw")
        .revoking(move |refresh| {
            let revoked = revoked.clone();
            async move {
                revoked.revoke(refresh.token().expose());
                Ok(())
            }
        })
}

/// The tokens of a session whose access token is over.
fn over_already(refresh_token: &str) -> SessionTokens {
    SessionTokens::new("an old one", refresh_token, SystemTime::now() - 400 * S, 300 * S)
}

async fn refresh_token(store: &impl TokenStore, session: &str) -> String {
    let held = store.load(session).await.expect("the store answers").expect("a session");
    held.refresh_token().expose().to_owned()
}

#[tokio::test(start_paused = true)]
async fn token_is_refreshed_when_a_tenth_of_its_life_is_left_and_not_before() {
    let (store, provider) = (MemoryTokens::new(), StrictProvider::open());
    let (wall, started) = (SystemTime::now(), Instant::now());
    let access = over_store(&in_memory(), store.clone(), &provider).clock(move || wall + started.elapsed());
    store.put("s", SessionTokens::new("first", "f.1", wall, 300 * S));

    tokio::time::sleep(269 * S).await;
    assert_eq!(access.token("s").await.expect("valid").expose(), "first");
    assert_eq!(provider.presentations(), 0);

    tokio::time::sleep(2 * S).await;
    let token = access.token("s").await.expect("refreshed");
    assert_eq!((token.expose(), provider.presentations()), ("of f.2", 1));
    assert_eq!(refresh_token(&store, "s").await, "f.2");

    tokio::time::sleep(200 * S).await;
    assert_eq!(access.token("s").await.expect("valid").expose(), "of f.2");
    assert_eq!(provider.presentations(), 1);
}

#[tokio::test]
async fn tabs_of_many_pods_get_one_new_token_for_twenty_rounds() {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("tokens").await;
    let provider = StrictProvider::open();
    let store = RedisTokens::new(redis.url(), "app:", 3600 * S).expect("a URL");
    let pods = [over(&redis).await, over(&redis).await, over(&redis).await];
    let pods = pods.map(|pod| over_store(&pod, store.clone(), &provider));

    for session in 0..20 {
        let name = format!("session {session}");
        store.put(&name, &over_already(&format!("f{session}.1"))).await.expect("redis writes");
        let tabs = (0..12).map(|tab| {
            let (pod, name) = (pods[tab % 3].clone(), name.clone());
            tokio::spawn(async move { pod.token(&name).await.map(|token| token.expose().to_owned()) })
        });
        for tab in tabs.collect::<Vec<_>>() {
            let token = tab.await.expect("no panics").expect("a token");
            assert_eq!(token, format!("of f{session}.2"));
        }
    }

    assert_eq!((provider.presentations(), provider.revoked().len()), (20, 0));
}

#[tokio::test]
async fn tab_that_closes_in_mid_request_loses_nothing() {
    let (store, provider) = (MemoryTokens::new(), StrictProvider::held());
    let access = over_store(&in_memory(), store.clone(), &provider);
    store.put("s", over_already("f.1"));
    let tab = tokio::spawn({
        let access = access.clone();
        async move { access.token("s").await.map(drop) }
    });
    provider.asked(1).await;

    tab.abort();
    assert!(tab.await.expect_err("aborted").is_cancelled());
    provider.release(1);

    assert_eq!(access.token("s").await.expect("the next tab").expose(), "of f.2");
    assert_eq!((refresh_token(&store, "s").await.as_str(), provider.presentations()), ("f.2", 1));
}

#[tokio::test]
async fn coordinator_that_has_forgotten_everything_presents_nothing_twice() {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("tokens").await;
    let (store, provider) = (MemoryTokens::new(), StrictProvider::open());
    let pod = over(&redis).await;
    let access = over_store(&pod, store.clone(), &provider);
    store.put("s", over_already("f.1"));
    access.token("s").await.expect("a token");
    pod.close(10 * S).await;
    redis.cli(&["FLUSHALL"]).await;
    redis.in_use("tokens").await;

    // A tab that read the session before the refresh, and comes with it to a pod that knows of nothing.
    let reborn = over(&redis).await;
    let late = over_store(&reborn, StaleOnce::new(over_already("f.1"), store.clone()), &provider);
    let token = late.token("s").await.expect("what the session holds");

    assert_eq!((token.expose(), provider.presentations()), ("of f.2", 1));
    assert_eq!(reborn.metrics().refused_not_reaching, 0);
    assert!(provider.revoked().is_empty());
}

#[tokio::test]
async fn logout_in_the_middle_of_a_refresh_is_not_undone_and_the_new_token_is_revoked() {
    let (store, provider) = (MemoryTokens::new(), StrictProvider::held());
    let access = over_store(&in_memory(), store.clone(), &provider);
    store.put("s", over_already("f.1"));
    let tab = tokio::spawn({
        let access = access.clone();
        async move { access.token("s").await }
    });
    provider.asked(1).await;

    assert!(access.end_session("s").await.expect("ended"));
    provider.release(1);

    let told = tab.await.expect("no panics");
    assert!(matches!(told, Err(TokenError::SessionOver { .. })), "{told:?}");
    assert!(store.is_empty(), "nothing has come back");
    assert_eq!(provider.revoked(), ["f.1", "f.2"]);
    assert!(!access.end_session("s").await.expect("it was over"));
    assert!(matches!(access.token("s").await, Err(TokenError::SessionOver { refusal: None })));
    assert_eq!(provider.presentations(), 1);
}

#[tokio::test]
async fn refused_token_ends_the_session_and_a_wrong_secret_does_not() {
    let (store, provider) = (MemoryTokens::new(), StrictProvider::open());
    let access = over_store(&in_memory(), store.clone(), &provider);
    store.put("wrong secret", over_already("g.1"));
    provider.refuse_with("invalid_client");

    let told = access.token("wrong secret").await.expect_err("no token");
    assert_eq!(told.verdict(), Verdict::Misconfigured { error: "invalid_client".to_owned() });
    assert_eq!(refresh_token(&store, "wrong secret").await, "g.1");

    store.put("dead", over_already("f.1"));
    provider.refuse_with("invalid_grant");
    let told = access.token("dead").await.expect_err("no token");
    assert_eq!((told.verdict(), store.len()), (Verdict::SessionOver, 1));
}

#[tokio::test]
async fn missing_consent_to_one_scope_ends_no_session() {
    let (store, provider) = (MemoryTokens::new(), StrictProvider::open());
    let access = over_store(&in_memory(), store.clone(), &provider);
    store.put("s", over_already("f.1"));
    provider.refuse_with("consent_required");

    for _ in 0..10 {
        let told = access.token("s").await.expect_err("no token");
        assert_eq!(told.verdict(), Verdict::SessionOver, "its user is needed");
    }

    assert_eq!((&*refresh_token(&store, "s").await, provider.presentations()), ("f.1", 1));
}

#[tokio::test]
async fn old_access_token_is_served_while_it_lives_and_the_provider_does_not_answer() {
    let (store, provider) = (MemoryTokens::new(), StrictProvider::held());
    let access = over_store(&in_memory(), store.clone(), &provider).patience(50 * S / 1000);
    store.put("s", SessionTokens::new("lives", "f.1", SystemTime::now() - 290 * S, 300 * S));

    assert_eq!(access.token("s").await.expect("the old one").expose(), "lives");
    provider.asked(1).await;
    provider.release(1);
    provider.answered(1).await;
    // It is written before anybody hears of it, this test too.
    let flight_over = async {
        while access.coordinator().in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(30 * S, flight_over).await.expect("it lands");

    assert_eq!(access.token("s").await.expect("the new one").expose(), "of f.2");
    assert_eq!(provider.presentations(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_presented_while_the_session_store_fails_and_what_was_is_written_when_it_is_back() {
    let provider = StrictProvider::held();
    let store = Failing::new(MemoryTokens::new());
    store.inner.put("s", over_already("f.1"));
    let access = over_store(&in_memory(), store.clone(), &provider);

    store.fails.store(true, Ordering::SeqCst);
    let told = access.token("s").await.expect_err("the store fails");
    assert_eq!((told.verdict(), provider.presentations()), (Verdict::TryAgain { after: S }, 0));

    store.fails.store(false, Ordering::SeqCst);
    let tab = tokio::spawn({
        let access = access.clone();
        async move { access.token("s").await }
    });
    provider.asked(1).await;
    store.fails.store(true, Ordering::SeqCst);
    provider.release(1);
    provider.answered(1).await;
    tokio::time::sleep(5 * S).await;
    assert!(!tab.is_finished(), "nobody is told what was not written");
    store.fails.store(false, Ordering::SeqCst);

    assert_eq!(tab.await.expect("no panics").expect("a token").expose(), "of f.2");
    assert_eq!((refresh_token(&store, "s").await.as_str(), provider.presentations()), ("f.2", 1));
}

#[tokio::test]
async fn pod_that_is_lost_before_it_wrote_leaves_its_answer_to_the_next_caller() {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("tokens").await;
    let provider = StrictProvider::open();
    let store = MemoryTokens::new();
    store.put("s", over_already("f.1"));
    let doomed = std::thread::spawn({
        let (url, inner, provider) = (redis.url().to_owned(), store.clone(), provider.clone());
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let pod = connect_to(&url, &config()).await;
                let access = over_store(&pod, Failing::to_write(inner), &provider);
                let tab = tokio::spawn(async move { access.token("s").await.map(drop) });
                // Until it has failed to write, with the answer in Redis.
                while pod.metrics().hooks_failed == 0 {
                    tokio::time::sleep(S / 200).await;
                }
                tab.abort();
            });
            // As a process that is killed: nothing it has under way goes on.
            runtime.shutdown_background();
        }
    });
    tokio::task::spawn_blocking(|| doomed.join().expect("no panics")).await.expect("no panics");

    let access = over_store(&over(&redis).await, store.clone(), &provider);
    let token = access.token("s").await.expect("what the lost pod was given");

    assert_eq!((token.expose(), refresh_token(&store, "s").await.as_str()), ("of f.2", "f.2"));
    assert_eq!((provider.presentations(), provider.revoked().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn thousand_sessions_are_kept_fresh_once_per_life_and_no_caller_waits() {
    let (store, provider) = (MemoryTokens::new(), StrictProvider::open());
    let (wall, started) = (SystemTime::now(), Instant::now());
    let fleet = MemoryStore::new();
    let pods = [(); 3].map(|()| {
        let pod = RefreshCoordinator::in_memory_shared(&fleet, config()).expect("possible settings");
        over_store_of(&pod, store.clone(), &provider, 50 * S / 1000)
            .clock(move || wall + started.elapsed())
            .keep_fresh()
    });
    for session in 0..1000 {
        store.put(format!("s{session}"), SessionTokens::new("first", format!("f{session}.1"), wall, 300 * S));
    }

    // Each session is used by all pods in turn, every 40 s, for four lives and more.
    for round in 0..30 {
        for session in 0..1000 {
            let asked = Instant::now();
            let token = pods[(session + round) % 3].token(&format!("s{session}")).await.expect("a token");
            assert_eq!(asked.elapsed(), Duration::ZERO, "s{session} waited in round {round}");
            drop(token);
        }
        tokio::time::sleep(40 * S).await;
    }

    // A token of 300 s is refreshed when 50 s to 60 s are left: four times within these 1,200 s.
    assert_eq!((provider.presentations(), provider.revoked().len()), (4000, 0));
    assert_eq!(provider.presented_at_most(), 1, "of any token");

    // Nobody uses any of them any more: each is refreshed once more, for those that used it in this life.
    tokio::time::sleep(3000 * S).await;
    assert_eq!(provider.presentations(), 5000);

    // One is used again, and its pods are closed.
    pods[0].token("s0").await.expect("a token");
    for pod in &pods {
        pod.coordinator().close(S).await;
    }
    tokio::time::sleep(3000 * S).await;
    assert_eq!(provider.presentations(), 5001);
}

/// What nobody may lose by an adapter: everything can be sent and shared.
#[test]
fn access_tokens_can_be_sent_and_shared() {
    fn is_shared<T: Send + Sync + Clone + 'static>() {}
    fn is_sent(_: impl Send) {}

    is_shared::<AccessTokens<MemoryTokens>>();
    is_shared::<RedisTokens>();
    is_shared::<RefreshCoordinator>();
    if false {
        let access = in_memory().access_tokens(MemoryTokens::new(), |_, _| async {
            Err::<TokenResponse, _>(ProviderFailure::unknown("never asked"))
        });
        is_sent(async move { access.token("s").await.map(drop) });
    }
}
