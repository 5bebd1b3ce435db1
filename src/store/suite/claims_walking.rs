//! Several claims of one login, of which one comes along the chain, because its answer was lost on the way: the claims that wait for it go
//! on from where it has come to, and the provider is presented no token twice.

use super::chains::{held, rotate, to};
use super::claims::turn::{Turn, claim, comes, follow, waits, walker};
use super::stage::*;
use crate::store::{Coming, Followed, NewsSource};

/// `a` has lost its first answer, and presents the token in that. `b` waits with the first token.
struct Behind {
    walker: Ask,
    lease: Lease,
    own: Ask,
    news: NewsSource,
}

impl Behind {
    async fn begins(stage: &Stage) -> Self {
        rotate(stage, &claim(stage, "one", "a"), "two").await;
        let walker = walker(stage, "two", "a", Coming::Walking { from: 1 });
        let lease = lead(&stage.a, &walker).await;
        let mut own = claim(stage, "one", "b");
        let news = waits(stage, &mut own).await;
        Self { walker, lease, own, news }
    }

    /// The walker lands. It has not told yet how far the way from the first token goes.
    async fn lands(&self, stage: &Stage, outcome: &Arc<Outcome>) {
        assert!(matches!(complete(&stage.a, &self.lease, &self.walker, outcome).await, Standing::Ours));
    }
}

/// `b` goes on with its first token for as long as it is told that others had the token presented to which its turn has led it.
async fn goes_on(stage: &Stage, own: Ask, mut followed: Followed) -> Turn {
    loop {
        let Followed::Newest { token, origin } = followed else { return Turn::take(stage, own, followed).await };
        let mut next = claim(stage, token.expose(), "b");
        (next.coming, next.origin) = (Coming::Claiming { from: origin.place }, Some(origin));
        match begin(&stage.b, &next).await {
            Begun::Lead(lease) => return Turn { ask: next, lease },
            Begun::Claims => followed = stage.b.follow(&next, Some(&own), true).await.expect("an answer"),
            other => panic!("neither leads nor goes on: {other:?}"),
        }
    }
}

/// `a` comes with a token that it was given, and leads it at once, among the claims of its login or not.
async fn leads_at_once(stage: &Stage, token: &str) -> Turn {
    let ask = claim(stage, token, "a");
    match begin(&stage.b, &ask).await {
        Begun::Lead(lease) => Turn { ask, lease },
        Begun::Claims => {
            let followed = follow(&stage.b, &ask).await;
            Turn::take(stage, ask, followed).await
        }
        other => panic!("no lead: {other:?}"),
    }
}

both! {
    async fn claim_that_waits_for_a_walker_is_called_when_that_lands_and_goes_on_from_there(stage, held()) {
        let mut behind = Behind::begins(&stage).await;

        behind.lands(&stage, &to("three")).await;

        let called = tokio::time::timeout(5 * S, behind.news.news()).await;
        assert!(matches!(called, Ok(News::BeginAgain)), "it waits for the lease: {called:?}");
        let followed = follow(&stage.b, &behind.own).await;
        assert_eq!(goes_on(&stage, behind.own, followed).await.token(), "three");
    }

    async fn walker_that_comes_again_leaves_the_next_token_to_the_claim_that_has_waited(stage, held()) {
        let behind = Behind::begins(&stage).await;
        behind.lands(&stage, &to("three")).await;

        let mut again = claim(&stage, "three", "a");
        let news = waits(&stage, &mut again).await;

        let followed = follow(&stage.b, &behind.own).await;
        let turn = goes_on(&stage, behind.own, followed).await;
        assert_eq!(turn.token(), "three");
        turn.lands(&stage, &to("four")).await;
        assert_eq!(Turn::called(&stage, again, news).await.token(), "four");
    }

    async fn claim_that_comes_when_a_walker_has_landed_goes_on_before_that_comes_again(stage, held()) {
        rotate(&stage, &claim(&stage, "one", "a"), "two").await;
        let walks = walker(&stage, "two", "a", Coming::Walking { from: 1 });
        assert!(matches!(fly(&stage.a, &walks, &to("three")).await, Standing::Ours));
        let mut own = claim(&stage, "one", "b");
        let followed = comes(&stage, &mut own).await;

        let mut again = claim(&stage, "three", "a");
        let news = waits(&stage, &mut again).await;

        let turn = goes_on(&stage, own, followed).await;
        assert_eq!(turn.token(), "three");
        turn.lands(&stage, &to("four")).await;
        assert_eq!(Turn::called(&stage, again, news).await.token(), "four");
    }

    async fn claim_that_was_called_in_vain_presents_no_rotated_token_when_the_walker_has_gone_on(stage, held()) {
        let behind = Behind::begins(&stage).await;
        behind.lands(&stage, &to("three")).await;
        // Its turn is over.
        stage.pass(6 * S).await;
        leads_at_once(&stage, "three").await.lands(&stage, &to("four")).await;

        let followed = follow(&stage.b, &behind.own).await;

        assert_eq!(goes_on(&stage, behind.own, followed).await.token(), "four");
    }

    async fn walker_is_owed_what_followed_its_token_when_it_has_led_another_claim_on(stage, held()) {
        let behind = Behind::begins(&stage).await;
        behind.lands(&stage, &to("three")).await;
        let followed = follow(&stage.b, &behind.own).await;
        goes_on(&stage, behind.own, followed).await.lands(&stage, &to("four")).await;
        // The record of the token that it was given is over, as far as nobody is owed anything for it.
        stage.pass(3 * S).await;

        assert_eq!(leads_at_once(&stage, "three").await.token(), "four");
    }

    async fn walker_whose_second_answer_is_lost_too_is_owed_it_when_others_have_gone_on(stage, held()) {
        let behind = Behind::begins(&stage).await;
        behind.lands(&stage, &to("three")).await;
        let followed = follow(&stage.b, &behind.own).await;
        goes_on(&stage, behind.own, followed).await.lands(&stage, &to("four")).await;
        stage.pass(3 * S).await;
        Turn::at_once(&stage, "four", "b").await.lands(&stage, &to("five")).await;

        let followed = comes(&stage, &mut claim(&stage, "one", "a")).await;

        let Followed::Given(given) = followed else { panic!("it has left nothing behind: {followed:?}") };
        assert_eq!(access_token(&given), "of three");
        // Now it has.
        leads_at_once(&stage, "three").await.lands(&stage, &to("six")).await;
        let taking = walker(&stage, "two", "a", Coming::Taking { from: 1 });
        assert!(matches!(begin(&stage.b, &taking).await, Begun::Claims));
        let followed = follow(&stage.b, &taking).await;
        assert!(matches!(followed, Followed::Spent), "{followed:?}");
    }

    async fn walker_that_fails_makes_nobody_forget_a_claim_that_gave_up_waiting_for_it(stage, held()) {
        let Behind { walker, lease, own, news } = Behind::begins(&stage).await;
        drop(news);
        stage.b.withdraw(&own.id(), Some(Instant::now())).await.expect("an answer");
        complete(&stage.a, &lease, &walker, &failure(ProviderFailure::not_sent("refused"))).await;
        stage.pass(stage.config.wait_timeout + 2 * S).await;
        Turn::at_once(&stage, "one", "a").await.lands(&stage, &to("three")).await;
        Turn::at_once(&stage, "three", "a").await.lands(&stage, &to("four")).await;

        let mut again = claim(&stage, "one", "b");
        let followed = comes(&stage, &mut again).await;

        assert_eq!(goes_on(&stage, again, followed).await.token(), "four");
    }
}
