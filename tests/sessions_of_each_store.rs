//! Sessions outlive what befalls an application, whichever of the shipped stores holds them: tabs that close, a logout in the middle
//! of a refresh, a coordinator that forgets, a replica that is killed. The judge is a provider that revokes the family of a token that
//! comes twice. Without the coordinator it revokes all of them.

mod support;

use std::time::{Duration, SystemTime};

use refresh_coordinator::tokens::{AccessTokens, MemoryTokens, RedisTokens, SessionTokens, TokenStore};
use refresh_coordinator::{Config, RefreshCoordinator};
use support::fleet::connect_to;
use support::mortal::MortalPod;
use support::redis::RedisServer;
use support::redis::topology::Cluster;
use support::session_stores::{Failing, PutTokens};
use support::strict::StrictProvider;
use support::wait::until;

const S: Duration = Duration::from_secs(1);
const SESSIONS: usize = 20;
const TABS: usize = 20;

fn config() -> Config {
    Config::default().with_namespace("sessions").with_lease(3 * S).with_store_timeout(3 * S)
}

/// Tokens of which the access token is over.
fn over_already(refresh_token: &str) -> SessionTokens {
    SessionTokens::new("an old one", refresh_token, SystemTime::now() - 400 * S, 300 * S)
}

async fn refresh_token(store: &impl TokenStore, session: &str) -> String {
    let held = store.load(session).await.expect("the store answers").expect("nobody is logged out");
    held.refresh_token().expose().to_owned()
}

