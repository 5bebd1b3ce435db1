//! What is remembered of a login that several claims come with, and for how long: nothing that one of them has to know ends sooner because
//! another came, and what nobody has to know any more ends soon.

use super::chains::{held, to};
use super::claims::turn::{Turn, claim, comes, two_claims, waits, walker};
use super::stage::*;
use crate::store::{Coming, Followed};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Uncertain tokens are remembered for longer than anybody waits.
fn never() -> Config {
    Config { uncertain: Uncertain::Never, uncertain_memory: 60 * S, call_limit: Some(S), keep_until_used: S, ..held() }
}

/// As [`to`], with an access token that lives for a working day.
fn for_a_day_to(next: &str) -> Arc<Outcome> {
    success_with(&format!(r#"{{"access_token":"of {next}","expires_in":28800,"refresh_token":"{next}"}}"#))
}

/// Eight hours pass in which nobody comes. Redis cannot be told so: it is looked whether so many claims are known for longer.
async fn rest_for_a_day(stage: &Stage, claims: usize) {
    let Some(redis) = &stage.redis else { return stage.pass(8 * HOUR).await };
    let day = (8 * HOUR).as_millis();
    let mut known = 0;
    for family in redis.keys(&format!("rc:{{{}}}:family:*", stage.config.namespace)).await {
        let lives: u128 = redis.cli(&["PTTL", &family]).await.parse().expect("it ends");
        assert!(lives > day, "{family} lives for {lives} ms");
        for field in redis.cli(&["HKEYS", &family]).await.lines().filter(|field| field.starts_with("e:")) {
            let entry = redis.cli(&["HGET", &family, field]).await;
            let holds: u128 = entry.split(' ').nth(2).expect("holds_ms").parse().expect("a number");
            known += usize::from(holds > day);
        }
    }
    assert_eq!(known, claims);
}

/// A flight of this token's holder finds that the token is lost.
async fn is_lost(stage: &Stage, ask: &Ask) {
    assert_eq!(landed(&stage.b, ask, None).await.outcome.class(), Class::TokenLost);
}

both! {
    async fn token_that_is_uncertain_while_another_claim_waits_is_not_presented_again(stage, never()) {
        let first = claim(&stage, "one", "a");
        let lease = lead(&stage.a, &first).await;
        let mut other = claim(&stage, "one", "b");
        drop(waits(&stage, &mut other).await);
        complete(&stage.a, &lease, &first, &unknown()).await;
        stage.b.withdraw(&other.id(), None).await.expect("an answer");
        stage.pass(3 * S).await;

        let mut own = claim(&stage, "one", "a");
        let Followed::Own(origin) = comes(&stage, &mut own).await else { panic!("nobody has rotated it") };

        (own.coming, own.origin) = (Coming::InTurn, Some(origin));
        is_lost(&stage, &own).await;
    }

    async fn login_that_has_ended_stays_so_when_the_presentation_that_was_under_way_fails(
        stage,
        Config { keep_until_used: 2 * S, cleanup_interval: S, ..held() }
    ) {
        fly(&stage.a, &claim(&stage, "one", "a"), &to("two")).await;
        let turn = Turn::at_once(&stage, "one", "b").await;
        assert_eq!(turn.token(), "two");
        waits(&stage, &mut claim(&stage, "two", "a")).await;
        stage.a.end_session(&claim(&stage, "one", "a")).await.expect("an answer");
        turn.lands(&stage, &unknown()).await;
        stage.pass(4 * S).await;

        let followed = comes(&stage, &mut claim(&stage, "two", "a")).await;

        assert!(matches!(followed, Followed::Ended), "{followed:?}");
    }

    async fn claim_that_another_found_before_it_is_known_for_as_long_as_its_access_token_lives(stage, held()) {
        fly(&stage.a, &claim(&stage, "one", "a"), &for_a_day_to("two")).await;
        Turn::at_once(&stage, "one", "b").await.lands(&stage, &for_a_day_to("three")).await;

        rest_for_a_day(&stage, 2).await;

        Turn::at_once(&stage, "three", "b").await.lands(&stage, &to("four")).await;
        assert_eq!(Turn::at_once(&stage, "two", "a").await.token(), "four");
    }

    async fn claim_whose_token_another_shares_is_known_for_as_long_as_its_own_access_token_lives(stage, held()) {
        fly(&stage.a, &claim(&stage, "one", "a"), &for_a_day_to("two")).await;
        Turn::at_once(&stage, "two", "c").await.lands(&stage, &to("three")).await;

        rest_for_a_day(&stage, 1).await;

        assert_eq!(Turn::at_once(&stage, "two", "a").await.token(), "three");
    }

    async fn token_that_is_uncertain_is_not_presented_again_when_its_login_leaves_it_behind(stage, never()) {
        two_claims(&stage).await;
        Turn::at_once(&stage, "two", "a").await.lands(&stage, &to("four")).await;
        let past = walker(&stage, "one", "a", Coming::Past);
        fly(&stage.a, &past, &unknown()).await;

        Turn::at_once(&stage, "three", "b").await.lands(&stage, &to("five")).await;
        stage.pass(3 * S).await;

        is_lost(&stage, &walker(&stage, "one", "a", Coming::Past)).await;
    }
}

#[tokio::test]
async fn dead_token_of_a_login_is_remembered_no_longer_than_one_without_a_login() {
    let stage = Stage::on_redis(Config { keep_refusal: S, ..held() }).await;
    let first = claim(&stage, "one", "a");
    let lease = lead(&stage.a, &first).await;
    waits(&stage, &mut claim(&stage, "one", "b")).await;

    complete(&stage.a, &lease, &first, &denied("invalid_grant")).await;

    let flight = format!("rc:{{{}}}:flight:{}", stage.config.namespace, first.identity.flight);
    let lives = stage.redis.as_ref().expect("on redis").cli(&["PTTL", &flight]).await;
    assert!(lives.parse::<i64>().expect("a number") <= 2000, "{lives} ms");
}
