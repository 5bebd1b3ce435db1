//! What of an outcome outlives the lead after it.

use std::time::Duration;

use super::alone::{Alone, THREE, TWO, With};

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

/// An old server came back with the success of a leader, and the one that led after it ends unknown.
#[tokio::test]
async fn success_that_is_told_again_makes_no_token_certain_that_another_leader_left_uncertain() {
    let alone = Alone::new().await;
    let ours = land(&alone).await;
    let uncertain = [("attempt", TWO), ("owner", "b/4503599627370000"), ("own_fence", "4503599627370000")];
    let unknown = [("class", "unknown"), ("token_state", "unknown"), ("health", "neutral"), ("fresh_ms", "0")];
    assert_eq!(alone.call("complete", &[&uncertain[..], &unknown].concat()).await[0], "landed");

    assert_eq!(alone.call("complete", &told(&ours)).await[0], "landed");

    let never = [("attempt", THREE), ("uncertain", "never")];
    assert_eq!(alone.call("begin", &never).await[0], "token_lost");
}
