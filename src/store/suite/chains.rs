//! Answers that are held until somebody has used the token that they gave: what a caller finds that comes with an older one.

use super::stage::*;
use crate::identity::CheckedRequest;
use crate::store::{ChainEnd, Coming, Held, Tip};

/// Fresh for a moment only.
pub(in crate::store) fn held() -> Config {
    Config { keep_outcome: S, wait_timeout: S, refresh_timeout: S, ..unhurried() }
}

/// Of the one client that has a credential.
pub(super) fn with(stage: &Stage, token: &str, coming: Coming) -> Ask {
    by(stage, Refresh::new(token).client("app", "pw"), coming)
}

pub(super) fn by(stage: &Stage, refresh: Refresh, coming: Coming) -> Ask {
    let request = CheckedRequest::of(refresh.token_from_attempt(), 1024).expect("valid");
    let mut ask = Ask::new(stage.a.identity(request, &stage.config), Uuid::new_v4());
    assert_eq!(ask.coming, Coming::Directly);
    ask.coming = coming;
    ask
}

pub(super) fn direct(stage: &Stage, token: &str) -> Ask {
    with(stage, token, Coming::Directly)
}

/// The token is rotated to the next one, and the answer is no longer fresh, nor the record of the flight there.
pub(super) async fn rotate(stage: &Stage, ask: &Ask, next: &str) {
    assert!(matches!(fly(&stage.a, ask, &to(next)).await, Standing::Ours));
    stage.pass(3 * S).await;
}

