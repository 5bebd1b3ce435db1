//! Sessions that were ended: what becomes of flights that come, wait or land then.

use super::chains::{TAKING, WALKING, by, direct, held, held_for, key, rotate, to, with};
use super::stage::*;
use crate::store::{Coming, EndedFlight};

async fn end(store: &Store, ask: &Ask) -> EndedFlight {
    store.end_session(ask).await.expect("an answer")
}

async fn is_ended(store: &Store, ask: &Ask) -> bool {
    matches!(begin(store, ask).await, Begun::Ended)
}

fn newest(found: &EndedFlight) -> &str {
    match found {
        EndedFlight::Rotated(landed) => access_token(landed),
        other => panic!("nothing was rotated: {other:?}"),
    }
}

both! {
    async fn token_of_an_ended_session_is_not_presented_though_nobody_had_come_with_it(stage, unhurried()) {
        assert!(matches!(end(&stage.a, &ask("t")).await, EndedFlight::Idle));

        assert!(is_ended(&stage.b, &ask("t")).await);
        assert!(is_ended(&stage.a, &ask_as(Refresh::new("t").parameters([("scope", "x")]))).await);
        lead(&stage.a, &ask("another")).await;
    }

    async fn flight_that_lands_after_the_end_brings_nobody_tokens_and_its_leader_hears_of_that(stage, held()) {
        let leader = direct(&stage, "one");
        let lease = lead(&stage.a, &leader).await;
        let waiting = direct(&stage, "one");
        let Begun::Join(mut joined) = begin(&stage.b, &waiting).await else { panic!("not joined") };

        assert!(matches!(end(&stage.b, &direct(&stage, "one")).await, EndedFlight::UnderWay));

        assert!(matches!(joined.news.news().await, News::BeginAgain));
        assert!(is_ended(&stage.b, &waiting).await);
        let standing = complete(&stage.a, &lease, &leader, &to("two")).await;
        assert!(matches!(standing, Standing::Ended), "{standing:?}");
        assert!(is_ended(&stage.b, &direct(&stage, "one")).await);
        stage.pass(3 * S).await;
        assert!(is_ended(&stage.b, &direct(&stage, "one")).await);
        assert!(!matches!(begin(&stage.b, &with(&stage, "two", TAKING)).await, Begun::Unused), "nothing is held");
    }

    async fn completion_whose_answer_was_lost_is_told_again_that_the_session_has_ended(stage, unhurried()) {
        let leader = ask("t");
        let lease = lead(&stage.a, &leader).await;
        end(&stage.a, &ask("t")).await;
        complete(&stage.a, &lease, &leader, &success("new")).await;

        let again = complete(&stage.a, &lease, &leader, &success("new")).await;

        assert!(matches!(again, Standing::Ended), "{again:?}");
        stage.budget_holds().await;
    }

    async fn late_success_of_a_lost_leader_is_for_nobody(stage, Config { lease: S, store_timeout: S, ..unhurried() }) {
        let leader = ask("t");
        let lease = lead(&stage.a, &leader).await;
        stage.lease_over(&leader).await;

        assert!(matches!(end(&stage.b, &ask("t")).await, EndedFlight::UnderWay));

        assert!(is_ended(&stage.b, &ask("t")).await, "nobody takes over");
        let standing = complete(&stage.a, &lease, &leader, &success("late")).await;
        assert!(matches!(standing, Standing::Ended), "{standing:?}");
        assert!(is_ended(&stage.b, &ask("t")).await);
    }

    async fn flight_of_another_client_is_remembered_for_as_long_as_the_end_of_the_session(
        stage,
        Config { lease: S, store_timeout: S, uncertain_memory: S, retry_lost_after: Some(S), ..held() }
    ) {
        end(&stage.a, &ask("t")).await;
        let other = ask_as(Refresh::new("t").client("other", "right"));
        let lease = lead(&stage.b, &other).await;
        // Else it would be forgotten.
        stage.pass(2 * S + 50 * MS).await;

        let standing = complete(&stage.b, &lease, &other, &busy(S)).await;

        assert!(matches!(standing, Standing::Ours), "{standing:?}");
    }

    async fn success_that_lands_where_another_stands_is_for_nobody_either(
        stage,
        Config { lease: S, store_timeout: S, ..unhurried() }
    ) {
        let first = ask("t");
        let lease = lead(&stage.a, &first).await;
        stage.lease_over(&first).await;
        fly(&stage.b, &ask("t"), &success("second")).await;

        assert_eq!(newest(&end(&stage.b, &ask("t")).await), "second");

        let standing = complete(&stage.a, &lease, &first, &success("first")).await;
        assert!(matches!(standing, Standing::Ended), "{standing:?}");
    }

    async fn lead_that_is_given_back_leaves_the_session_ended(stage, unhurried()) {
        let leader = ask("t");
        let lease = lead(&stage.a, &leader).await;
        end(&stage.b, &ask("t")).await;

        stage.a.abandon(&lease, &leader).await.expect("an answer");

        assert!(is_ended(&stage.a, &ask("t")).await);
        stage.budget_holds().await;
    }

    async fn fresh_outcome_of_an_ended_session_is_handed_to_no_latecomer_and_tells_the_newer_token(stage, unhurried()) {
        fly(&stage.a, &ask("t"), &success("new")).await;
        landed(&stage.b, &ask("t"), None).await;

        let found = end(&stage.b, &ask("t")).await;

        assert_eq!(newest(&found), "new");
        assert!(is_ended(&stage.b, &ask("t")).await);
        assert_eq!(newest(&end(&stage.a, &ask("t")).await), "new", "told again");
    }

    async fn answer_that_is_held_tells_who_ends_the_session_how_it_goes_on_and_is_handed_to_nobody(stage, held()) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        let scoped = Refresh::new("one").client("app", "pw").parameters([("scope", "x")]);

        let found = end(&stage.a, &by(&stage, scoped, Coming::Directly)).await;

        assert_eq!(newest(&found), "of two", "also by another claim of the same client");
        assert!(is_ended(&stage.b, &direct(&stage, "one")).await);
        assert!(matches!(end(&stage.a, &direct(&stage, "two")).await, EndedFlight::Idle));
        for coming in [Coming::Directly, TAKING, WALKING] {
            assert!(is_ended(&stage.b, &with(&stage, "two", coming)).await, "{coming:?}");
        }
    }

    async fn older_token_brings_nothing_fresh_once_its_session_has_ended_with_the_newer_one(
        stage,
        Config { keep_outcome: 60 * S, ..held() }
    ) {
        let scoped = |token, coming| {
            by(&stage, Refresh::new(token).client("app", "pw").parameters([("scope", "x")]), coming)
        };
        fly(&stage.a, &direct(&stage, "one"), &to("two")).await;
        let fence = landed(&stage.b, &direct(&stage, "one"), None).await.fence;

        assert!(matches!(end(&stage.a, &direct(&stage, "two")).await, EndedFlight::Idle));

        assert!(matches!(begin(&stage.b, &direct(&stage, "one")).await, Begun::Held(_)), "it looks at the newer one");
        assert!(is_ended(&stage.b, &with(&stage, "two", TAKING)).await);
        landed(&stage.b, &direct(&stage, "one"), Some(fence)).await;
        assert!(matches!(begin(&stage.b, &scoped("one", Coming::Directly)).await, Begun::Claims));
        assert!(is_ended(&stage.b, &scoped("two", Coming::Claiming { from: 1 })).await, "nor is it presented");
    }

    async fn what_was_rotated_for_one_claim_is_told_though_another_leads_the_old_token(stage, held()) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        let scoped = by(&stage, Refresh::new("one").client("app", "pw").parameters([("scope", "x")]), Coming::Past);
        let lease = lead(&stage.b, &scoped).await;

        assert_eq!(newest(&end(&stage.a, &direct(&stage, "one")).await), "of two");

        let standing = complete(&stage.b, &lease, &scoped, &to("three")).await;
        assert!(matches!(standing, Standing::Ended), "{standing:?}");
    }

    async fn stranger_with_the_token_ends_nobody_elses_session(stage, held()) {
        rotate(&stage, &direct(&stage, "one"), "two").await;
        let stranger = || by(&stage, Refresh::new("one").client("app", "guessed"), Coming::Directly);

        assert!(matches!(end(&stage.a, &stranger()).await, EndedFlight::Idle));

        assert!(is_ended(&stage.b, &stranger()).await);
        assert_eq!(held_for(&stage, "one").await.generation, 1);
        let owner = direct(&stage, "three");
        let lease = lead(&stage.a, &owner).await;
        let other = by(&stage, Refresh::new("three").client("app", "guessed"), Coming::Directly);
        assert!(matches!(end(&stage.b, &other).await, EndedFlight::Idle));
        assert!(matches!(complete(&stage.a, &lease, &owner, &to("four")).await, Standing::Ours));
    }

    async fn sessions_that_strangers_end_make_way_and_the_owners_stays_ended(stage, held()) {
        let owner = direct(&stage, "one");
        lead(&stage.a, &owner).await;
        end(&stage.a, &direct(&stage, "one")).await;

        for secret in 0..40 {
            let stranger = Refresh::new("one").client("app", secret.to_string());
            end(&stage.b, &by(&stage, stranger, Coming::Directly)).await;
        }

        assert!(is_ended(&stage.b, &direct(&stage, "one")).await);
        if let Some(redis) = &stage.redis {
            let record = key(&stage, "flight", &owner);
            let marks = redis.cli(&["HKEYS", &record]).await.matches("ended:").count();
            assert_eq!(marks, 16);
        }
    }

    async fn end_of_a_session_that_nothing_is_known_of_is_forgotten_soon(
        stage,
        Config { wait_timeout: S, refresh_timeout: S, ..unhurried() }
    ) {
        // Somebody is known, so everybody else is a stranger.
        somebody_known(&stage.a).await;
        end(&stage.a, &ask("made up")).await;
        assert!(is_ended(&stage.b, &ask("made up")).await);

        stage.pass(2 * S).await;

        lead(&stage.b, &ask("made up")).await;
    }

    async fn outcome_that_nobody_was_told_of_is_told_nobody_once_the_session_has_ended(stage, unhurried()) {
        let leader = ask("t");
        let lease = lead(&stage.a, &leader).await;
        let untold = Completion { is_untold: true, ..completion(&success("new")) };
        stage.a.complete(&lease, &leader, &untold).await.expect("an answer");
        let waiting = ask("t");
        let Begun::Join(mut joined) = begin(&stage.b, &waiting).await else { panic!("not joined") };
        assert_eq!(newest(&end(&stage.b, &ask("t")).await), "new");
        assert!(matches!(joined.news.news().await, News::BeginAgain));

        let done = crate::store::Telling::Done;
        stage.a.tell(&leader, lease.fence, &success("new"), done).await.expect("an answer");

        assert!(is_ended(&stage.b, &waiting).await);
    }
}
