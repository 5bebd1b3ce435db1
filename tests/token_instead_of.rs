//! A resource server refuses an access token that has not ended: the session gets another one, by one refresh for all that were refused,
//! within the limits of every refresh. The token that was refused is handed to nobody who said so.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use refresh_coordinator::tokens::{AccessTokens, MemoryTokens, RedisTokens, SessionTokens, TokenError, TokenStore};
use refresh_coordinator::{
    Config, MemoryStore, ProviderFailure, RefreshCoordinator, RefreshError, Refusal, TokenResponse, Verdict,
};
use support::fleet::connect_to;
use support::redis::RedisServer;
use support::session_stores::{PutTokens, StaleOnce};
use support::strict::StrictProvider;
use support::wait::until;

const S: Duration = Duration::from_secs(1);

fn config() -> Config {
    Config::default().with_namespace("refused").with_lease(3 * S).with_store_timeout(3 * S)
}

fn in_memory() -> RefreshCoordinator {
    RefreshCoordinator::in_memory(config()).expect("possible settings")
}

/// Tokens that were given just now.
fn living(access_token: &str, refresh_token: &str) -> SessionTokens {
    SessionTokens::new(access_token, refresh_token, SystemTime::now(), 300 * S)
}

/// A provider that rotates, and revokes the family of what comes twice.
fn rotating<T: TokenStore>(pod: &RefreshCoordinator, store: T, provider: &StrictProvider) -> AccessTokens<T> {
    let asked = provider.clone();
    pod.access_tokens(store, move |attempt, _| {
        let asked = asked.clone();
        async move { asked.present(attempt.token()).await }
    })
    .client("app", "pw")
}

/// A provider that keeps the refresh token, and numbers its access tokens.
fn keeping<T: TokenStore>(pod: &RefreshCoordinator, store: T, asked: &Arc<AtomicU32>) -> AccessTokens<T> {
    let asked = Arc::clone(asked);
    pod.access_tokens(store, move |_, _| {
        let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            tokio::time::sleep(S / 50).await;
            let body = format!(r#"{{"access_token":"a{number}","expires_in":300}}"#);
            Ok(TokenResponse::from_json(body).expect("a token response"))
        }
    })
    .client("app", "pw")
}

/// What callers of all pods get that were refused with this token, all at once.
async fn refused<T: TokenStore>(pods: &[AccessTokens<T>], token: &str) -> Vec<String> {
    let callers = (0..50).map(|caller| {
        let (pod, token) = (pods[caller % pods.len()].clone(), token.to_owned());
        tokio::spawn(async move { pod.token_instead_of("s", &token).await.map(|token| token.expose().to_owned()) })
    });
    let mut handed = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        handed.push(caller.await.expect("no panics").expect("another token"));
    }
    handed.sort();
    handed.dedup();
    handed
}

