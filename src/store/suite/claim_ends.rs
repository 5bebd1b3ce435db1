//! What becomes of the claims of a login that wait when the flight before them ends: it landed, was given back or lost, or went away;
//! or the login itself is over.

use super::chains::{held, to};
use super::claims::turn::{Turn, claim, comes, follow, is_not_called, is_spent, two_claims, waits, walker};
use super::stage::*;
use crate::store::{Coming, EndedFlight, Followed, Telling};

both! {
    async fn claim_that_goes_away_gives_its_place_to_the_next(stage, held()) {
        let first = claim(&stage, "one", "a");
        let lease = lead(&stage.a, &first).await;
        let [mut b, mut c, mut d] = ["b", "c", "d"].map(|scope| claim(&stage, "one", scope));
        waits(&stage, &mut b).await;
        stage.pass(2 * MS).await;
        let mut of_c = waits(&stage, &mut c).await;
        stage.pass(2 * MS).await;
        let of_d = waits(&stage, &mut d).await;

        stage.b.withdraw(&b.id(), None).await.expect("an answer");
        complete(&stage.a, &lease, &first, &to("two")).await;
        assert!(matches!(of_c.news().await, News::BeginAgain));
        // It was called, and goes away as well.
        stage.b.withdraw(&c.id(), None).await.expect("an answer");

        assert_eq!(Turn::called(&stage, d, of_d).await.token(), "two");
    }

    async fn dead_newest_token_ends_the_login_and_all_that_wait_are_called(stage, held()) {
        two_claims(&stage).await;
        let turn = Turn::at_once(&stage, "one", "c").await;
        assert_eq!(turn.token(), "three");
        let [mut a, mut b] = [claim(&stage, "two", "a"), claim(&stage, "three", "b")];
        let mut of_a = waits(&stage, &mut a).await;
        let mut of_b = waits(&stage, &mut b).await;

        turn.lands(&stage, &denied("invalid_grant")).await;

        assert!(matches!(of_a.news().await, News::BeginAgain));
        assert!(matches!(of_b.news().await, News::BeginAgain));
        let followed = follow(&stage.b, &a).await;
        assert!(matches!(followed, Followed::Spent), "{followed:?}");
        let followed = follow(&stage.b, &b).await;
        assert_eq!(Turn::take(&stage, b, followed).await.token(), "three", "the provider is to judge its own");
        // What was given before is good for nothing any more.
        is_spent(&stage, "one", "b").await;
    }

    async fn token_that_is_dead_before_the_login_is_known_is_presented_once(
        stage,
        Config { store_timeout: S, ..held() }
    ) {
        let first = claim(&stage, "one", "a");
        let lease = lead(&stage.a, &first).await;
        let [mut b, mut c] = ["b", "c"].map(|scope| claim(&stage, "one", scope));
        let of_b = waits(&stage, &mut b).await;
        stage.pass(2 * MS).await;
        waits(&stage, &mut c).await;
        complete(&stage.a, &lease, &first, &to("two")).await;

        Turn::called(&stage, b, of_b).await.lands(&stage, &denied("invalid_grant")).await;

        stage.pass(2 * S).await;
        let followed = follow(&stage.b, &c).await;
        assert!(matches!(followed, Followed::Spent), "{followed:?}");
    }

    async fn logout_ends_the_session_of_all_claims(stage, held()) {
        two_claims(&stage).await;
        let turn = Turn::at_once(&stage, "one", "c").await;
        let mut b = claim(&stage, "three", "b");
        let mut of_b = waits(&stage, &mut b).await;

        let ended = stage.a.end_session(&claim(&stage, "two", "a")).await.expect("an answer");

        let EndedFlight::FurtherOn(newest) = ended else { panic!("{ended:?}") };
        assert_eq!(newest.expose(), "three");
        assert!(matches!(of_b.news().await, News::BeginAgain));
        assert!(matches!(follow(&stage.b, &b).await, Followed::Ended));
        assert!(matches!(comes(&stage, &mut claim(&stage, "one", "c")).await, Followed::Ended));
        let ended = stage.a.end_session(&claim(&stage, "three", "a")).await.expect("an answer");
        assert!(matches!(ended, EndedFlight::UnderWay), "{ended:?}");
        let standing = complete(&stage.b, &turn.lease, &turn.ask, &to("four")).await;
        assert!(matches!(standing, Standing::Ended), "{standing:?}");
    }

    async fn logout_between_what_a_claim_is_told_and_its_lead_keeps_its_token_from_the_provider(stage, held()) {
        two_claims(&stage).await;
        Turn::at_once(&stage, "two", "a").await.lands(&stage, &to("four")).await;
        stage.pass(3 * S).await;
        is_spent(&stage, "one", "a").await;
        let mut own = claim(&stage, "four", "a");
        let Followed::Own(origin) = comes(&stage, &mut own).await else { panic!("it is the newest") };
        (own.coming, own.origin) = (Coming::InTurn, Some(origin));

        stage.a.end_session(&claim(&stage, "three", "b")).await.expect("an answer");

        let past = begin(&stage.b, &walker(&stage, "one", "a", Coming::Past)).await;
        assert!(matches!(past, Begun::Ended), "{past:?}");
        let newest = begin(&stage.b, &own).await;
        assert!(matches!(newest, Begun::Ended), "{newest:?}");
    }

    async fn lead_that_is_given_back_calls_the_next(stage, held()) {
        let first = claim(&stage, "one", "a");
        let lease = lead(&stage.a, &first).await;
        let [mut b, mut c] = ["b", "c"].map(|scope| claim(&stage, "one", scope));
        let of_b = waits(&stage, &mut b).await;
        stage.pass(2 * MS).await;
        let mut of_c = waits(&stage, &mut c).await;

        stage.a.abandon(&lease, &first).await.expect("an answer");

        is_not_called(&mut of_c).await;
        let turn = Turn::called(&stage, b, of_b).await;
        assert_eq!(turn.token(), "one");
        turn.lands(&stage, &to("two")).await;
        let turn = Turn::called(&stage, c, of_c).await;
        assert_eq!(turn.token(), "two");
        stage.b.abandon(&turn.lease, &turn.ask).await.expect("an answer");
        // It was given back, and is presented by the claim that it was given to.
        assert_eq!(Turn::at_once(&stage, "one", "a").await.token(), "two");
    }

    async fn claims_are_called_when_all_may_be_told_and_not_before(stage, held()) {
        two_claims(&stage).await;
        let Turn { ask, lease } = Turn::at_once(&stage, "one", "c").await;
        let mut a = claim(&stage, "two", "a");
        let mut of_a = waits(&stage, &mut a).await;
        let outcome = to("four");
        let untold = Completion { is_untold: true, ..completion(&outcome) };
        assert!(matches!(stage.b.complete(&lease, &ask, &untold).await.expect("an answer"), Standing::Ours));
        is_not_called(&mut of_a).await;

        stage.b.tell(&ask, lease.fence, &outcome, Telling::Done).await.expect("an answer");

        assert_eq!(Turn::called(&stage, a, of_a).await.token(), "four");
    }

    async fn turn_of_a_claim_that_is_called_when_all_may_be_told_is_kept_no_longer_than_any(
        stage,
        Config { store_timeout: S, ..held() }
    ) {
        two_claims(&stage).await;
        let Turn { ask, lease } = Turn::at_once(&stage, "one", "c").await;
        let mut never_comes = claim(&stage, "one", "d");
        let _news = waits(&stage, &mut never_comes).await;
        stage.pass(2 * MS).await;
        let mut a = claim(&stage, "two", "a");
        drop(waits(&stage, &mut a).await);
        let outcome = to("four");
        let untold = Completion { is_untold: true, ..completion(&outcome) };
        stage.b.complete(&lease, &ask, &untold).await.expect("an answer");
        stage.b.tell(&ask, lease.fence, &outcome, Telling::Done).await.expect("an answer");

        stage.pass(1500 * MS).await;

        let followed = follow(&stage.b, &a).await;
        assert_eq!(Turn::take(&stage, a, followed).await.token(), "four");
    }

    async fn newest_token_whose_leader_is_lost_is_presented_by_the_next_that_looks(
        stage,
        Config { lease: S, store_timeout: S, retry_lost_after: Some(Duration::ZERO), ..held() }
    ) {
        let first = claim(&stage, "one", "a");
        lead(&stage.a, &first).await;
        let mut b = claim(&stage, "one", "b");
        let mut joined = waits(&stage, &mut b).await;

        // Nobody calls it: it looks when the lease is over.
        assert!(matches!(joined.news().await, News::BeginAgain));

        let followed = follow(&stage.b, &b).await;
        assert_eq!(Turn::take(&stage, b, followed).await.token(), "one");
    }
    async fn turn_that_was_given_to_a_pod_which_ends_is_the_next_flights_after_store_timeout(
        stage,
        Config { store_timeout: 2 * S, ..held() }
    ) {
        two_claims(&stage).await;
        // Its pod ends before it begins.
        assert!(matches!(comes(&stage, &mut claim(&stage, "three", "b")).await, Followed::Own(_)));
        let mut next = claim(&stage, "two", "a");
        let mut news = waits(&stage, &mut next).await;
        let since = Instant::now();
        is_not_called(&mut news).await;

        let turn = Turn::called(&stage, next, news).await;

        assert_eq!((turn.token(), turn.lease.history), ("three", TokenHistory::Unremarkable));
        let (waited, lease) = (since.elapsed(), stage.config.lease);
        assert!(waited < lease / 4, "{waited:?} of a lease of {lease:?}");
        assert!(stage.redis.is_some() || waited <= stage.config.store_timeout + MS, "{waited:?}");
    }
    async fn flight_that_is_called_and_gone_holds_the_next_up_for_no_longer_than_a_lease(
        stage,
        Config { lease: 3 * S, store_timeout: S, ..held() }
    ) {
        let first = claim(&stage, "one", "a");
        let lease = lead(&stage.a, &first).await;
        let [mut b, mut c] = ["b", "c"].map(|scope| claim(&stage, "one", scope));
        let mut of_b = waits(&stage, &mut b).await;
        stage.pass(2 * MS).await;
        let mut of_c = waits(&stage, &mut c).await;
        complete(&stage.a, &lease, &first, &to("two")).await;
        // It is called, and its pod ends.
        assert!(matches!(of_b.news().await, News::BeginAgain));
        let since = Instant::now();

        is_not_called(&mut of_c).await;
        let looks = async {
            loop {
                of_c.news().await;
                match follow(&stage.b, &c).await {
                    Followed::Wait(news) => of_c = news,
                    followed => break followed,
                }
            }
        };
        let followed = tokio::time::timeout(30 * S, looks).await.expect("it goes on");

        assert_eq!(Turn::take(&stage, c, followed).await.token(), "two");
        let (waited, lease) = (since.elapsed(), stage.config.lease);
        assert!(waited <= if stage.redis.is_some() { 3 * lease } else { lease }, "{waited:?} of a lease of {lease:?}");
    }
}
