//! What the histories are played on: a store with two pods, its time, and the verbs in short.

use std::pin::Pin;
pub(in crate::store) use std::sync::Arc;
pub(in crate::store) use std::time::Duration;

pub(in crate::store) use tokio::time::Instant;
pub(in crate::store) use uuid::Uuid;

pub(in crate::store) use crate::admission::AdmissionTerms;
pub(in crate::store) use crate::config::{Breaker, Config, Uncertain};
use crate::error::ConnectError;
pub(in crate::store) use crate::error::Refusal;
pub(in crate::store) use crate::identity::Identity;
pub(in crate::store) use crate::outcome::{Class, Outcome, ProviderFailure, ProviderHealth};
pub(in crate::store) use crate::request::Refresh;
pub(in crate::store) use crate::store::memory::MemoryStore;
pub(in crate::store) use crate::store::redis::RedisStore;
pub(in crate::store) use crate::store::redis::access::RedisTarget;
pub(in crate::store) use crate::store::{
    Ask, Begun, Completion, LeaderSeen, Lease, News, Queued, Renewed, Standing, Store, StoredOutcome, TokenHistory,
};
pub(in crate::store) use crate::test_redis::RedisServer;
pub(in crate::store) use crate::token_response::{ProviderResponse, TokenResponse};

use super::ways::Way;

/// A store with two pods, and the time it lives by.
pub(in crate::store) struct Stage {
    pub(in crate::store) a: Store,
    pub(in crate::store) b: Store,
    pub(in crate::store) config: Config,
    /// The server that decides.
    pub(in crate::store) redis: Option<Arc<RedisServer>>,
    way: Option<Way>,
}

pub(in crate::store) fn config() -> Config {
    Config {
        namespace: format!("contract-{}", Uuid::new_v4().simple()),
        lease: Duration::from_secs(1),
        // Longer than the machine stands still: no verb is to fail because it does.
        store_timeout: Duration::from_secs(5),
        retry_lost_after: Some(Duration::ZERO),
        ..Config::default()
    }
}

/// What a store promises, told by a history.
#[derive(Clone, Copy)]
pub(in crate::store) struct Promise {
    pub(in crate::store) name: &'static str,
    pub(in crate::store) config: fn() -> Config,
    pub(in crate::store) holds: fn(Stage) -> Pin<Box<dyn Future<Output = ()>>>,
}

impl Stage {
    pub(in crate::store) fn in_memory(config: Config) -> Self {
        tokio::time::pause();
        let store = MemoryStore::new();
        let pod = || Store::Memory(store.pod(Arc::new(config.clone())));
        Self { a: pod(), b: pod(), redis: None, way: None, config: config.clone() }
    }

    pub(in crate::store) async fn on_redis(config: Config) -> Self {
        let (redis, way) = Way::start().await;
        Self::by(way, Arc::new(redis), config).await
    }

    /// At this URL, which leads to this server.
    pub(in crate::store) async fn at(url: &str, redis: Arc<RedisServer>, config: Config) -> Self {
        Self::by(Way::Url(url.to_owned()), redis, config).await
    }

    async fn by(way: Way, redis: Arc<RedisServer>, config: Config) -> Self {
        redis.in_use(&config.namespace).await;
        let pod = async |name: &str| {
            // A machine that stands still meanwhile is no Redis that is away: some settings are short.
            for _ in 0..4 {
                let target = way.target(redis.url());
                match RedisStore::connect(target, name, Arc::new(config.clone()), Arc::default()).await {
                    Err(ConnectError::Unreachable { .. }) => {}
                    store => return Store::Redis(store.expect("redis is there")),
                }
            }
            panic!("redis did not answer four times");
        };
        let (a, b) = (pod("a").await, pod("b").await);
        Self { a, b, redis: Some(redis), way: Some(way), config: config.clone() }
    }

    /// On Redis: what one more pod is told of the way there.
    pub(in crate::store) fn target(&self) -> RedisTarget {
        self.way.as_ref().expect("on redis").target(self.redis.as_ref().expect("on redis").url())
    }

    /// Waits until the lease of this token's leader is over.
    pub(in crate::store) async fn lease_over(&self, ask: &Ask) {
        match &self.redis {
            None => tokio::time::advance(self.config.lease + Duration::from_millis(1)).await,
            Some(redis) => {
                let lock = format!("rc:{{{}}}:lock:{}", self.config.namespace, ask.identity.flight);
                redis.until(&["EXISTS", &lock], "0").await;
            }
        }
    }

    /// Waits until an outcome is no longer fresh.
    pub(in crate::store) async fn pass(&self, span: Duration) {
        match &self.redis {
            None => tokio::time::advance(span).await,
            Some(redis) => redis.wait(span).await,
        }
    }

    /// On Redis: the counter of the budget is the number of its permits.
    pub(in crate::store) async fn budget_holds(&self) {
        if let Some(redis) = &self.redis {
            let key = |name: &str| format!("rc:{{{}}}:{name}", self.config.namespace);
            let counter = redis.cli(&["GET", &key("budget")]).await;
            let permits = redis.cli(&["ZCARD", &key("permits")]).await;
            assert_eq!(if counter.is_empty() { "0" } else { &counter }, permits);
        }
    }

    /// Everything Redis holds, to see that nothing changed.
    pub(in crate::store) async fn snapshot(&self) -> Option<String> {
        match &self.redis {
            None => None,
            Some(redis) => Some(redis.dump(&self.config.namespace).await),
        }
    }
}

pub(in crate::store) fn ask(token: &str) -> Ask {
    ask_as(Refresh::new(token))
}

pub(in crate::store) fn ask_as(refresh: Refresh) -> Ask {
    Ask::new(Identity::of(refresh, None).expect("valid"), Uuid::new_v4())
}

