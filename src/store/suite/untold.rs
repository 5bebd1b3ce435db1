//! Outcomes that land before anybody is told: while their leader does something first, others wait, and what it had is not lost with it.

use super::stage::*;
use crate::identity::CheckedRequest;
use crate::store::{ChainEnd, Coming, Telling};

fn slow() -> Config {
    Config { lease: 2 * S, wait_timeout: 60 * S, keep_outcome: 60 * S, ..unhurried() }
}

fn ask_with(stage: &Stage, token: &str, coming: Coming) -> Ask {
    let refresh = Refresh::new(token).client("app", "pw").token_from_attempt();
    let request = CheckedRequest::of(refresh, 1024).expect("valid");
    let mut ask = Ask::new(stage.a.identity(request, &stage.config), Uuid::new_v4());
    ask.coming = coming;
    ask
}

fn untold(outcome: &Arc<Outcome>) -> Completion {
    Completion { is_untold: true, ..completion(outcome) }
}

/// Lands untold what this leader of pod a brought.
async fn land(stage: &Stage, ask: &Ask) -> (Lease, Arc<Outcome>) {
    let lease = lead(&stage.a, ask).await;
    let outcome = match &*success("new") {
        Outcome::Success(tokens) => Arc::new(Outcome::Success(tokens.clone().keeping(false))),
        other => panic!("no success: {other:?}"),
    };
    assert!(matches!(stage.a.complete(&lease, ask, &untold(&outcome)).await, Ok(Standing::Ours)));
    (lease, outcome)
}

async fn join(store: &Store, ask: &Ask) -> crate::store::NewsSource {
    match begin(store, ask).await {
        Begun::Join(joined) => joined.news,
        other => panic!("not joined: {other:?}"),
    }
}

both! {
    async fn others_wait_until_it_is_told_and_are_then_handed_it(stage, Config { lease: 6 * S, ..slow() }) {
        let first = ask("t");
        let mut early = {
            lead(&stage.a, &first).await;
            join(&stage.b, &ask("t")).await
        };
        let Begun::Lead(lease) = begin(&stage.a, &first).await else { panic!("it leads") };
        let outcome = success("new");
        stage.a.complete(&lease, &first, &untold(&outcome)).await.expect("an answer");
        let mut late = join(&stage.b, &ask("t")).await;

        // Twice, as a pod does that had no answer in time.
        stage.a.complete(&lease, &first, &untold(&outcome)).await.expect("an answer");
        join(&stage.b, &ask("t")).await;
        stage.pass(4 * S).await;
        stage.a.tell(&first, lease.fence, &outcome, Telling::Waits).await.expect("an answer");
        stage.pass(4 * S).await;
        join(&stage.b, &ask("t")).await;
        stage.a.tell(&first, lease.fence, &outcome, Telling::Done).await.expect("an answer");

        for news in [&mut early, &mut late] {
            // A pod may also be told to look.
            if let News::Landed(landed) = news.news().await {
                assert_eq!(access_token(&landed), "new");
            }
        }
        assert_eq!(access_token(&landed(&stage.b, &ask("t"), None).await), "new");
    }

    async fn lost_leader_that_comes_back_with_a_failure_waits_as_all_others_do(stage, slow()) {
        let lost = ask("t");
        let lease = lead(&stage.b, &lost).await;
        stage.lease_over(&lost).await;
        let (theirs, outcome) = land(&stage, &ask("t")).await;

        let standing = complete(&stage.b, &lease, &lost, &denied("invalid_grant")).await;

        assert!(matches!(standing, Standing::TheirsUntold(_)), "{standing:?}");
        join(&stage.b, &ask("t")).await;
        stage.a.tell(&ask("t"), theirs.fence, &outcome, Telling::Done).await.expect("an answer");
        assert_eq!(access_token(&landed(&stage.b, &lost, Some(lease.fence)).await), "new");
    }

    async fn permit_is_free_while_nobody_is_told(stage, Config { max_concurrent_refreshes: 1, ..slow() }) {
        land(&stage, &ask("t")).await;

        lead(&stage.b, &ask("u")).await;
    }

    async fn outcome_of_a_leader_that_is_lost_before_it_was_told_is_there(stage, slow()) {
        let first = ask("t");
        let (lease, outcome) = land(&stage, &first).await;
        stage.lease_over(&first).await;

        let Begun::Untold(found) = begin(&stage.b, &ask("t")).await else { panic!("nothing is found") };

        assert_eq!((access_token(&found), found.fence), ("new", lease.fence));
        stage.b.tell(&ask("t"), found.fence, &outcome, Telling::Done).await.expect("an answer");
        assert!(matches!(begin(&stage.a, &ask("t")).await, Begun::Landed(_)));
    }

    async fn what_could_not_be_done_before_is_left_to_others(stage, slow()) {
        let first = ask("t");
        let (lease, outcome) = land(&stage, &first).await;
        let mut waits = join(&stage.b, &ask("t")).await;

        stage.a.tell(&first, lease.fence, &outcome, Telling::Failed).await.expect("an answer");

        assert!(matches!(waits.news().await, News::BeginAgain));
        assert!(matches!(begin(&stage.b, &ask("t")).await, Begun::Untold(_)));
    }

    async fn what_is_told_late_or_of_another_outcome_changes_nothing(stage, slow()) {
        let first = ask("t");
        let (lease, outcome) = land(&stage, &first).await;

        stage.b.tell(&first, lease.fence + 1, &outcome, Telling::Done).await.expect("an answer");
        join(&stage.b, &ask("t")).await;
        stage.a.tell(&first, lease.fence, &outcome, Telling::Done).await.expect("an answer");
        stage.a.tell(&first, lease.fence, &outcome, Telling::Waits).await.expect("an answer");

        assert!(matches!(begin(&stage.b, &ask("t")).await, Begun::Landed(_)));
    }

    async fn caller_that_comes_just_after_a_late_telling_is_handed_the_outcome(stage, Config { keep_outcome: 2 * S, ..slow() }) {
        let first = ask_with(&stage, "t", Coming::Directly);
        let (lease, outcome) = land(&stage, &first).await;
        for _ in 0..3 {
            stage.pass(S).await;
            stage.a.tell(&first, lease.fence, &outcome, Telling::Waits).await.expect("an answer");
        }
        stage.a.tell(&first, lease.fence, &outcome, Telling::Done).await.expect("an answer");
        stage.pass(S).await;

        let late = landed(&stage.b, &ask_with(&stage, "t", Coming::Directly), None).await;

        assert_eq!((access_token(&late), late.fence), ("new", lease.fence));
    }

    async fn token_counts_as_used_once_it_is_told(stage, slow()) {
        let first = ask_with(&stage, "t", Coming::Directly);
        let (lease, outcome) = land(&stage, &first).await;
        let walker = || ask_with(&stage, "next", Coming::Taking { from: 1 });
        assert!(matches!(begin(&stage.b, &walker()).await, Begun::Unused));

        stage.a.tell(&first, lease.fence, &outcome, Telling::Done).await.expect("an answer");

        assert!(matches!(begin(&stage.b, &walker()).await, Begun::ChainOver(ChainEnd::Used)));
    }

    async fn other_claim_waits_too_and_is_refused_then(stage, slow()) {
        let first = ask("t");
        let (lease, outcome) = land(&stage, &first).await;
        let other = || ask_as(Refresh::new("t").client("another", "pw"));
        join(&stage.b, &other()).await;

        stage.a.tell(&first, lease.fence, &outcome, Telling::Done).await.expect("an answer");

        assert!(matches!(refused(&stage.b, &other()).await, Refusal::AnotherClaim { .. }));
    }
}
