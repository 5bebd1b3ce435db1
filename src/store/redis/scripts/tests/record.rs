//! What a record leaves out, because it is as it mostly is, and what of an outcome outlives the lead after it.

use std::time::Duration;

use super::alone::{Alone, NAME, TWO, With};

const FLIGHT: &str = "rc:{alone}:flight:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A leader's success that is over for newcomers, and what its leader is told when it completes again.
async fn land(alone: &Alone) -> [(&'static str, String); 2] {
    assert_eq!(alone.call("begin", &[]).await[0], "lead");
    let ours = [("owner", format!("a/{}", alone.leads())), ("own_fence", alone.leads().to_string())];
    assert_eq!(alone.call("complete", &[&told(&ours)[..], &[("fresh_ms", "0")]].concat()).await[0], "landed");
    alone.redis.wait(Duration::from_millis(5)).await;
    ours
}

fn told<'a>(told: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    told.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// What the leader after it has is not over because of an answer that has landed already.
async fn success_told_again_changes_nothing(alone: &Alone, ours: With<'_>) {
    let before = alone.redis.cli(&["HGET", FLIGHT, "owner"]).await;

    assert_eq!(alone.call("complete", ours).await[0], "landed");

    assert_eq!(alone.redis.cli(&["HMGET", FLIGHT, "state", "owner"]).await, format!("leading\n{before}"));
}

#[tokio::test]
async fn success_that_is_told_again_lands_nothing_under_the_lead_that_was_given_since() {
    let alone = Alone::new().await;
    let ours = land(&alone).await;
    assert_eq!(alone.call("begin", &[("attempt", TWO), ("pod", "b")]).await[0], "lead");

    success_told_again_changes_nothing(&alone, &told(&ours)).await;
}

#[tokio::test]
async fn success_that_is_told_again_lands_nothing_under_the_lead_that_was_put_back_since() {
    let alone = Alone::new().await;
    let ours = land(&alone).await;
    let put_back = [("attempt", TWO), ("owner", "b/4503599627370000"), ("own_fence", "4503599627370000")];
    assert_eq!(alone.call("renew", &put_back).await, ["renewed"]);

    success_told_again_changes_nothing(&alone, &told(&ours)).await;
}

/// How long it was fresh is written where it is not what lies between the answer and its end.
#[tokio::test]
async fn answer_that_was_long_on_its_way_is_fresh_for_no_longer_after_the_clock_was_set_back() {
    for (held_ms, took_ms, written) in [("0", "3000", ""), ("500", "2500", ""), ("2000", "1000", "30000")] {
        let alone = Alone::new().await;
        alone.call("begin", &[]).await;
        let started = alone.now_ms().await - 3_000;
        alone.set(&format!("flight:{NAME}"), "started", &started.to_string()).await;

        alone.call("complete", &[("held_ms", held_ms), ("took_ms", took_ms)]).await;

        assert_eq!(alone.redis.cli(&["HGET", FLIGHT, "fresh_ms"]).await, written, "after {held_ms} ms");
        let now_ms = alone.now_ms().await;
        alone.set(&format!("flight:{NAME}"), "fresh_until", &(now_ms + 3_600_000).to_string()).await;
        alone.set(&format!("flight:{NAME}"), "landed_at", &(now_ms + 3_570_000).to_string()).await;
        let refused = alone.call("begin", &[("attempt", TWO), ("claim", "another")]).await;
        assert_eq!(refused[..2], ["rejected", "another_claim"], "{refused:?}");
        let left_ms: u64 = refused[2].parse().expect("ms");
        assert!(left_ms <= 30_000, "{left_ms}");
    }
}
