//! Histories that broke a promise once: lost replies, clocks that step, settings and answers at their extremes.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::{Ask, Begun, Completion, Lease, Store};
use crate::admission::AdmissionTerms;
use crate::admission::circuit::CircuitState;
use crate::config::{Breaker, Config};
use crate::error::{ConnectError, Refusal};
use crate::identity::Identity;
use crate::outcome::{Outcome, ProviderFailure};
use crate::request::Refresh;
use crate::store::memory::MemoryStore;
use crate::store::redis::RedisStore;
use crate::token_response::TokenResponse;

use crate::test_redis::RedisServer;

/// What an hour's step of the clock does to a stamp.
const HOUR_MS: &str = "3600000";

fn config() -> Config {
    Config {
        namespace: format!("attacks-{}", Uuid::new_v4().simple()),
        lease: Duration::from_secs(1),
        store_timeout: Duration::from_secs(5),
        retry_lost_after: Some(Duration::ZERO),
        ..Config::default()
    }
}

fn ask(token: &str) -> Ask {
    ask_as(Refresh::new(token))
}

fn ask_as(refresh: Refresh) -> Ask {
    Ask::new(Identity::of(refresh, None).expect("valid"), Uuid::new_v4())
}

/// Queues where it cannot lead.
fn patient() -> AdmissionTerms {
    AdmissionTerms { patience: Duration::from_secs(5), ..AdmissionTerms::at_once() }
}

async fn begin(store: &Store, ask: &Ask, terms: &AdmissionTerms) -> Begun {
    store.begin(ask, None, terms).await.expect("an answer")
}

async fn lead(store: &Store, ask: &Ask) -> Lease {
    match begin(store, ask, &AdmissionTerms::at_once()).await {
        Begun::Lead(lease) => lease,
        other => panic!("no lead: {other:?}"),
    }
}

fn success(json: &str) -> Arc<Outcome> {
    Arc::new(Outcome::Success(TokenResponse::from_json(json).expect("tokens")))
}

async fn complete(store: &Store, lease: &Lease, ask: &Ask, outcome: &Arc<Outcome>) {
    let completion =
        Completion { outcome: Arc::clone(outcome), health: outcome.health(), age: Duration::ZERO, is_untold: false };
    store.complete(lease, ask, &completion).await.expect("an answer");
}

/// One pod on a Redis of its own.
struct Stage {
    pod: Store,
    redis: RedisServer,
    config: Config,
}

impl Stage {
    async fn new(config: Config) -> Self {
        let redis = RedisServer::start_own(&[]).await;
        redis.in_use(&config.namespace).await;
        let pod = connect(&redis, "a", &config).await;
        Self { pod, redis, config }
    }

    fn key(&self, name: &str) -> String {
        format!("rc:{{{}}}:{name}", self.config.namespace)
    }

    async fn count(&self, name: &str) -> u32 {
        self.redis.cli(&["ZCARD", &self.key(name)]).await.parse().expect("a number")
    }

    /// Does to a key's end of life what setting the clock back by an hour does.
    async fn end_later(&self, name: &str) {
        self.redis.cli(&["PEXPIRE", &self.key(name), HOUR_MS]).await;
    }
}

async fn connect(redis: &RedisServer, name: &str, config: &Config) -> Store {
    let client = redis::Client::open(redis.url()).expect("a URL");
    let store = RedisStore::connect(client, name, Arc::new(config.clone()), Arc::default()).await;
    Store::Redis(store.expect("redis is there"))
}

mod clock_that_is_set_back {
    use super::*;

    #[tokio::test]
    async fn keeps_no_circuit_open_for_longer_than_it_was_opened_for() {
        let breaker = Breaker { max_failures: 1, open_duration: Duration::from_millis(400), half_open_requests: 1 };
        let stage = Stage::new(Config { breaker, ..config() }).await;
        let asked = ask("t");
        let lease = lead(&stage.pod, &asked).await;
        complete(&stage.pod, &lease, &asked, &Arc::new(Outcome::Failure(ProviderFailure::unknown("reset")))).await;
        stage.redis.cli(&["HINCRBY", &stage.key("circuit"), "open_until", HOUR_MS]).await;
        stage.end_later("circuit").await;

        let refused = begin(&stage.pod, &ask("u"), &AdmissionTerms::at_once()).await;
        assert!(matches!(refused, Begun::Rejected(Refusal::CircuitOpen { .. })), "{refused:?}");
        stage.redis.wait(Duration::from_millis(600)).await;

        lead(&stage.pod, &ask("u")).await;
    }

