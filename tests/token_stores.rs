//! What every session store promises: one winner of any race, and nothing undone by anybody who comes late.

mod support;
#[cfg(feature = "tls")]
#[path = "support/pki.rs"]
mod pki;

use std::time::{Duration, SystemTime};

use refresh_coordinator::Secret;
use refresh_coordinator::tokens::{MemoryTokens, RedisTokens, SessionTokens, Swap, TokenStore};
use support::redis::RedisServer;
use support::redis::topology::{Cluster, Group};

const S: Duration = Duration::from_secs(1);

fn tokens(generation: &str) -> SessionTokens {
    living(generation, generation, 300)
}

fn living(access: &str, refresh: &str, seconds: u32) -> SessionTokens {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    SessionTokens::new(format!("access {access}"), refresh, at, seconds * S)
}

fn walked(tokens: &[&str]) -> Vec<Secret> {
    tokens.iter().map(|token| Secret::from(*token)).collect()
}

fn told<E: std::fmt::Debug>(swap: Result<Swap, E>) -> String {
    match swap.expect("the store answers") {
        Swap::Written => "written".to_owned(),
        Swap::Newer(held) => format!("newer {}", held.access_token().expose()),
        Swap::Gone => "gone".to_owned(),
    }
}

/// A store with sessions that have begun with `r1`.
trait Begun: TokenStore + Clone {
    async fn begin(&self, session: &str);
}

impl Begun for MemoryTokens {
    async fn begin(&self, session: &str) {
        self.put(session, tokens("r1"));
    }
}

impl Begun for RedisTokens {
    async fn begin(&self, session: &str) {
        self.put(session, &tokens("r1")).await.expect("redis writes");
    }
}

async fn keeps_its_promises(store: impl Begun) {
    replaces_what_is_of_the_walk_and_nothing_else(&store).await;
    token_that_is_used_again_takes_what_was_made_from_what_is_held(&store).await;
    thousand_races_have_one_winner_each(&store).await;
    ended_session_stays_ended(&store).await;
}

async fn replaces_what_is_of_the_walk_and_nothing_else(store: &impl Begun) {
    store.begin("walk").await;

    let (first, late) = (tokens("r2").in_place_of(&tokens("r1")), tokens("r2b").in_place_of(&tokens("r1")));
    assert_eq!(told(store.swap("walk", &walked(&["r0"]), &first).await), "newer access r1");
    assert_eq!(told(store.swap("walk", &walked(&["r0", "r1"]), &first).await), "written");
    assert_eq!(told(store.swap("walk", &walked(&["r1"]), &late).await), "newer access r2", "a late writer");
    assert_eq!(told(store.swap("walk", &[], &tokens("r3").in_place_of(&first)).await), "newer access r2");
    assert_eq!(told(store.end("walk", &[]).await), "newer access r2");

    let held = store.load("walk").await.expect("the store answers").expect("a session");
    assert_eq!((held.refresh_token().expose(), held.lifetime()), ("r2", 300 * S));
    assert_eq!(held.expires_at(), tokens("r2").expires_at());
}

async fn token_that_is_used_again_takes_what_was_made_from_what_is_held(store: &impl Begun) {
    store.begin("again").await;
    let first = living("first", "r1", 400).in_place_of(&tokens("r1"));
    let late = living("late", "r1", 600).in_place_of(&tokens("r1"));
    let next = living("next", "r1", 60).in_place_of(&first);

    assert_eq!(told(store.swap("again", &walked(&["r1"]), &first).await), "written");
    assert_eq!(
        told(store.swap("again", &walked(&["r1"]), &late).await),
        "newer access first",
        "it knows nothing of that"
    );
    assert_eq!(told(store.swap("again", &walked(&["r1"]), &next).await), "written", "though it ends earlier");
    assert_eq!(
        told(store.swap("again", &walked(&["r1"]), &next).await),
        "newer access next",
        "once more changes nothing"
    );
}

async fn thousand_races_have_one_winner_each(store: &impl Begun) {
    for race in 0..1000 {
        let session = format!("race {race}");
        store.begin(&session).await;
        let racers = (0..4).map(|racer| {
            let (store, session) = (store.clone(), session.clone());
            tokio::spawn(async move {
                let new = tokens(&format!("{racer}")).in_place_of(&tokens("r1"));
                told(store.swap(&session, &walked(&["r1"]), &new).await)
            })
        });

        let mut ended = Vec::new();
        for racer in racers.collect::<Vec<_>>() {
            ended.push(racer.await.expect("no panics"));
        }

        let held = store.load(&session).await.expect("the store answers").expect("a session");
        let winner = format!("newer {}", held.access_token().expose());
        assert_eq!(ended.iter().filter(|end| *end == "written").count(), 1, "{ended:?}");
        assert_eq!(ended.iter().filter(|end| **end == winner).count(), 3, "{ended:?}");
    }
}

