//! Several claims of one login: where the tokens of the login stand, and which one is the newest, however a claim came to it.

use super::chains::{held, rotate, to};
use super::claims::turn::{Turn, claim, comes, follow, is_spent, walker};
use super::stage::*;
use crate::store::{Coming, Followed, Tip};

both! {
    async fn token_that_a_shortened_way_leads_to_keeps_its_place(stage, held()) {
        rotate(&stage, &claim(&stage, "one", "a"), "two").await;
        for (token, next) in [("two", "three"), ("three", "four"), ("four", "five")] {
            rotate(&stage, &walker(&stage, token, "a", Coming::Walking { from: 1 }), next).await;
        }
        let Begun::Held(further) = begin(&stage.b, &walker(&stage, "four", "a", Coming::Walking { from: 1 })).await else {
            panic!("nothing is held")
        };
        let tip = Tip { landed: further.landed, passed: vec!["two".into(), "three".into(), "four".into()] };
        stage.b.tip(&claim(&stage, "one", "a"), Some(&tip)).await.expect("an answer");

        let mut own = claim(&stage, "one", "b");
        let followed = comes(&stage, &mut own).await;
        let turn = Turn::take(&stage, own, followed).await;

        let places = turn.ask.origin.as_ref().map(|origin| (origin.place, origin.newest));
        assert_eq!((turn.token(), places), ("five", Some((1, 5))));
        turn.lands(&stage, &to("six")).await;
        let turn = Turn::at_once(&stage, "five", "a").await;
        assert_eq!(turn.token(), "six");
        turn.lands(&stage, &to("seven")).await;
        assert_eq!(Turn::at_once(&stage, "six", "b").await.token(), "seven");
    }

    async fn claim_that_waits_when_another_login_takes_its_token_over_is_no_stranger_there(stage, held()) {
        rotate(&stage, &claim(&stage, "one", "a"), "two").await;
        let mut own = claim(&stage, "two", "c");
        assert!(matches!(comes(&stage, &mut own).await, Followed::Own(_)));
        let turn = Turn::at_once(&stage, "one", "b").await;
        assert_eq!(turn.token(), "two");
        turn.lands(&stage, &to("three")).await;
        Turn::at_once(&stage, "three", "e").await.lands(&stage, &to("four")).await;

        let followed = follow(&stage.b, &own).await;
        let turn = Turn::take(&stage, own, followed).await;

        assert_eq!(turn.token(), "four");
        turn.lands(&stage, &to("five")).await;
        Turn::at_once(&stage, "five", "c").await.lands(&stage, &to("six")).await;
        // It has left it behind, as any claim does.
        is_spent(&stage, "two", "c").await;
    }

    async fn token_that_the_provider_keeps_stays_the_newest_for_a_claim_with_an_older_one(
        stage,
        Config { keep_until_used: 5 * S, ..held() }
    ) {
        rotate_soon(&stage, &claim(&stage, "one", "a"), "two").await;
        let turn = Turn::at_once(&stage, "one", "b").await;
        assert_eq!(turn.token(), "two");
        turn.lands(&stage, &kept()).await;
        // What was held for its own token is over.
        stage.pass(6 * S).await;

        let turn = Turn::at_once(&stage, "one", "b").await;

        assert_eq!(turn.token(), "two");
        turn.lands(&stage, &kept()).await;
        stage.pass(2 * S).await;
        Turn::at_once(&stage, "two", "a").await.lands(&stage, &to("three")).await;
        Turn::at_once(&stage, "three", "a").await.lands(&stage, &to("four")).await;
        assert_eq!(Turn::at_once(&stage, "two", "b").await.token(), "four", "it was given that one");
    }
}

/// Fresh no longer, and held still.
async fn rotate_soon(stage: &Stage, ask: &Ask, next: &str) {
    fly(&stage.a, ask, &to(next)).await;
    stage.pass(1100 * MS).await;
}

/// The token that was presented may be used again.
fn kept() -> Arc<Outcome> {
    let tokens = TokenResponse::from_json(r#"{"access_token":"kept","expires_in":2}"#).expect("tokens");
    Arc::new(Outcome::Success(tokens.keeping(true)))
}
