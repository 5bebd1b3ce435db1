//! Several claims of one login, in histories that were once told wrong: a flight turned in circles, a claim was logged out that had
//! waited, tokens were handed out after a logout.

use super::chains::{by, held, rotate, to};
use super::claims::turn::{Turn, claim, comes, follow, two_claims, waits, walker};
use super::stage::*;
use crate::identity::CheckedRequest;
use crate::store::{Coming, Followed};

fn guessed(stage: &Stage, scope: &str) -> Ask {
    by(stage, Refresh::new("one").client("app", "guessed").parameters([("scope", scope)]), Coming::Directly)
}

/// What a flight leaves by itself is soon over.
fn forgetful() -> Config {
    Config { lease: 2 * S, uncertain_memory: Duration::ZERO, ..held() }
}

/// Come with the token of the login: one that guesses the client's secret, and one that names no client.
fn strangers(stage: &Stage) -> [Ask; 2] {
    [Refresh::new("one").client("app", "guessed"), Refresh::new("one")].map(|refresh| {
        let request = CheckedRequest::of(refresh.token_from_attempt(), 1024).expect("valid");
        Ask::new(stage.a.identity(request, &stage.config), Uuid::new_v4())
    })
}

/// Long after the strangers, the login is known by its first token still.
async fn is_owed_its_answer(stage: &Stage) {
    stage.pass(6 * S).await;
    let Followed::Given(given) = comes(stage, &mut claim(stage, "one", "b")).await else { panic!("it is owed that") };
    assert_eq!(access_token(&given), "of three");
    assert_eq!(Turn::at_once(stage, "one", "c").await.token(), "three");
}

