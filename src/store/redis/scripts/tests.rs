//! Each script alone: its head tells the truth, the same call again changes nothing, whatever it writes ends, and it
//! runs where it must.

use std::time::Duration;

use self::alone::{Alone, HOUR_MS, NAME, OTHER, TEXTS, THREE, TWO, Text, With, ms_in, of_other, plural};
use crate::admission::circuit::quiet;
use crate::config::Config;

mod alone;
mod register;
mod scopes;
mod claims;
mod record;
mod server;
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
        let asserted = match text.optional() {
            None => asserted,
            Some(optional) => format!(
                "assert((#KEYS == {keys} and #ARGV == {arguments}) or (#KEYS == {} and #ARGV == {}), '{}: {}, {}",
                keys - optional.keys,
                arguments - optional.arguments,
                text.name,
                plural(keys, "key"),
                plural(arguments, "argument")
            ),
        };
        let any_number = "assert(#KEYS > 0 and #KEYS == #ARGV, 'look: as many arguments as keys')";
        assert!(text.lua.contains(if text.name == "look" { any_number } else { &asserted }), "{asserted}");
        assert!(text.name == "look" || !text.replies().is_empty(), "{} replies nothing", text.name);
    }
}

/// Each number is the setting that its name says, and every script that is told settings unpacks them.
#[test]
fn settings_are_packed_as_their_names_say() {
    let config = Config::default();
    for text in TEXTS {
        let is_told = text.lua.contains("-- UNPACKED HERE: ");
        assert_eq!(is_told, text.settings().is_some(), "{}", text.name);
        let Some(settings) = text.settings() else { continue };
        let packed = settings.packed(&config);
        let numbers = packed.as_chunks::<8>().0;
        assert_eq!(numbers.len(), settings.names().count(), "{}", text.name);
        for (name, number) in settings.names().zip(numbers) {
            assert_eq!(f64::from_le_bytes(*number) as u64, told(name, &config), "{}: {name}", text.name);
        }
        let unpacked = settings.unpacked_in(text.lua);
        assert!(unpacked.contains(&format!("= struct.unpack('<{}', numbers, at)\n", "d".repeat(numbers.len()))));
    }
}

/// A setting, by its name in a script.
fn told(name: &str, config: &Config) -> u64 {
    let span = match name {
        "lease_ms" => config.lease,
        "retry_ms" => config.retry_lost_after(),
        "memory_ms" => config.uncertain_memory,
        "wait_ms" => config.wait_timeout,
        "longest_wait_ms" => config.longest_wait(),
        "window_ms" => config.refresh_attempt_window,
        "cooldown_ms" => config.refresh_cooldown_period,
        "called_ms" | "late_ms" => config.store_timeout,
        "budget_wait_ms" => config.budget_wait(),
        "open_ms" => config.breaker.open_duration,
        "quiet_ms" => quiet(config),
        "grace_ms" => config.grace_of_lost(),
        "outcome_ms" => config.keep_outcome,
        "until_used_ms" => config.keep_until_used,
        "keep_at_most" => return config.keep_at_most.into(),
        "max_attempts" => return config.max_refresh_attempts.into(),
        "limit" => return config.max_concurrent_refreshes.into(),
        "uncertain" => return 0,
        "half_open" => return config.breaker.half_open_requests.into(),
        "max_failures" => return config.breaker.max_failures.into(),
        other => panic!("what is {other}?"),
    };
    span.as_millis() as u64
}

/// Each server of a fleet loads and keeps the text.
#[test]
fn servers_are_sent_code_alone() {
    for text in super::texts() {
        let sent = super::as_sent(&text);
        assert!(!sent.lines().any(|line| line.starts_with("--") || line.starts_with(' ')), "{sent}");
        assert!(sent.len() <= 160_000, "{} bytes", sent.len());
    }
}