async fn ended_session_stays_ended(store: &impl Begun) {
    store.begin("over").await;

    assert_eq!(told(store.end("over", &walked(&["r0"])).await), "newer access r1");
    assert_eq!(told(store.end("over", &walked(&["r0", "r1"])).await), "written");
    assert_eq!(told(store.end("over", &walked(&["r1"])).await), "gone");
    assert_eq!(told(store.swap("over", &walked(&["r1"]), &tokens("r2").in_place_of(&tokens("r1"))).await), "gone");
    assert!(store.load("over").await.expect("the store answers").is_none());
    assert!(store.load("never").await.expect("the store answers").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_keeps_its_promises() {
    keeps_its_promises(MemoryTokens::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_keeps_its_promises() {
    let redis = RedisServer::start_own(&[]).await;
    let store = RedisTokens::new(redis.url(), "app:", 3600 * S).expect("a URL");

    store.check().await.expect("it can be used");
    keeps_its_promises(store).await;

    let keys = redis.keys("*").await;
    assert_eq!(keys.len(), 1002, "what was ended is gone");
    is_said_to_be(&redis.url().replace("redis:", "redis+cluster:"), "it is a single server", redis.port()).await;
    assert!(keys.iter().all(|key| key.len() == "app:".len() + 64), "sessions are named by hashes");
    let left: i64 = redis.cli(&["PTTL", &keys[0]]).await.parse().expect("a number");
    assert!((1..=3_600_000).contains(&left), "every session ends: {left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_behind_sentinels_keeps_its_promises() {
    let group = Group::start(Duration::from_secs(30)).await;
    keeps_its_promises(RedisTokens::new(group.url(), "app:", 3600 * S).expect("a URL")).await;
    assert_eq!(group.servers[0].keys("*").await.len(), 1002, "the master has it all");

    is_said_to_be(group.servers[1].url(), "a replica", &format!("redis://127.0.0.1:{}", group.servers[0].port())).await;
    is_said_to_be(group.sentinels[0].url(), "a sentinel", "redis+sentinel://127.0.0.1:").await;
    is_said_to_be(&group.url().replace(Group::MASTER, "others"), "others", "know no master of the name").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_cluster_keeps_its_promises_on_all_of_its_nodes() {
    let cluster = Cluster::start().await;
    keeps_its_promises(RedisTokens::new(cluster.url(), "app:", 3600 * S).expect("a URL")).await;

    let mut each = Vec::new();
    for node in &cluster.masters {
        each.push(node.keys("*").await.len());
    }
    assert_eq!(each.iter().sum::<usize>(), 1002, "{each:?}");
    assert!(each.iter().all(|sessions| *sessions > 200), "sessions spread: {each:?}");

    is_said_to_be(cluster.masters[0].url(), "a node of a cluster", "redis+cluster://127.0.0.1:").await;
}

/// A URL that leads to something else than it says.
async fn is_said_to_be(url: &str, kind: &str, remedy: &str) {
    let store = RedisTokens::new(url, "app:", 3600 * S).expect("a URL");
    let error = store.check().await.expect_err("nothing is kept there").to_string();
    assert!(error.contains(kind) && error.contains(remedy), "{error}");
}

#[test]
fn url_that_is_none_is_refused_at_once_without_what_may_be_a_password() {
    for wrong in ["http://:secret@host", "redis+sentinel://:secret@host", "redis://:se cret@host", "secret"] {
        let error = RedisTokens::new(wrong, "app:", S).expect_err("no URL of a Redis").to_string();
        assert!(error.contains("expected redis") && !error.contains("cret"), "{wrong}: {error}");
    }
}

#[tokio::test]
async fn redis_store_finds_out_that_its_connection_is_dead() {
    let redis = RedisServer::start_own(&[]).await;
    let store = RedisTokens::new(redis.url(), "app:", 3600 * S).expect("a URL");
    store.begin("s").await;

    redis.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;

    assert!(store.load("s").await.expect("over another connection").is_some());
}

#[cfg(feature = "tls")]
mod tls {
    use refresh_coordinator::RedisTarget;

    use super::*;
    use crate::pki::Pki;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn redis_over_tls_keeps_its_promises_and_is_verified() {
        let pki = Pki::new();
        let pair = pki.issue("redis", &["127.0.0.1"]);
        let (redis, port) = RedisServer::start_tls(&pki.redis_arguments(0, &pair, "yes")).await;
        let (certificate, key) = pki.issue("pod", &["pod"]);
        redis.cli(&["ACL", "SETUSER", "app", "on", ">of-a-test", "~app:*", "+@all"]).await;
        let password = pki.path("password");
        std::fs::write(&password, "of-a-test\n").expect("written");
        let url = format!("rediss://127.0.0.1:{port}");
        let with_ca = |ca| {
            let target = RedisTarget::new(&*url).username("app").password_file(&password).ca_file(ca);
            target.client_certificate(&certificate, &key)
        };
        let over = |target| RedisTokens::new(target, "app:", 3600 * S).expect("a URL");

        keeps_its_promises(over(with_ca(pki.ca()))).await;
        assert_eq!(redis.keys("app:*").await.len(), 1002);

        for (target, reason) in [
            (with_ca(Pki::new().ca()), "UnknownIssuer"),
            (with_ca(pki.path("no.pem")), "no.pem"),
            (RedisTarget::new(&*url), "invalid peer certificate"),
            (RedisTarget::new(url.replace("rediss", "redis")), "is this a TLS port?"),
        ] {
            let error = over(target).check().await.expect_err("it is not entered").to_string();
            assert!(error.contains(reason) && !error.contains('\n'), "{reason}: {error}");
        }
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use refresh_coordinator::tokens::PostgresTokens;

    use super::*;
    use crate::support::postgres::PostgresServer;

    impl Begun for PostgresTokens {
        async fn begin(&self, session: &str) {
            self.put(session, &tokens("r1")).await.expect("postgres writes");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn postgres_keeps_its_promises() {
        let Some(postgres) = PostgresServer::start() else { return };
        let store = PostgresTokens::new(sqlx::PgPool::connect(postgres.url()).await.expect("it is ready"));
        store.create_table().await.expect("a table");
        store.create_table().await.expect("again changes nothing");

        keeps_its_promises(store).await;
    }
}
