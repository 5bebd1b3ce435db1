//! `meta.lua` alone: which pods count as living, and what of them must agree.

use super::alone::{Alone, ENTRY, HOUR_MS, ms_in};

const META: &str = "rc:{alone}:meta";

/// An entry with these words in place of the usual ones.
fn entry(words: &[&str]) -> String {
    let name = |word: &str| word.split('=').next().expect("a name").to_owned();
    let usual = ENTRY.split(' ').filter(|usual| words.iter().all(|word| name(word) != name(usual)));
    usual.chain(words.iter().copied()).collect::<Vec<_>>().join(" ")
}

async fn stay(alone: &Alone, pod: &str, words: &[&str]) -> Vec<String> {
    alone.call("meta", &[("pod", pod), ("entry", &entry(words))]).await
}

/// Writes an entry as a pod would have that wrote it then: it ends so many ms from now.
async fn stands(alone: &Alone, pod: &str, left_ms: i64, words: &[&str]) {
    let ends = alone.now_ms().await.checked_add_signed(left_ms).expect("after 1970");
    alone.set("meta", &format!("pod:{pod}"), &format!("ends={ends} {}", entry(words))).await;
}

async fn pods(alone: &Alone) -> Vec<String> {
    let fields = alone.redis.cli(&["HKEYS", META]).await;
    let mut pods: Vec<_> = fields.lines().filter_map(|field| field.strip_prefix("pod:")).map(str::to_owned).collect();
    pods.sort();
    pods
}

#[tokio::test]
async fn entry_stands_for_three_minutes_and_its_lease_and_ends_with_the_last_of_them() {
    let alone = Alone::new().await;
    stay(&alone, "a", &["lease=60000"]).await;

    stay(&alone, "b", &["lease=10000"]).await;

    let line = alone.redis.cli(&["HGET", META, "pod:a"]).await;
    let ends = ms_in(line.split(['=', ' ']).nth(1).expect("ends=<ms>"));
    let left = ends - alone.now_ms().await;
    assert!((230_000..=240_000).contains(&left), "{left} ms: {line}");
    let key_left = ms_in(&alone.redis.cli(&["PTTL", META]).await);
    assert!((230_000..=240_000).contains(&key_left), "{key_left} ms");
    assert_eq!(pods(&alone).await, ["a", "b"]);
}

#[tokio::test]
async fn what_must_agree_is_compared_among_living_pods_only() {
    let alone = Alone::new().await;
    stay(&alone, "a", &["pepper=one", "provider=idp"]).await;
    for (words, what, theirs) in [
        (["pepper=two", "provider=idp"], "pepper", "one"),
        (["pepper=one", "provider=other"], "provider", "idp"),
        (["pepper=one", "protocols=3-4"], "protocols", "2-2"),
        (["pepper=one", "protocols=1-1"], "protocols", "2-2"),
        (["pepper=one", "refresh_tokens=reusable"], "refresh_tokens", "single-use"),
    ] {
        assert_eq!(stay(&alone, "b", &words).await, ["differs", what, theirs, "a"], "{words:?}");
        assert_eq!(pods(&alone).await, ["a"]);
    }
    // Ranges that overlap, and a pod that names no provider.
    assert_eq!(stay(&alone, "b", &["pepper=one", "protocols=1-2", "provider=-"]).await[0], "agreed");
    alone.call("meta", &[("pod", "b"), ("act", "leave")]).await;

    // It was killed, and its time is over.
    stands(&alone, "a", -1, &["pepper=one"]).await;

    assert_eq!(stay(&alone, "b", &["pepper=two"]).await[0], "agreed");
    assert_eq!(pods(&alone).await, ["b"], "what is over is taken away");
}