both! {
    async fn strangers_that_are_denied_with_an_old_token_make_nobody_forget_its_login(stage, forgetful()) {
        two_claims(&stage).await;

        for stranger in strangers(&stage) {
            let lease = lead(&stage.b, &stranger).await;
            complete(&stage.b, &lease, &stranger, &denied("invalid_client")).await;
        }

        is_owed_its_answer(&stage).await;
    }

    async fn strangers_that_give_back_the_lead_of_an_old_token_make_nobody_forget_its_login(stage, forgetful()) {
        two_claims(&stage).await;

        for stranger in strangers(&stage) {
            let lease = lead(&stage.b, &stranger).await;
            stage.b.abandon(&lease, &stranger).await.expect("an answer");
        }

        is_owed_its_answer(&stage).await;
    }

    async fn strangers_that_are_lost_with_an_old_token_make_nobody_forget_its_login(stage, forgetful()) {
        two_claims(&stage).await;

        for stranger in strangers(&stage) {
            lead(&stage.b, &stranger).await;
            stage.lease_over(&stranger).await;
        }

        is_owed_its_answer(&stage).await;
    }

    async fn dead_token_that_was_left_behind_ends_nothing_for_the_others(stage, held()) {
        two_claims(&stage).await;
        Turn::at_once(&stage, "two", "a").await.lands(&stage, &to("four")).await;
        stage.pass(3 * S).await;
        let left_behind = walker(&stage, "one", "a", Coming::Past);

        assert!(matches!(fly(&stage.b, &left_behind, &denied("invalid_grant")).await, Standing::Ours));

        let Followed::Given(given) = comes(&stage, &mut claim(&stage, "one", "b")).await else { panic!("it is owed that") };
        assert_eq!(access_token(&given), "of three");
        let turn = Turn::at_once(&stage, "three", "b").await;
        assert_eq!(turn.token(), "four");
        let mut own = claim(&stage, "four", "a");
        let news = waits(&stage, &mut own).await;
        turn.lands(&stage, &to("five")).await;
        assert_eq!(Turn::called(&stage, own, news).await.token(), "five");
    }

    async fn second_claim_finds_what_is_held_for_a_later_token_whose_record_is_over(stage, held()) {
        rotate(&stage, &claim(&stage, "one", "a"), "two").await;
        rotate(&stage, &claim(&stage, "two", "a"), "three").await;

        let turn = Turn::at_once(&stage, "two", "b").await;

        assert_eq!(turn.token(), "three");
        turn.lands(&stage, &to("four")).await;
        assert_eq!(Turn::at_once(&stage, "three", "a").await.token(), "four");
    }

    // The provider took the token from it: a secret that was rolled, or one that binds no token.
    async fn logout_by_another_credential_that_went_on_from_a_token_ends_nothing_for_its_owner(stage, held()) {
        let rolled = |token: &str| by(&stage, Refresh::new(token).client("app", "rolled"), Coming::Directly);
        rotate(&stage, &claim(&stage, "one", "a"), "two").await;
        rotate(&stage, &rolled("two"), "three").await;
        comes(&stage, &mut claim(&stage, "one", "b")).await;

        stage.a.end_session(&rolled("three")).await.expect("an answer");

        let begun = begin(&stage.b, &claim(&stage, "one", "b")).await;
        assert!(!matches!(begun, Begun::Ended), "{begun:?}");
        let followed = follow(&stage.b, &claim(&stage, "one", "b")).await;
        assert!(!matches!(followed, Followed::Ended), "another claim's logout");
    }

    async fn strangers_that_guess_a_secret_lead_an_old_token_once_and_take_nothing_from_its_owner(stage, held()) {
        rotate(&stage, &claim(&stage, "one", "a"), "two").await;
        let first = guessed(&stage, "x");
        let lease = lead(&stage.b, &first).await;
        let mut second = guessed(&stage, "y");
        let mut news = waits(&stage, &mut second).await;
        let denied = || failure(ProviderFailure::denied("invalid_client"));
        complete(&stage.b, &lease, &first, &denied()).await;

        assert!(matches!(news.news().await, News::BeginAgain));
        let followed = follow(&stage.b, &second).await;
        let turn = Turn::take(&stage, second, followed).await;

        assert_eq!(turn.token(), "one", "the provider judges it");
        complete(&stage.b, &turn.lease, &turn.ask, &denied()).await;
        assert_eq!(Turn::at_once(&stage, "one", "b").await.token(), "two");
    }

    async fn strangers_that_meet_at_a_token_before_its_owner_learn_nothing_of_the_next_and_end_no_session(stage, held()) {
        let first = guessed(&stage, "x");
        let lease = lead(&stage.b, &first).await;
        waits(&stage, &mut guessed(&stage, "y")).await;
        complete(&stage.b, &lease, &first, &failure(ProviderFailure::denied("invalid_client"))).await;
        fly(&stage.a, &claim(&stage, "one", "a"), &to("two")).await;

        stage.b.end_session(&guessed(&stage, "z")).await.expect("an answer");

        let lease = lead(&stage.a, &claim(&stage, "two", "a")).await;
        assert_eq!(lease.history, TokenHistory::Unremarkable);
    }

    async fn claim_that_waited_for_the_first_and_gave_up_is_served_when_the_first_has_gone_on(stage, held()) {
        let first = claim(&stage, "one", "a");
        let lease = lead(&stage.a, &first).await;
        let mut gives_up = claim(&stage, "one", "b");
        drop(waits(&stage, &mut gives_up).await);
        complete(&stage.a, &lease, &first, &to("two")).await;
        stage.b.withdraw(&gives_up.id(), Some(tokio::time::Instant::now())).await.expect("an answer");
        Turn::at_once(&stage, "two", "a").await.lands(&stage, &to("three")).await;
        stage.pass(3 * S).await;

        let mut own = claim(&stage, "one", "b");
        let Followed::Newest { token, origin } = comes(&stage, &mut own).await else { panic!("nothing follows") };
        assert_eq!(token.expose(), "two");
        let mut next = claim(&stage, "two", "b");
        (next.coming, next.origin) = (Coming::Claiming { from: 1 }, Some(origin));
        assert!(matches!(begin(&stage.b, &next).await, Begun::Claims));
        let followed = stage.b.follow(&next, Some(&own), true).await.expect("an answer");

        let turn = Turn::take(&stage, next, followed).await;
        assert_eq!(turn.token(), "three");
        turn.lands(&stage, &to("four")).await;
        let mut again = claim(&stage, "one", "b");
        let Followed::Given(given) = comes(&stage, &mut again).await else { panic!("its answer is lost") };
        assert_eq!(access_token(&given), "of four");
    }

    async fn fresh_outcome_is_handed_to_nobody_once_another_claim_has_ended_the_session(
        stage,
        Config { keep_outcome: 60 * S, ..held() }
    ) {
        two_claims(&stage).await;
        Turn::at_once(&stage, "three", "b").await.lands(&stage, &to("four")).await;
        assert!(matches!(begin(&stage.b, &claim(&stage, "three", "b")).await, Begun::Landed(_)));

        stage.a.end_session(&claim(&stage, "two", "a")).await.expect("an answer");

        assert!(matches!(begin(&stage.b, &claim(&stage, "three", "b")).await, Begun::Ended));
    }

    async fn background_refresh_waits_for_no_turn_and_presents_no_rotated_token(stage, held()) {
        two_claims(&stage).await;
        let turn = Turn::at_once(&stage, "three", "b").await;
        let mut quiet = claim(&stage, "two", "a");
        quiet.is_background = true;

        assert!(matches!(begin(&stage.b, &quiet).await, Begun::Claims));
        assert!(matches!(follow(&stage.b, &quiet).await, Followed::Wait(_)));

        turn.lands(&stage, &to("four")).await;
    }
}
