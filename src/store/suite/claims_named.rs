//! Several claims of one login, each of which is called otherwise with every token: what a claim has left behind under one name, it is owed
//! by no other.

use super::chains::{held, rotate, to};
use super::claims::turn::{Turn, claim, comes, is_spent, waits, walker};
use super::stage::*;
use crate::store::{Coming, Followed};

/// A token that is told from all else that stands in Redis.
const STOLEN: &str = "the-token-that-was-stolen";

/// `a` and `b` share a stored token: `a` has had the first rotated, and `b` the second. Who makes the login notes `a` by the second.
async fn share_a_stored_token(stage: &Stage) {
    rotate(stage, &claim(stage, "one", "a"), STOLEN).await;
    let turn = Turn::at_once(stage, STOLEN, "b").await;
    assert_eq!(turn.token(), STOLEN);
    turn.lands(stage, &to("three")).await;
    stage.pass(3 * S).await;
}

async fn goes_on(stage: &Stage, token: &str, scope: &str, next: &str) {
    let turn = Turn::at_once(stage, token, scope).await;
    assert_eq!(turn.token(), token, "the newest");
    turn.lands(stage, &to(next)).await;
    stage.pass(3 * S).await;
}

both! {
    async fn thief_with_what_its_claim_was_given_before_is_found_once_that_has_come_with_a_shared_token(stage, held()) {
        share_a_stored_token(&stage).await;
        goes_on(&stage, "three", "a", "four").await;

        is_spent(&stage, STOLEN, "a").await;

        let Followed::Given(of_b) = comes(&stage, &mut claim(&stage, STOLEN, "b")).await else { panic!("b is owed that") };
        assert_eq!(access_token(&of_b), "of three");
        assert_eq!(Turn::at_once(&stage, "four", "a").await.token(), "four");
    }

    async fn claim_is_known_by_what_it_was_given_before_also_after_many_rotations(stage, held()) {
        share_a_stored_token(&stage).await;
        goes_on(&stage, "three", "b", "four").await;
        goes_on(&stage, "four", "c", "five").await;
        goes_on(&stage, "five", "b", "six").await;
        let owed = Turn::at_once(&stage, STOLEN, "a").await;
        assert_eq!(owed.token(), "six", "it has not come with a later one yet");
        stage.b.abandon(&owed.lease, &owed.ask).await.expect("an answer");

        goes_on(&stage, "six", "a", "seven").await;

        // No claim is known by it any more.
        assert_eq!(lead(&stage.b, &claim(&stage, STOLEN, "a")).await.history, TokenHistory::Unremarkable);
    }

    async fn flight_that_waits_when_its_claim_has_gone_on_with_a_newer_token_is_served_and_the_last_one(stage, held()) {
        share_a_stored_token(&stage).await;
        let turn = Turn::at_once(&stage, "three", "a").await;
        let mut second_tab = claim(&stage, STOLEN, "a");
        let news = waits(&stage, &mut second_tab).await;
        turn.lands(&stage, &to("four")).await;

        let turn = Turn::called(&stage, second_tab, news).await;
        assert_eq!(turn.token(), "four");
        turn.lands(&stage, &to("five")).await;
        stage.pass(3 * S).await;

        is_spent(&stage, STOLEN, "a").await;
        let left_behind = comes(&stage, &mut claim(&stage, "three", "a")).await;
        assert!(matches!(left_behind, Followed::Given(_)), "its claim came with that last: {left_behind:?}");
    }

    async fn claim_that_comes_with_the_token_in_its_answer_has_left_the_one_before_behind(stage, held()) {
        rotate(&stage, &claim(&stage, "one", "a"), "two").await;
        let turn = Turn::at_once(&stage, "one", "c").await;
        assert_eq!(turn.token(), "two");
        let mut own = claim(&stage, "two", "a");
        let news = waits(&stage, &mut own).await;
        turn.lands(&stage, &to("three")).await;
        stage.pass(3 * S).await;

        is_spent(&stage, "one", "a").await;

        assert_eq!(Turn::called(&stage, own, news).await.token(), "three");
    }

    async fn claim_that_is_new_is_served_where_the_provider_was_busy_with_another_that_came_with_the_next_token(stage, held()) {
        rotate(&stage, &claim(&stage, "one", "a"), "two").await;
        let first = claim(&stage, "two", "a");
        let lease = lead(&stage.a, &first).await;
        let mut own = claim(&stage, "one", "b");
        let news = waits(&stage, &mut own).await;

        complete(&stage.a, &lease, &first, &limited(None)).await;

        assert_eq!(Turn::called(&stage, own, news).await.token(), "two");
    }

    async fn claim_is_owed_the_token_in_its_answer_though_another_has_made_the_login_at_the_one_before(stage, held()) {
        rotate(&stage, &claim(&stage, "one", "a"), "two").await;
        Turn::at_once(&stage, "one", "c").await.lands(&stage, &to("three")).await;
        stage.pass(3 * S).await;

        let walking = walker(&stage, "two", "a", Coming::Walking { from: 1 });
        assert!(matches!(begin(&stage.b, &walking).await, Begun::Claims));
        let followed = stage.b.follow(&walking, None, true).await.expect("an answer");

        assert_eq!(Turn::take(&stage, walking, followed).await.token(), "three");
    }
}

/// What a replica that takes over may lack: that the second claim has come.
#[tokio::test]
async fn claim_that_a_token_was_given_to_is_owed_what_followed_where_a_server_has_lost_that_another_came() {
    let stage = Stage::on_redis(held()).await;
    rotate(&stage, &claim(&stage, "one", "a"), "two").await;
    let turn = Turn::at_once(&stage, "two", "b").await;
    let redis = stage.redis.as_ref().expect("on redis");
    let holder = turn.ask.identity.chain.as_ref().expect("a chain").holder;
    let family = format!("rc:{{{}}}:family:{holder}", stage.config.namespace);
    assert_eq!(redis.cli(&["DEL", &family]).await, "1");

    turn.lands(&stage, &to("three")).await;
    stage.pass(3 * S).await;
    goes_on(&stage, "three", "b", "four").await;

    assert_eq!(Turn::at_once(&stage, "two", "a").await.token(), "four");
}

#[tokio::test]
async fn redis_is_told_by_what_claims_are_called_and_no_token() {
    let stage = Stage::on_redis(held()).await;
    share_a_stored_token(&stage).await;

    let there = stage.snapshot().await.expect("on redis");
    assert!(there.contains("named:2") && !there.contains(STOLEN), "{there}");
    let naming = claim(&stage, STOLEN, "a").identity.naming(None);
    assert!(!there.contains(naming.expose()), "{there}");

    goes_on(&stage, "three", "a", "four").await;
    let there = stage.snapshot().await.expect("on redis");
    assert!(!there.contains("named:"), "nobody is to be known by it any more: {there}");
}