#[tokio::test]
async fn wrong_counts_are_refused() {
    let alone = Alone::new().await;
    let words = |count: usize| vec!["1".to_owned(); count];
    let arguments_of = |count: usize| vec![b"1".to_vec(); count];
    for text in TEXTS {
        let (keys, arguments) = (text.names("KEYS").len(), text.names("ARGV").len());
        let fewer = arguments.checked_sub(1).map(|fewer| (keys, fewer));
        let wrong = [(keys - 1, arguments), (keys + 1, arguments), (keys, arguments + 1)];
        for (keys, arguments) in wrong.into_iter().chain(fewer) {
            let error = alone.invoke(&text, &words(keys), &arguments_of(arguments)).await.expect_err("a wrong count");
            assert!(error.to_string().contains(&format!("{}: ", text.name)), "{error}");
        }
    }
    assert_eq!(alone.redis.keys("*").await, ["rc:{alone}:incarnation"]);
}

#[tokio::test]
async fn every_reply_that_a_head_names_is_given_and_no_other() {
    let alone = Alone::new().await;

    ask_without_a_flight(&alone).await;
    lead_join_and_queue(&alone).await;
    land_and_come_later(&alone).await;
    lose_what_is_uncertain(&alone).await;
    refuse_what_is_shut(&alone).await;

    let chains = Alone::new().await;
    go_along_a_chain(&chains).await;
    land_untold(&chains).await;
    end_a_session(&chains).await;
    claims::come_to_unknown_logins(&chains).await;
    claims::follow_other_claims(&chains).await;

    let mut said = alone.said.borrow_mut();
    for (script, words) in chains.said.take() {
        said.entry(script).or_default().extend(words);
    }
    for text in TEXTS.iter().filter(|text| !["look", "preflight"].contains(&text.name)) {
        assert_eq!(said[text.name], text.replies(), "{}", text.name);
    }
    // 'old' and 'refused' need another server, or a user with fewer rights: tests/connecting.rs.
    assert_eq!(said["preflight"], ["ready".to_owned()].into());
}

/// `complete` reads a few fields where so many are there, because a lead wrote all of them and nobody else any.
#[tokio::test]
async fn lead_writes_as_many_fields_as_complete_counts_on() {
    let alone = Alone::new().await;

    alone.call("begin", &[]).await;

    let there = alone.redis.cli(&["HLEN", &format!("rc:{{alone}}:flight:{NAME}")]).await;
    let plain = include_str!("../../../../lua/lib/plain.lua");
    assert!(plain.ends_with(&format!("local fields_of_a_lead = {there}\n")), "{there}");
}

/// The record of a lead that was put back is not as a lead writes it.
#[tokio::test]
async fn pod_that_waits_for_a_lead_that_was_put_back_is_told() {
    let alone = Alone::new().await;
    alone.call("begin", &[]).await;
    for key in ["lock", "flight"] {
        alone.redis.cli(&["DEL", &format!("rc:{{alone}}:{key}:{NAME}")]).await;
    }
    // While it recovers, what it has forgotten is put back.
    let until = alone.now_ms().await + HOUR_MS;
    let run_id = alone.redis.cli(&["GET", "rc:{alone}:incarnation"]).await;
    let run_id = run_id.split(' ').next().expect("a run id");
    alone.redis.cli(&["SET", "rc:{alone}:incarnation", &format!("{run_id} {until} {HOUR_MS}")]).await;
    assert_eq!(alone.call("renew", &[]).await, ["renewed"]);
    assert_eq!(alone.call("begin", &[("attempt", TWO), ("pod", "b")]).await[0], "join");

    alone.call("complete", &[]).await;

    assert_eq!(
        alone.redis.cli(&["EXISTS", &format!("rc:{{alone}}:waits:{NAME}")]).await,
        "0",
        "it was told and forgotten"
    );
}

/// Begins and is rejected for this. What else the reply says: for how long.
async fn rejected(alone: &Alone, with: With<'_>, why: &str) -> Vec<String> {
    let mut reply = alone.call("begin", with).await;
    assert_eq!(reply[..2], ["rejected", why], "{reply:?}");
    reply.split_off(2)
}