    #[tokio::test]
    async fn keeps_no_place_of_a_probe_whose_leader_is_lost() {
        let breaker = Breaker { max_failures: 1, open_duration: Duration::from_millis(50), half_open_requests: 1 };
        let stage = Stage::new(Config { breaker, ..config() }).await;
        let asked = ask("t");
        let lease = lead(&stage.pod, &asked).await;
        complete(&stage.pod, &lease, &asked, &Arc::new(Outcome::Failure(ProviderFailure::unknown("reset")))).await;
        stage.redis.wait(Duration::from_millis(100)).await;
        let probe = lead(&stage.pod, &ask("u")).await;
        let field = format!("probe:{}", probe.fence);
        let lease = stage.redis.cli(&["HGET", &stage.key("circuit"), &field]).await;
        let (ends, span) = lease.split_once(' ').expect("an end and a span");
        let far = ends.parse::<u64>().expect("a stamp") + HOUR_MS.parse::<u64>().expect("an hour");
        stage.redis.cli(&["HSET", &stage.key("circuit"), &field, &format!("{far} {span}")]).await;
        stage.end_later("circuit").await;

        let refused = begin(&stage.pod, &ask("v"), &AdmissionTerms::at_once()).await;
        assert!(matches!(refused, Begun::Rejected(Refusal::CircuitOpen { .. })), "{refused:?}");
        stage.redis.wait(Duration::from_millis(1300)).await;

        lead(&stage.pod, &ask("v")).await;
    }

    #[tokio::test]
    async fn keeps_no_session_cooling_down_for_longer_than_the_setting() {
        let cooldown = Duration::from_millis(400);
        let stage = Stage::new(Config { max_refresh_attempts: 1, refresh_cooldown_period: cooldown, ..config() }).await;
        let of_session = |token: &str| ask_as(Refresh::new(token).session("s"));
        lead(&stage.pod, &of_session("t")).await;
        let refused = begin(&stage.pod, &of_session("u"), &AdmissionTerms::at_once()).await;
        assert!(matches!(refused, Begun::Rejected(Refusal::CoolingDown { .. })), "{refused:?}");
        let identity = of_session("t").identity;
        let name = format!("attempts:{}", identity.session);
        let field = |field: &str| format!("{field}:{:016x}", identity.account);
        stage.redis.cli(&["HINCRBY", &stage.key(&name), &field("cooldown_until"), HOUR_MS]).await;
        stage.end_later(&name).await;

        let refused = begin(&stage.pod, &of_session("u"), &AdmissionTerms::at_once()).await;
        assert!(matches!(refused, Begun::Rejected(Refusal::CoolingDown { .. })), "{refused:?}");
        stage.redis.wait(Duration::from_millis(600)).await;

        lead(&stage.pod, &of_session("u")).await;
    }

    #[tokio::test]
    async fn keeps_no_window_open_for_longer_than_the_setting() {
        let window = Duration::from_millis(400);
        let stage = Stage::new(Config { max_refresh_attempts: 2, refresh_attempt_window: window, ..config() }).await;
        let of_session = |token: &str| ask_as(Refresh::new(token).session("s"));
        lead(&stage.pod, &of_session("t")).await;
        let identity = of_session("t").identity;
        let name = format!("attempts:{}", identity.session);
        let field = |field: &str| format!("{field}:{:016x}", identity.account);
        stage.redis.cli(&["HINCRBY", &stage.key(&name), &field("window_start"), HOUR_MS]).await;
        stage.end_later(&name).await;

        lead(&stage.pod, &of_session("u")).await;
        // As if somebody had come a moment later, too.
        stage.end_later(&name).await;
        stage.redis.wait(Duration::from_millis(600)).await;

        lead(&stage.pod, &of_session("v")).await;
    }

    #[tokio::test]
    async fn keeps_no_token_from_being_presented_again_whose_leader_was_lost() {
        let stage = Stage::new(Config { retry_lost_after: Some(Duration::from_millis(400)), ..config() }).await;
        let asked = ask("t");
        lead(&stage.pod, &asked).await;
        stage.redis.until(&["EXISTS", &stage.key(&format!("lock:{}", asked.identity.flight))], "0").await;
        let flight = format!("flight:{}", asked.identity.flight);
        stage.redis.cli(&["HINCRBY", &stage.key(&flight), "started", HOUR_MS]).await;

        let joined = begin(&stage.pod, &ask("t"), &AdmissionTerms::at_once()).await;
        assert!(matches!(joined, Begun::Join(_)), "{joined:?}");
        stage.redis.wait(Duration::from_millis(600)).await;

        lead(&stage.pod, &ask("t")).await;
    }

