//! Several claims of one login, from when the second comes until the login is known for all of them: what is known of a claim that came
//! before, and of the tokens that it is owed.

use super::chains::{held, rotate, to};
use super::claims::turn::{Turn, claim, comes, is_spent, waits, walker};
use super::stage::*;
use crate::store::{Coming, Followed, Tip};

/// The answer of `a` for the first token was lost, and it has presented the one in it: the way from the first is short.
async fn walks_to_three(stage: &Stage) {
    rotate(stage, &claim(stage, "one", "a"), "two").await;
    rotate(stage, &walker(stage, "two", "a", Coming::Walking { from: 1 }), "three").await;
    let landed = StoredOutcome { outcome: to("three"), fence: u64::MAX >> 12, age: Duration::ZERO };
    let tip = Tip { landed, passed: Vec::new() };
    stage.a.tip(&claim(stage, "one", "a"), Some(&tip)).await.expect("an answer");
}

both! {
    async fn claim_that_gave_up_waiting_is_served_after_any_number_of_rotations(stage, held()) {
        let first = claim(&stage, "one", "a");
        let lease = lead(&stage.a, &first).await;
        let mut gives_up = claim(&stage, "one", "b");
        drop(waits(&stage, &mut gives_up).await);
        complete(&stage.a, &lease, &first, &to("two")).await;
        stage.b.withdraw(&gives_up.id(), Some(Instant::now())).await.expect("an answer");
        for (token, next) in [("two", "three"), ("three", "four"), ("four", "five")] {
            Turn::at_once(&stage, token, "a").await.lands(&stage, &to(next)).await;
            stage.pass(3 * S).await;
        }

        let mut own = claim(&stage, "one", "b");
        let Followed::Newest { token, origin } = comes(&stage, &mut own).await else { panic!("nothing follows") };
        let mut next = claim(&stage, token.expose(), "b");
        (next.coming, next.origin) = (Coming::Claiming { from: 1 }, Some(origin));
        assert!(matches!(begin(&stage.b, &next).await, Begun::Claims), "{} was rotated", token.expose());
        let followed = stage.b.follow(&next, Some(&own), true).await.expect("an answer");

        assert_eq!(Turn::take(&stage, next, followed).await.token(), "five");
    }

    async fn place_of_a_token_is_its_own_where_the_way_to_it_was_made_short(stage, held()) {
        walks_to_three(&stage).await;
        Turn::at_once(&stage, "one", "b").await.lands(&stage, &to("four")).await;
        stage.pass(3 * S).await;
        Turn::at_once(&stage, "four", "b").await.lands(&stage, &to("five")).await;
        stage.pass(3 * S).await;

        // Somebody has used the token after it.
        is_spent(&stage, "three", "c").await;

        assert_eq!(Turn::at_once(&stage, "three", "a").await.token(), "five");
    }

    async fn claim_whose_way_was_made_short_is_known_by_its_own_token(
        stage,
        Config { keep_until_used: 10 * S, ..held() }
    ) {
        walks_to_three(&stage).await;
        Turn::at_once(&stage, "one", "b").await.lands(&stage, &to("four")).await;
        Turn::at_once(&stage, "four", "b").await.lands(&stage, &to("five")).await;
        // What was held for its token is over.
        stage.pass(11 * S).await;

        let followed = comes(&stage, &mut claim(&stage, "one", "a")).await;

        let Followed::Given(given) = followed else { panic!("it has left nothing behind: {followed:?}") };
        assert_eq!(access_token(&given), "of three");
    }

    async fn claim_is_not_known_by_a_token_that_it_only_presented_for_an_older_one(stage, held()) {
        rotate(&stage, &claim(&stage, "one", "a"), "two").await;
        let turn = Turn::at_once(&stage, "one", "c").await;
        assert_eq!(turn.token(), "two");
        waits(&stage, &mut claim(&stage, "two", "a")).await;
        turn.lands(&stage, &to("three")).await;
        stage.pass(3 * S).await;
        let mut used = claim(&stage, "three", "c");
        comes(&stage, &mut used).await;

        // It came with the one before, and was given the one after.
        is_spent(&stage, "two", "c").await;
    }
}

/// With an access token that lives for a day.
fn for_a_day(next: &str) -> Arc<Outcome> {
    let tokens = format!(r#"{{"access_token":"of {next}","expires_in":86400,"refresh_token":"{next}"}}"#);
    Arc::new(Outcome::Success(TokenResponse::from_json(tokens).expect("tokens").keeping(false)))
}

/// `a` has had the first token rotated while `b` waited, which has had the second: both have an access token for a day.
async fn two_claims_for_a_day(stage: &Stage) {
    let (first, mut own) = (claim(stage, "one", "a"), claim(stage, "one", "b"));
    let lease = lead(&stage.a, &first).await;
    let news = waits(stage, &mut own).await;
    complete(&stage.a, &lease, &first, &for_a_day("two")).await;
    Turn::called(stage, own, news).await.lands(stage, &for_a_day("three")).await;
}

#[tokio::test]
async fn claim_that_came_before_the_second_is_known_for_as_long_as_its_access_token_in_memory() {
    let stage = Stage::in_memory(held());
    two_claims_for_a_day(&stage).await;
    stage.pass(3 * 60 * 60 * S).await;
    Turn::at_once(&stage, "one", "c").await.lands(&stage, &for_a_day("four")).await;
    stage.pass(21 * 60 * 60 * S).await;

    assert_eq!(Turn::at_once(&stage, "two", "a").await.token(), "four");
}

#[tokio::test]
async fn claim_that_came_before_the_second_is_known_for_as_long_as_its_access_token_on_redis() {
    let stage = Stage::on_redis(held()).await;
    two_claims_for_a_day(&stage).await;

    let redis = stage.redis.as_ref().expect("a server");
    let script = "local lives = {} for _, key in ipairs(redis.call('KEYS', '*family:*')) do \
        local flat = redis.call('HGETALL', key) for i = 1, #flat, 2 do \
        if string.sub(flat[i], 1, 2) == 'e:' then lives[#lives + 1] = string.match(flat[i + 1], '^%d+ %d+ (%d+)') end \
        end end return table.concat(lives, ' ')";
    let lives = redis.cli(&["EVAL", script, "0"]).await;
    let lives: Vec<u64> = lives.split_whitespace().map(|it| it.parse().expect("a number")).collect();

    let day = 24 * 60 * 60 * 1000;
    assert!(lives.len() == 2 && lives.iter().all(|&lives| lives > day), "{lives:?}");
}
