//! The rules of a session, told verb by verb: its attempts, its cooldown, and how long a provider holds it.

use super::stage::*;

both! {
    async fn session_of_n_attempts_leads_n_times_and_then_cools_down(
        stage,
        Config { refresh_cooldown_period: 4 * S, ..attempts(2) }
    ) {
        // Afterwards the count starts at 1, so that the second round is as the first.
        for _ in 0..2 {
            fly(&stage.a, &of("s"), &success("one")).await;
            fly(&stage.b, &of("s"), &failure(ProviderFailure::unknown("reset"))).await;
            let Refusal::CoolingDown { retry_after } = refused(&stage.a, &of("s")).await else { panic!("no cooldown") };
            assert!(retry_after <= 4 * S && retry_after > S, "{retry_after:?}");
            lead(&stage.b, &anybody()).await;

            stage.pass(S).await;
            // Asking does not make it longer.
            let Refusal::CoolingDown { retry_after } = refused(&stage.b, &of("s")).await else { panic!("forgotten") };
            assert!(retry_after <= 3 * S, "{retry_after:?}");
            stage.pass(3 * S).await;
        }
    }

    async fn shortage_of_memory_is_told_before_a_cooldown(stage, attempts(1)) {
        fly(&stage.a, &of("s"), &success("one")).await;
        assert!(is_cooling_down(&refused(&stage.a, &of("s")).await));
        let short = Some(Refusal::MemoryPressure { retry_after: S });
        let terms = AdmissionTerms { pod_refuses: short, ..AdmissionTerms::at_once() };

        let begun = stage.a.begin(&of("s"), None, &terms).await.expect("an answer");

        assert!(matches!(begun, Begun::Rejected(Refusal::MemoryPressure { .. })), "{begun:?}");
        // Another pod says how long.
        assert!(is_cooling_down(&refused(&stage.b, &of("s")).await));
    }

    async fn attempts_are_counted_anew_when_their_window_is_over(
        stage,
        Config { refresh_attempt_window: S, ..attempts(1) }
    ) {
        fly(&stage.a, &of("s"), &success("one")).await;

        stage.pass(S).await;

        fly(&stage.b, &of("s"), &success("two")).await;
        assert!(is_cooling_down(&refused(&stage.b, &of("s")).await));
    }

    async fn flight_that_asked_the_provider_for_nothing_is_not_charged(stage, attempts(1)) {
        let of_the_client = ["invalid_client", "unauthorized_client", "unsupported_grant_type", "use_dpop_nonce"];
        for error in of_the_client {
            fly(&stage.a, &of("s"), &denied(error)).await;
        }
        fly(&stage.b, &of("s"), &failure(ProviderFailure::not_sent("dns"))).await;
        let shy = of("s");
        let lease = lead(&stage.a, &shy).await;
        stage.a.abandon(&lease, &shy).await.expect("an answer");

        fly(&stage.b, &of("s"), &denied("invalid_scope")).await;

        assert!(is_cooling_down(&refused(&stage.a, &of("s")).await));
    }

    async fn short_life_of_the_access_token_allows_its_session_more_in_the_window_that_runs(
        stage,
        Config { refresh_attempt_window: 10 * S, refresh_cooldown_period: S, ..attempts(1) }
    ) {
        let short = success_with(r#"{"access_token":"a","expires_in":5,"refresh_token":"r"}"#);
        // Afterwards the window is another one, which knows nothing of it until its first success.
        for _ in 0..2 {
            fly(&stage.a, &of("s"), &denied("invalid_scope")).await;
            assert!(is_cooling_down(&refused(&stage.b, &of("s")).await));
            stage.pass(S).await;

            // Two for each of the two lives.
            for _ in 0..4 {
                fly(&stage.a, &of("s"), &short).await;
            }
            assert!(is_cooling_down(&refused(&stage.b, &of("s")).await));
            stage.pass(S).await;
        }
    }

    async fn token_that_is_its_own_session_pays_nothing_while_it_is_used_again(
        stage,
        Config { keep_outcome: Duration::ZERO, ..attempts(1) }
    ) {
        let kept = success_with(r#"{"access_token":"a","expires_in":3600}"#);
        for _ in 0..3 {
            fly(&stage.a, &ask("own"), &kept).await;
        }

        fly(&stage.a, &of("s"), &kept).await;
        assert!(is_cooling_down(&refused(&stage.b, &of("s")).await), "a session that is named pays");
    }

    async fn flights_that_were_never_sent_leave_no_cooldown(stage, attempts(2)) {
        let unsent = [of("s"), of("s")];
        let leases = [lead(&stage.a, &unsent[0]).await, lead(&stage.b, &unsent[1]).await];
        // It comes while they are under way, and they are too many so far.
        assert!(is_cooling_down(&refused(&stage.b, &of("s")).await));

        complete(&stage.a, &leases[0], &unsent[0], &failure(ProviderFailure::not_sent("dns"))).await;
        stage.b.abandon(&leases[1], &unsent[1]).await.expect("an answer");

        for _ in 0..2 {
            fly(&stage.a, &of("s"), &success("one")).await;
        }
        assert!(is_cooling_down(&refused(&stage.b, &of("s")).await));
    }

    async fn attempt_that_is_given_back_after_the_cooldown_counts_for_nothing(
        stage,
        Config { refresh_cooldown_period: S, ..attempts(2) }
    ) {
        let unsent = of("s");
        let lease = lead(&stage.a, &unsent).await;
        fly(&stage.a, &of("s"), &success("one")).await;
        assert!(is_cooling_down(&refused(&stage.b, &of("s")).await));
        stage.pass(S).await;

        complete(&stage.a, &lease, &unsent, &failure(ProviderFailure::not_sent("dns"))).await;

        // All of them are there again.
        for _ in 0..2 {
            fly(&stage.a, &of("s"), &success("one")).await;
        }
        assert!(is_cooling_down(&refused(&stage.b, &of("s")).await));
    }

    async fn attempt_is_given_back_once(stage, attempts(2)) {
        let unsent = of("s");
        let lease = lead(&stage.a, &unsent).await;
        let outcome = failure(ProviderFailure::not_sent("dns"));
        fly(&stage.a, &of("s"), &success("one")).await;

        complete(&stage.a, &lease, &unsent, &outcome).await;
        complete(&stage.a, &lease, &unsent, &outcome).await;
        stage.a.abandon(&lease, &unsent).await.expect("an answer");

        fly(&stage.b, &of("s"), &success("two")).await;
        assert!(is_cooling_down(&refused(&stage.b, &of("s")).await));
    }

    async fn flight_that_a_rule_refuses_is_not_charged(
        stage,
        Config { max_concurrent_refreshes: 1, max_refresh_attempts: 1, ..breaker(1, 3 * S, 1) }
    ) {
        let failing = anybody();
        let lease = lead(&stage.a, &failing).await;
        assert!(matches!(refused(&stage.b, &of("s")).await, Refusal::Budget { .. }));
        let no_memory = Refusal::MemoryPressure { retry_after: S };
        let terms = AdmissionTerms { pod_refuses: Some(no_memory.clone()), ..AdmissionTerms::at_once() };
        let begun = stage.b.begin(&of("s"), None, &terms).await.expect("an answer");
        assert!(matches!(begun, Begun::Rejected(refusal) if refusal == no_memory));
        complete(&stage.a, &lease, &failing, &unknown()).await;
        assert!(matches!(refused(&stage.b, &of("s")).await, Refusal::CircuitOpen { .. }));
        stage.pass(3 * S).await;

        fly(&stage.b, &of("s"), &success("one")).await;

        assert!(is_cooling_down(&refused(&stage.a, &of("s")).await));
    }

    async fn refused_session_takes_no_permit_and_no_probe(
        stage,
        Config { max_concurrent_refreshes: 1, max_refresh_attempts: 1, ..breaker(1, S, 1) }
    ) {
        fly(&stage.a, &of("s"), &unknown()).await;
        stage.pass(S).await;

        assert!(is_cooling_down(&refused(&stage.a, &of("s")).await));

        lead(&stage.b, &anybody()).await;
        stage.budget_holds().await;
    }

    async fn default_session_is_forgotten_with_its_dead_token(stage, attempts(1)) {
        let as_client = |secret: &str| ask_as(Refresh::new("dead").client("app", secret));
        let with_session = |secret: &str| ask_as(Refresh::new("u").client("app", secret).session("s"));
        fly(&stage.a, &as_client("old"), &denied("invalid_grant")).await;
        fly(&stage.a, &with_session("old"), &denied("invalid_grant")).await;

        lead(&stage.b, &as_client("new")).await;

        // A session of its own may have other tokens.
        assert!(is_cooling_down(&refused(&stage.b, &with_session("new")).await));
    }

    async fn session_that_the_provider_limits_stays_away_and_no_other_does(stage, unhurried()) {
        fly(&stage.a, &of("s"), &limited(Some(S))).await;
        fly(&stage.a, &of("long"), &limited(Some(3600 * S))).await;

        let Refusal::Limited { retry_after } = refused(&stage.b, &of("s")).await else { panic!("not held") };
        assert!(retry_after <= S, "{retry_after:?}");
        let Refusal::Limited { retry_after } = refused(&stage.b, &of("long")).await else { panic!("not held") };
        assert!(retry_after <= 300 * S && retry_after > 290 * S, "{retry_after:?}");
        lead(&stage.b, &of("another")).await;

        stage.pass(S).await;
        lead(&stage.b, &of("s")).await;
    }

    async fn hold_that_is_longer_is_not_shortened(stage, unhurried()) {
        let (slow, quick) = (of("s"), of("s"));
        let (first, second) = (lead(&stage.a, &slow).await, lead(&stage.b, &quick).await);
        complete(&stage.a, &first, &slow, &limited(Some(60 * S))).await;

        complete(&stage.b, &second, &quick, &limited(Some(S))).await;
        stage.pass(S).await;

        assert!(matches!(refused(&stage.b, &of("s")).await, Refusal::Limited { .. }));
    }
}