async fn ask_without_a_flight(alone: &Alone) {
    alone.call("preflight", &[]).await;
    alone.call("ready", &[]).await;
    alone.call("meta", &[]).await;
    alone.call("meta", &[("pod", "b"), ("entry", "protocols=2-2 pepper=another lease=1000")]).await;
    alone.call("meta", &[("act", "leave")]).await;
    alone.call("circuit", &[]).await;
}

async fn lead_join_and_queue(alone: &Alone) {
    rejected(alone, &[("may_lead", "no")], "pod").await;
    alone.call("begin", &[]).await;
    alone.call("renew", &[]).await;
    alone.call("begin", &[("attempt", TWO)]).await;
    rejected(alone, &of_other(&[("limit", "1")]), "budget").await;
    alone.call("begin", &of_other(&[("limit", "1"), ("urgency", "queue")])).await;
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

/// A token that an answer gave: unused, then used. And what is held for the token before it.
async fn go_along_a_chain(alone: &Alone) {
    let of = |flight: &'static str, attempt: &'static str, chain: &'static str| {
        vec![
            ("lock", flight),
            ("flight", flight),
            ("held", flight),
            ("name", flight),
            ("attempts", flight),
            ("attempt", attempt),
            ("chain", chain),
        ]
    };
    let lead = alone.call("begin", &of("c1", "c1", "direct a1 0")).await;
    assert_eq!(lead[0], "lead", "{lead:?}");
    let number = alone.leads().to_string();
    let owner = format!("a/{number}");
    let mut complete = of("c1", "c1", "direct a1 c2 a2 c1a2 7200000");
    complete.extend([("link", "c2"), ("own_fence", &number), ("owner", &owner), ("fresh_ms", "0")]);
    alone.call("complete", &complete).await;
    for (flight, chain, word) in [
        ("c1", "direct a1 0", "held"),
        ("c2", "take a2 1", "unused"),
        ("c3", "take a2 1", "broken"),
        ("c2", "direct a2 0", "lead"),
        ("c2", "take a2 1", "used"),
    ] {
        let reply = alone.call("begin", &of(flight, word, chain)).await;
        assert_eq!(reply[0], word, "{flight} {chain}: {reply:?}");
    }
    for (claim, fence, sealed, word) in
        [("claim", "4503599627370495", "tip", "held"), ("claim", "1", "tip", "stale"), ("claim", "1", "", "ended")]
    {
        let with =
            [("held", "c1"), ("link", "c2"), ("name", "c1"), ("claim", claim), ("fence", fence), ("sealed", sealed)];
        let reply = alone.call("tip", &with).await;
        assert_eq!(reply[0], word, "{reply:?}");
    }
}

/// An outcome of which nobody is told yet.
async fn land_untold(alone: &Alone) {
    assert_eq!(alone.call("begin", &[]).await[0], "lead");
    let number = alone.leads().to_string();
    let owner = format!("a/{number}");
    let ours = [("own_fence", number.as_str()), ("owner", &owner)];
    let with = |more: &[(&'static str, &'static str)]| [more, &ours[..]].concat();
    assert_eq!(alone.same_twice("complete", &with(&[("untold", "1")])).await[0], "landed");
    assert_eq!(alone.call("begin", &[("attempt", TWO)]).await[0], "join");
    for (act, word) in [("wait", "waits"), ("look", "told"), ("tell", "told"), ("tell", "stale")] {
        assert_eq!(alone.call("tell", &with(&[("act", act)])).await[0], word, "{act}");
    }
    assert_eq!(alone.call("begin", &[("attempt", TWO)]).await[0], "landed");
}