pub(in crate::store) fn to(next: &str) -> Arc<Outcome> {
    let body = format!(r#"{{"access_token":"of {next}","expires_in":3600,"refresh_token":"{next}"}}"#);
    let tokens = TokenResponse::from_json(body).expect("tokens").keeping(false);
    Arc::new(Outcome::Success(tokens))
}

pub(super) async fn held_for(stage: &Stage, token: &str) -> Held {
    match begin(&stage.b, &direct(stage, token)).await {
        Begun::Held(held) => held,
        other => panic!("nothing is held: {other:?}"),
    }
}

pub(super) async fn asks(stage: &Stage, token: &str, coming: Coming) -> Begun {
    begin(&stage.b, &with(stage, token, coming)).await
}

pub(super) const TAKING: Coming = Coming::Taking { from: 1 };
pub(super) const WALKING: Coming = Coming::Walking { from: 1 };

both! {
    async fn answer_is_held_for_a_caller_that_comes_again_and_its_token_may_be_presented_once(stage, held()) {
        rotate(&stage, &direct(&stage, "one"), "two").await;

        let held = held_for(&stage, "one").await;

        assert_eq!((access_token(&held.landed), held.generation, held.passed.len()), ("of two", 1, 0));
        assert!(matches!(asks(&stage, "two", TAKING).await, Begun::Unused));
        let walker = with(&stage, "two", WALKING);
        let lease = lead(&stage.b, &walker).await;
        assert_eq!(lease.history, TokenHistory::Unremarkable);
        assert!(matches!(asks(&stage, "two", TAKING).await, Begun::Join(_)));
        assert!(matches!(asks(&stage, "two", WALKING).await, Begun::Join(_)));
        complete(&stage.b, &lease, &walker, &to("three")).await;
        assert_eq!(access_token(&landed(&stage.b, &with(&stage, "two", WALKING), None).await), "of three");
        stage.pass(3 * S).await;
        let Begun::Held(further) = asks(&stage, "two", WALKING).await else { panic!("nothing is held") };
        assert_eq!(access_token(&further.landed), "of three");
    }

    async fn caller_that_comes_with_the_new_token_ends_what_is_held_for_the_old_one(stage, held()) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        rotate(&stage, &direct(&stage, "two"), "three").await;

        // The second rotation has wiped what was held for the first token.
        let first = lead(&stage.b, &direct(&stage, "one")).await;

        assert_eq!(first.history, TokenHistory::Unremarkable);
        assert!(matches!(asks(&stage, "two", TAKING).await, Begun::ChainOver(ChainEnd::Used)));
        assert_eq!(held_for(&stage, "two").await.generation, 2);
        assert!(matches!(asks(&stage, "three", Coming::Taking { from: 2 }).await, Begun::Unused));
    }

    async fn caller_with_the_new_token_is_seen_while_it_leads_and_the_old_one_goes_to_the_provider(stage, held()) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        let user = direct(&stage, "two");
        let lease = lead(&stage.a, &user).await;

        assert!(matches!(asks(&stage, "two", TAKING).await, Begun::ChainOver(ChainEnd::Used)));
        assert!(matches!(asks(&stage, "two", WALKING).await, Begun::ChainOver(ChainEnd::Used)));

        let past = lead(&stage.b, &with(&stage, "one", Coming::Past)).await;
        assert_eq!(past.history, TokenHistory::Rotated);
        stage.a.abandon(&lease, &user).await.expect("an answer");
        assert!(matches!(asks(&stage, "two", WALKING).await, Begun::ChainOver(ChainEnd::Used)));
    }

    async fn stranger_with_the_new_token_ends_nothing(stage, held()) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        let stranger = by(&stage, Refresh::new("two").client("app", "guessed"), Coming::Directly);

        let lease = lead(&stage.a, &stranger).await;
        complete(&stage.a, &lease, &stranger, &denied("invalid_client")).await;

        assert!(matches!(asks(&stage, "two", TAKING).await, Begun::Unused));
        assert_eq!(lead(&stage.b, &with(&stage, "two", WALKING)).await.history, TokenHistory::Unremarkable);
    }

    async fn token_that_was_left_untouched_is_given_again(stage, held()) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        for outcome in [limited(None), denied("invalid_client"), unknown()] {
            let walker = with(&stage, "two", WALKING);
            let lease = lead(&stage.b, &walker).await;
            complete(&stage.b, &lease, &walker, &outcome).await;
            stage.pass(6 * S).await;
        }
        let walker = with(&stage, "two", WALKING);
        let lease = lead(&stage.b, &walker).await;
        stage.b.abandon(&lease, &walker).await.expect("an answer");

        stage.pass(2 * S).await;

        assert!(matches!(asks(&stage, "two", TAKING).await, Begun::Unused));
        lead(&stage.b, &with(&stage, "two", WALKING)).await;
    }

    async fn token_of_which_nothing_is_known_is_presented_by_no_walker(stage, held()) {
        rotate(&stage, &direct(&stage, "one"), "two").await;

        for coming in [TAKING, WALKING] {
            assert!(matches!(asks(&stage, "another", coming).await, Begun::ChainOver(ChainEnd::Broken)));
        }
    }

    async fn rotated_token_whose_answer_is_not_held_is_presented_by_no_walker_though_a_stranger_failed_with_it(
        stage,
        held()
    ) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        let walker = with(&stage, "two", WALKING);
        let lease = lead(&stage.b, &walker).await;
        let late = Completion { age: 3 * S, ..completion(&to("three")) };
        stage.b.complete(&lease, &walker, &late).await.expect("an answer");
        stage.pass(S + 50 * MS).await;
        let stranger = by(&stage, Refresh::new("two").client("app", "guessed"), Coming::Directly);
        let lease = lead(&stage.a, &stranger).await;
        complete(&stage.a, &lease, &stranger, &denied("invalid_client")).await;

        let begun = asks(&stage, "two", WALKING).await;

        assert!(matches!(begun, Begun::ChainOver(ChainEnd::Broken)), "{begun:?}");
    }

    async fn dead_token_is_presented_by_no_walker(stage, Config { keep_refusal: 60 * S, ..held() }) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        let walker = with(&stage, "two", WALKING);
        let lease = lead(&stage.b, &walker).await;

        complete(&stage.b, &lease, &walker, &denied("invalid_grant")).await;

        assert!(matches!(&*landed(&stage.b, &with(&stage, "two", WALKING), None).await.outcome, Outcome::Failure(_)));
        stage.a.tip(&direct(&stage, "one"), None).await.expect("an answer");
        assert_eq!(lead(&stage.b, &direct(&stage, "one")).await.history, TokenHistory::Unremarkable);
    }

    async fn token_that_somebody_came_with_before_its_answer_landed_is_not_held(stage, held()) {
        let first = direct(&stage, "one");
        let lease = lead(&stage.a, &first).await;
        let early = direct(&stage, "two");
        let theirs = lead(&stage.b, &early).await;

        complete(&stage.a, &lease, &first, &to("two")).await;

        assert!(matches!(asks(&stage, "two", TAKING).await, Begun::ChainOver(ChainEnd::Broken)));
        complete(&stage.b, &theirs, &early, &to("three")).await;
    }

    async fn way_that_was_gone_is_short_the_next_time_and_use_is_seen_across_it(stage, held()) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        let walker = with(&stage, "two", WALKING);
        rotate(&stage, &walker, "three").await;
        let Begun::Held(further) = asks(&stage, "two", WALKING).await else { panic!("nothing is held") };
        let tip = Tip { landed: further.landed, passed: vec!["two".into()] };
        stage.b.tip(&direct(&stage, "one"), Some(&tip)).await.expect("an answer");

        let held = held_for(&stage, "one").await;

        assert_eq!((access_token(&held.landed), held.passed[0].expose()), ("of three", "two"));
        assert!(matches!(asks(&stage, "three", TAKING).await, Begun::Unused));
        // A caller with the token between goes on from there, too: a caller behind it is behind a token that was used.
        assert_eq!(held_for(&stage, "two").await.generation, 2);
        assert!(matches!(asks(&stage, "three", Coming::Taking { from: 2 }).await, Begun::Unused));
        assert!(matches!(asks(&stage, "three", TAKING).await, Begun::ChainOver(ChainEnd::Used)));
    }

    async fn answers_before_a_token_that_somebody_came_with_are_over_for_a_caller_that_is_always_late(stage, held()) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        rotate(&stage, &with(&stage, "two", WALKING), "three").await;
        held_for(&stage, "one").await;

        // The caller comes with the second token, and the third is presented for it.
        held_for(&stage, "two").await;
        rotate(&stage, &with(&stage, "three", Coming::Walking { from: 2 }), "four").await;

        assert_eq!(held_for(&stage, "two").await.generation, 2);
        assert!(matches!(begin(&stage.b, &direct(&stage, "one")).await, Begun::Lead(_)), "nothing is held for the first");
    }

    async fn oldest_answers_make_way(stage, Config { keep_at_most: 2, ..held() }) {
        for token in ["a", "b", "c"] {
            fly(&stage.a, &direct(&stage, token), &to(&format!("after {token}"))).await;
            stage.pass(MS).await;
        }
        stage.pass(3 * S).await;

        assert!(matches!(begin(&stage.b, &direct(&stage, "a")).await, Begun::Lead(_)));
        assert_eq!(access_token(&held_for(&stage, "b").await.landed), "of after b");
        assert_eq!(access_token(&held_for(&stage, "c").await.landed), "of after c");
    }

    async fn answer_is_held_for_as_long_as_the_setting_says(stage, Config { keep_until_used: 8 * S, ..held() }) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        held_for(&stage, "one").await;

        stage.pass(6 * S).await;

        assert_eq!(lead(&stage.b, &direct(&stage, "one")).await.history, TokenHistory::Unremarkable);
        assert!(matches!(asks(&stage, "two", WALKING).await, Begun::ChainOver(ChainEnd::Broken)));
    }

    async fn lost_leader_of_a_walk_is_taken_over_as_the_policy_says(
        stage,
        Config { lease: S, store_timeout: S, uncertain: Uncertain::Never, uncertain_memory: 10 * S, call_limit: Some(S), ..held() }
    ) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        lead(&stage.a, &with(&stage, "two", WALKING)).await;
        stage.pass(2 * S).await;
        assert!(matches!(asks(&stage, "two", WALKING).await, Begun::Join(_)));

        stage.pass(3 * S).await;

        let lost = landed(&stage.b, &with(&stage, "two", WALKING), None).await;
        assert!(matches!(&*lost.outcome, Outcome::TokenLost(None)));
        assert!(matches!(asks(&stage, "two", TAKING).await, Begun::Unused));
    }
}

