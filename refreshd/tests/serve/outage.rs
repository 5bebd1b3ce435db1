//! Redis is out of reach: refused at once and as transient, never as a verdict on the token, or led alone where the
//! policy says so; and found again within a second of its return, without a restart.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::daemon::{Daemon, refresh};
use crate::provider::{Gate, Provider, json};
use crate::redis::RedisServer;
use crate::stopwatch::Stopwatch;
use crate::within;

const TOKENS: &str = r#"{"access_token":"a2","token_type":"Bearer","expires_in":300,"refresh_token":"r2"}"#;
/// `printf %s r1 | sha256sum`
const R1: &str = "82f3e9c695dc6b8d1b11818d5701919e286de8d47f7c3eb3100c485f79e57828";
const STORE_TIMEOUT: Duration = Duration::from_millis(500);

async fn provider() -> Provider {
    Provider::start(|_| async { json(200, TOKENS) }).await
}

async fn daemon(provider: &Provider, redis: &RedisServer, more: &[&str]) -> Daemon {
    let common = ["--redis", redis.url(), "--store-timeout", "500ms", "--lease", "1s"];
    redis.in_use("default").await;
    Daemon::start(provider, &[&common, more].concat()).await
}

fn signal(redis: &RedisServer, signal: Signal) {
    let pid = redis.pid().expect("a process").try_into().expect("a pid");
    kill(Pid::from_raw(pid), signal).expect("it is ours");
}

/// Asks until it is answered with tokens; says how long that took.
async fn served_again(daemon: &Daemon, token: &str) -> Duration {
    let start = Stopwatch::start();
    within(async {
        loop {
            let answer = daemon.post(&refresh(token)).await;
            if answer.status() == 200 {
                return start.elapsed();
            }
            assert_eq!(answer.status(), 503, "nobody's session ends because Redis was away");
        }
    })
    .await
}

#[tokio::test]
async fn silent_redis_costs_the_first_caller_the_store_timeout_and_the_others_nothing() {
    let (redis, provider) = (RedisServer::start_own(&[]).await, provider().await);
    let daemon = daemon(&provider, &redis, &[]).await;
    signal(&redis, Signal::SIGSTOP);

    let start = Stopwatch::start();
    let first = daemon.post(&refresh("r1")).await;
    let first_took = start.elapsed();
    let start = Stopwatch::start();
    for caller in 0..20 {
        let answer = daemon.post(&refresh(&format!("other-{caller}"))).await;
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        assert!(answer.text().await.expect("text").contains("temporarily_unavailable"));
    }
    let (ready, _) = daemon.get("/readyz").await;
    let others_took = start.elapsed();
    signal(&redis, Signal::SIGCONT);
    let again = served_again(&daemon, "r1").await;

    assert_eq!((first.status().as_u16(), ready), (503, 503));
    println!("first {first_took:?}, 20 others and /readyz {others_took:?}, served again after {again:?}");
    assert!(first_took < 2 * STORE_TIMEOUT, "{first_took:?}");
    assert!(others_took < STORE_TIMEOUT, "they waited for a dead Redis: {others_took:?}");
    assert!(again < Duration::from_secs(1), "{again:?}");
    assert_eq!(daemon.get("/readyz").await.0, 200);
    assert_eq!(provider.seen().len(), 1);
}

#[tokio::test]
async fn redis_that_takes_no_writes_is_out_of_reach_too() {
    let (redis, provider) = (RedisServer::start_own(&[]).await, provider().await);
    let daemon = daemon(&provider, &redis, &[]).await;
    let refusing = [["maxmemory", "1", "0"], ["min-replicas-to-write", "1", "0"]];
    for (round, [setting, refuse, allow]) in refusing.into_iter().enumerate() {
        redis.cli(&["CONFIG", "SET", setting, refuse]).await;

        let refused = daemon.post(&refresh(&format!("refused-{round}"))).await;
        let (ready, _) = daemon.get("/readyz").await;
        redis.cli(&["CONFIG", "SET", setting, allow]).await;
        let again = served_again(&daemon, &format!("served-{round}")).await;

        assert_eq!((refused.status().as_u16(), ready), (503, 503), "{setting}");
        assert!(again < Duration::from_secs(1), "{setting}: {again:?}");
    }
}

