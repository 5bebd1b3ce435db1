//! What leads no caller of a chain astray: strangers, leaders that others wait for, and uses that could be missed.

use super::chains::{TAKING, WALKING, asks, by, direct, held, held_for, key, rotate, to, with};
use super::stage::*;
use crate::store::{ChainEnd, Coming, Tip};

/// It joined this fence, and asks again.
async fn begin_after(store: &Store, ask: &Ask, joined: Option<u64>) -> Begun {
    store.begin(ask, joined, &AdmissionTerms::at_once()).await.expect("an answer")
}

both! {
    async fn stranger_with_the_old_token_ends_nothing_that_is_held_for_it(stage, held()) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        for (guess, outcome) in [("a", denied("invalid_client")), ("b", limited(None)), ("c", unknown())] {
            let stranger = by(&stage, Refresh::new("one").client("app", guess), Coming::Directly);
            let lease = lead(&stage.a, &stranger).await;
            complete(&stage.a, &lease, &stranger, &outcome).await;

            assert_eq!(access_token(&held_for(&stage, "one").await.landed), "of two", "{outcome:?}");
        }
        assert!(matches!(asks(&stage, "two", TAKING).await, Begun::Unused));
    }

    async fn stranger_with_a_rotated_token_between_leads_no_walker_astray(stage, held()) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        rotate(&stage, &with(&stage, "two", WALKING), "three").await;
        let stranger = by(&stage, Refresh::new("two").client("app", "guessed"), Coming::Directly);
        let lease = lead(&stage.a, &stranger).await;
        complete(&stage.a, &lease, &stranger, &denied("invalid_client")).await;

        for coming in [TAKING, WALKING] {
            assert!(matches!(asks(&stage, "two", coming).await, Begun::Held(_)), "{coming:?}");
        }
    }

    async fn walker_that_waits_gets_what_it_waits_for_though_somebody_uses_the_token_meanwhile(stage, held()) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        let walker = with(&stage, "two", WALKING);
        let lease = lead(&stage.a, &walker).await;
        let waiting = with(&stage, "two", WALKING);
        assert!(matches!(begin(&stage.b, &waiting).await, Begun::Join(_)));
        assert!(matches!(begin(&stage.b, &direct(&stage, "two")).await, Begun::Join(_)));

        // What it is told is lost, and it asks again.
        let joined = Some(lease.fence);
        assert!(matches!(begin_after(&stage.b, &waiting, joined).await, Begun::Join(_)));
        complete(&stage.a, &lease, &walker, &to("three")).await;

        assert_eq!(access_token(&landed(&stage.b, &waiting, joined).await), "of three");
        assert!(matches!(asks(&stage, "two", WALKING).await, Begun::ChainOver(ChainEnd::Used)));
    }

    async fn walker_that_waited_presents_no_token_that_somebody_uses_meanwhile(stage, held()) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        let walker = with(&stage, "two", WALKING);
        let lease = lead(&stage.a, &walker).await;
        let waiting = with(&stage, "two", WALKING);
        assert!(matches!(begin(&stage.b, &waiting).await, Begun::Join(_)));
        assert!(matches!(begin(&stage.b, &direct(&stage, "two")).await, Begun::Join(_)));

        stage.a.abandon(&lease, &walker).await.expect("an answer");

        let again = begin_after(&stage.b, &waiting, Some(lease.fence)).await;
        assert!(matches!(again, Begun::ChainOver(ChainEnd::Used)), "{again:?}");
    }

    async fn token_that_a_stranger_is_told_is_dead_is_given_still(stage, held()) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        let stranger = by(&stage, Refresh::new("two").client("app", "guessed"), Coming::Directly);
        let lease = lead(&stage.a, &stranger).await;
        complete(&stage.a, &lease, &stranger, &denied("invalid_grant")).await;

        assert!(matches!(asks(&stage, "two", TAKING).await, Begun::Unused));
        lead(&stage.b, &with(&stage, "two", WALKING)).await;
    }

    async fn what_is_held_is_over_once_the_provider_has_judged_its_token(stage, Config { keep_refusal: S, ..held() }) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        let past = with(&stage, "one", Coming::Past);
        let lease = lead(&stage.b, &past).await;
        complete(&stage.b, &lease, &past, &denied("invalid_grant")).await;

        stage.pass(3 * S).await;

        lead(&stage.b, &direct(&stage, "one")).await;
    }

    async fn use_is_seen_across_a_way_that_was_made_short_also_where_the_outcome_was_fresh(stage, held()) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        let walker = with(&stage, "two", WALKING);
        fly(&stage.a, &walker, &to("three")).await;
        let landed_three = landed(&stage.a, &walker, None).await;
        let tip = Tip { landed: landed_three, passed: vec!["two".into()] };
        stage.b.tip(&direct(&stage, "one"), Some(&tip)).await.expect("an answer");

        landed(&stage.b, &direct(&stage, "two"), None).await;

        assert!(matches!(asks(&stage, "three", TAKING).await, Begun::ChainOver(ChainEnd::Used)));
    }

    async fn way_is_made_short_only_to_a_token_that_tells_of_its_use(stage, held()) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        let walker = with(&stage, "two", WALKING);
        let lease = lead(&stage.a, &walker).await;
        lead(&stage.b, &direct(&stage, "three")).await;
        complete(&stage.a, &lease, &walker, &to("three")).await;
        let tip = Tip { landed: landed(&stage.a, &walker, None).await, passed: vec!["two".into()] };

        stage.b.tip(&direct(&stage, "one"), Some(&tip)).await.expect("an answer");

        assert_eq!(access_token(&held_for(&stage, "one").await.landed), "of two");
    }

    async fn use_of_a_token_whose_answer_is_not_held_is_remembered(stage, held()) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        let user = direct(&stage, "two");
        let lease = lead(&stage.a, &user).await;
        lead(&stage.b, &direct(&stage, "three")).await;
        complete(&stage.a, &lease, &user, &to("three")).await;

        stage.pass(3 * S).await;

        assert!(matches!(asks(&stage, "two", TAKING).await, Begun::ChainOver(ChainEnd::Used)));
    }

    async fn token_is_given_for_as_long_as_a_way_that_was_made_short_leads_to_it(
        stage,
        Config { keep_until_used: 11 * S, ..held() }
    ) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        rotate(&stage, &with(&stage, "two", WALKING), "three").await;
        let Begun::Held(further) = asks(&stage, "two", WALKING).await else { panic!("nothing is held") };
        let tip = Tip { landed: further.landed, passed: vec!["two".into()] };
        stage.b.tip(&direct(&stage, "one"), Some(&tip)).await.expect("an answer");

        stage.pass(8 * S).await;

        assert_eq!(access_token(&held_for(&stage, "one").await.landed), "of three");
        assert!(matches!(asks(&stage, "three", TAKING).await, Begun::Unused));
    }
}

#[tokio::test]
async fn use_that_redis_has_lost_is_told_again_by_the_completion() {
    let stage = Stage::on_redis(held()).await;
    let redis = stage.redis.as_ref().expect("a redis");
    rotate(&stage, &direct(&stage, "one"), "two").await;
    let user = direct(&stage, "two");
    let lease = lead(&stage.a, &user).await;

    redis.cli(&["HSET", &key(&stage, "flight", &user), "used", "0"]).await;
    complete(&stage.a, &lease, &user, &to("three")).await;

    assert!(matches!(asks(&stage, "three", TAKING).await, Begun::ChainOver(ChainEnd::Used)));
}
