//! What an operator asks where refreshd runs: `inspect`, `flights` and `release`, by the binary alone.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::daemon::{Daemon, refresh, refreshd};
use crate::provider::{Gate, Provider, json};
use crate::redis::RedisServer;
use crate::redis::topology::{Cluster, Group};
use crate::within;

const TOKEN: &str = "hush-8xLOxBtZp8";
const TOKENS: &str = r#"{"access_token":"a","refresh_token":"r2"}"#;

/// Runs it with this stdin; its exit code, and what it printed. It never prints the token.
pub(crate) async fn run(url: &str, arguments: &[&str], stdin: &str) -> (Option<i32>, String) {
    let mut command = refreshd(arguments);
    // As the pods have it: by the environment.
    command.env("REFRESHD_REDIS", url).env("REFRESHD_STORE_TIMEOUT", "5s").stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).spawn().expect("refreshd runs");
    let mut to = child.stdin.take().expect("piped");
    // One that asks nothing may have ended.
    let _ = to.write_all(stdin.as_bytes()).await;
    drop(to);
    let output = within(child.wait_with_output()).await.expect("it is ours");
    let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
    assert!(!said.contains("hush"), "{said}");
    (output.status.code(), said)
}

/// What a caller has got when it has the tokens, or when the pod closes.
async fn answer_to(mut caller: tokio::net::TcpStream) -> String {
    let mut answer = String::new();
    let mut bytes = [0; 1024];
    while !answer.ends_with(TOKENS) {
        let count = within(caller.read(&mut bytes)).await.expect("it is answered");
        if count == 0 {
            break;
        }
        answer += std::str::from_utf8(&bytes[..count]).expect("UTF-8");
    }
    answer
}

