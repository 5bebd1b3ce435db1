//! `refreshd namespace`: what is left of a namespace in Redis, and how that is forgotten.

use nix::sys::signal::Signal;

use crate::daemon::{Daemon, refresh};
use crate::operate::{json_of, run, user};
use crate::provider::{Provider, json};
use crate::redis::RedisServer;
use crate::redis::topology::{Cluster, Group};
use crate::within;

const TOKENS: &str = r#"{"access_token":"a","refresh_token":"r2"}"#;
const OLD: [&str; 2] = ["--namespace", "old"];

fn words<'a>(act: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["namespace", act][..], &OLD, more].concat()
}

/// A daemon that has served one refresh in the namespace `old`, and whose answer is held.
async fn served(redis: &str, provider: &Provider) -> Daemon {
    let daemon = Daemon::start(provider, &[&["--redis", redis, "--store-timeout", "5s"][..], &OLD].concat()).await;
    let body = refresh("hush") + "&client_secret=hush-hush";
    assert_eq!(within(daemon.post(&body)).await.status(), 200);
    daemon
}

async fn provider() -> Provider {
    Provider::start(|_| async { json(200, TOKENS) }).await
}

async fn keys(redis: &RedisServer, pattern: &str) -> String {
    redis.cli(&["KEYS", pattern]).await
}

#[tokio::test]
async fn namespace_in_use_is_shown_with_its_pods_and_not_forgotten() {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("old").await;
    let provider = provider().await;
    let daemon = served(redis.url(), &provider).await;
    let url = user(&redis, &["+scan", "+unlink", "+memory|usage"]).await;

    let shown = json_of(&url, &words("show", &["--json"]), "").await;
    let (_, lines) = run(&url, &words("show", &[]), "").await;
    let before = keys(&redis, "rc:{old}:*").await;
    let (code, refused) = run(&url, &words("forget", &["--yes"]), "").await;

    let pods = shown["pods"].as_array().expect("a list");
    assert_eq!(pods.len(), 1, "{shown}");
    assert!(pods[0]["lives_for_ms"].as_u64().is_some_and(|left| left > 180_000), "{shown}");
    let settings = pods[0]["settings"].as_str().expect("words");
    assert!(settings.ends_with(" lease=10000") && settings.contains("provider=localhost:"), "{settings}");
    // The token that was presented, and the one that it gave.
    for (count, expected) in [("records", 2), ("led", 0), ("permits_out", 0), ("answers_held", 1), ("sessions_held", 0)]
    {
        assert_eq!(shown[count], expected, "{count}: {shown}");
    }
    assert!(shown["keys"].as_u64() > Some(4) && shown["bytes"].as_u64() > Some(500), "{shown}");
    assert_eq!(shown["is_all"], true);
    assert!(lines.contains("  answers that are held: 1\n") && lines.contains(" lives, for "), "{lines}");
    assert_eq!(code, Some(1), "{refused}");
    assert!(refused.contains("not forgotten: pods live in it"), "{refused}");
    assert_eq!(keys(&redis, "rc:{old}:*").await, before);
    drop(daemon);
}

#[tokio::test]
async fn namespace_without_pods_is_forgotten_but_for_its_last_fence_and_no_other_is_touched() {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("old").await;
    let provider = provider().await;
    // Beyond one step of the walk, and names that look alike.
    let script = "for i = 1, 3000 do redis.call('SET', 'other:' .. i, i) end redis.call('SET', 'rc:{older}:fence', 1)
        redis.call('SET', 'xrc:{old}:fence', 1) for i = 1, 2500 do redis.call('SET', 'rc:{old}:flight:' .. i, i) end";
    redis.cli(&["EVAL", script, "0"]).await;
    let daemon = served(redis.url(), &provider).await;
    let fence = redis.cli(&["GET", "rc:{old}:fence"]).await;
    daemon.signal(Signal::SIGINT);
    daemon.ended().await;

    let (asked, asks) = run(redis.url(), &words("forget", &[]), "yes\n").await;
    let kept = redis.cli(&["DBSIZE"]).await;
    let (few, some) = run(redis.url(), &words("forget", &["--keys", "1"]), "old\n").await;
    let (code, said) = run(redis.url(), &words("forget", &[]), "old\n").await;
    let (again, nothing) = run(redis.url(), &words("forget", &["--yes"]), "").await;

    assert_eq!(asked, Some(1), "{asks}");
    assert!(asks.contains("not confirmed") && asks.contains("no pod is in its register"), "{asks}");
    assert!(kept.parse::<u64>().expect("a number") > 5500, "{kept}");
    assert_eq!(few, Some(1), "{some}");
    assert!(some.contains("some may be left"), "{some}");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("\nforgotten: "), "{said}");
    let mut left: Vec<_> = redis.keys("rc:{old}:*").await;
    left.sort_unstable();
    assert_eq!(left, ["rc:{old}:fence", "rc:{old}:incarnation"]);
    assert_eq!(redis.cli(&["GET", "rc:{old}:fence"]).await, fence);
    assert_eq!(redis.cli(&["DBSIZE"]).await, "3004", "what others have is there");
    assert_eq!(again, Some(0), "{nothing}");
    assert!(nothing.contains("forgotten: 0 keys"), "{nothing}");

    let next = served(redis.url(), &provider).await;
    let later = redis.cli(&["GET", "rc:{old}:fence"]).await;
    assert!(later.parse::<u64>().expect("a number") > fence.parse().expect("a number"), "{later} after {fence}");
    assert_eq!(provider.seen().len(), 2, "what was held for the token is forgotten");
    drop(next);
}

