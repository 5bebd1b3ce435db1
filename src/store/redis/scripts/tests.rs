//! Each script alone: its head tells the truth, the same call again changes nothing, whatever it writes ends, and it
//! runs where it must.

use std::time::Duration;

use self::alone::{Alone, NAME, OTHER, TEXTS, THREE, TWO, Text, With, ms_in, of_other, plural};
use super::super::calls::rules;
use crate::admission::circuit::quiet;
use crate::config::Config;

mod alone;
mod set_back;

#[test]
fn heads_agree_with_what_their_scripts_assert() {
    for text in TEXTS {
        let (keys, arguments) = (text.names("KEYS").len(), text.names("ARGV").len());
        let asserted = format!(
            "assert(#KEYS == {keys} and #ARGV == {arguments}, '{}: {}, {}')",
            text.name,
            plural(keys, "key"),
            plural(arguments, "argument")
        );
        let any_number = "assert(#KEYS > 0 and #KEYS == #ARGV, 'look: as many arguments as keys')";
        assert!(text.lua.contains(if text.name == "look" { any_number } else { &asserted }), "{asserted}");
        assert!(text.name == "look" || !text.replies().is_empty(), "{} replies nothing", text.name);
    }
}

/// Where a script unpacks other numbers than its pod packs, every limit would be another's.
#[test]
fn settings_are_packed_as_the_heads_name_them() {
    let config = Config::default();
    for (name, packed) in [("begin", rules::begin_settings(&config)), ("complete", rules::complete_settings(&config))] {
        let text = Text::of(name);
        let names = text.names("SETTING");
        assert_eq!(packed.len(), 8 * names.len(), "{name}");
        let unpacked = text.lua.lines().collect::<String>();
        let format = format!("struct.unpack('>{}', settings)", "I8".repeat(names.len()));
        let locals = unpacked.split(&format).next().and_then(|before| before.rsplit("local ").next()).expect("locals");
        let locals: Vec<&str> = locals.trim_end_matches([' ', '=']).split(',').map(str::trim).collect();
        assert_eq!(locals, names, "{name}");
        for (name, number) in names.iter().zip(packed.as_chunks::<8>().0) {
            assert_eq!(u64::from_be_bytes(*number), told(name, &config), "{name}");
        }
    }
}

/// A setting, by its name in a head.
fn told(name: &str, config: &Config) -> u64 {
    let span = match name {
        "lease_ms" => config.lease,
        "retry_ms" => config.retry_lost_after(),
        "memory_ms" => config.uncertain_memory,
        "wait_ms" => config.wait_timeout,
        "window_ms" => config.refresh_attempt_window,
        "cooldown_ms" => config.refresh_cooldown_period,
        "called_ms" | "late_ms" => config.store_timeout,
        "budget_wait_ms" => config.budget_wait,
        "open_ms" => config.breaker.open_duration,
        "quiet_ms" => quiet(config),
        "grace_ms" => config.grace_of_lost(),
        "max_attempts" => return config.max_refresh_attempts.into(),
        "limit" => return config.max_concurrent_refreshes.into(),
        "half_open" => return config.breaker.half_open_requests.into(),
        "max_failures" => return config.breaker.max_failures.into(),
        other => panic!("what is {other}?"),
    };
    span.as_millis() as u64
}

#[tokio::test]
async fn wrong_counts_are_refused() {
    let alone = Alone::new().await;
    let words = |count: usize| vec!["1".to_owned(); count];
    let arguments_of = |count: usize| vec![b"1".to_vec(); count];
    for text in TEXTS {
        let (keys, arguments) = (text.names("KEYS").len(), text.names("ARGV").len());
        let wrong = [(keys - 1, arguments), (keys + 1, arguments), (keys, arguments - 1), (keys, arguments + 1)];
        for (keys, arguments) in wrong {
            let error = alone.invoke(&text, &words(keys), &arguments_of(arguments)).await.expect_err("a wrong count");
            assert!(error.to_string().contains(&format!("{}: ", text.name)), "{error}");
        }
    }
    assert_eq!(alone.redis.keys("*").await, Vec::<String>::new());
}