pub(crate) async fn json_of(url: &str, arguments: &[&str], stdin: &str) -> Value {
    let (code, said) = run(url, arguments, stdin).await;
    assert_eq!(code, Some(0), "{said}");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// A flight that a pod leads, before a provider that does not answer.
struct Stage {
    provider: Provider,
    gate: Gate,
    leader: Daemon,
    caller: tokio::net::TcpStream,
}

impl Stage {
    async fn led(url: &str, flags: &[&str]) -> Self {
        let gate = Gate::closed();
        let provider = Provider::behind(&gate, json(200, TOKENS)).await;
        let flags = [&["--redis", url, "--store-timeout", "5s"], flags].concat();
        let leader = Daemon::start(&provider, &flags).await;
        let caller = leader.write_refresh(refresh(TOKEN)).await;
        provider.asked(1).await;
        Self { provider, gate, leader, caller }
    }

    async fn killed(self) -> (Provider, Gate) {
        let Self { provider, gate, leader, caller } = self;
        leader.signal(nix::sys::signal::Signal::SIGKILL);
        leader.ended().await;
        drop(caller);
        (provider, gate)
    }
}

/// With the rights that docs/redis.md gives to a pod, `inspect` and `release` ask, and `flights` with one more.
pub(crate) async fn user(redis: &RedisServer, more: &[&str]) -> String {
    let page = include_str!("../../../docs/redis.md");
    let line = page.lines().find(|line| line.starts_with("ACL SETUSER refreshd ")).expect("a line for one server");
    let line = line.replace("SECRET", "pw");
    redis.cli(&[&line.split(' ').collect::<Vec<_>>(), more].concat()).await;
    redis.url().replace("redis://", "redis://refreshd:pw@")
}

#[tokio::test]
async fn flight_is_told_by_its_token_with_the_rights_of_a_pod() {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("default").await;
    let stage = Stage::led(redis.url(), &["--max-concurrent-refreshes", "1"]).await;
    let _queued = stage.leader.write_refresh(refresh("queues")).await;
    redis.until_queued("rc:{default}:queue", 1).await;
    let url = user(&redis, &[]).await;
    let owner = redis.cli(&["GET", &format!("rc:{{default}}:lock:{}", flight())]).await;

    let (code, told) = run(&url, &["inspect", "--token-stdin"], &format!("{TOKEN}\n")).await;
    let by_hash = run(&url, &["inspect", "--token-hash", &flight()], "").await.1;
    let fleet = run(&url, &["inspect"], "").await.1;
    let by_session = run(&url, &["inspect", "--session", "ann"], "").await.1;
    let fields = json_of(&url, &["inspect", "--token-stdin", "--json"], TOKEN).await;

    assert_eq!(code, Some(0), "{told}");
    assert!(told.starts_with(&format!("flight {}\n  led by {owner}; the lease ends in ", flight())), "{told}");
    for part in ["\nsession of this flight\n", "\npermits: 1 is out\n", "\nmeta: 1 pod lives here\n"] {
        assert!(told.contains(part), "{told}");
    }
    assert!(by_hash.contains(&format!("  led by {owner};")), "{by_hash}");
    assert!(fleet.starts_with("circuit closed") && fleet.contains("\npermits: 1 is out\n"), "{fleet}");
    assert!(fleet.contains("\nqueue: 1 flight waits for a permit\n"), "{fleet}");
    assert!(by_session.starts_with("session ") && by_session.contains("\n  not refused: "), "{by_session}");
    assert_eq!(
        (&fields["flight"]["lock"], &fields["flight"]["record"]["owner"]),
        (&owner.clone().into(), &owner.into())
    );
    assert_eq!((&fields["permits"]["count"], &fields["budget"]), (&1.into(), &"1".into()), "{fields}");
    let waiting = fields["waiting"].as_object().expect("clients by their names").values().collect::<Vec<_>>();
    assert_eq!((&fields["queue"]["count"], waiting.len()), (&1.into(), 1), "{fields}");
    assert_eq!(waiting[0]["count"], 1, "{fields}");
    assert!(fields["flight"]["record"].get("sealed").is_none());
    drop(stage);
}

#[tokio::test]
async fn wrong_questions_are_one_line_and_not_a_wrong_answer() {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("default").await;
    let pepper = "p".repeat(32);
    let gate = Gate::closed();
    let provider = Provider::behind(&gate, json(200, TOKENS)).await;
    let mut command = refreshd(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    command.env("REFRESHD_PEPPER", &pepper).env("REFRESHD_UPSTREAM", provider.url());
    let _pod = Daemon::spawn({
        command.env("REFRESHD_REDIS", redis.url());
        command
    })
    .await;

    for (arguments, stdin, part) in [
        (&["inspect", "--token-stdin"][..], TOKEN, "another pepper by pod "),
        (&["inspect", "--token-stdin"], &"a".repeat(2 * 1024 * 1024), "its first line is longer than any token"),
        (&["inspect", "--token-stdin"], "", "--token-stdin: the first line of stdin is empty"),
        (&["inspect", "--token-hash", "5b3e"], "", "expected 64 digits"),
        (&["inspect", "--token-hash", &flight(), "--token-stdin"], "", "cannot be used with"),
        (&["release", "--yes"], "", "--token-hash"),
        (&["flights", "--limit", "0"], "", "--limit"),
        (&["inspect", TOKEN.trim_start_matches("hush-")], "", "unexpected argument"),
    ] {
        let (code, said) = run(redis.url(), arguments, stdin).await;
        assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
    let (code, said) = run("redis://127.0.0.1:1", &["flights", "--store-timeout", "1s"], "").await;
    assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("redis at 127.0.0.1:1 cannot be used") && !said.contains("alone"), "{said}");
    let (code, said) = run("", &["flights"], "").await;
    assert_eq!(code, Some(2), "{said}");
}

#[tokio::test]
async fn flights_are_listed_led_and_lost_within_limits() {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("default").await;
    // Others' keys, beyond one step of the walk.
    let script = "for i = 1, 3000 do redis.call('SET', 'other:' .. i, i) end";
    redis.cli(&["EVAL", script, "0"]).await;
    let stage = Stage::led(redis.url(), &[]).await;
    let url = user(&redis, &["+scan"]).await;
    let owner = redis.cli(&["GET", &format!("rc:{{default}}:lock:{}", flight())]).await;

    let led = json_of(&url, &["flights", "--json"], "").await;
    let lines = run(&url, &["flights"], "").await.1;
    let few = json_of(&url, &["flights", "--json", "--keys", "1"], "").await;
    let (code, forbidden) = run(&user(&redis, &["-scan"]).await, &["flights"], "").await;
    stage.killed().await;
    // Its lease ends, as it would some seconds later.
    redis.cli(&["PEXPIRE", &format!("rc:{{default}}:lock:{}", flight()), "1"]).await;
    redis.until(&["EXISTS", &format!("rc:{{default}}:lock:{}", flight())], "0").await;
    let none = run(redis.url(), &["flights"], "").await.1;
    let lost = json_of(redis.url(), &["flights", "--lost", "--json"], "").await;

    assert_eq!(led["flights"][0]["name"], flight());
    assert_eq!((&led["flights"][0]["owner"], &led["flights"][0]["state"]), (&owner.clone().into(), &"led".into()));
    assert_eq!((led["flights"].as_array().map(Vec::len), &led["is_all"]), (Some(1), &true.into()));
    assert!(lines.starts_with(&format!("{} led by {owner}, the lease ends in ", flight())), "{lines}");
    assert_eq!(few["is_all"], false);
    assert_eq!(code, Some(2), "{forbidden}");
    assert!(forbidden.contains("lacks rights") && forbidden.contains("+scan"), "{forbidden}");
    assert_eq!(none, "no flights\n");
    assert_eq!((&lost["flights"][0]["state"], &lost["flights"][0]["owner"]), (&"lost".into(), &owner.into()));
}

#[tokio::test]
async fn living_leader_is_not_released_unless_the_danger_is_named() {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("default").await;
    let stage = Stage::led(redis.url(), &[]).await;
    let (url, lock) = (user(&redis, &[]).await, format!("rc:{{default}}:lock:{}", flight()));

    let (code, refused) = run(&url, &["release", "--token-stdin", "--yes"], TOKEN).await;
    let is_held = redis.cli(&["EXISTS", &lock]).await;
    let forced = ["release", "--token-stdin", "--risk-presenting-the-token-twice"];
    let (asked, asks) = run(&url, &forced, &format!("{TOKEN}\nno\n")).await;
    let is_still_held = redis.cli(&["EXISTS", &lock]).await;
    let (confirmed, said) = run(&url, &forced, &format!("{TOKEN}\nyes\n")).await;
    // Its next renewal takes the flight back, as nobody else leads it.
    redis.until(&["EXISTS", &lock], "1").await;
    stage.gate.open();
    let answer = answer_to(stage.caller).await;

    assert_eq!((code, &is_held[..]), (Some(1), "1"), "{refused}");
    assert!(refused.contains("the leader may live: its pod listens"), "{refused}");
    assert_eq!((asked, &is_still_held[..]), (Some(1), "1"), "{asks}");
    assert!(asks.contains("may be presented twice") && asks.contains("not confirmed"), "{asks}");
    assert_eq!(confirmed, Some(0), "{said}");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn user_who_may_only_read_inspects_and_releases_nothing() {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("default").await;
    let _stage = Stage::led(redis.url(), &[]).await;
    redis.cli(&["ACL", "SETUSER", "reader", "on", ">pw", "~rc:*", "+@read", "+time", "+eval"]).await;
    let url = redis.url().replace("redis://", "redis://reader:pw@");
    let release = ["release", "--token-stdin", "--yes"];

    let (code, told) = run(&url, &["inspect", "--token-stdin"], TOKEN).await;
    let (refused, unheard) = run(&url, &release, TOKEN).await;
    let (forced, forbidden) = run(&url, &[&release[..], &["--risk-presenting-the-token-twice"]].concat(), TOKEN).await;

    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("  led by "), "{told}");
    assert_eq!(refused, Some(1), "{unheard}");
    assert!(unheard.contains("the leader may live: its pod cannot be asked for"), "{unheard}");
    assert_eq!(forced, Some(2), "{forbidden}");
    assert!(forbidden.contains("lacks rights") && forbidden.contains("+del"), "{forbidden}");
    assert_eq!(redis.cli(&["EXISTS", &format!("rc:{{default}}:lock:{}", flight())]).await, "1");
}

#[tokio::test]
async fn lost_leader_is_released_once_its_renewals_are_missing_and_who_waits_goes_on() {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("default").await;
    let flags = ["--lease", "60s", "--retry-lost-after", "0s", "--max-concurrent-refreshes", "1"];
    let stage = Stage::led(redis.url(), &flags).await;
    let (lock, hash) = (format!("rc:{{default}}:lock:{}", flight()), flight());
    let (provider, gate) = stage.killed().await;
    gate.open();
    let flags = [&["--redis", redis.url(), "--store-timeout", "5s"][..], &flags].concat();
    let other = Daemon::start(&provider, &flags).await;
    let waiting = other.write_refresh(refresh(TOKEN)).await;
    redis.until_so(&["EXISTS", &format!("rc:{{default}}:waits:{hash}")], |there| there == "1").await;

    let release = ["release", "--token-hash", &hash];
    let (early, renewed) = run(redis.url(), &[&release[..], &["--yes"]].concat(), "").await;
    // Two renewals are missing, as they would be 40 s later.
    redis.cli(&["PEXPIRE", &lock, "19000"]).await;
    let (asked, told) = run(redis.url(), &release, "").await;
    let is_held = redis.cli(&["EXISTS", &lock]).await;
    let (released, said) = run(redis.url(), &release, "yes\n").await;
    let answer = answer_to(waiting).await;
    let (again, nothing) = run(redis.url(), &release, "").await;

    assert_eq!(early, Some(1), "{renewed}");
    assert!(renewed.contains("nobody listens for its pod, but it has renewed its lease lately"), "{renewed}");
    assert_eq!((asked, &is_held[..]), (Some(1), "1"), "{told}");
    for part in ["  holds a lease for ", "  holds a permit for ", "pods that wait for it: 1", "the leader is lost"] {
        assert!(told.contains(part), "no {part}: {told}");
    }
    assert_eq!(released, Some(0), "{said}");
    assert!(said.ends_with("released\n"), "{said}");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(
        (again, &nothing[..]),
        (Some(0), &*format!("flight {hash} holds nothing: there is nothing to release\n"))
    );
    assert_eq!(redis.cli(&["ZCARD", "rc:{default}:permits"]).await, "0");
}

#[tokio::test]
async fn sentinel_and_cluster_are_asked_as_one_server_is() {
    let group = Group::start(Duration::from_secs(5)).await;
    let cluster = Cluster::start_for("default", Duration::from_secs(5)).await;
    for url in [group.url(), cluster.url()] {
        let stage = Stage::led(&url, &[]).await;

        let told = run(&url, &["inspect", "--token-stdin"], TOKEN).await.1;
        let flights = json_of(&url, &["flights", "--json"], "").await;
        let (code, refused) = run(&url, &["release", "--token-stdin", "--yes"], TOKEN).await;

        assert!(told.contains("  led by ") && told.contains("\npermits: 1 is out\n"), "{told}");
        assert_eq!(flights["flights"][0]["name"], flight());
        assert_eq!(code, Some(1), "{refused}");
        // Asked over the channel of the topology.
        assert!(refused.contains("the leader may live: its pod listens"), "{refused}");
        drop(stage);
    }
}

fn flight() -> String {
    ring::digest::digest(&ring::digest::SHA256, TOKEN.as_bytes())
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