#[tokio::test]
async fn pod_that_goes_on_alone_waits_a_lease_and_brings_its_outcomes_to_the_fleet() {
    let (redis, provider) = (RedisServer::start_own(&[]).await, provider().await);
    let alone = daemon(&provider, &redis, &["--on-store-outage", "local", "--session-header", "x-session"]).await;
    let other = daemon(&provider, &redis, &[]).await;
    // It has landed in Redis, where it cannot be read now: to present it once more would be a reuse.
    assert_eq!(alone.post(&refresh("landed-before")).await.status(), 200);
    signal(&redis, Signal::SIGSTOP);

    let start = std::time::Instant::now();
    served_again(&alone, "r1").await;
    let waited = start.elapsed();
    let (ready, _) = alone.get("/readyz").await;
    let again = alone.post(&refresh("r1")).await;
    let reused = alone.post(&refresh("landed-before")).await;
    signal(&redis, Signal::SIGCONT);
    let back = Stopwatch::start();
    redis.until(&["HGET", &format!("rc:{{default}}:flight:{R1}"), "class"], "success").await;
    let landed_after = back.elapsed();
    served_again(&other, "r1").await;

    println!("led alone after {waited:?}, landed {landed_after:?} after Redis was back");
    assert!(landed_after < Duration::from_secs(1), "{landed_after:?}");
    assert!(waited >= Duration::from_secs(1), "led alone before a lease was over: {waited:?}");
    assert_eq!(ready, 200, "a pod that serves gets requests");
    assert_eq!((again.status().as_u16(), again.text().await.expect("text").as_str()), (200, TOKENS));
    assert_eq!(reused.status(), 503);
    let seen: Vec<_> = provider.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(seen, [refresh("landed-before"), refresh("r1")], "each was presented once");
    assert!(alone.get("/metrics").await.1.contains("refreshd_led_alone_total 1"), "it is counted");
    alone.logged("leading without redis").await;
    // Each once, with what governs it.
    for text in ["this pod goes on alone", "this pod is no longer alone"] {
        let line = alone.logged(text).await;
        for part in [r#""namespace":"default""#, r#""setting":"on_store_outage""#, r#""pod":""#] {
            assert!(line.contains(part), "no {part}: {line}");
        }
    }
    // What Redis gives from now on is higher than what was given without it.
    let (last, given) = fences_of_r1(&redis).await;
    assert!(last >= given, "{given} was given alone, and the last that redis knows is {last}");
}

#[tokio::test]
async fn recovery_of_a_redis_that_forgot_is_told_with_its_length_and_what_governs_it() {
    let (redis, provider) = (RedisServer::start_own(&[]).await, provider().await);
    let daemon = daemon(&provider, &redis, &["--admin", "127.0.0.1:0"]).await;
    assert_eq!(daemon.post(&refresh("r1")).await.status(), 200);

    redis.cli(&["FLUSHALL"]).await;
    let (waited, ()) = tokio::join!(served_again(&daemon, "r2"), async {
        let line = daemon.logged("redis has started anew or may have lost writes").await;
        for part in [r#""namespace":"default""#, r#""setting":"lease""#, r#""pod":""#, r#""for_ms":"#] {
            assert!(line.contains(part), "no {part}: {line}");
        }
    });

    assert!(waited >= Duration::from_millis(100), "nobody was given a lead meanwhile: {waited:?}");
}

/// The last fence that Redis knows, and the one under which the outcome of `r1` landed.
async fn fences_of_r1(redis: &RedisServer) -> (u64, u64) {
    let last = redis.cli(&["GET", "rc:{default}:fence"]).await;
    let owner = redis.cli(&["HGET", &format!("rc:{{default}}:flight:{R1}"), "owner"]).await;
    let given = owner.split('/').nth(1).expect("<pod>/<fence>/<lease>");
    (last.parse().expect("a fence"), given.parse().expect("a fence"))
}