/// A session that is ended before, under and after its flight.
async fn end_a_session(alone: &Alone) {
    let of =
        |flight| [("lock", flight), ("flight", flight), ("name", flight), ("attempts", flight), ("attempt", flight)];
    assert_eq!(alone.call("end", &of("e1")).await[0], "idle");
    assert_eq!(alone.call("begin", &of("e1")).await[0], "ended");
    assert_eq!(alone.call("begin", &of("e2")).await[0], "lead");
    assert_eq!(alone.call("end", &of("e2")).await[0], "leading");
    let number = alone.leads().to_string();
    let owner = format!("a/{number}");
    let ours = [&of("e2")[..], &[("own_fence", number.as_str()), ("owner", &owner)]].concat();
    assert_eq!(alone.same_twice("complete", &ours).await[0], "ended");
    let rotated = alone.call("end", &of("e2")).await;
    assert_eq!((&*rotated[0], &*rotated[4], &*rotated[5]), ("rotated", "sealed", "claim"));
}

/// An outcome that nobody knows, fresh at first. It opens the circuit for a moment.
async fn lose_what_is_uncertain(alone: &Alone) {
    // A session of its own each, from here on.
    let unknown = [
        ("attempts", "u"),
        ("class", "unknown"),
        ("token_state", "unknown"),
        ("health", "failing"),
        ("own_fence", "2"),
    ];
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
    assert_eq!(alone.call("begin", &never).await[0], "token_lost");
    alone.call("circuit", &[]).await;
}

/// The circuit, a session that the provider limits, and a namespace that Redis forgot.
async fn refuse_what_is_shut(alone: &Alone) {
    alone.set("circuit", "open_until", &alone.far().await).await;
    alone.set("circuit", "open_ms", "30000").await;
    alone.call("circuit", &[]).await;
    rejected(alone, &of_other(&[("attempt", "x")]), "circuit_open").await;
    alone.redis.cli(&["DEL", "rc:{alone}:circuit"]).await;
    alone.set("attempts:held", "held_until:acc0000000000000", &alone.far().await).await;
    alone.redis.cli(&["PEXPIRE", "rc:{alone}:attempts:held", "60000"]).await;
    rejected(alone, &of_other(&[("attempt", "x"), ("attempts", "held")]), "limited").await;
    let lead = alone.call("begin", &of_other(&[("attempt", "x"), ("attempts", "y")])).await;
    assert_eq!(lead[0], "lead", "{lead:?}");
    alone.call("abandon", &of_other(&[("attempt", "x"), ("own_fence", "3")])).await;
    // Another server decides.
    alone.redis.cli(&["SET", "rc:{alone}:incarnation", "another 0 0"]).await;
    let waits = alone.call("begin", &of_other(&[("attempt", "z"), ("attempts", "z")])).await;
    assert_eq!(waits[0], "recovering", "{waits:?}");
}

#[tokio::test]
async fn look_tells_living_leaders_from_changed_ones() {
    let alone = Alone::new().await;
    alone.call("begin", &[]).await;

    let lock = format!("rc:{{alone}}:lock:{NAME}");
    let keys = [lock.clone(), lock, format!("rc:{{alone}}:lock:{OTHER}")];
    let reply = alone
        .invoke(Text::of("look"), &keys, &[alone.fence("1").into(), "2".into(), "1".into()])
        .await
        .expect("a reply");

    assert!((50_000..=60_000).contains(&ms_in(&reply[0])), "{reply:?}");
    assert_eq!(reply[1..], ["changed", "changed"]);
}