pub(super) fn key(stage: &Stage, name: &str, ask: &Ask) -> String {
    format!("rc:{{{}}}:{name}:{}", stage.config.namespace, ask.identity.flight)
}

#[tokio::test]
async fn token_that_was_given_before_redis_lost_writes_is_handed_out_and_presented_by_no_walker() {
    let stage = Stage::on_redis(held()).await;
    let redis = stage.redis.as_ref().expect("a redis");
    rotate(&stage, &direct(&stage, "one"), "two").await;
    let noted = format!("rc:{{{}}}:incarnation", stage.config.namespace);
    let run_id = redis.cli(&["GET", &noted]).await.split(' ').next().expect("a run id").to_owned();
    let now = redis.cli(&["TIME"]).await.split('\n').next().expect("seconds").to_owned();

    redis.cli(&["SET", &noted, &format!("{run_id} {now}000 0")]).await;

    assert!(matches!(asks(&stage, "two", TAKING).await, Begun::Unused));
    assert!(matches!(asks(&stage, "two", WALKING).await, Begun::ChainOver(ChainEnd::Broken)));
    lead(&stage.a, &direct(&stage, "two")).await;
}

#[tokio::test]
async fn records_that_redis_has_lost_break_a_chain_and_lead_nobody_astray() {
    let stage = Stage::on_redis(held()).await;
    let redis = stage.redis.as_ref().expect("a redis");
    for (token, next) in [("one", "two"), ("three", "four"), ("five", "six")] {
        rotate(&stage, &direct(&stage, token), next).await;
    }

    redis.cli(&["DEL", &key(&stage, "flight", &direct(&stage, "two"))]).await;
    redis.cli(&["DEL", &key(&stage, "held", &direct(&stage, "three"))]).await;
    redis.cli(&["HSET", &key(&stage, "held", &direct(&stage, "five")), "sealed", "another"]).await;

    held_for(&stage, "one").await;
    assert!(matches!(asks(&stage, "two", TAKING).await, Begun::ChainOver(ChainEnd::Broken)));
    assert!(matches!(asks(&stage, "two", WALKING).await, Begun::ChainOver(ChainEnd::Broken)));
    assert!(matches!(begin(&stage.b, &direct(&stage, "three")).await, Begun::Lead(_)));
    assert!(matches!(begin(&stage.b, &direct(&stage, "five")).await, Begun::ChainOver(ChainEnd::Broken)));
}