#[tokio::test]
async fn refusal_that_was_obtained_alone_needs_no_second_lead_when_redis_is_back() {
    let (redis, gate) = (RedisServer::start_own(&[]).await, Gate::closed());
    let provider = Provider::behind(&gate, json(400, r#"{"error":"invalid_scope"}"#)).await;
    let alone = daemon(&provider, &redis, &["--on-store-outage", "local"]).await;
    signal(&redis, Signal::SIGSTOP);
    let asking = async {
        loop {
            let answer = alone.post(&refresh("r1")).await;
            if answer.status() != 503 {
                return answer;
            }
        }
    };
    let meanwhile = async {
        provider.asked(1).await;
        signal(&redis, Signal::SIGCONT);
        alone.logged("redis answers again").await;
        gate.open();
    };

    let (answer, ()) = within(async { tokio::join!(asking, meanwhile) }).await;

    assert_eq!((answer.status().as_u16(), provider.seen().len()), (400, 1));
    // Redis gave no lead for another.
    let led_there = redis.cli(&["HGET", &format!("rc:{{default}}:flight:{R1}"), "owner"]).await;
    assert_eq!(led_there, "");
}

#[tokio::test]
async fn password_that_is_renewed_in_the_redis_file_needs_no_restart() {
    let (redis, provider) = (RedisServer::start_own(&[]).await, provider().await);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let renew = async |password: &str| {
        let rule = format!(">{password}");
        redis.cli(&["ACL", "SETUSER", "pods", "on", "resetpass", &rule, "~*", "&*", "+@all"]).await;
        let url = redis.url().replace("redis://", &format!("redis://pods:{password}@"));
        std::fs::write(file.path(), format!("{url}\n")).expect("written");
        redis.cli(&["CLIENT", "KILL", "USER", "pods"]).await;
    };
    renew("first-password").await;
    let path = file.path().to_str().expect("UTF-8");
    let daemon = Daemon::start(&provider, &["--redis-file", path, "--store-timeout", "5s"]).await;

    renew("second-password").await;
    let answer = daemon.post(&refresh("r1")).await;

    assert_eq!(answer.status(), 200);
    assert_eq!(daemon.get("/readyz").await.0, 200);
}

/// A file that names a Redis which is not there yet.
fn file_of_nobody() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    // A port that no test is given.
    std::fs::write(&file, "redis://127.0.0.1:1\n").expect("written");
    file
}

/// In one step, as what renews such a file does: nobody reads half of it.
fn rename_over(file: &tempfile::NamedTempFile, url: &str) {
    let renewed = file.path().with_extension("renewed");
    std::fs::write(&renewed, url).expect("written");
    std::fs::rename(renewed, file).expect("renamed");
}

/// Connections that stand are answered, and no lead counts: which server the endpoint leads to is asked over new ones.
#[tokio::test]
async fn redis_with_too_many_clients_is_told_and_makes_the_daemon_not_ready_until_it_has_room() {
    let (redis, provider) = (RedisServer::start_own(&[]).await, provider().await);
    let daemon = daemon(&provider, &redis, &[]).await;
    let mut operator = redis.connect().await;
    let mut most = async |clients: &str| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("maxclients").arg(clients).query_async::<()>(&mut operator).await.expect("set");
    };
    most("1").await;

    // Which server it is was asked a moment ago.
    let mut tokens = (0..).map(|number| refresh(&format!("before-{number}")));
    within(async { while daemon.post(&tokens.next().expect("one more")).await.status() == 200 {} }).await;
    let line = daemon.logged("store_outage").await;
    let (ready, _) = daemon.get("/readyz").await;
    most("1000").await;
    served_again(&daemon, "r2").await;

    assert!(line.contains("max number of clients reached"), "{line}");
    assert_eq!((ready, daemon.get("/readyz").await.0), (503, 200));
}