#[tokio::test]
async fn same_call_again_gets_the_same_answer_and_changes_nothing() {
    let alone = Alone::new().await;
    // The entry's end moves on, as a lease does.
    assert_eq!(alone.call("meta", &[]).await, alone.call("meta", &[]).await);
    let other = [("pod", "b"), ("entry", "protocols=1-1 pepper=none lease=1000")];
    assert_eq!(alone.same_twice("meta", &other).await[..2], ["differs", "protocols"]);
    assert_eq!(alone.same_twice("meta", &[("act", "leave")]).await, ["left"]);
    assert_eq!(alone.same_twice("begin", &[]).await[0], "lead");
    assert_eq!(alone.same_twice("renew", &[]).await[0], "renewed");
    assert_eq!(alone.same_twice("begin", &[("attempt", TWO)]).await[0], "join");
    let queues = of_other(&[("limit", "1"), ("urgency", "queue")]);
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
    assert_eq!(alone.same_twice("renew", &[]).await[0], "superseded");
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
    let calls = [
        "preflight",
        "ready",
        "meta",
        "begin",
        "renew",
        "reap",
        "circuit",
        "look",
        "complete",
        "abandon",
        "tell",
        "tip",
        "end",
        "follow",
    ];
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
    let queues = [("limit", "2"), ("urgency", "queue"), ("flight", "third"), ("lock", "third"), ("attempt", "3")];
    assert_eq!(alone.call("begin", &queues).await[0], "queued");
    alone.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let before = alone.redis.dump("alone").await;
    // A pod without an entry would count as gone.
    assert_eq!(alone.call("meta", &[]).await[0], "agreed");
    assert_eq!(alone.call("meta", &[("act", "leave")]).await, ["left"]);

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

/// A flight that was called in vain has left the queue. The permit that was kept for it is taken back all the same, and its
/// pod is told that one is free.
#[tokio::test]
async fn reap_takes_back_what_has_ended_where_nobody_queues_any_more() {
    let alone = Alone::new().await;
    let (permits, budget) = ("rc:{alone}:permits", "rc:{alone}:budget");
    alone.redis.cli(&["ZADD", permits, "1", &format!("b {TWO} {OTHER}")]).await;
    alone.redis.cli(&["SET", budget, "1", "PX", "60000"]).await;
    alone.redis.cli(&["PEXPIRE", permits, "60000"]).await;

    let reaped = alone.call("reap", &[("limit", "1")]).await;

    assert_eq!(reaped, ["reaped", "0", "1"]);
    assert_eq!(alone.redis.keys("*").await, ["rc:{alone}:incarnation"]);
    alone.call("begin", &[]).await;
    assert_eq!(alone.call("reap", &[("limit", "1")]).await[2], "0");
}

#[tokio::test]
async fn place_in_the_queue_is_kept_however_long_its_begin_was_on_the_way() {
    let alone = Alone::new().await;
    alone.call("begin", &[]).await;
    let first = of_other(&[("limit", "1"), ("urgency", "queue")]);
    let mut second = of_other(&[("limit", "1"), ("urgency", "queue"), ("attempt", THREE)]);
    second.splice(0..0, [("flight", "third"), ("lock", "third")]);
    alone.call("begin", &first).await;
    alone.redis.wait(Duration::from_millis(20)).await;
    alone.call("begin", &second).await;

    // It says that it has queued for 1 us: it said so long ago.
    let late = [&[("waited_us", "1")][..], &first].concat();
    assert_eq!(alone.call("begin", &late).await[0], "queued");

    let order = alone.redis.cli(&["ZRANGE", "rc:{alone}:queue:c11e", "0", "-1"]).await;
    assert!(order.starts_with(&format!("b {TWO}")), "{order}");
}

#[tokio::test]
async fn begin_that_comes_again_moves_lock_permit_and_probe_together() {
    let alone = Alone::new().await;
    let past = alone.now_ms().await.to_string();
    for (field, value) in [("state", "open"), ("open_until", &past), ("open_ms", "1"), ("opened_because", "failures")] {
        alone.set("circuit", field, value).await;
    }
    let ends = async || {
        let fence = alone.fence("1");
        let probe = alone.redis.cli(&["HGET", "rc:{alone}:circuit", &format!("probe:{fence}")]).await;
        let probe = probe.split(' ').next().expect("its end").to_owned();
        let permit = alone.redis.cli(&["ZSCORE", "rc:{alone}:permits", &format!("a/{fence}/60000")]).await;
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
