//! Several claims of one login: each is served in its turn, with the newest token, and is handed only what was given to itself.

use self::turn::{Turn, briefly_to, claim, comes, follow, is_not_called, is_spent, two_claims, waits, walker};
use super::chains::{by, held, to};
use super::stage::*;
use crate::store::{ChainEnd, Coming, Followed};

pub(in crate::store) mod turn;

both! {
    async fn claim_that_waits_is_called_when_the_first_lands_and_presents_the_newest_token(stage, held()) {
        let first = claim(&stage, "one", "a");
        let lease = lead(&stage.a, &first).await;
        let mut own = claim(&stage, "one", "b");
        let mut joined = waits(&stage, &mut own).await;
        is_not_called(&mut joined).await;

        complete(&stage.a, &lease, &first, &to("two")).await;
        let second = Turn::called(&stage, own, joined).await;

        assert_eq!((second.token(), second.lease.history), ("two", TokenHistory::Unremarkable));
        second.lands(&stage, &to("three")).await;
        stage.pass(3 * S).await;
        assert_eq!(Turn::at_once(&stage, "two", "a").await.token(), "three");
    }

    async fn claim_that_keeps_its_own_token_follows_ten_rotations_of_another_with_one_look(stage, held()) {
        let (first, mut own) = (claim(&stage, "one", "a"), claim(&stage, "one", "b"));
        let lease = lead(&stage.a, &first).await;
        let joined = waits(&stage, &mut own).await;
        complete(&stage.a, &lease, &first, &briefly_to("2")).await;
        Turn::called(&stage, own, joined).await.lands(&stage, &briefly_to("3")).await;
        let mut token = "2".to_owned();
        for newest in 3..13 {
            let next = (newest + 1).to_string();
            let turn = Turn::at_once(&stage, &token, "a").await;
            assert_eq!(turn.token(), newest.to_string());
            turn.lands(&stage, &briefly_to(&next)).await;
            token = next;
        }
        stage.pass(3 * S).await;

        let late = Turn::at_once(&stage, "one", "b").await;

        assert_eq!(late.token(), "13");
        late.lands(&stage, &to("14")).await;
        assert_eq!(Turn::at_once(&stage, "13", "a").await.token(), "14");
    }

    async fn answer_that_was_lost_is_handed_again_to_its_own_claim_only(stage, held()) {
        two_claims(&stage).await;

        let (mut a, mut b) = (claim(&stage, "one", "a"), claim(&stage, "one", "b"));
        let Followed::Given(of_a) = comes(&stage, &mut a).await else { panic!("nothing is given") };
        let Followed::Given(of_b) = comes(&stage, &mut b).await else { panic!("nothing is given") };

        assert_eq!((access_token(&of_a), access_token(&of_b)), ("of two", "of three"));
        let third = Turn::at_once(&stage, "one", "c").await;
        assert_eq!(third.token(), "three");
        third.lands(&stage, &to("four")).await;
        stage.pass(3 * S).await;
        let Followed::Given(of_b) = comes(&stage, &mut claim(&stage, "one", "b")).await else { panic!("lost") };
        assert_eq!(access_token(&of_b), "of three");
    }

    async fn token_that_its_claim_has_left_behind_goes_to_the_provider(stage, held()) {
        two_claims(&stage).await;
        Turn::at_once(&stage, "two", "a").await.lands(&stage, &to("four")).await;
        stage.pass(3 * S).await;

        is_spent(&stage, "one", "a").await;

        let past = lead(&stage.b, &walker(&stage, "one", "a", Coming::Past)).await;
        assert_eq!(past.history, TokenHistory::Rotated);
        assert!(matches!(comes(&stage, &mut claim(&stage, "one", "b")).await, Followed::Given(_)), "b is owed it still");
    }

    async fn claim_that_comes_first_when_a_later_token_was_used_is_a_stranger(stage, held()) {
        two_claims(&stage).await;
        let early = Turn::at_once(&stage, "one", "early").await;
        assert_eq!(early.token(), "three");
        stage.b.abandon(&early.lease, &early.ask).await.expect("an answer");
        let mut user = claim(&stage, "two", "a");
        comes(&stage, &mut user).await;

        is_spent(&stage, "one", "late").await;

        let early = comes(&stage, &mut claim(&stage, "one", "early")).await;
        assert!(!matches!(early, Followed::Spent), "{early:?}");
    }

    async fn claims_are_served_in_the_order_in_which_they_came_and_only_the_first_is_called(stage, held()) {
        let first = claim(&stage, "one", "a");
        let lease = lead(&stage.a, &first).await;
        let [mut b, mut c, mut d] = ["b", "c", "d"].map(|scope| claim(&stage, "one", scope));
        let of_b = waits(&stage, &mut b).await;
        stage.pass(2 * MS).await;
        let mut of_c = waits(&stage, &mut c).await;
        stage.pass(2 * MS).await;
        let mut of_d = waits(&stage, &mut d).await;

        complete(&stage.a, &lease, &first, &to("two")).await;
        is_not_called(&mut of_c).await;
        is_not_called(&mut of_d).await;
        let turn = Turn::called(&stage, b, of_b).await;
        assert!(matches!(follow(&stage.b, &d).await, Followed::Wait(_)), "it is another's turn");
        let mut of_d = waits(&stage, &mut d).await;
        turn.lands(&stage, &to("three")).await;
        is_not_called(&mut of_d).await;
        let turn = Turn::called(&stage, c, of_c).await;
        assert_eq!(turn.token(), "three");
        turn.lands(&stage, &to("four")).await;

        assert_eq!(Turn::called(&stage, d, of_d).await.token(), "four");
    }

    async fn sixty_fifth_claim_of_a_login_is_refused_and_drives_nobody_out(stage, held()) {
        let first = claim(&stage, "one", "0");
        let lease = lead(&stage.a, &first).await;
        for scope in 1..64 {
            waits(&stage, &mut claim(&stage, "one", &scope.to_string())).await;
        }

        // It may still present the newest token itself.
        waits(&stage, &mut claim(&stage, "one", "64")).await;

        let mut known = claim(&stage, "one", "1");
        waits(&stage, &mut known).await;
        complete(&stage.a, &lease, &first, &to("two")).await;
        assert!(matches!(comes(&stage, &mut claim(&stage, "one", "64")).await, Followed::Full));
    }

    async fn caller_is_handed_the_answer_whose_token_another_claim_has_used_since(stage, held()) {
        two_claims(&stage).await;
        let taking = walker(&stage, "two", "a", Coming::Taking { from: 1 });

        assert!(matches!(begin(&stage.b, &taking).await, Begun::Claims));
        assert!(matches!(follow(&stage.b, &taking).await, Followed::Unused));

        let walking = walker(&stage, "two", "a", Coming::Walking { from: 1 });
        assert!(matches!(begin(&stage.b, &walking).await, Begun::Claims));
        let followed = follow(&stage.b, &walking).await;
        let turn = Turn::take(&stage, walking, followed).await;
        assert_eq!(turn.token(), "three");
        // Its claim has not come with the token, and another's walker is owed nothing for it.
        let other = walker(&stage, "two", "b", Coming::Taking { from: 1 });
        assert!(matches!(begin(&stage.b, &other).await, Begun::Claims));
        assert!(matches!(follow(&stage.b, &other).await, Followed::Spent));
    }

    async fn caller_is_handed_its_answer_while_another_claim_presents_the_token_in_it(stage, held()) {
        let (first, mut own) = (claim(&stage, "one", "a"), claim(&stage, "one", "b"));
        let lease = lead(&stage.a, &first).await;
        let joined = waits(&stage, &mut own).await;
        complete(&stage.a, &lease, &first, &to("two")).await;
        let turn = Turn::called(&stage, own, joined).await;
        let taking = walker(&stage, "two", "a", Coming::Taking { from: 1 });

        assert!(matches!(begin(&stage.a, &taking).await, Begun::Claims));
        assert!(matches!(follow(&stage.a, &taking).await, Followed::Unused));

        turn.lands(&stage, &to("three")).await;
    }

    async fn claim_goes_on_from_a_token_whose_record_is_over_by_what_is_held_for_it(stage, held()) {
        for (token, next) in [("one", "two"), ("two", "three"), ("three", "four")] {
            fly(&stage.a, &claim(&stage, token, "a"), &to(next)).await;
            stage.pass(3 * S).await;
        }

        let turn = Turn::at_once(&stage, "three", "b").await;

        assert_eq!((turn.token(), turn.ask.coming), ("four", Coming::Claiming { from: 3 }));
        turn.lands(&stage, &to("five")).await;
        assert_eq!(Turn::at_once(&stage, "four", "a").await.token(), "five");
    }
}

#[tokio::test]
async fn stranger_with_a_wrong_credential_learns_nothing_of_a_login() {
    let stage = Stage::in_memory(held());
    two_claims(&stage).await;
    let guess = || Refresh::new("one").client("app", "guessed").parameters([("scope", "b")]);

    let stranger = by(&stage, guess(), Coming::Directly);

    assert!(!matches!(begin(&stage.b, &stranger).await, Begun::Claims));
    assert!(matches!(follow(&stage.b, &stranger).await, Followed::Spent));
    let chain_end = begin(&stage.b, &by(&stage, guess(), Coming::Walking { from: 1 })).await;
    assert!(matches!(chain_end, Begun::ChainOver(ChainEnd::Broken)), "{chain_end:?}");
}
