//! Several claims of one login, while strangers that hold its tokens, and guess the client's secret, come all the time.

use super::chains::{by, held, to};
use super::claims::turn::{Turn, claim, comes, two_claims, waits};
use super::stage::*;
use crate::store::{Coming, Followed};

fn guessed(stage: &Stage, token: &str, number: usize) -> Ask {
    let guess = Refresh::new(token).client("app", format!("guess {number}"));
    by(stage, guess.parameters([("scope", "a")]), Coming::Directly)
}

/// Strangers that come with a token: the first leads, the others wait for it.
struct Siege {
    strangers: Vec<Ask>,
    lease: Lease,
}

impl Siege {
    async fn begins(stage: &Stage, token: &str) -> Self {
        let strangers: Vec<_> = (0..3).map(|number| guessed(stage, token, number)).collect();
        let lease = lead(&stage.a, &strangers[0]).await;
        for stranger in &strangers[1..] {
            assert!(matches!(begin(&stage.a, stranger).await, Begun::Join(_)));
        }
        Self { strangers, lease }
    }

    /// The first is refused, and the next come.
    async fn goes_on(&self, stage: &Stage) {
        let refused = failure(ProviderFailure::denied("invalid_client"));
        complete(&stage.a, &self.lease, &self.strangers[0], &refused).await;
        for stranger in &self.strangers[1..] {
            let begun = begin(&stage.a, stranger).await;
            assert!(matches!(begun, Begun::Join(_)), "the owner leads next: {begun:?}");
        }
    }
}

/// What a flight begins with whose turn it is.
fn in_turn(stage: &Stage, mut own: Ask, followed: Followed) -> Ask {
    match followed {
        Followed::Own(origin) => {
            (own.coming, own.origin) = (Coming::InTurn, Some(origin));
            own
        }
        Followed::Newest { token, origin } => {
            let mut next = claim(stage, token.expose(), "c");
            (next.coming, next.origin) = (Coming::Claiming { from: origin.place }, Some(origin));
            next
        }
        other => panic!("not its turn: {other:?}"),
    }
}

both! {
    async fn owner_leads_the_newest_token_before_the_next_stranger(stage, held()) {
        two_claims(&stage).await;
        let siege = Siege::begins(&stage, "three").await;
        let mut own = claim(&stage, "three", "b");
        let followed = comes(&stage, &mut own).await;
        let own = in_turn(&stage, own, followed);
        assert!(matches!(begin(&stage.b, &own).await, Begun::Join(_)));

        siege.goes_on(&stage).await;

        lead(&stage.b, &own).await;
    }

    async fn claim_with_an_older_token_leads_the_newest_before_the_next_stranger(stage, held()) {
        two_claims(&stage).await;
        let siege = Siege::begins(&stage, "three").await;
        let mut own = claim(&stage, "one", "c");
        let followed = comes(&stage, &mut own).await;
        let next = in_turn(&stage, own, followed);
        assert!(matches!(begin(&stage.b, &next).await, Begun::Join(_)));

        siege.goes_on(&stage).await;

        let lease = lead(&stage.b, &next).await;
        Turn { ask: next, lease }.lands(&stage, &to("four")).await;
    }

    async fn second_claim_of_a_login_leads_what_the_first_was_given_before_the_next_stranger(stage, held()) {
        fly(&stage.a, &claim(&stage, "zero", "b"), &to("unrelated")).await;
        fly(&stage.b, &claim(&stage, "one", "a"), &to("two")).await;
        stage.pass(3 * S).await;
        let siege = Siege::begins(&stage, "two").await;
        let mut own = claim(&stage, "one", "c");
        let followed = comes(&stage, &mut own).await;
        let next = in_turn(&stage, own, followed);
        assert!(matches!(begin(&stage.b, &next).await, Begun::Join(_)));

        siege.goes_on(&stage).await;

        lead(&stage.b, &next).await;
    }

    async fn strangers_with_an_old_token_keep_nobody_from_the_newest(stage, held()) {
        two_claims(&stage).await;
        let _siege = Siege::begins(&stage, "two").await;

        assert_eq!(Turn::at_once(&stage, "three", "b").await.token(), "three");
    }
}

#[tokio::test]
async fn login_that_is_over_counts_for_nobody_before_it_is_swept() {
    let config = Config { cleanup_interval: Duration::from_secs(24 * 3600), ..held() };
    let stage = Stage::in_memory(config);
    two_claims(&stage).await;
    stage.pass(stage.config.claim_is_known_for(None) - 10 * S).await;
    let first = guessed(&stage, "three", 0);
    lead(&stage.a, &first).await;
    stage.pass(20 * S).await;

    let second = guessed(&stage, "three", 0);
    let followed = stage.b.follow(&second, None, true).await.expect("an answer");

    assert!(!matches!(followed, Followed::Spent), "{followed:?}");
}

#[tokio::test]
async fn claims_that_come_with_a_made_up_token_are_soon_forgotten_and_those_with_a_real_one_are_not() {
    let stage = Stage::on_redis(Config { lease: 10 * S, ..held() }).await;
    let redis = stage.redis.as_ref().expect("on redis");
    let known_for_ms = async |ask: &Ask| {
        let holder = ask.identity.chain.as_ref().expect("a chain").holder;
        let family = format!("rc:{{{}}}:family:{holder}", stage.config.namespace);
        redis.cli(&["PTTL", &family]).await.parse::<i64>().expect("a number")
    };
    let first = claim(&stage, "one", "a");
    let lease = lead(&stage.a, &first).await;
    waits(&stage, &mut claim(&stage, "one", "b")).await;

    let before = known_for_ms(&first).await;
    complete(&stage.a, &lease, &first, &to("two")).await;
    let after = known_for_ms(&first).await;

    assert!(before <= 10_000, "{before} ms");
    assert!(after > 3_600_000, "it is owed what follows: {after} ms");
}
