//! `refresh-storm` as a stranger runs it: the real binary, judged by what it prints and by its exit code.

#[path = "../../tests/support/redis.rs"]
mod redis;
mod support {
    pub(crate) mod storm;
}

use std::collections::HashSet;

use redis::RedisServer;
use serde_json::{Value, json};
use support::storm::{Provider, refresh_storm, storm};

const SMALL: [&str; 8] = ["--pods", "3", "--callers", "5", "--tokens", "6", "--at-once", "3"];

#[test]
fn storm_without_coordination_destroys_every_login_and_with_it_none() {
    let (code, storm) = storm(&SMALL);

    assert_eq!(code, 0, "{storm:#}");
    assert_eq!(storm["without"]["families_revoked"], 6, "{storm:#}");
    assert_eq!(storm["without"]["presentations"], 90, "{storm:#}");
    assert_eq!(storm["without"]["callers_in_error"], 84, "{storm:#}");
    assert_eq!(storm["with"]["families_revoked"], 0, "{storm:#}");
    assert_eq!(storm["with"]["presentations"], 6, "{storm:#}");
    assert_eq!(storm["with"]["callers_in_error"], 0, "{storm:#}");
    assert_eq!(storm["with"]["access_tokens"], json!({ "fewest": 1, "most": 1 }));
    assert_eq!(storm["with"]["roles"]["led"], 6, "{storm:#}");
    assert_eq!(storm["passed"], true);
}

#[test]
fn chain_presents_what_the_link_before_brought() {
    let (code, storm) = storm(&[&SMALL[..], &["--chain", "4", "--mode", "with"]].concat());

    assert_eq!(code, 0, "{storm:#}");
    assert_eq!(storm["with"]["presentations"], 24, "{storm:#}");
    assert_eq!(storm["with"]["callers"], 360, "{storm:#}");
    assert_eq!(storm["without"], Value::Null);
}

#[test]
fn closed_tabs_destroy_every_login_without_coordination_and_none_with_it() {
    let closed = ["--pods", "2", "--callers", "1", "--tokens", "6", "--closed-tabs", "--keep-outcome", "100ms"];

    let (code, storm) = storm(&closed);

    assert_eq!(code, 0, "{storm:#}");
    assert_eq!(storm["without"]["families_revoked"], 6, "{storm:#}");
    assert_eq!(storm["with"]["families_revoked"], 0, "{storm:#}");
    assert_eq!(storm["with"]["presentations"], 6, "{storm:#}");
    assert_eq!(storm["with"]["callers_in_error"], 0, "{storm:#}");
}

#[test]
fn storm_fails_when_coordination_is_switched_off() {
    let (code, storm) = storm(&[&SMALL[..], &["--sabotage", "--mode", "with"]].concat());

    assert_eq!(code, 1, "{storm:#}");
    assert_eq!(storm["passed"], false);
    assert_eq!(storm["with"]["presentations"], 18, "each of three pods presents each of six tokens: {storm:#}");
    assert_eq!(storm["with"]["families_revoked"], 6, "{storm:#}");
    assert!(storm["failures"].as_array().is_some_and(|failures| !failures.is_empty()), "{storm:#}");
}