pub(in crate::store) fn success(name: &str) -> Arc<Outcome> {
    success_with(&format!(r#"{{"access_token":"{name}","refresh_token":"next"}}"#))
}

pub(in crate::store) fn success_with(body: &str) -> Arc<Outcome> {
    Arc::new(Outcome::Success(TokenResponse::from_json(body).expect("tokens")))
}

pub(in crate::store) fn failure(failure: ProviderFailure) -> Arc<Outcome> {
    Arc::new(Outcome::Failure(failure))
}

pub(in crate::store) async fn lead(store: &Store, ask: &Ask) -> Lease {
    match store.begin(ask, None, &AdmissionTerms::at_once()).await.expect("an answer") {
        Begun::Lead(lease) => lease,
        other => panic!("no lead: {other:?}"),
    }
}

pub(in crate::store) async fn landed(store: &Store, ask: &Ask, joined: Option<u64>) -> StoredOutcome {
    match store.begin(ask, joined, &AdmissionTerms::at_once()).await.expect("an answer") {
        Begun::Landed(landed) => landed,
        other => panic!("nothing landed: {other:?}"),
    }
}

pub(in crate::store) fn access_token(landed: &StoredOutcome) -> &str {
    match &*landed.outcome {
        Outcome::Success(tokens) => tokens.access_token(),
        other => panic!("no tokens: {other:?}"),
    }
}

pub(in crate::store) fn completion(outcome: &Arc<Outcome>) -> Completion {
    Completion { outcome: Arc::clone(outcome), health: outcome.health(), age: Duration::ZERO, is_untold: false }
}

pub(in crate::store) async fn complete(store: &Store, lease: &Lease, ask: &Ask, outcome: &Arc<Outcome>) -> Standing {
    store.complete(lease, ask, &completion(outcome)).await.expect("an answer")
}

/// A promise's namespace in which nothing ends by itself: leases outlive the test.
pub(in crate::store) fn unhurried() -> Config {
    Config {
        lease: Duration::from_secs(60),
        store_timeout: Duration::from_secs(5),
        keep_failure: Duration::ZERO,
        ..config()
    }
}

/// Begins, and does not queue.
pub(in crate::store) async fn begin(store: &Store, ask: &Ask) -> Begun {
    store.begin(ask, None, &AdmissionTerms::at_once()).await.expect("an answer")
}

/// Why a flight is not led.
pub(in crate::store) async fn refused(store: &Store, ask: &Ask) -> Refusal {
    match begin(store, ask).await {
        Begun::Rejected(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// Begins with the place it has in the queue, if it has one, and queues where there is no permit.
pub(in crate::store) async fn begin_in_queue(store: &Store, ask: &Ask, since: Option<Instant>) -> Begun {
    let terms = AdmissionTerms { patience: Duration::from_secs(60), waiting_since: since, ..AdmissionTerms::at_once() };
    store.begin(ask, None, &terms).await.expect("an answer")
}

pub(in crate::store) async fn queue(store: &Store, ask: &Ask) -> Queued {
    match begin_in_queue(store, ask, None).await {
        Begun::Queued(queued) => queued,
        other => panic!("not queued: {other:?}"),
    }
}

/// Leads and completes.
pub(in crate::store) async fn fly(store: &Store, ask: &Ask, outcome: &Arc<Outcome>) -> Standing {
    let lease = lead(store, ask).await;
    complete(store, &lease, ask, outcome).await
}

pub(in crate::store) const S: Duration = Duration::from_secs(1);
pub(in crate::store) const MS: Duration = Duration::from_millis(1);

/// A flight of a token that nobody else has, for this session.
pub(in crate::store) fn of(session: &str) -> Ask {
    ask_as(Refresh::new(Uuid::new_v4().to_string()).session(session))
}

/// A flight of a token that nobody else has, of this client.
pub(in crate::store) fn of_client(id: &str) -> Ask {
    ask_as(Refresh::new(Uuid::new_v4().to_string()).client(id, "right"))
}

/// A flight that is alone in everything.
pub(in crate::store) fn anybody() -> Ask {
    ask(&Uuid::new_v4().to_string())
}

/// A flight of a token that nobody else has, and that is known: a success gave it.
pub(in crate::store) async fn somebody_known(store: &Store) -> Ask {
    let token = Uuid::new_v4();
    fly(store, &anybody(), &success_with(&format!(r#"{{"access_token":"a","refresh_token":"{token}"}}"#))).await;
    ask(&token.to_string())
}

pub(in crate::store) fn unknown() -> Arc<Outcome> {
    failure(ProviderFailure::unknown("reset"))
}

pub(in crate::store) fn denied(error: &str) -> Arc<Outcome> {
    failure(ProviderFailure::denied(error))
}

pub(in crate::store) fn limited(retry_after: Option<Duration>) -> Arc<Outcome> {
    failure(ProviderFailure::busy(retry_after))
}

pub(in crate::store) fn busy(retry_after: Duration) -> Arc<Outcome> {
    failure(ProviderFailure::busy(Some(retry_after)).with_response(ProviderResponse::new(503, "")))
}

pub(in crate::store) fn attempts(max_refresh_attempts: u32) -> Config {
    Config { max_refresh_attempts, ..unhurried() }
}

pub(in crate::store) fn permits(max_concurrent_refreshes: u32) -> Config {
    Config { max_concurrent_refreshes, ..unhurried() }
}

pub(in crate::store) fn breaker(max_failures: u32, open_duration: Duration, half_open_requests: u32) -> Config {
    Config { breaker: Breaker { max_failures, open_duration, half_open_requests }, ..unhurried() }
}

pub(in crate::store) fn is_cooling_down(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::CoolingDown { .. })
}
