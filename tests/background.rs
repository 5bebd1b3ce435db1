//! Refreshes that nobody waits for: callers come first, share what they bring, and are not refused with them.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use refresh_coordinator::tokens::{MemoryTokens, SessionTokens, TokenStore};
use refresh_coordinator::{
    Attempt, Config, MemoryStore, ProviderFailure, Refresh, RefreshCoordinator, RefreshError, Refusal, Role,
    TokenResponse,
};
use support::fleet::connect_to;
use support::redis::RedisServer;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

const S: Duration = Duration::from_secs(1);

/// A provider that keeps the refresh token, and answers as often as it is let.
#[derive(Clone)]
struct Keeping {
    asked: Arc<AtomicU32>,
    may_answer: Arc<Semaphore>,
}

impl Keeping {
    fn new(answers: usize) -> Self {
        Self { asked: Arc::default(), may_answer: Arc::new(Semaphore::new(answers)) }
    }

    async fn answer(self, _: Attempt) -> Result<TokenResponse, ProviderFailure> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.may_answer.acquire().await.expect("never closed").forget();
        let body = format!(r#"{{"access_token":"a{number}","expires_in":300}}"#);
        Ok(TokenResponse::from_json(body).expect("a token response"))
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

fn config() -> Config {
    Config::default().with_namespace("background").with_max_concurrent_refreshes(1)
}

async fn caller_waits_where_the_background_is_refused(coordinator: RefreshCoordinator) {
    let provider = Keeping::new(0);
    let answer = || {
        let provider = provider.clone();
        move |attempt| provider.answer(attempt)
    };
    let leading = tokio::spawn({
        let (coordinator, answer) = (coordinator.clone(), answer());
        async move { coordinator.refresh(Refresh::new("another token"), answer).await }
    });
    while provider.asked() == 0 {
        tokio::task::yield_now().await;
    }

    // Both enter in this order, before either flight has run.
    let background = async {
        let refused = coordinator.refresh(Refresh::new("token").background(), answer()).await;
        provider.may_answer.add_permits(2);
        refused
    };
    let (background, caller) = tokio::join!(background, coordinator.refresh(Refresh::new("token"), answer()));

    let refused = background.expect_err("there is no permit");
    assert!(matches!(refused, RefreshError::Refused(Refusal::Budget { .. })), "{refused:?}");
    assert_eq!(caller.expect("it queued").tokens().access_token(), "a2");
    leading.await.expect("no panics").expect("the first");
}

#[tokio::test(start_paused = true)]
async fn caller_waits_where_the_background_is_refused_in_memory() {
    let coordinator = RefreshCoordinator::in_memory(config()).expect("possible settings");
    caller_waits_where_the_background_is_refused(coordinator).await;
}

#[tokio::test]
async fn caller_waits_where_the_background_is_refused_on_redis() {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("background").await;
    let coordinator = connect_to(redis.url(), &config()).await;
    caller_waits_where_the_background_is_refused(coordinator).await;
}

#[tokio::test(start_paused = true)]
async fn caller_gets_what_is_led_in_the_background() {
    let coordinator = RefreshCoordinator::in_memory(config()).expect("possible settings");
    let provider = Keeping::new(0);
    let answer = || {
        let provider = provider.clone();
        move |attempt| provider.answer(attempt)
    };
    let background = tokio::spawn({
        let (coordinator, answer) = (coordinator.clone(), answer());
        async move { coordinator.refresh(Refresh::new("token").background(), answer).await }
    });
    while provider.asked() == 0 {
        tokio::task::yield_now().await;
    }
    let release = async {
        tokio::task::yield_now().await;
        provider.may_answer.add_permits(1);
    };
    let (caller, ()) = tokio::join!(coordinator.refresh(Refresh::new("token"), answer()), release);

    let caller = caller.expect("tokens");
    assert_eq!((caller.tokens().access_token(), caller.role(), provider.asked()), ("a1", Role::JoinedFleet, 1));
    background.await.expect("no panics").expect("tokens");
}

/// The flight of a caller that went away before anything was sent: it ends soon, and nobody joins it any more. Another that leads nothing,
/// or little, begins meanwhile, and then a caller comes.
async fn caller_comes_after(other: impl AsyncFnOnce(RefreshCoordinator)) {
    let coordinator = RefreshCoordinator::in_memory(config()).expect("possible settings");
    let (called, asks, told, ends) = (Notify::new(), Notify::new(), Notify::new(), Notify::new());
    let steps = Arc::new([called, asks, told, ends]);
    let gone = tokio::spawn({
        let (coordinator, steps) = (coordinator.clone(), Arc::clone(&steps));
        async move {
            let call = async move |attempt: Attempt| {
                steps[0].notify_one();
                steps[1].notified().await;
                let leave = attempt.before_sending().await;
                steps[2].notify_one();
                steps[3].notified().await;
                leave?;
                panic!("nobody waits for it")
            };
            coordinator.refresh(Refresh::new("token"), call).await
        }
    });
    steps[0].notified().await;
    gone.abort();
    _ = gone.await;
    steps[1].notify_one();
    steps[2].notified().await;

    other(coordinator.clone()).await;
    let provider = Keeping::new(1);
    let caller = coordinator.refresh(Refresh::new("token"), move |attempt| provider.answer(attempt));
    let ((), caller) = tokio::join!(async { steps[3].notify_one() }, caller);

    assert_eq!(caller.expect("tokens").tokens().access_token(), "a1");
}

#[tokio::test(start_paused = true)]
async fn caller_shares_nothing_with_one_that_only_waits() {
    caller_comes_after(async |coordinator| {
        tokio::spawn(async move { coordinator.wait_for(Refresh::new("token")).await });
        tokio::task::yield_now().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn caller_is_not_refused_with_the_background_that_came_before_it() {
    let taken = Keeping::new(0);
    let other = taken.clone();
    caller_comes_after(async move |coordinator| {
        tokio::spawn({
            let coordinator = coordinator.clone();
            async move {
                let provider = Keeping::new(1);
                coordinator.refresh(Refresh::new("token").background(), |attempt| provider.answer(attempt)).await
            }
        });
        tokio::task::yield_now().await;
        // The only permit, when it is free.
        tokio::spawn(async move {
            coordinator.refresh(Refresh::new("another token"), |attempt| other.answer(attempt)).await
        });
        tokio::task::yield_now().await;
        taken.may_answer.add_permits(1);
    })
    .await;
}

/// Both could be handed the first answer until a tenth of its life is left.
#[tokio::test(start_paused = true)]
async fn sessions_are_kept_fresh_where_the_refresh_token_stays_the_same() {
    let (store, provider) = (MemoryTokens::new(), Keeping::new(usize::MAX >> 4));
    let (wall, started, fleet) = (SystemTime::now(), Instant::now(), MemoryStore::new());
    let pods = [(); 2].map(|()| {
        let coordinator = RefreshCoordinator::in_memory_shared(&fleet, Config::default()).expect("possible settings");
        let provider = provider.clone();
        coordinator
            .access_tokens(store.clone(), move |attempt, _| provider.clone().answer(attempt))
            .client("app", "pw")
            .clock(move || wall + started.elapsed())
            .keep_fresh()
    });
    for session in 0..50 {
        store.put(format!("s{session}"), SessionTokens::new("first", format!("r{session}"), wall, 300 * S));
    }

    for round in 0..30 {
        for session in 0..50 {
            let token = pods[(session + round) % 2].token(&format!("s{session}")).await.expect("a token");
            let left = token.expires_at().duration_since(wall + started.elapsed()).expect("it lives");
            assert!(left > 30 * S, "s{session} was not refreshed before a caller would in round {round}: {left:?}");
        }
        tokio::time::sleep(40 * S).await;
    }

    // A token of 300 s is refreshed when 50 s to 60 s are left: four times within these 1,200 s.
    assert_eq!(provider.asked(), 200);
}

/// Callers go on with the old token, every second: what fails before they have to wait is tried once.
#[tokio::test(start_paused = true)]
async fn what_fails_in_the_background_is_left_to_a_caller() {
    let (store, asked) = (MemoryTokens::new(), Arc::new(AtomicU32::new(0)));
    let (wall, started) = (SystemTime::now(), Instant::now());
    let coordinator = RefreshCoordinator::in_memory(Config::default()).expect("possible settings");
    let counted = Arc::clone(&asked);
    let access = coordinator
        .access_tokens(store.clone(), move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Err(ProviderFailure::unknown("reset")) }
        })
        .client("app", "pw")
        .clock(move || wall + started.elapsed())
        .keep_fresh();
    store.put("s", SessionTokens::new("first", "r1", wall, 300 * S));

    // A caller would refresh it from 270 s on.
    for _ in 0..269 {
        assert_eq!(access.token("s").await.expect("it lives").expose(), "first");
        tokio::time::sleep(S).await;
    }

    assert_eq!(asked.load(Ordering::SeqCst), 1);
    tokio::time::sleep(3 * S).await;
    access.token("s").await.expect("it lives");
    assert_eq!(asked.load(Ordering::SeqCst), 2, "by the caller");
}

/// The provider does not answer one of them for as long as it may take.
#[tokio::test(start_paused = true)]
async fn refresh_that_hangs_keeps_no_other_session_from_being_kept_fresh() {
    let (store, asked) = (MemoryTokens::new(), Arc::new(AtomicU32::new(0)));
    let (wall, started) = (SystemTime::now(), Instant::now());
    let config =
        Config::default().with_refresh_timeout(60 * S).with_wait_timeout(60 * S).with_call_limit(Some(120 * S));
    let counted = Arc::clone(&asked);
    let access = RefreshCoordinator::in_memory(config)
        .expect("possible settings")
        .access_tokens(store.clone(), move |attempt, _| {
            let (hangs, counted) = (attempt.token() == "hangs", Arc::clone(&counted));
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                counted.fetch_add(1, Ordering::SeqCst);
                Ok(TokenResponse::from_json(r#"{"access_token":"new","expires_in":300}"#).expect("a token response"))
            }
        })
        .client("app", "pw")
        .clock(move || wall + started.elapsed())
        .keep_fresh();
    // The first is due from 240 to 250 s on, the second from 255 to 265 s on, and for callers from 285 s on.
    store.put("first", SessionTokens::new("first", "hangs", wall, 300 * S));
    store.put("second", SessionTokens::new("second", "answers", wall + 15 * S, 300 * S));
    for session in ["first", "second"] {
        access.token(session).await.expect("it lives");
    }

    tokio::time::sleep(275 * S).await;

    assert_eq!(asked.load(Ordering::SeqCst), 1, "the second waits for the first");
}

#[tokio::test(start_paused = true)]
async fn session_is_refreshed_as_early_as_is_set_where_the_refresh_token_stays_the_same() {
    let (store, provider) = (MemoryTokens::new(), Keeping::new(2));
    let (wall, started) = (SystemTime::now(), Instant::now());
    let coordinator = RefreshCoordinator::in_memory(Config::default()).expect("possible settings");
    let asked = provider.clone();
    let access = coordinator
        .access_tokens(store.clone(), move |attempt, _| asked.clone().answer(attempt))
        .refresh_before(100 * S)
        .clock(move || wall + started.elapsed());
    store.put("s", SessionTokens::new("first", "r", wall, 10 * S));
    tokio::time::sleep(10 * S).await;
    assert_eq!(access.token("s").await.expect("a token").expose(), "a1");

    tokio::time::sleep(201 * S).await;
    assert_eq!(access.token("s").await.expect("a token").expose(), "a2");

    let held = store.load("s").await.expect("the store answers").expect("a session");
    assert_eq!((held.refresh_token().expose(), held.fence().is_some(), provider.asked()), ("r", true, 2));
}