/// A pod that Redis has forgotten stands in no register, and listens.
#[tokio::test]
async fn namespace_whose_register_is_lost_is_in_use_as_long_as_a_pod_listens() {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("old").await;
    let provider = provider().await;
    let daemon = served(redis.url(), &provider).await;
    redis.until_so(&["PUBSUB", "NUMSUB", "rc:{old}:fleet"], |told| told.ends_with('1')).await;
    redis.cli(&["DEL", "rc:{old}:meta"]).await;

    let (code, said) = run(redis.url(), &words("forget", &["--yes"]), "").await;

    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("it is in use (pods that live: "), "{said}");
    assert_ne!(redis.cli(&["EXISTS", "rc:{old}:incarnation"]).await, "0");
    drop(daemon);
}

/// A pod that has slept through its lease, its entry and its subscription comes back to a lock, or to none.
#[tokio::test]
async fn namespace_in_which_a_flight_is_led_is_in_use() {
    let redis = RedisServer::start_own(&[]).await;
    redis.cli(&["SET", "rc:{old}:lock:of-a-flight", "pod 7", "PX", "60000"]).await;
    redis.cli(&["SET", "rc:{old}:flight:of-a-flight", "x"]).await;

    let (code, said) = run(redis.url(), &words("forget", &["--yes"]), "").await;

    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("flights that are led: 1"), "{said}");
    assert_eq!(redis.cli(&["DBSIZE"]).await, "2");
}

#[tokio::test]
async fn session_that_the_provider_asked_to_stay_away_is_counted() {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("old").await;
    let provider = Provider::start(|_| async {
        let mut answer = json(429, "{}");
        let headers = answer.as_mut().expect("an answer").headers_mut();
        headers.insert("retry-after", "300".parse().expect("a value"));
        answer
    })
    .await;
    let daemon = Daemon::start(&provider, &[&["--redis", redis.url()][..], &OLD].concat()).await;
    assert_ne!(within(daemon.post(&refresh("r1"))).await.status(), 200);

    let shown = json_of(redis.url(), &words("show", &["--json"]), "").await;

    assert_eq!((&shown["sessions"], &shown["sessions_held"]), (&1.into(), &1.into()), "{shown}");
    drop(daemon);
}

/// It may be why it is to be forgotten.
#[tokio::test]
async fn namespace_with_a_broken_key_is_forgotten() {
    let redis = RedisServer::start_own(&[]).await;
    redis.cli(&["SET", "rc:{old}:queue:app", "no sorted set"]).await;

    let (code, said) = run(redis.url(), &words("forget", &["--yes"]), "").await;

    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("cannot be counted") && said.contains("forgotten: 1 keys"), "{said}");
}

#[tokio::test]
async fn user_that_may_not_ask_who_listens_forgets_nothing() {
    let redis = RedisServer::start_own(&[]).await;
    redis.cli(&["SET", "rc:{old}:budget", "0"]).await;
    let url = user(&redis, &["+scan", "+unlink", "+memory|usage", "resetchannels"]).await;

    let (code, said) = run(&url, &words("forget", &["--yes"]), "").await;

    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("lacks rights") && said.contains("&rc:{old}:*"), "{said}");
    assert_eq!(redis.cli(&["EXISTS", "rc:{old}:budget"]).await, "1");
}

#[tokio::test]
async fn user_that_may_not_is_told_the_rights_that_it_lacks() {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("old").await;
    redis.cli(&["SET", "rc:{old}:budget", "0"]).await;
    let no_scan = user(&redis, &[]).await;
    let (code, said) = run(&no_scan, &words("show", &[]), "").await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("lacks rights") && said.contains("+scan"), "{said}");

    let no_memory = user(&redis, &["+scan"]).await;
    let (code, said) = run(&no_memory, &words("show", &[]), "").await;
    let (forgets, forbidden) = run(&no_memory, &words("forget", &["--yes"]), "").await;

    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("their memory cannot be asked for: +memory|usage"), "{said}");
    assert_eq!(forgets, Some(2), "{forbidden}");
    assert!(forbidden.contains("+unlink"), "{forbidden}");
    assert_eq!(redis.cli(&["EXISTS", "rc:{old}:budget"]).await, "1");
}

#[tokio::test]
async fn group_and_cluster_forget_as_one_server_does() {
    let group = Group::start(std::time::Duration::from_secs(5)).await;
    let cluster = Cluster::start_for("old", std::time::Duration::from_secs(5)).await;
    let provider = provider().await;
    for url in [group.url(), cluster.url()] {
        let daemon = served(&url, &provider).await;
        let (in_use, refused) = run(&url, &words("forget", &["--yes"]), "").await;
        daemon.signal(Signal::SIGINT);
        daemon.ended().await;

        let (code, said) = run(&url, &words("forget", &["--yes"]), "").await;
        let left = json_of(&url, &words("show", &["--json"]), "").await;

        assert_eq!((in_use, code), (Some(1), Some(0)), "{refused}{said}");
        assert_eq!((&left["keys"], &left["records"]), (&2.into(), &0.into()), "{left}");
    }
}