async fn fifty_are_one_refresh<T: PutTokens>(pods: &[RefreshCoordinator], store: &T) {
    let provider = StrictProvider::open();
    let handles: Vec<_> = pods.iter().map(|pod| rotating(pod, store.clone(), &provider)).collect();
    store.put_tokens("s", living("revoked", "f.1")).await;
    for generation in 2..=4 {
        let token = handles[0].token("s").await.expect("it lives").expose().to_owned();
        assert_eq!(refused(&handles, &token).await, [format!("of f.{generation}")]);
        assert_eq!((provider.presentations(), provider.revoked().len()), (generation - 1, 0));
    }

    let asked = Arc::<AtomicU32>::default();
    let handles: Vec<_> = pods.iter().map(|pod| keeping(pod, store.clone(), &asked)).collect();
    store.put_tokens("s", living("a0", "kept")).await;
    for number in 1..=2 {
        assert_eq!(refused(&handles, &format!("a{}", number - 1)).await, [format!("a{number}")]);
        assert_eq!(asked.load(Ordering::SeqCst), number, "though the answer before is fresh");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_callers_that_were_refused_with_one_token_are_one_refresh() {
    let fleet = MemoryStore::new();
    let pods = [(); 3].map(|()| RefreshCoordinator::in_memory_shared(&fleet, config()).expect("possible settings"));
    fifty_are_one_refresh(&pods, &MemoryTokens::new()).await;

    let (redis, sessions) = (RedisServer::start_own(&[]).await, RedisServer::start_own(&[]).await);
    redis.in_use("refused").await;
    let pods = [over(&redis).await, over(&redis).await, over(&redis).await];
    fifty_are_one_refresh(&pods, &RedisTokens::new(sessions.url(), "app:", 3600 * S).expect("a URL")).await;
}

async fn over(redis: &RedisServer) -> RefreshCoordinator {
    connect_to(redis.url(), &config()).await
}

#[tokio::test]
async fn caller_that_was_refused_with_an_older_token_gets_the_one_that_is_held_and_asks_nobody() {
    let (store, provider) = (MemoryTokens::new(), StrictProvider::open());
    let access = rotating(&in_memory(), store.clone(), &provider);
    store.put("s", living("newer", "f.1"));

    assert_eq!(access.token_instead_of("s", "older").await.expect("it lives").expose(), "newer");
    assert_eq!(provider.presentations(), 0);
    let gone = access.token_instead_of("another", "newer").await.expect_err("there is no such session");
    assert!(matches!(gone, TokenError::SessionOver { refusal: None }));
}

#[tokio::test]
async fn cooldown_holds_and_callers_that_were_not_refused_go_on() {
    let (store, provider) = (MemoryTokens::new(), StrictProvider::open());
    let pod = RefreshCoordinator::in_memory(config().with_max_refresh_attempts(2)).expect("possible settings");
    let access = rotating(&pod, store.clone(), &provider);
    store.put("s", living("a", "f.1"));

    let mut token = "a".to_owned();
    for _ in 0..2 {
        token = access.token_instead_of("s", &token).await.expect("an attempt is left").expose().to_owned();
    }
    let told = access.token_instead_of("s", &token).await.expect_err("both are used up");

    assert!(matches!(told, TokenError::Refresh(RefreshError::Refused(Refusal::CoolingDown { .. }))), "{told:?}");
    assert!(matches!(told.verdict(), Verdict::TryAgain { .. }));
    assert_eq!((access.token("s").await.expect("it lives").expose(), provider.presentations()), (&*token, 2));
}

#[tokio::test(start_paused = true)]
async fn token_that_was_refused_is_not_handed_out_where_the_refresh_fails_or_takes_long() {
    let store = MemoryTokens::new();
    let fails = in_memory().access_tokens(store.clone(), |_, _| async { Err(ProviderFailure::unknown("reset")) });
    store.put("s", living("refused", "f.1"));
    let told = fails.token_instead_of("s", "refused").await.expect_err("the provider fails");
    assert!(matches!(told.verdict(), Verdict::TryAgain { .. }), "{told:?}");
    assert_eq!(fails.token("s").await.expect("it lives").expose(), "refused");

    let slow = in_memory().access_tokens(store.clone(), |_, _| async {
        tokio::time::sleep(5 * S).await;
        Ok(TokenResponse::from_json(r#"{"access_token":"new","refresh_token":"f.2"}"#).expect("tokens"))
    });
    // Longer than the patience of a caller that could go on with the old one.
    assert_eq!(slow.token_instead_of("s", "refused").await.expect("it waits").expose(), "new");
}

#[tokio::test]
async fn session_whose_refresh_token_is_refused_too_is_over() {
    let (store, provider) = (MemoryTokens::new(), StrictProvider::open());
    let access = rotating(&in_memory(), store.clone(), &provider);
    store.put("s", living("revoked", "f.1"));
    provider.refuse_with("invalid_grant");

    let told = access.token_instead_of("s", "revoked").await.expect_err("no token");

    assert_eq!((told.verdict(), store.len(), provider.presentations()), (Verdict::SessionOver, 0, 1));
}

#[tokio::test]
async fn claims_are_refused_each_by_itself() {
    let (store, provider) = (MemoryTokens::new(), StrictProvider::open());
    let login = rotating(&in_memory(), store.clone(), &provider);
    let billing = login.claim("billing", [("audience", "https://billing.example")]);
    store.put("s", living("of the login", "f.1"));
    let first = billing.token("s").await.expect("tokens").expose().to_owned();

    let another = billing.token_instead_of("s", &first).await.expect("tokens").expose().to_owned();

    assert_eq!((&*first, &*another, provider.presentations()), ("of f.2", "of f.3", 2));
    assert_eq!(login.token("s").await.expect("it lives").expose(), "of the login");
    assert_eq!(login.token_instead_of("s", &another).await.expect("it lives").expose(), "of the login", "of a claim");
    assert_eq!(login.token_instead_of("s", "of the login").await.expect("tokens").expose(), "of f.4");
    assert_eq!(billing.token("s").await.expect("it lives").expose(), "of f.3");
}

/// Another claim had the refresh token rotated between the look at the row and the refresh, and the coordinator has forgotten that.
#[tokio::test]
async fn refused_token_is_not_taken_for_a_new_one_because_the_refresh_token_beside_it_is_new() {
    let (store, provider) = (MemoryTokens::new(), StrictProvider::open());
    let stale = living("refused", "f.1");
    store.put("s", stale.clone());
    let mail = rotating(&in_memory(), store.clone(), &provider).claim("mail", [("scope", "mail")]);
    mail.token("s").await.expect("tokens");

    let login = rotating(&in_memory(), StaleOnce::new(stale, store.clone()), &provider);
    let token = login.token_instead_of("s", "refused").await.expect("tokens");

    assert_eq!((token.expose(), provider.presented_at_most(), provider.presentations()), ("of f.3", 1, 2));
    assert!(provider.revoked().is_empty());
}

#[tokio::test]
async fn caller_that_goes_away_leaves_the_new_token_to_the_next() {
    let (store, provider) = (MemoryTokens::new(), StrictProvider::held());
    let access = rotating(&in_memory(), store.clone(), &provider);
    store.put("s", living("refused", "f.1"));
    let caller = tokio::spawn({
        let access = access.clone();
        async move { access.token_instead_of("s", "refused").await.map(drop) }
    });
    provider.asked(1).await;
    caller.abort();
    provider.release(1);

    until("it is written", async || access.token("s").await.is_ok_and(|token| token.expose() == "of f.2")).await;
    assert_eq!(access.token_instead_of("s", "refused").await.expect("it is there").expose(), "of f.2");
    assert_eq!(provider.presentations(), 1);
}