#[tokio::test]
async fn right_that_is_taken_is_told_and_makes_the_daemon_not_ready_until_it_is_given_back() {
    let (redis, provider) = (RedisServer::start_own(&[]).await, provider().await);
    let daemon = daemon(&provider, &redis, &[]).await;
    redis.cli(&["ACL", "SETUSER", "default", "-hset"]).await;

    let refused = daemon.post(&refresh("r1")).await.status();
    let line = daemon.logged("store_outage").await;
    let (ready, _) = daemon.get("/readyz").await;
    let missing = daemon.logged("not ready").await;
    redis.cli(&["ACL", "SETUSER", "default", "+hset"]).await;
    served_again(&daemon, "r1").await;

    assert_eq!((refused.as_u16(), ready), (503, 503));
    assert!(line.contains(r#""error":"#) && missing.contains("+hset"), "{line} {missing}");
    assert_eq!(daemon.get("/readyz").await.0, 200);
}

async fn daemon_by_file(provider: &Provider, file: &tempfile::NamedTempFile, more: &[&str]) -> Daemon {
    let path = file.path().to_str().expect("UTF-8");
    let common = ["--redis-file", path, "--store-timeout", "500ms", "--lease", "1s"];
    Daemon::start(provider, &[&common, more].concat()).await
}

#[tokio::test]
async fn daemon_that_starts_while_redis_is_away_takes_part_when_it_is_there() {
    let (redis, provider, file) = (RedisServer::start_own(&[]).await, provider().await, file_of_nobody());
    redis.in_use("default").await;
    let daemon = daemon_by_file(&provider, &file, &[]).await;
    daemon.logged("starts without redis").await;

    let refused = daemon.post(&refresh("r1")).await;
    let (alive, ready) = (daemon.get("/healthz").await.0, daemon.get("/readyz").await.0);
    rename_over(&file, redis.url());
    served_again(&daemon, "r1").await;

    assert_eq!((refused.status().as_u16(), alive, ready), (503, 200, 503));
    assert!(refused.headers().contains_key("retry-after"));
    daemon.logged("takes part").await;
    assert_eq!(daemon.get("/readyz").await.0, 200);
    // It listens: what another pod lands is pushed to it.
    redis.until_so(&["PUBSUB", "NUMSUB", "rc:{default}:fleet"], |listeners| listeners.contains('1')).await;
    assert_eq!(provider.seen().len(), 1);
}

#[tokio::test]
async fn daemon_that_starts_while_redis_is_away_goes_on_alone_where_the_policy_says_so() {
    let (redis, provider, file) = (RedisServer::start_own(&[]).await, provider().await, file_of_nobody());
    redis.in_use("default").await;
    let alone = daemon_by_file(&provider, &file, &["--on-store-outage", "local"]).await;

    served_again(&alone, "r1").await;
    rename_over(&file, redis.url());
    redis.until(&["HGET", &format!("rc:{{default}}:flight:{R1}"), "class"], "success").await;

    let other = daemon(&provider, &redis, &[]).await;
    assert_eq!(other.post(&refresh("r1")).await.text().await.expect("text"), TOKENS);
    assert_eq!(provider.seen().len(), 1, "presented once");
    let (last, given) = fences_of_r1(&redis).await;
    assert!(last >= given, "{given} was given alone, and the last that redis knows is {last}");
}

/// A daemon that cannot take part says so; it does not look like one that waits.
#[tokio::test]
async fn daemon_that_finds_a_redis_without_rights_says_what_is_missing_and_takes_part_when_it_is_given() {
    let (redis, provider, file) = (RedisServer::start_own(&[]).await, provider().await, file_of_nobody());
    redis.in_use("default").await;
    let daemon = daemon_by_file(&provider, &file, &[]).await;
    redis.cli(&["ACL", "SETUSER", "default", "-evalsha"]).await;
    rename_over(&file, redis.url());

    let line = daemon.logged("cannot take part").await;
    redis.cli(&["ACL", "SETUSER", "default", "+evalsha"]).await;
    served_again(&daemon, "r1").await;

    assert!(line.contains("evalsha"), "{line}");
}