#[tokio::test]
async fn every_reply_that_a_head_names_is_given_and_no_other() {
    let alone = Alone::new().await;

    ask_without_a_flight(&alone).await;
    lead_join_and_queue(&alone).await;
    land_and_come_later(&alone).await;
    lose_what_is_uncertain(&alone).await;
    refuse_what_is_shut(&alone).await;

    let said = alone.said.borrow();
    for text in TEXTS.iter().filter(|text| !["look", "check"].contains(&text.name)) {
        assert_eq!(said[text.name], text.replies(), "{}", text.name);
    }
    // 'old' and 'refused' need another server, or a user with fewer rights: tests/connecting.rs.
    assert_eq!(said["check"], ["ready".to_owned()].into());
}

/// Begins and is rejected for this. What else the reply says: for how long.
async fn rejected(alone: &Alone, with: With<'_>, why: &str) -> Vec<String> {
    let mut reply = alone.call("begin", with).await;
    assert_eq!(reply[..2], ["rejected", why], "{reply:?}");
    reply.split_off(2)
}

async fn ask_without_a_flight(alone: &Alone) {
    alone.call("check", &[]).await;
    alone.call("probe", &[]).await;
    alone.call("meta", &[]).await;
    alone.call("meta", &[("pepper", "another")]).await;
    alone.call("circuit", &[]).await;
}

async fn lead_join_and_queue(alone: &Alone) {
    rejected(alone, &[("may_lead", "no")], "pod").await;
    alone.call("begin", &[]).await;
    alone.call("renew", &[]).await;
    alone.call("begin", &[("attempt", TWO)]).await;
    rejected(alone, &of_other(&[("limit", "1")]), "budget").await;
    alone.call("begin", &of_other(&[("limit", "1"), ("patience", "queue")])).await;
    alone.call("reap", &[]).await;
    alone.call("abandon", &of_other(&[("own_fence", "0")])).await;
    alone.call("begin", &of_other(&[])).await;
    rejected(alone, &of_other(&[("attempt", THREE), ("max_attempts", "1")]), "cooling_down").await;
}

async fn land_and_come_later(alone: &Alone) {
    alone.call("complete", &[]).await;
    alone.call("renew", &[]).await;
    alone.call("begin", &[("attempt", TWO)]).await;
    rejected(alone, &[("attempt", TWO), ("claim", "another")], "another_claim").await;
    alone.call("complete", &[("attempt", TWO), ("owner", "b/2"), ("own_fence", "2")]).await;
    alone.call("complete", &[("attempt", TWO), ("claim", "another"), ("owner", "b/2"), ("own_fence", "2")]).await;
    alone.call("abandon", &[]).await;
}

/// An outcome that nobody knows, fresh at first. It opens the circuit for a moment.
async fn lose_what_is_uncertain(alone: &Alone) {
    // A session of its own each, from here on.
    let unknown =
        [("attempts", "u"), ("class", "unknown"), ("token", "unknown"), ("health", "failing"), ("own_fence", "2")];
    let mut reset = of_other(&[("attempts", "u"), ("attempt", THREE)]);
    alone.call("begin", &reset).await;
    reset.splice(0..0, unknown);
    reset.push(("owner", "b/2"));
    reset.splice(0..0, [("max_failures", "1"), ("open_ms", "1")]);
    alone.call("complete", &reset).await;
    alone.redis.wait(Duration::from_millis(2)).await;
    let never = of_other(&[("uncertain", "never"), ("attempt", "x")]);
    assert_eq!(alone.call("begin", &never).await[0], "landed");
    alone.set(&format!("flight:{OTHER}"), "fresh_until", "0").await;
    assert_eq!(alone.call("begin", &never).await[0], "lost");
    alone.call("circuit", &[]).await;
}

