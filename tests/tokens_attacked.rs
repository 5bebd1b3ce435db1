//! `AccessTokens` against what an application, its session store and its clocks do to it: callers that go away at any moment, a store
//! that fails at any call, rows that are deleted, copied, or read by a pod whose clock is wrong. The judge is a provider that revokes the
//! family of a token that comes twice.

mod support;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use refresh_coordinator::tokens::{AccessTokens, MemoryTokens, SessionTokens, Swap, TokenError, TokenStore};
use refresh_coordinator::{Config, MemoryStore, RefreshCoordinator, Secret, Verdict};
use support::session_stores::Failing;
use support::strict::StrictProvider;
use tokio::time::Instant;

const S: Duration = Duration::from_secs(1);

fn in_memory() -> RefreshCoordinator {
    RefreshCoordinator::in_memory(Config::default()).expect("possible settings")
}

/// For a client without a credential: of that the coordinator holds nothing longer than for `keep_outcome`.
fn over<T: TokenStore>(coordinator: &RefreshCoordinator, store: T, provider: &StrictProvider) -> AccessTokens<T> {
    let (asked, revoked) = (provider.clone(), provider.clone());
    coordinator
        .access_tokens(store, move |attempt, _| {
            let asked = asked.clone();
            async move { asked.present(attempt.token()).await }
        })
        .public_client("app")
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

async fn held_by(store: &impl TokenStore, session: &str) -> Option<String> {
    let held = store.load(session).await.expect("the store answers");
    held.map(|held| held.refresh_token().expose().to_owned())
}

/// A store that is somewhere else: each call is polled once more before it is done, and once more before its answer is there.
#[derive(Clone, Default)]
struct Remote {
    inner: MemoryTokens,
    /// What it says of so many next ends, though they are done.
    loses_ends: Arc<AtomicUsize>,
    /// Such an end is made again, as a store does that finds its connection dead.
    tries_again: Arc<AtomicBool>,
}

impl TokenStore for Remote {
    type Error = std::io::Error;

    async fn load(&self, session: &str) -> Result<Option<SessionTokens>, Self::Error> {
        tokio::task::yield_now().await;
        let held = self.inner.load(session).await.map_err(std::io::Error::other);
        tokio::task::yield_now().await;
        held
    }

    async fn swap(&self, session: &str, walked: &[Secret], new: &SessionTokens) -> Result<Swap, Self::Error> {
        tokio::task::yield_now().await;
        let swap = self.inner.swap(session, walked, new).await.map_err(std::io::Error::other);
        tokio::task::yield_now().await;
        swap
    }

    async fn end(&self, session: &str, refused: &[Secret]) -> Result<Swap, Self::Error> {
        tokio::task::yield_now().await;
        let ended = self.inner.end(session, refused).await.map_err(std::io::Error::other);
        tokio::task::yield_now().await;
        let loses =
            self.loses_ends.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        match (loses, self.tries_again.load(Ordering::SeqCst)) {
            (false, _) => ended,
            (true, false) => Err(std::io::ErrorKind::ConnectionReset.into()),
            (true, true) => self.inner.end(session, refused).await.map_err(std::io::Error::other),
        }
    }
}

/// Polls so often, with everything else running in between, and then drops it. Answers whether it ended by itself.
async fn dropped_after(polls: usize, future: impl Future) -> bool {
    let mut future = pin!(future);
    for _ in 0..polls {
        if poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

#[tokio::test(start_paused = true)]
async fn caller_that_goes_away_at_any_moment_of_a_refresh_loses_nothing() {
    let mut ends = 0;
    for polls in 0..60 {
        let (store, provider) = (Remote::default(), StrictProvider::open());
        let access = over(&in_memory(), store.clone(), &provider);
        store.inner.put("s", over_already("f.1"));

        ends += usize::from(dropped_after(polls, access.token("s")).await);
        tokio::time::sleep(S).await;

        assert_eq!(access.token("s").await.expect("the next one").expose(), "of f.2", "after {polls} polls");
        assert_eq!(held_by(&store.inner, "s").await.as_deref(), Some("f.2"), "after {polls} polls");
        assert_eq!((provider.presentations(), provider.revoked().len()), (1, 0), "after {polls} polls");
    }
    assert!((1..59).contains(&ends), "some are dropped, some end: {ends}");
}

#[tokio::test(start_paused = true)]
async fn logout_goes_on_when_its_caller_goes_away_at_any_moment() {
    let mut ends = 0;
    for polls in 1..60 {
        let (store, provider) = (Remote::default(), StrictProvider::open());
        let access = over(&in_memory(), store.clone(), &provider);
        store.inner.put("s", over_already("f.1"));

        ends += usize::from(dropped_after(polls, access.end_session("s")).await);
        tokio::time::sleep(S).await;

        assert!(store.inner.is_empty(), "after {polls} polls");
        assert_eq!(provider.revoked(), ["f.1"], "after {polls} polls");
    }
    assert!((1..59).contains(&ends), "some are dropped, some end: {ends}");
}

#[tokio::test(start_paused = true)]
async fn logout_whose_answer_the_store_loses_revokes_the_token_all_the_same() {
    for tries_again in [false, true] {
        let (store, provider) = (Remote::default(), StrictProvider::open());
        let access = over(&in_memory(), store.clone(), &provider);
        store.inner.put("s", over_already("f.1"));
        store.loses_ends.store(1, Ordering::SeqCst);
        store.tries_again.store(tries_again, Ordering::SeqCst);

        match access.end_session("s").await {
            Ok(was_there) => assert!(tries_again && was_there),
            Err(error) => assert!(!tries_again && matches!(error, TokenError::Store(_)), "{error:?}"),
        }

        assert_eq!(provider.revoked(), ["f.1"]);
        assert!(!access.end_session("s").await.expect("the store answers"), "it was over");
        assert!(matches!(access.token("s").await, Err(TokenError::SessionOver { .. })));
    }
}

/// The row is deleted by the application itself, which tells nobody.
#[tokio::test(start_paused = true)]
async fn row_that_is_deleted_while_it_is_refreshed_stays_gone_and_what_came_is_revoked_when_the_provider_lets() {
    let (store, provider) = (MemoryTokens::new(), StrictProvider::held());
    let (tries, revoked) = (Arc::<AtomicUsize>::default(), provider.clone());
    let access = over(&in_memory(), store.clone(), &provider).revoking(move |refresh| {
        let (is_away, revoked) = (tries.fetch_add(1, Ordering::SeqCst) < 3, revoked.clone());
        async move {
            if is_away {
                return Err(refresh_coordinator::ProviderFailure::not_sent("away"));
            }
            revoked.revoke(refresh.token().expose());
            Ok(())
        }
    });
    store.put("s", over_already("f.1"));
    let tab = tokio::spawn({
        let access = access.clone();
        async move { access.token("s").await }
    });
    provider.asked(1).await;

    assert!(matches!(store.end("s", &["f.1".into()]).await, Ok(Swap::Written)));
    provider.release(1);

    let told = tab.await.expect("no panics").expect_err("there is no session");
    assert_eq!(told.verdict(), Verdict::SessionOver);
    assert!(store.is_empty(), "nothing has come back");
    tokio::time::sleep(20 * S).await;
    assert_eq!(provider.revoked(), ["f.2"]);
}

/// Longer than anybody waits, and than the coordinator knows of an answer that it does not hold.
#[tokio::test(start_paused = true)]
async fn new_tokens_are_written_when_a_store_is_back_that_failed_for_longer_than_callers_wait() {
    let (store, provider) = (Failing::new(MemoryTokens::new()), StrictProvider::held());
    let access = over(&in_memory(), store.clone(), &provider);
    store.inner.put("s", over_already("f.1"));
    let tab = tokio::spawn({
        let access = access.clone();
        async move { access.token("s").await.map(|token| token.expose().to_owned()) }
    });
    provider.asked(1).await;
    store.fails.store(true, Ordering::SeqCst);
    provider.release(1);
    assert_eq!(tab.await.expect("no panics").expect("it lives, written or not"), "of f.2");

    tokio::time::sleep(10 * 60 * S).await;
    assert_eq!(held_by(&store.inner, "s").await.as_deref(), Some("f.1"));
    store.fails.store(false, Ordering::SeqCst);
    tokio::time::sleep(15 * S).await;

    assert_eq!(held_by(&store.inner, "s").await.as_deref(), Some("f.2"));
    provider.release(1);
    assert_eq!(access.token_instead_of("s", "of f.2").await.expect("tokens").expose(), "of f.3");
    assert_eq!((provider.presentations(), provider.revoked().len()), (2, 0));
}

/// It can be read all the time.
#[tokio::test(start_paused = true)]
async fn token_that_was_rotated_is_not_presented_again_while_the_store_takes_no_writes() {
    let (store, provider) = (ReadOnly::default(), StrictProvider::open());
    let (wall, started) = (SystemTime::now(), Instant::now());
    let access = over(&in_memory(), store.clone(), &provider).clock(move || wall + started.elapsed());
    let other = access.claim("mail", [("scope", "mail")]);
    store.inner.put("s", SessionTokens::new("an old one", "f.1", wall - 400 * S, 300 * S));
    store.takes_no_writes.store(true, Ordering::SeqCst);
    assert_eq!(access.token("s").await.expect("it lives, written or not").expose(), "of f.2");
    let given = Instant::now();

    while given.elapsed() < 250 * S {
        assert_eq!(access.token("s").await.expect("it lives").expose(), "of f.2");
        other.token("s").await.expect_err("of another claim there is none");
        tokio::time::sleep(20 * S).await;
    }
    tokio::time::sleep(100 * S).await;
    let over = access.token("s").await.expect_err("it is over");
    assert!(matches!(over.verdict(), Verdict::TryAgain { .. }), "{over:?}");
    assert_eq!((provider.presentations(), held_by(&store, "s").await.as_deref()), (1, Some("f.1")));

    store.takes_no_writes.store(false, Ordering::SeqCst);
    assert_eq!(access.token("s").await.expect("from the one that was given").expose(), "of f.3");
    assert_eq!((provider.presentations(), provider.revoked().len()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn user_is_not_handed_what_could_not_be_written_for_another_one_of_the_same_session() {
    let (store, provider) = (ReadOnly::default(), StrictProvider::open());
    let access = over(&in_memory(), store.clone(), &provider);
    store.inner.put("s", over_already("f.1"));
    store.takes_no_writes.store(true, Ordering::SeqCst);
    assert_eq!(access.token("s").await.expect("it lives, written or not").expose(), "of f.2");

    store.inner.put("s", over_already("g.1"));

    assert_eq!(access.token("s").await.expect("of the one that is logged in").expose(), "of g.2");
    assert_eq!(provider.presentations(), 2);
}

/// As under `token_instead_of`, where another caller of the pod was given the newer one.
#[tokio::test(start_paused = true)]
async fn refused_token_is_not_handed_out_instead_of_itself_while_the_store_takes_no_writes() {
    let (store, provider) = (ReadOnly::default(), StrictProvider::open());
    let access = over(&in_memory(), store.clone(), &provider);
    store.inner.put("s", over_already("f.1"));
    store.takes_no_writes.store(true, Ordering::SeqCst);
    assert_eq!(access.token("s").await.expect("it lives, written or not").expose(), "of f.2");

    let refused = access.token_instead_of("s", "of f.2").await.expect_err("there is no other");

    assert!(matches!(refused.verdict(), Verdict::TryAgain { .. }), "{refused:?}");
    assert_eq!(provider.presentations(), 1);
}

/// Before the pod has tried by itself.
#[tokio::test(start_paused = true)]
async fn first_caller_after_a_store_is_back_is_given_what_could_not_be_written() {
    let (store, provider) = (Failing::new(MemoryTokens::new()), StrictProvider::held());
    let access = over(&in_memory(), store.clone(), &provider);
    store.inner.put("s", over_already("f.1"));
    let tab = tokio::spawn({
        let access = access.clone();
        async move { access.token("s").await.map(drop) }
    });
    provider.asked(1).await;
    store.fails.store(true, Ordering::SeqCst);
    provider.release(9);
    tab.await.expect("no panics").expect("it lives");
    for _ in 0..97 {
        access.token("s").await.expect_err("the store is away");
        tokio::time::sleep(S).await;
    }

    store.fails.store(false, Ordering::SeqCst);

    assert_eq!(access.token("s").await.expect("it was given long ago").expose(), "of f.2");
    tokio::time::sleep(15 * S).await;
    assert_eq!(held_by(&store.inner, "s").await.as_deref(), Some("f.2"));
    assert_eq!((provider.presentations(), provider.revoked().len()), (1, 0));
}

/// A store that can be read, and takes no writes for a while.
#[derive(Clone, Default)]
struct ReadOnly {
    inner: MemoryTokens,
    takes_no_writes: Arc<AtomicBool>,
}

impl TokenStore for ReadOnly {
    type Error = std::io::Error;

    async fn load(&self, session: &str) -> Result<Option<SessionTokens>, Self::Error> {
        self.inner.load(session).await.map_err(std::io::Error::other)
    }

    async fn swap(&self, session: &str, walked: &[Secret], new: &SessionTokens) -> Result<Swap, Self::Error> {
        if self.takes_no_writes.load(Ordering::SeqCst) {
            return Err(std::io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.inner.swap(session, walked, new).await.map_err(std::io::Error::other)
    }

    async fn end(&self, session: &str, refused: &[Secret]) -> Result<Swap, Self::Error> {
        if self.takes_no_writes.load(Ordering::SeqCst) {
            return Err(std::io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.inner.end(session, refused).await.map_err(std::io::Error::other)
    }
}

/// By the clock of the store's rows, which other pods go by.
#[tokio::test(start_paused = true)]
async fn access_token_ends_when_the_provider_said_however_long_its_write_took() {
    let store = Failing::new(MemoryTokens::new());
    let (wall, started) = (SystemTime::now(), Instant::now());
    for (session, away) in [("within the time of callers", 20), ("long after that", 200)] {
        let token = format!("{away}.1");
        store.inner.put(session, over_already(&token));
        let held = StrictProvider::held();
        let slow = over(&in_memory(), store.clone(), &held).clock(move || wall + started.elapsed());
        let tab = tokio::spawn({
            let session = session.to_owned();
            async move { slow.token(&session).await.map(drop) }
        });
        held.asked(1).await;
        store.fails.store(true, Ordering::SeqCst);
        held.release(1);
        held.answered(1).await;
        let given = wall + started.elapsed();
        tokio::time::sleep(away * S).await;
        store.fails.store(false, Ordering::SeqCst);
        tokio::time::sleep(15 * S).await;
        tab.await.expect("no panics").expect("a token");

        let row = store.inner.load(session).await.expect("it answers").expect("a session");
        assert_eq!(row.refresh_token().expose(), format!("{away}.2"));
        let late = row.expires_at().duration_since(given + 300 * S).unwrap_or_default();
        assert!(late <= S, "{session}: it is said to live {late:?} longer than it does");
    }
}

#[tokio::test(start_paused = true)]
async fn caller_whose_old_token_ends_while_it_waits_is_not_handed_that() {
    let (store, provider) = (MemoryTokens::new(), StrictProvider::open());
    let (wall, started) = (SystemTime::now(), Instant::now());
    let slow = provider.clone();
    let access = in_memory()
        .access_tokens(store.clone(), move |attempt, _| {
            let slow = slow.clone();
            async move {
                tokio::time::sleep(3 * S / 2).await;
                slow.present(attempt.token()).await
            }
        })
        .clock(move || wall + started.elapsed());
    store.put("s", SessionTokens::new("ends in a second", "f.1", wall - 299 * S, 300 * S));

    assert_eq!(access.token("s").await.expect("it waits").expose(), "of f.2");
}

/// An application that keeps one login under two names: both go on, as long as they come while the answer is fresh.
#[tokio::test(start_paused = true)]
async fn refresh_token_under_two_names_is_presented_once_for_both() {
    let (store, provider) = (MemoryTokens::new(), StrictProvider::open());
    let access = over(&in_memory(), store.clone(), &provider);
    for name in ["one", "other"] {
        store.put(name, over_already("f.1"));
    }

    let both = tokio::join!(access.token("one"), access.token("other"));

    assert_eq!(both.0.expect("tokens").expose(), "of f.2");
    assert_eq!(both.1.expect("tokens").expose(), "of f.2");
    for name in ["one", "other"] {
        assert_eq!(held_by(&store, name).await.as_deref(), Some("f.2"));
    }
    assert_eq!((provider.presentations(), provider.revoked().len()), (1, 0));
}

/// Rows tell the time of the pod that wrote them.
#[tokio::test(start_paused = true)]
async fn pod_whose_clock_is_wrong_costs_sessions_attempts_and_no_login() {
    for (is_ahead, name) in [(true, "ahead"), (false, "behind")] {
        let (store, provider, fleet) = (MemoryTokens::new(), StrictProvider::open(), MemoryStore::new());
        let (wall, started) = (SystemTime::now(), Instant::now());
        let pod = |shifted: SystemTime| {
            let pod = RefreshCoordinator::in_memory_shared(&fleet, Config::default()).expect("possible settings");
            over(&pod, store.clone(), &provider).clock(move || shifted + started.elapsed())
        };
        let wrong = pod(if is_ahead { wall + 3600 * S } else { wall - 3600 * S });
        let right = pod(wall);
        store.put("s", SessionTokens::new("first", "f.1", wall - 300 * S, 300 * S));

        for _ in 0..20 {
            for pod in [&wrong, &right] {
                let asked = match pod.token("s").await {
                    // What is over by the provider's clock is refused by a resource server.
                    Ok(token) => pod.token_instead_of("s", token.expose()).await.map(drop),
                    refused => refused.map(drop),
                };
                if let Err(refused) = asked {
                    assert!(matches!(refused.verdict(), Verdict::TryAgain { .. }), "{name}: {refused:?}");
                }
            }
            tokio::time::sleep(S).await;
        }

        let limit = Config::default().max_refresh_attempts as usize;
        assert_eq!((provider.presentations(), provider.revoked().len()), (limit, 0), "{name}");
    }
}

/// What callers of one session are told, for each of the calls to the store that may fail, once or from then on.
#[tokio::test(start_paused = true)]
async fn store_that_fails_at_any_call_costs_no_login() {
    for from in 0..12 {
        for lasts in [1, 2, 5] {
            let (store, provider) = (FailsAt::new(from, lasts), StrictProvider::open());
            let access = over(&in_memory(), store.clone(), &provider);
            store.inner.put("s", over_already("f.1"));

            let tabs = (0..3).map(|_| {
                let access = access.clone();
                tokio::spawn(async move { access.token("s").await.map(|token| token.expose().to_owned()) })
            });
            for tab in tabs.collect::<Vec<_>>() {
                match tab.await.expect("no panics") {
                    Ok(token) => assert_eq!(token, "of f.2", "from {from}"),
                    Err(error) => {
                        assert!(matches!(error.verdict(), Verdict::TryAgain { .. }), "from {from}: {error:?}")
                    }
                }
            }
            tokio::time::sleep(60 * S).await;

            let mut handed = access.token("s").await;
            for _ in 0..lasts {
                handed = if handed.is_err() { access.token("s").await } else { handed };
            }
            let said = format!("from {from} for {lasts}: {:?}", store.calls.lock().expect("no panics"));
            assert_eq!(handed.expect("it goes on").expose(), "of f.2", "{said}");
            assert_eq!(held_by(&store.inner, "s").await.as_deref(), Some("f.2"), "{said}");
            assert_eq!((provider.presentations(), provider.revoked().len()), (1, 0), "{said}");
        }
    }
}

/// Some calls fail: half of them before they are done, half of them after.
#[derive(Clone)]
struct FailsAt {
    inner: MemoryTokens,
    from: usize,
    lasts: usize,
    calls: Arc<Mutex<Vec<&'static str>>>,
}

impl FailsAt {
    fn new(from: usize, lasts: usize) -> Self {
        Self { inner: MemoryTokens::new(), from, lasts, calls: Arc::default() }
    }

    async fn call<T, E: std::fmt::Debug>(
        &self,
        name: &'static str,
        done: impl Future<Output = Result<T, E>>,
    ) -> Result<T, std::io::Error> {
        let number = {
            let mut calls = self.calls.lock().expect("no panics");
            calls.push(name);
            calls.len() - 1
        };
        if !(self.from..self.from + self.lasts).contains(&number) {
            return Ok(done.await.expect("memory does not fail"));
        }
        if number % 2 == 1 {
            _ = done.await;
        }
        Err(std::io::ErrorKind::ConnectionReset.into())
    }
}

impl TokenStore for FailsAt {
    type Error = std::io::Error;

    async fn load(&self, session: &str) -> Result<Option<SessionTokens>, Self::Error> {
        self.call("load", self.inner.load(session)).await
    }

    async fn swap(&self, session: &str, walked: &[Secret], new: &SessionTokens) -> Result<Swap, Self::Error> {
        self.call("swap", self.inner.swap(session, walked, new)).await
    }

    async fn end(&self, session: &str, refused: &[Secret]) -> Result<Swap, Self::Error> {
        self.call("end", self.inner.end(session, refused)).await
    }
}