fn over<T: TokenStore>(coordinator: &RefreshCoordinator, store: T, provider: &StrictProvider) -> AccessTokens<T> {
    let (asked, revoked) = (provider.clone(), provider.clone());
    coordinator
        .access_tokens(store, move |attempt, _| {
            let asked = asked.clone();
            async move { asked.present(attempt.token()).await }
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

/// Three replicas over one Redis and one store.
async fn replicas<T: PutTokens>(redis: &RedisServer, store: &T, provider: &StrictProvider) -> Vec<AccessTokens<T>> {
    redis.in_use("sessions").await;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        let coordinator = connect_to(redis.url(), &config()).await;
        replicas.push(over(&coordinator, store.clone(), provider));
    }
    replicas
}

/// The access tokens of all sessions end; then all tabs of each ask at once, and every fourth is closed.
async fn rotate<T: PutTokens>(replicas: &[AccessTokens<T>], store: &T, generation: u32) {
    for session in 0..SESSIONS {
        let name = format!("s{session}");
        let held = refresh_token(store, &name).await;
        store.put_tokens(&name, over_already(&held)).await;
        let tab = |tab: usize| {
            let (replica, name) = (replicas[tab % replicas.len()].clone(), name.clone());
            tokio::spawn(async move { replica.token(&name).await.map(|token| token.expose().to_owned()) })
        };
        let tabs: Vec<_> = (0..TABS).map(tab).collect();
        for (number, tab) in tabs.into_iter().enumerate() {
            if number % 4 == 3 {
                tab.abort();
            } else {
                let token = tab.await.expect("no panics").expect("nobody is logged out");
                assert_eq!(token, format!("of f{session}.{generation}"));
            }
        }
        assert_eq!(refresh_token(store, &name).await, format!("f{session}.{generation}"));
    }
}

async fn outlive_closed_tabs_three_rotations_and_a_coordinator_that_forgets<T: PutTokens>(store: &T) {
    let (redis, provider) = (RedisServer::start_own(&[]).await, StrictProvider::open());
    let fleet = replicas(&redis, store, &provider).await;
    for session in 0..SESSIONS {
        store.put_tokens(&format!("s{session}"), over_already(&format!("f{session}.1"))).await;
    }
    for generation in 2..=4 {
        rotate(&fleet, store, generation).await;
    }
    for replica in &fleet {
        replica.coordinator().close(10 * S).await;
    }
    redis.cli(&["FLUSHALL"]).await;
    let fleet = replicas(&redis, store, &provider).await;
    rotate(&fleet, store, 5).await;

    assert_eq!((provider.presentations(), provider.revoked().len()), (4 * SESSIONS, 0));
}

async fn logout_in_the_middle_of_a_refresh_stands<T: PutTokens>(store: &T) {
    let (redis, provider) = (RedisServer::start_own(&[]).await, StrictProvider::held());
    let fleet = replicas(&redis, store, &provider).await;
    store.put_tokens("left", over_already("l.1")).await;
    let tab = tokio::spawn({
        let replica = fleet[0].clone();
        async move { replica.token("left").await.map(drop) }
    });
    provider.asked(1).await;

    assert!(fleet[1].end_session("left").await.expect("the store answers"));
    provider.release(1);

    tab.await.expect("no panics").expect_err("the session is over");
    until("both are revoked", async || {
        let mut revoked = provider.revoked();
        revoked.sort();
        revoked == ["l.1", "l.2"]
    })
    .await;
    assert!(store.load("left").await.expect("the store answers").is_none(), "nothing has come back");
}

async fn replica_that_is_killed_before_it_wrote_leaves_its_answer_to_another<T: PutTokens>(store: &T) {
    let (redis, provider) = (RedisServer::start_own(&[]).await, StrictProvider::open());
    let fleet = replicas(&redis, store, &provider).await;
    store.put_tokens("kept", over_already("k.1")).await;
    let doomed = MortalPod::connect(redis.url(), &config()).await;
    let (failing, judge) = (Failing::to_write(store.clone()), provider.clone());
    drop(doomed.spawn(async move |pod: RefreshCoordinator| {
        drop(over(&pod, failing, &judge).token("kept").await.map(drop));
    }));
    // Until it has failed to write, with the answer in Redis.
    let counted = async || doomed.spawn(async |pod: RefreshCoordinator| pod.metrics().hooks_failed).await;
    until("it has failed to write", async || counted().await.expect("it lives") > 0).await;

    doomed.die();
    let token = fleet[0].token("kept").await.expect("what the lost replica was given");

    assert_eq!((token.expose(), refresh_token(store, "kept").await.as_str()), ("of k.2", "k.2"));
    assert_eq!((provider.presentations(), provider.revoked().len()), (1, 0));
}

/// What an application does that reads the session, presents its token, and writes what comes.
async fn without_a_coordinator_all_are_logged_out<T: PutTokens>(store: &T) {
    let provider = StrictProvider::open();
    for session in 0..SESSIONS {
        let name = format!("w{session}");
        store.put_tokens(&name, over_already(&format!("w{session}.1"))).await;
        let tabs = (0..TABS).map(|_| {
            let (store, provider, name) = (store.clone(), provider.clone(), name.clone());
            async move {
                let held = refresh_token(&store, &name).await;
                provider.present(&held).await.map(drop)
            }
        });
        // All of them come with the token that the session holds.
        for tab in tabs.map(tokio::spawn).collect::<Vec<_>>() {
            _ = tab.await.expect("no panics");
        }
    }

    let mut revoked = provider.revoked();
    revoked.sort();
    revoked.dedup();
    assert_eq!(revoked.len(), SESSIONS, "without it nobody is logged out either: these tests show nothing");
}

async fn sessions_live(store: impl PutTokens) {
    outlive_closed_tabs_three_rotations_and_a_coordinator_that_forgets(&store).await;
    logout_in_the_middle_of_a_refresh_stands(&store).await;
    replica_that_is_killed_before_it_wrote_leaves_its_answer_to_another(&store).await;
    without_a_coordinator_all_are_logged_out(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_in_memory_outlive_every_fault() {
    sessions_live(MemoryTokens::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_in_redis_outlive_every_fault() {
    let redis = RedisServer::start_own(&[]).await;
    sessions_live(RedisTokens::new(redis.url(), "app:", 3600 * S).expect("a URL")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_on_a_cluster_outlive_every_fault() {
    let cluster = Cluster::start().await;
    sessions_live(RedisTokens::new(cluster.url(), "app:", 3600 * S).expect("a URL")).await;
}

#[cfg(feature = "postgres")]
mod postgres {
    use refresh_coordinator::tokens::PostgresTokens;

    use super::*;
    use crate::support::postgres::PostgresServer;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn sessions_in_postgres_outlive_every_fault() {
        let Some(postgres) = PostgresServer::start() else { return };
        let store = PostgresTokens::new(sqlx::PgPool::connect(postgres.url()).await.expect("it is ready"));
        store.create_table().await.expect("a table");
        sessions_live(store).await;
    }
}