    #[tokio::test]
    async fn keeps_no_outcome_fresh_for_longer_than_the_setting() {
        let stage = Stage::new(Config { keep_outcome: Duration::from_millis(400), ..config() }).await;
        let asked = ask("t");
        let lease = lead(&stage.pod, &asked).await;
        complete(&stage.pod, &lease, &asked, &success(r#"{"access_token":"a","refresh_token":"b"}"#)).await;
        let flight = format!("flight:{}", asked.identity.flight);
        stage.redis.cli(&["HINCRBY", &stage.key(&flight), "fresh_until", HOUR_MS]).await;
        stage.end_later(&flight).await;

        let landed = begin(&stage.pod, &ask("t"), &AdmissionTerms::at_once()).await;
        assert!(matches!(landed, Begun::Landed(_)), "{landed:?}");
        stage.redis.wait(Duration::from_millis(600)).await;

        lead(&stage.pod, &ask("t")).await;
    }

    #[tokio::test]
    async fn keeps_no_permit_of_a_lost_leader_where_nobody_queues() {
        let stage = Stage::new(Config { max_concurrent_refreshes: 1, ..config() }).await;
        let dead = lead(&stage.pod, &ask("t")).await;
        let owner = format!("a/{}/{}", dead.fence, stage.config.lease.as_millis());
        stage.redis.cli(&["ZINCRBY", &stage.key("permits"), HOUR_MS, &owner]).await;
        stage.end_later("permits").await;
        stage.end_later("budget").await;

        let refused = begin(&stage.pod, &ask("u"), &AdmissionTerms::at_once()).await;
        assert!(matches!(refused, Begun::Rejected(Refusal::Budget { .. })), "{refused:?}");
        stage.redis.wait(Duration::from_millis(1300)).await;

        lead(&stage.pod, &ask("u")).await;
    }

    #[tokio::test]
    async fn keeps_no_flight_waiting_for_a_dead_leader_for_longer_than_its_lease() {
        let stage = Stage::new(config()).await;
        let other = connect(&stage.redis, "b", &stage.config).await;
        lead(&stage.pod, &ask("t")).await;
        let waits = ask("t");
        let Begun::Join(mut joined) = begin(&other, &waits, &AdmissionTerms::at_once()).await else {
            panic!("no join")
        };
        stage.end_later(&format!("lock:{}", waits.identity.flight)).await;

        // A lease until the look, and one that the lock is shortened to then.
        let deadline = tokio::time::Instant::now() + 10 * stage.config.lease;
        while tokio::time::timeout_at(deadline, joined.news.news()).await.is_ok() {
            match other.begin(&waits, joined.fence, &AdmissionTerms::at_once()).await.expect("an answer") {
                Begun::Join(again) => joined = again,
                Begun::Lead(_) => return,
                begun => panic!("{begun:?}"),
            }
        }
        panic!("it waits for as long as the lock says");
    }
}

mod access_token_that_never_expires {
    use super::*;

    async fn promise(pod: Store) {
        let asked = ask("t");
        let lease = lead(&pod, &asked).await;

        complete(&pod, &lease, &asked, &success(r#"{"access_token":"a","expires_in":18446744073709551615}"#)).await;

        let begun = begin(&pod, &ask("t"), &AdmissionTerms::at_once()).await;
        assert!(matches!(begun, Begun::Landed(_)), "{begun:?}");
        assert!(matches!(pod.circuit_state().await.expect("an answer"), CircuitState::Closed { failures: 0 }));
    }

    #[tokio::test]
    async fn lands_in_memory() {
        promise(Store::Memory(MemoryStore::new().pod(Arc::new(config())))).await;
    }

    #[tokio::test]
    async fn lands_on_redis() {
        promise(Stage::new(config()).await.pod).await;
    }
}

mod repeated_begin {
    use super::*;

    /// The first reply was lost, so the pod does not know that it queues, and asks the same again.
    #[tokio::test]
    async fn of_a_flight_whose_turn_has_come_meanwhile_takes_the_permit_that_is_reserved_for_it() {
        let stage = Stage::new(Config { max_concurrent_refreshes: 2, ..config() }).await;
        let (one, two, queued) = (ask("one"), ask("two"), ask("queued"));
        let leases = (lead(&stage.pod, &one).await, lead(&stage.pod, &two).await);
        assert!(matches!(begin(&stage.pod, &queued, &patient()).await, Begun::Queued(_)));
        let tokens = success(r#"{"access_token":"a","refresh_token":"b"}"#);
        complete(&stage.pod, &leases.0, &one, &tokens).await;
        complete(&stage.pod, &leases.1, &two, &tokens).await;
        assert_eq!(stage.count("permits").await, 1, "one is reserved");

        let begun = begin(&stage.pod, &queued, &patient()).await;

        assert!(matches!(begun, Begun::Lead(_)), "{begun:?}");
        assert_eq!(
            (stage.count("permits").await, stage.redis.cli(&["GET", &stage.key("budget")]).await.as_str()),
            (1, "1")
        );
    }

    #[tokio::test]
    async fn of_a_flight_that_queues_calls_nobody() {
        let stage = Stage::new(Config { max_concurrent_refreshes: 1, ..config() }).await;
        let (one, queued) = (ask("one"), ask("queued"));
        let lease = lead(&stage.pod, &one).await;
        assert!(matches!(begin(&stage.pod, &queued, &patient()).await, Begun::Queued(_)));
        // The leader's permit ends without a word.
        stage.redis.cli(&["DEL", &stage.key("permits"), &stage.key("budget")]).await;

        let begun = begin(&stage.pod, &queued, &patient()).await;

        assert!(matches!(begun, Begun::Lead(_)), "{begun:?} beside {lease:?}");
        assert_eq!((stage.count("permits").await, stage.count("queue").await), (1, 0));
    }
}

mod marks_of_attempts_that_were_given_up {
    use super::*;

    #[tokio::test]
    async fn do_not_pile_up_on_a_token_that_is_asked_for_all_the_time() {
        let stage = Stage::new(config()).await;
        let flight = stage.key(&format!("flight:{}", ask("t").identity.flight));
        for _ in 0..6 {
            stage.pod.withdraw(&ask("t").id(), None).await.expect("an answer");
            // Two thirds of the lease.
            stage.redis.wait(Duration::from_millis(667)).await;
        }

        let marks: u32 = stage.redis.cli(&["HLEN", &flight]).await.parse().expect("a number");

        assert!(marks <= 3, "{marks} marks, of which two at most are younger than a lease");
    }
}

mod user_that_may_not_touch {
    use super::*;

    #[tokio::test]
    async fn one_of_the_keys_is_refused_at_start() {
        let redis = RedisServer::start_own(&[]).await;
        let config = config();
        let key = |name: &str| format!("~rc:{{{}}}:{name}", config.namespace);
        let all = [
            "lock:*",
            "waits:*",
            "flight:*",
            "fence",
            "incarnation",
            "meta",
            "queue:*",
            "attempts:*",
            "permits",
            "budget",
            "queue",
            "shares",
            "circuit",
            "known",
            "known_tokens:*",
            "held:*",
            "held_until",
            "family:*",
            "answers:*",
            "order:*",
        ];
        let url = redis.url().replace("redis://", "redis://pod:pw@");
        let connect = async || {
            let client = redis::Client::open(url.as_str()).expect("a URL");
            RedisStore::connect(client, "p", Arc::new(config.clone()), Arc::default()).await
        };
        let allow = async |keys: &[String]| {
            let channels = format!("&rc:{{{}}}:*", config.namespace);
            let mut rule = vec!["ACL", "SETUSER", "pod", "reset", "on", ">pw", "+@all", &channels];
            rule.extend(keys.iter().map(String::as_str));
            redis.cli(&rule).await;
        };

        for missing in all {
            allow(&all.iter().filter(|name| **name != missing).map(|name| key(name)).collect::<Vec<_>>()).await;
            let refused = connect().await.err();
            assert!(matches!(refused, Some(ConnectError::Right { .. })), "without {missing}: {refused:?}");
        }
        allow(&all.map(key)).await;
        assert!(connect().await.is_ok());
    }
}

mod thousands_that_queued_in_a_pod_that_was_killed {
    use super::*;

    #[tokio::test]
    async fn make_way_without_stopping_redis_for_everybody() {
        let stage = Stage::new(config()).await;
        let now = stage.redis.cli(&["TIME"]).await.replace('\n', "").parse::<u64>().expect("a time") - 1_000_000;
        stage.redis.cli(&["ZADD", &stage.key("queue"), "1", "c11e"]).await;
        for some in 0..5_u64 {
            let places =
                (0..1000).map(|i| some * 1000 + i).map(|i| [(now + i).to_string(), format!("dead {i} {i:064x}")]);
            let places = places.flatten().collect::<Vec<_>>();
            let key = stage.key("queue:c11e");
            let words = ["ZADD", &key].into_iter().chain(places.iter().map(String::as_str)).collect::<Vec<_>>();
            stage.redis.cli(&words).await;
        }
        stage.redis.cli(&["CONFIG", "RESETSTAT"]).await;

        lead(&stage.pod, &ask("t")).await;

        assert_eq!(stage.count("queue").await, 0);
        let stats = stage.redis.cli(&["INFO", "commandstats"]).await;
        let calls = |name: &str| -> u32 {
            let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
            line.map_or(0, |line| line.split(',').next().expect("a part").parse().expect("a number"))
        };
        assert!(calls("zrange") + calls("zrem") + calls("publish") < 100, "{stats}");
    }
}
