//! Flights that nobody waits for, and callers that have an answer already, told verb by verb.

use super::stage::*;

fn background(mut ask: Ask) -> Ask {
    ask.is_background = true;
    ask
}

fn newer_than(mut ask: Ask, fence: u64) -> Ask {
    ask.newer_than = Some(fence);
    ask
}

fn kept(name: &str) -> Arc<Outcome> {
    success_with(&format!(r#"{{"access_token":"{name}","expires_in":300}}"#))
}

both! {
    async fn background_leaves_half_of_the_permits_to_callers(stage, permits(4)) {
        for _ in 0..2 {
            lead(&stage.a, &background(anybody())).await;
        }
        stage.budget_holds().await;

        let late = background(of_client("app"));
        assert!(matches!(refused(&stage.b, &late).await, Refusal::Budget { .. }));
        let terms = AdmissionTerms { patience: 60 * S, ..AdmissionTerms::at_once() };
        let begun = stage.b.begin(&late, None, &terms).await.expect("an answer");
        assert!(matches!(begun, Begun::Rejected(Refusal::Budget { .. })), "it does not queue: {begun:?}");

        stage.budget_holds().await;
        for _ in 0..2 {
            lead(&stage.b, &anybody()).await;
        }
        stage.budget_holds().await;
    }

    async fn background_begins_no_cooldown(
        stage,
        Config { refresh_attempt_window: 2 * S, refresh_cooldown_period: 600 * S, ..attempts(1) }
    ) {
        fly(&stage.a, &of("session"), &success("one")).await;
        let Refusal::CoolingDown { retry_after } = refused(&stage.b, &background(of("session"))).await else {
            panic!("it was not refused")
        };
        assert!(retry_after <= 2 * S, "what is left of the window: {retry_after:?}");

        stage.pass(2 * S).await;
        lead(&stage.b, &of("session")).await;
    }

    async fn background_is_no_probe(stage, breaker(1, S, 1)) {
        fly(&stage.a, &anybody(), &unknown()).await;
        stage.pass(S).await;

        assert!(matches!(refused(&stage.a, &background(anybody())).await, Refusal::CircuitOpen { .. }));
        lead(&stage.a, &anybody()).await;
    }

    async fn background_takes_nothing_that_somebody_queues_for(stage, permits(1)) {
        let leading = anybody();
        let lease = lead(&stage.a, &leading).await;
        let caller = anybody();
        let queued = queue(&stage.b, &caller).await;
        let unhurried = background(anybody());

        assert!(matches!(refused(&stage.a, &unhurried).await, Refusal::Budget { .. }));
        complete(&stage.a, &lease, &leading, &success("one")).await;
        assert!(matches!(refused(&stage.a, &unhurried).await, Refusal::Budget { .. }));
        stage.budget_holds().await;

        let Begun::Lead(lease) = begin_in_queue(&stage.b, &caller, Some(queued.since)).await else {
            panic!("the caller's permit is gone")
        };
        complete(&stage.b, &lease, &caller, &success("two")).await;
        lead(&stage.a, &unhurried).await;
        stage.budget_holds().await;
    }

    async fn background_is_no_attempt_of_its_session_and_rests_while_that_cools_down(stage, attempts(2)) {
        for round in 0..5 {
            let ask = background(of("session"));
            let lease = lead(&stage.a, &ask).await;
            // Neither what is charged nor what is given back changes what callers have.
            let outcome = if round % 2 == 0 { success("one") } else { failure(ProviderFailure::not_sent("dns")) };
            complete(&stage.a, &lease, &ask, &outcome).await;
        }
        for _ in 0..2 {
            fly(&stage.b, &of("session"), &success("two")).await;
        }

        assert!(is_cooling_down(&refused(&stage.b, &of("session")).await));
        assert!(is_cooling_down(&refused(&stage.a, &background(of("session"))).await));
    }

    async fn callers_join_what_is_led_in_the_background(stage, unhurried()) {
        let unhurried = background(ask("token"));
        let lease = lead(&stage.a, &unhurried).await;
        let caller = ask("token");
        let Begun::Join(joined) = begin(&stage.b, &caller).await else { panic!("not joined") };

        complete(&stage.a, &lease, &unhurried, &success("one")).await;

        assert_eq!(access_token(&landed(&stage.b, &caller, joined.fence).await), "one");
    }

    async fn answer_that_a_caller_has_is_not_handed_to_it_again(stage, unhurried()) {
        let first = ask("token");
        let lease = lead(&stage.a, &first).await;
        complete(&stage.a, &lease, &first, &kept("one")).await;

        // Who has none, or an older one, gets it; who has it leads.
        assert_eq!(access_token(&landed(&stage.b, &ask("token"), None).await), "one");
        let behind = newer_than(ask("token"), lease.fence - 1);
        assert_eq!(access_token(&landed(&stage.b, &behind, None).await), "one");
        let second = newer_than(ask("token"), lease.fence);
        let newer = lead(&stage.b, &second).await;
        assert_eq!(newer.history, TokenHistory::Unremarkable);
        complete(&stage.b, &newer, &second, &kept("two")).await;

        assert_eq!(access_token(&landed(&stage.a, &newer_than(ask("token"), lease.fence), None).await), "two");
    }

    async fn refusal_that_says_nothing_of_the_token_is_not_handed_again_to_a_caller_that_has_it(stage, unhurried()) {
        let refused = |error: &str| Arc::new(Outcome::Failure(ProviderFailure::denied(error)));
        let first = ask("token");
        let lease = lead(&stage.a, &first).await;
        complete(&stage.a, &lease, &first, &refused("invalid_client")).await;

        assert_eq!(landed(&stage.b, &ask("token"), None).await.fence, lease.fence);
        let second = newer_than(ask("token"), lease.fence);
        let newer = lead(&stage.b, &second).await;
        assert_eq!(newer.history, TokenHistory::Unremarkable);
        complete(&stage.b, &newer, &second, &refused("invalid_grant")).await;

        let dead = landed(&stage.a, &newer_than(ask("token"), newer.fence), None).await;
        assert_eq!(dead.fence, newer.fence, "a dead token is not presented again");
    }

    async fn rotated_token_is_never_presented_for_a_newer_answer(stage, unhurried()) {
        let first = ask("token");
        let lease = lead(&stage.a, &first).await;
        complete(&stage.a, &lease, &first, &success("one")).await;

        for fence in [lease.fence, lease.fence + 1, u64::MAX] {
            assert_eq!(access_token(&landed(&stage.b, &newer_than(ask("token"), fence), None).await), "one");
        }
    }
}