/// The circuit, a session that the provider limits, and a namespace that Redis forgot.
async fn refuse_what_is_shut(alone: &Alone) {
    alone.set("circuit", "open_until", &alone.far().await).await;
    alone.set("circuit", "open_ms", "30000").await;
    alone.call("circuit", &[]).await;
    rejected(alone, &of_other(&[("attempt", "x")]), "circuit_open").await;
    alone.redis.cli(&["DEL", "rc:{alone}:circuit"]).await;
    alone.set("attempts:held", "held_until", &alone.far().await).await;
    alone.redis.cli(&["PEXPIRE", "rc:{alone}:attempts:held", "60000"]).await;
    rejected(alone, &of_other(&[("attempt", "x"), ("attempts", "held")]), "limited").await;
    let lead = alone.call("begin", &of_other(&[("attempt", "x"), ("attempts", "y")])).await;
    assert_eq!(lead[0], "lead", "{lead:?}");
    alone.call("abandon", &of_other(&[("attempt", "x"), ("own_fence", "3")])).await;
    rejected(alone, &of_other(&[("attempt", "z"), ("seen", "9")]), "recovering").await;
}

#[tokio::test]
async fn look_tells_living_leaders_from_changed_ones() {
    let alone = Alone::new().await;
    alone.call("begin", &[]).await;

    let lock = format!("rc:{{alone}}:lock:{NAME}");
    let keys = [lock.clone(), lock, format!("rc:{{alone}}:lock:{OTHER}")];
    let reply = alone.invoke(Text::of("look"), &keys, &["1".into(), "2".into(), "1".into()]).await.expect("a reply");

    assert!((50_000..=60_000).contains(&ms_in(&reply[0])), "{reply:?}");
    assert_eq!(reply[1..], ["changed", "changed"]);
}

#[tokio::test]
async fn same_call_again_gets_the_same_answer_and_changes_nothing() {
    let alone = Alone::new().await;
    alone.same_twice("meta", &[]).await;
    alone.same_twice("meta", &[("protocol", "2")]).await;
    assert_eq!(alone.same_twice("begin", &[]).await[0], "lead");
    assert_eq!(alone.same_twice("renew", &[]).await[0], "renewed");
    assert_eq!(alone.same_twice("begin", &[("attempt", TWO)]).await[0], "join");
    let queues = of_other(&[("limit", "1"), ("patience", "queue")]);
    assert_eq!(alone.same_twice("begin", &queues).await[0], "queued");
    assert_eq!(alone.same_twice("reap", &[]).await[0], "reaped");
    assert_eq!(alone.same_twice("circuit", &[]).await[0], "closed");
    assert_eq!(alone.same_twice("abandon", &of_other(&[("own_fence", "0")])).await[0], "marked");
    assert_eq!(alone.same_twice("begin", &of_other(&[])).await[0], "abandoned");
    let third = of_other(&[("attempt", "3"), ("max_attempts", "1")]);
    assert_eq!(alone.same_twice("begin", &third).await[..2], ["rejected", "cooling_down"]);
    assert_eq!(alone.same_twice("complete", &[("health", "failing")]).await[0], "landed");
    assert_eq!(alone.same_twice("begin", &[("attempt", TWO)]).await[0], "landed");
    let second = [("attempt", TWO), ("owner", "b/2"), ("own_fence", "2")];
    assert_eq!(alone.same_twice("complete", &second).await[0], "stands");
    assert_eq!(alone.same_twice("renew", &[]).await[0], "lost");
    assert_eq!(alone.same_twice("abandon", &[]).await[0], "stale");

    // Given back, a lead is somebody else's to give back: 'stale', and for a pod that never learned of it, marked.
    let given_back = of_other(&[("attempt", "4"), ("attempts", "s")]);
    assert_eq!(alone.call("begin", &given_back).await[0], "lead");
    let [first, second] = alone.twice("abandon", &of_other(&[("attempt", "4"), ("own_fence", "2")])).await;
    assert_eq!([&first[0], &second[0]], ["abandoned", "stale"]);
    let unknown = of_other(&[("attempt", "5"), ("attempts", "s")]);
    assert_eq!(alone.call("begin", &unknown).await[0], "lead");
    let [first, second] = alone.twice("abandon", &of_other(&[("attempt", "5"), ("own_fence", "0")])).await;
    assert_eq!([&first[0], &second[0]], ["abandoned", "marked"]);
}

#[tokio::test]
async fn scripts_that_a_server_has_forgotten_are_sent_again() {
    let alone = Alone::new().await;
    let calls = ["check", "meta", "begin", "renew", "reap", "circuit", "look", "complete", "abandon"];
    for name in calls {
        alone.redis.cli(&["SCRIPT", "FLUSH"]).await;
        if name == "look" {
            let keys = [format!("rc:{{alone}}:lock:{NAME}")];
            alone.invoke(Text::of(name), &keys, &[b"1".to_vec()]).await.expect("a reply");
        } else {
            alone.call(name, &[]).await;
        }
    }
}

