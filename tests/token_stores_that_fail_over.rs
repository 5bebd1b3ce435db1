//! Sessions' tokens in a Redis that is not the one it was: a master that is killed or relieved, a node of a cluster that is lost, a
//! slot that moves. The store finds the one that serves them by itself, and goes on.

mod support;

use std::time::{Duration, SystemTime};

use refresh_coordinator::tokens::{RedisTokens, SessionTokens, Swap, TokenStore};
use refresh_coordinator::{RedisTarget, Secret};
use support::redis::RedisServer;
use support::redis::topology::{Cluster, Group, is_promoted};
use support::wait::until;

const S: Duration = Duration::from_secs(1);

fn over(redis: impl Into<RedisTarget>, prefix: &str) -> RedisTokens {
    RedisTokens::new(redis, prefix, 3600 * S).expect("a URL")
}

fn tokens(refresh_token: &str) -> SessionTokens {
    SessionTokens::new("a", refresh_token, SystemTime::now(), 300 * S)
}

async fn held_by(store: &RedisTokens, session: &str) -> Option<String> {
    let held = store.load(session).await.ok()?;
    held.map(|held| held.refresh_token().expose().to_owned())
}

/// Asks until there is an answer: it must be this one, and then the next write goes through.
async fn goes_on(store: &RedisTokens, session: &str, held: &str) {
    until("the store answers", async || held_by(store, session).await.is_some()).await;
    assert_eq!(held_by(store, session).await.as_deref(), Some(held));
    let row = store.load(session).await.expect("it answers").expect("a session");
    let next = format!("{held}+");
    let new = tokens(&next).in_place_of(&row);
    let walked = [Secret::from(held)];
    until("the store writes", async || match store.swap(session, &walked, &new).await {
        Ok(Swap::Written) => true,
        // The answer before was lost.
        Ok(Swap::Newer(now)) => now.refresh_token().expose() == next,
        Ok(Swap::Gone) => panic!("the session is gone"),
        Err(_) => false,
    })
    .await;
    assert_eq!(held_by(store, session).await, Some(next));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn master_behind_sentinels_is_killed() {
    let group = Group::start(S).await;
    let store = over(group.url(), "app:");
    store.put("s", &tokens("r1")).await.expect("the master is there");
    group.servers[1].until(&["DBSIZE"], "1").await;

    group.servers[0].kill();

    goes_on(&store, "s", "r1").await;
    assert!(group.servers[1].cli(&["ROLE"]).await.starts_with("master"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn master_behind_sentinels_is_relieved_while_it_lives_and_nothing_is_written_there_any_more() {
    let group = Group::start(30 * S).await;
    let store = over(group.url(), "app:");
    store.put("s", &tokens("r1")).await.expect("the master is there");
    group.servers[1].until(&["DBSIZE"], "1").await;

    group.sentinels[0].cli(&["SENTINEL", "FAILOVER", Group::MASTER]).await;
    is_promoted(&group.servers[1]).await;
    until("the old one follows", async || group.servers[0].cli(&["ROLE"]).await.starts_with("slave")).await;

    goes_on(&store, "s", "r1").await;
    store.put("t", &tokens("t1")).await.expect("the new master is there");
    assert_eq!(group.servers[1].keys("app:*").await.len(), 2);
}

/// It takes what is sent, and answers nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn master_behind_sentinels_stands_still() {
    let group = Group::start(S).await;
    let store = over(group.url(), "app:");
    store.put("s", &tokens("r1")).await.expect("the master is there");
    group.servers[1].until(&["DBSIZE"], "1").await;

    group.servers[0].signal("-STOP");
    is_promoted(&group.servers[1]).await;

    goes_on(&store, "s", "r1").await;
    group.servers[0].signal("-CONT");
}

/// All sessions of one slot, that of the namespace.
fn in_the_slot_of(namespace: &str) -> String {
    format!("app:{{{namespace}}}:")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_of_a_cluster_is_killed() {
    let cluster = Cluster::start_for("sessions", S).await;
    let store = over(cluster.url(), &in_the_slot_of("sessions"));
    store.put("s", &tokens("r1")).await.expect("the node is there");
    let (owner, replica) = (cluster.owner("sessions").await, cluster.replica.clone().expect("a replica"));
    replica.until(&["DBSIZE"], "1").await;

    owner.kill();

    goes_on(&store, "s", "r1").await;
    assert!(replica.cli(&["ROLE"]).await.starts_with("master"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slot_of_a_cluster_moves_and_sessions_of_other_slots_stay() {
    let cluster = Cluster::start().await;
    let (moving, staying) = (over(cluster.url(), &in_the_slot_of("sessions")), over(cluster.url(), "app:"));
    moving.put("s", &tokens("r1")).await.expect("the node is there");
    for session in 0..30 {
        staying.put(&format!("s{session}"), &tokens("r1")).await.expect("the nodes are there");
    }
    let owner = cluster.owner("sessions").await;
    let to = cluster.masters.iter().find(|node| node.port() != owner.port()).expect("another");

    cluster.move_slot("sessions", to).await;

    goes_on(&moving, "s", "r1").await;
    assert_eq!(to.keys(&format!("{}*", in_the_slot_of("sessions"))).await.len(), 1);
    for session in 0..30 {
        assert_eq!(held_by(&staying, &format!("s{session}")).await.as_deref(), Some("r1"));
    }
}

/// As after a renewal: the server takes the new one alone, and has closed what was logged in by the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn password_is_renewed() {
    let (redis, file) = (RedisServer::start_own(&[]).await, tempfile::NamedTempFile::new().expect("a file"));
    let set = async |rule: &str| {
        assert_eq!(redis.cli(&["ACL", "SETUSER", "app", "on", rule, "~app:*", "+@all"]).await, "OK");
    };
    set(">first").await;
    std::fs::write(file.path(), "first\n").expect("written");
    let store = over(RedisTarget::new(redis.url()).username("app").password_file(file.path()), "app:");
    store.put("s", &tokens("r1")).await.expect("it is let in");

    set(">second").await;
    set("<first").await;
    std::fs::write(file.path(), "second\n").expect("written");
    redis.cli(&["CLIENT", "KILL", "USER", "app"]).await;

    goes_on(&store, "s", "r1").await;
}

/// The URL is asked for at every connect, as a coordinator's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoint_moves_and_the_url_is_asked_for_again() {
    let (old, new) = (RedisServer::start_own(&[]).await, RedisServer::start_own(&[]).await);
    let url = tokio::sync::watch::Sender::new(old.url().to_owned());
    let asked = url.subscribe();
    let target = RedisTarget::asking(move || {
        let url = asked.borrow().clone();
        async { Ok(url.into()) }
    });
    let store = over(target, "app:");
    store.put("s", &tokens("r1")).await.expect("the old one is there");
    over(new.url(), "app:").put("s", &tokens("r1")).await.expect("the new one is there");

    url.send_replace(new.url().to_owned());
    old.kill();

    goes_on(&store, "s", "r1").await;
}