#[tokio::test]
async fn pods_on_redis_are_processes_and_join_over_the_fleet() {
    let redis = RedisServer::start_own(&[]).await;

    let (code, storm) = storm(&[&SMALL[..], &["--redis", redis.url()]].concat());

    assert_eq!(code, 0, "{storm:#}");
    let pids: HashSet<u64> = storm["with"]["pids"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    assert_eq!(pids.len(), 3, "{storm:#}");
    assert_eq!(storm["with"]["presentations"], 6, "{storm:#}");
    assert_ne!(storm["with"]["roles"]["joined_fleet"], 0, "{storm:#}");
    assert!(storm["with"]["redis"]["commands_per_refresh"].as_f64().is_some_and(|n| n >= 2.0), "{storm:#}");
    assert_eq!(redis.keys("*").await, Vec::<String>::new(), "a namespace of its own is removed");
}

#[tokio::test]
async fn pods_on_redis_fail_when_coordination_is_switched_off() {
    let redis = RedisServer::start_own(&[]).await;

    let (code, storm) = storm(&[&SMALL[..], &["--redis", redis.url(), "--sabotage", "--mode", "with"]].concat());

    assert_eq!(code, 1, "{storm:#}");
    assert_eq!(storm["with"]["presentations"], 18, "{storm:#}");
    assert_eq!(storm["with"]["pids"].as_array().map(Vec::len), Some(3), "{storm:#}");
}

#[test]
fn table_says_in_words_what_happened() {
    let ran = refresh_storm().args(SMALL).output().expect("refresh-storm runs");
    let table = String::from_utf8(ran.stdout).expect("UTF-8");

    assert!(ran.status.success(), "{table}");
    assert!(table.contains("Without coordination 6 of 6 logins were destroyed"), "{table}");
    assert!(table.contains("With coordination none was"), "{table}");
    assert!(table.contains("share a store in memory"), "{table}");
    assert!(table.contains("lease 10s"), "{table}");
    assert!(ran.stderr.is_empty(), "no progress bar without a terminal: {:?}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn time_limit_ends_the_storm() {
    let ran = refresh_storm()
        .args(["--mode", "with", "--provider-delay", "1h", "--time-limit", "300ms"])
        .output()
        .expect("refresh-storm runs");

    assert_eq!(ran.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(said.trim_end(), "refresh-storm: the storm broke off: it took longer than --time-limit 300ms");
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tokens");
    std::fs::write(&file, "one\ntwo\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    let url = "http://127.0.0.1:1/token";
    let real = ["--provider-url", url, "--client-id", "c", "--tokens-file", file];
    let cases: [(&[&str], &str); 13] = [
        (&real, "--provider-url"),
        (&["--redis", "redis://127.0.0.1:1"], "--redis"),
        (&["--namespace", "a b"], "--namespace"),
        (&["--token-url", url], "--client-id"),
        (&["--token-url", "ftp://x/", "--client-id", "c", "--tokens-file", file], "--token-url"),
        (&["--provider-url", url, "--client-id", "c", "--tokens-file", "/nowhere/t"], "--tokens-file"),
        (&[&real[..], &["--mode", "without"]].concat(), "--revoke-families"),
        (&[&real[..], &["--tokens", "3"]].concat(), "--tokens-file"),
        (&["--pods", "256", "--callers", "10000"], "--callers"),
        (&["--picture", "/nowhere/storm.svg"], "--picture"),
        (&["--storm-provider", "http://127.0.0.1:1"], "--storm-provider"),
        (&["--storm-provider", url, "--client-id", "c"], "--client-id"),
        (&["--provider-url", "http://u:hush@x/", "--client-id", "c", "--tokens-file", file], "--provider-url"),
    ];

    for (arguments, named) in cases {
        let ran = refresh_storm().args(arguments).output().expect("refresh-storm runs");

        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        assert!(said.contains(named) && !said.contains("hush"), "{arguments:?}: {said}");
        assert!(ran.stdout.is_empty(), "nothing is half-started: {arguments:?}");
    }
    assert_eq!(std::fs::read_to_string(file).expect("kept"), "one\ntwo\n");
}

/// The built-in provider stands in for a real one here: it is given by its URL, and storm cannot see its log.
#[test]
fn tokens_of_a_real_provider_are_replaced_by_their_successors() {
    let provider = Provider::start();
    let logins = provider.open(4);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tokens");
    std::fs::write(&file, logins.tokens.join("\n")).expect("written");
    let path = file.to_str().expect("UTF-8");
    let real = ["--provider-url", &provider.token_url(), "--client-id", "c", "--tokens-file", path];
    let crowd = ["--pods", "2", "--callers", "3", "--chain", "2"];

    let (code, with) = storm(&[&real[..], &crowd].concat());

    assert_eq!(code, 0, "{with:#}");
    assert_eq!(with["with"]["presentations"], Value::Null, "its log cannot be seen: {with:#}");
    assert_eq!(provider.verdict(logins.batch), json!({ "presentations": 8, "rotations": 8, "families_revoked": 0 }));
    let next = std::fs::read_to_string(&file).expect("kept");
    assert_eq!(next.lines().count(), 4);
    assert!(next.lines().all(|token| !logins.tokens.iter().any(|old| old == token)), "all are new");

    // Half of the logins for each mode: the first half is destroyed, and its tokens stand aside.
    let (code, both) = storm(&[&real[..], &crowd, &["--mode", "both", "--revoke-families"]].concat());

    assert_eq!(code, 0, "{both:#}");
    assert_eq!(both["without"]["families_refused"], 2, "{both:#}");
    assert_eq!(provider.verdict(logins.batch)["families_revoked"], 2);
    assert_eq!(std::fs::read_to_string(&file).expect("kept").lines().count(), 2);
    let refused = folder.path().join("tokens.refused");
    assert_eq!(std::fs::read_to_string(refused).expect("kept").lines().count(), 2);
}

#[test]
fn provider_that_runs_elsewhere_judges_as_the_built_in_one_does() {
    let provider = Provider::start();
    let (url, token_url) = (provider.url(), provider.token_url());
    let elsewhere = [&SMALL[..], &["--storm-provider", &url]].concat();

    let (code, embedded) = storm(&elsewhere);

    assert_eq!(code, 0, "{embedded:#}");
    assert_eq!(embedded["without"]["families_revoked"], 6, "{embedded:#}");
    assert_eq!(embedded["with"]["presentations"], 6, "{embedded:#}");
    assert_eq!(embedded["storm"]["provider_pid"], Value::Null, "it is not the storm's: {embedded:#}");

    // Token URLs that coordinate nothing: the log tells.
    let (code, uncoordinated) = storm(&[&elsewhere[..], &["--token-url", &token_url, "--mode", "with"]].concat());

    assert_eq!(code, 1, "{uncoordinated:#}");
    assert_eq!(uncoordinated["with"]["families_revoked"], 6, "{uncoordinated:#}");
}

#[test]
fn provider_alone_is_ready_and_ends_when_it_is_asked_to() {
    let provider = Provider::start();

    let ready = provider.get("/readyz");

    assert_eq!(ready, (200, json!({ "ready": true })));
    assert_eq!(provider.terminated(), Some(0));
}

#[test]
fn token_urls_that_coordinate_nothing_are_found_out() {
    let provider = Provider::start();
    let logins = provider.open(2);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tokens");
    std::fs::write(&file, logins.tokens.join("\n")).expect("written");
    let (url, path) = (provider.token_url(), file.to_str().expect("UTF-8"));

    let real = ["--token-url", &url, "--token-url", &url, "--client-id", "c", "--tokens-file", path];
    let (code, storm) = storm(&[&real[..], &["--pods", "2", "--callers", "3"]].concat());

    assert_eq!(code, 1, "{storm:#}");
    assert_eq!(storm["with"]["families_refused"], 2, "{storm:#}");
    assert_eq!(storm["rules"], Value::Null, "the rules are those of the refreshd: {storm:#}");
}

#[test]
fn provider_rotates_and_revokes_the_family_of_a_token_that_comes_twice() {
    let provider = Provider::start();
    let logins = provider.open(2);

    let (status, first) = provider.present(&logins.tokens[0]);
    assert_eq!((status, first["token_type"].as_str()), (200, Some("Bearer")));
    let next = first["refresh_token"].as_str().expect("rotated");
    let (status, reuse) = provider.present(&logins.tokens[0]);
    assert_eq!((status, reuse["error"].as_str()), (400, Some("invalid_grant")));
    let (status, revoked) = provider.present(next);
    assert_eq!((status, revoked["error"].as_str()), (400, Some("invalid_grant")));
    let (status, _) = provider.present(&logins.tokens[1]);
    assert_eq!(status, 200, "the other family lives");

    assert_eq!(provider.verdict(logins.batch), json!({ "presentations": 4, "rotations": 2, "families_revoked": 1 }));
}

#[tokio::test]
async fn pods_end_with_a_storm_that_is_killed() {
    let redis = RedisServer::start_own(&[]).await;
    let mut storm = refresh_storm()
        .args(["--mode", "with", "--pods", "2", "--callers", "1", "--tokens", "1"])
        .args(["--provider-delay", "1h", "--redis", redis.url()])
        .spawn()
        .expect("refresh-storm runs");
    // Keys other than what a pod writes at its start: a flight is on, and both pods are in it.
    redis.until_so(&["KEYS", "*:lock:*"], |locks| !locks.is_empty()).await;

    storm.kill().expect("killed");
    storm.wait().expect("gone");

    // One connection is the test's own.
    redis.until_so(&["CLIENT", "LIST"], |clients| clients.lines().count() == 1).await;
}

/// What is drawn is counted from the marks' own data, which no report has passed through.
#[test]
fn picture_has_the_counts_of_the_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("storm.svg");
    let path = file.to_str().expect("UTF-8");

    let (code, storm) = storm(&[&SMALL[..], &["--picture", path]].concat());

    assert_eq!(code, 0, "{storm:#}");
    let picture = std::fs::read_to_string(&file).expect("drawn");
    assert!(picture.len() < 100_000, "{}", picture.len());
    let (without, with) = picture.split_once(">With coordination<").expect("two panels");
    assert!(without.contains(">Without coordination<"));
    for (mode, panel, rows) in [("without", without, 6), ("with", with, 6)] {
        let figures = &storm[mode];
        let sum = |name: &str| -> u64 {
            let data = format!("data-{name}=\"");
            let counts = panel.split(&data).skip(1);
            let counts: Vec<u64> = counts.map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect();
            assert_eq!(counts.len(), rows, "{panel}");
            counts.iter().sum()
        };
        assert_eq!(sum("callers"), figures["callers"], "{mode}: {storm:#}");
        assert_eq!(sum("presentations"), figures["presentations"], "{mode}: {storm:#}");
        assert_eq!(sum("repeated"), figures["presentations"].as_u64().unwrap() - 6, "{mode}: {storm:#}");
        assert_eq!(sum("revoked"), figures["families_revoked"], "{mode}: {storm:#}");
        let words = format!(
            "{} presentations, {} of 6 logins revoked, {} of 90 callers in error",
            figures["presentations"], figures["families_revoked"], figures["callers_in_error"]
        );
        assert!(panel.contains(&words), "{words}: {panel}");
    }
}
