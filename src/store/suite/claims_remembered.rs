//! What is remembered of a login that several claims come with, and for how long: nothing that one of them has to know ends sooner because
//! another came, and what nobody has to know any more ends soon.

use super::chains::{held, to};
use super::claims::turn::{Turn, claim, comes, waits};
use super::stage::*;
use crate::store::{Coming, Followed};

/// Uncertain tokens are remembered for longer than anybody waits.
fn never() -> Config {
    Config { uncertain: Uncertain::Never, uncertain_memory: 60 * S, call_limit: Some(S), keep_until_used: S, ..held() }
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