#[tokio::test]
async fn above_maxmemory_nothing_is_begun_and_everything_is_ended() {
    let alone = Alone::new().await;
    alone.call("begin", &[]).await;
    alone.call("begin", &of_other(&[])).await;
    let queues = [("limit", "2"), ("patience", "queue"), ("flight", "third"), ("lock", "third"), ("attempt", "3")];
    assert_eq!(alone.call("begin", &queues).await[0], "queued");
    alone.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let before = alone.redis.dump("alone").await;

    for more in [&[("attempt", "4"), ("flight", "4th"), ("lock", "4th")][..], &queues[..], &[("attempt", TWO)][..]] {
        let refused = alone.try_call("begin", more).await.expect_err("begun above maxmemory");
        assert!(refused.to_string().contains("maxmemory"), "{refused}");
        assert_eq!(alone.redis.dump("alone").await, before);
    }

    assert_eq!(alone.call("circuit", &[]).await[0], "closed");
    let keys = [format!("rc:{{alone}}:lock:{NAME}")];
    alone.invoke(Text::of("look"), &keys, &[b"1".to_vec()]).await.expect("a reply");
    assert_eq!(alone.call("reap", &[("limit", "2")]).await[0], "reaped");
    assert_eq!(alone.call("renew", &[]).await[0], "renewed");
    assert_eq!(alone.call("complete", &[("stay_away_ms", "500"), ("health", "session_limited")]).await[0], "landed");
    assert_eq!(alone.call("abandon", &of_other(&[("own_fence", "2")])).await[0], "abandoned");
    assert_eq!(alone.call("abandon", &of_other(&[("own_fence", "0"), ("attempt", "late")])).await[0], "marked");
}

#[tokio::test]
async fn place_in_the_queue_is_kept_however_long_its_begin_was_on_the_way() {
    let alone = Alone::new().await;
    alone.call("begin", &[]).await;
    let first = of_other(&[("limit", "1"), ("patience", "queue")]);
    let mut second = of_other(&[("limit", "1"), ("patience", "queue"), ("attempt", THREE)]);
    second.splice(0..0, [("flight", "third"), ("lock", "third")]);
    alone.call("begin", &first).await;
    alone.redis.wait(Duration::from_millis(20)).await;
    alone.call("begin", &second).await;

    // It says that it has queued for 1 us: it said so long ago.
    let late = [&[("queued_us", "1")][..], &first].concat();
    assert_eq!(alone.call("begin", &late).await[0], "queued");

    let order = alone.redis.cli(&["ZRANGE", "rc:{alone}:queue", "0", "-1"]).await;
    assert!(order.starts_with(&format!("b {TWO}")), "{order}");
}

#[tokio::test]
async fn begin_that_comes_again_moves_lock_permit_and_probe_together() {
    let alone = Alone::new().await;
    let past = alone.now_ms().await.to_string();
    for (field, value) in [("state", "open"), ("open_until", &past), ("open_ms", "1"), ("why", "failures")] {
        alone.set("circuit", field, value).await;
    }
    let ends = async || {
        let probe = alone.redis.cli(&["HGET", "rc:{alone}:circuit", "probe:1"]).await;
        let permit = alone.redis.cli(&["ZSCORE", "rc:{alone}:permits", "a/1"]).await;
        let lock = alone.redis.cli(&["PEXPIRETIME", &format!("rc:{{alone}}:lock:{NAME}")]).await;
        [ms_in(&probe), ms_in(&permit), ms_in(&lock)]
    };
    alone.redis.cli(&["PEXPIRE", "rc:{alone}:circuit", "60000"]).await;
    assert_eq!(alone.call("begin", &[]).await[0], "lead");
    let first = ends().await;
    alone.redis.wait(Duration::from_millis(20)).await;

    assert_eq!(alone.call("begin", &[]).await[0], "lead");

    let second = ends().await;
    assert!(first.iter().zip(second).all(|(first, second)| second >= first + 20), "{first:?} {second:?}");
}