#[tokio::test]
async fn pod_that_leaves_makes_way_at_once_and_the_last_takes_all_with_it() {
    let alone = Alone::new().await;
    stay(&alone, "a", &["pepper=one"]).await;
    stay(&alone, "b", &["pepper=one"]).await;

    alone.call("meta", &[("pod", "a"), ("act", "leave")]).await;
    assert_eq!(pods(&alone).await, ["b"]);
    alone.call("meta", &[("pod", "b"), ("act", "leave")]).await;

    assert_eq!(alone.redis.keys("*").await, ["rc:{alone}:incarnation"]);
    assert_eq!(stay(&alone, "c", &["pepper=two"]).await[0], "agreed");
}

#[tokio::test]
async fn longest_lease_strictest_policy_and_one_pod_for_each_way_are_told() {
    let alone = Alone::new().await;
    assert_eq!(stay(&alone, "a", &["lease=10000"]).await, ["agreed", "10000", "retry"]);
    stay(&alone, "b", &["lease=10000"]).await;
    let long = entry(&["lease=30000", "uncertain=never"]);
    stay(&alone, "c", &["lease=30000", "uncertain=never"]).await;
    stay(&alone, "d", &["lease=30000", "uncertain=never"]).await;

    let reply = stay(&alone, "a", &["lease=10000"]).await;
    assert_eq!(reply[..3], ["agreed", "30000", "never"]);
    assert!(["c", "d"].contains(&reply[3].as_str()) && reply[4..] == [long], "{reply:?}");
    for pod in ["c", "d"] {
        stands(&alone, pod, -1, &["lease=30000", "uncertain=never"]).await;
    }

    assert_eq!(stay(&alone, "a", &["lease=10000"]).await, ["agreed", "10000", "retry"]);
}

#[tokio::test]
async fn pods_of_protocol_1_are_told_from_and_keep_out() {
    let alone = Alone::new().await;
    for (field, value) in [("protocol", "1"), ("pepper", "none")] {
        alone.set("meta", field, value).await;
    }
    alone.redis.cli(&["PEXPIRE", META, "60000"]).await;
    let there = alone.redis.dump("alone").await;

    assert_eq!(stay(&alone, "a", &[]).await, ["differs", "protocols", "1", ""]);
    alone.call("meta", &[("act", "leave")]).await;
    assert_eq!(alone.redis.dump("alone").await, there, "that is the operator's to take away");
    alone.redis.cli(&["DEL", META]).await;

    assert_eq!(stay(&alone, "a", &[]).await[0], "agreed");
    // What they compare with their own number.
    assert_eq!(alone.redis.cli(&["HGET", META, "protocol"]).await, "2");
}

#[tokio::test]
async fn clock_that_was_set_back_keeps_no_pod_alive_for_longer_than_its_entry_stands() {
    let alone = Alone::new().await;
    stands(&alone, "gone", HOUR_MS as i64, &["pepper=one", "lease=10000"]).await;
    alone.redis.cli(&["PEXPIRE", META, "3600000"]).await;

    assert_eq!(stay(&alone, "b", &["pepper=two"]).await[1], "pepper");

    let line = alone.redis.cli(&["HGET", META, "pod:gone"]).await;
    let left = ms_in(line.split(['=', ' ']).nth(1).expect("ends=<ms>")) - alone.now_ms().await;
    assert!((180_000..=190_000).contains(&left), "{left} ms");
}

#[tokio::test]
async fn entries_that_no_pod_wrote_do_no_harm() {
    let alone = Alone::new().await;
    let ends = alone.now_ms().await + 60_000;
    for junk in ["", "junk", "ends=x lease=1", "ends=99999999999999999999999999", &format!("ends={ends}")] {
        alone.set("meta", "pod:junk", junk).await;
        alone.redis.cli(&["PEXPIRE", META, "60000"]).await;

        assert_eq!(stay(&alone, "a", &["lease=10000"]).await, ["agreed", "10000", "retry"], "{junk}");
        assert_eq!(pods(&alone).await, ["a"], "{junk}");
    }
    for lease in ["lease=99999999999", "lease=nan", "lease=x"] {
        stands(&alone, "strange", 60_000, &[lease]).await;

        let longest = ms_in(&stay(&alone, "a", &["lease=10000"]).await[1]);
        assert!((10_000..=600_000).contains(&longest), "{lease}: {longest}");
    }
}
