//! The circuit, told verb by verb: what opens it, what probes, what decides. And pods that may not lead.

use super::stage::*;
use crate::admission::circuit::CircuitState;
use crate::admission::moved::TripReason;

async fn circuit(stage: &Stage) -> CircuitState {
    stage.b.circuit_state().await.expect("an answer")
}

both! {
    async fn circuit_opens_for_the_fleet_and_still_serves_what_costs_the_provider_nothing(stage, breaker(2, 60 * S, 1)) {
        let [one, two] = [somebody_known(&stage.a).await, somebody_known(&stage.b).await];
        let leading = ask("joined");
        let lease = lead(&stage.a, &leading).await;
        fly(&stage.a, &ask("landed"), &success("one")).await;
        fly(&stage.a, &one, &unknown()).await;
        assert_eq!(circuit(&stage).await, CircuitState::Closed { failures: 1 });

        fly(&stage.b, &two, &unknown()).await;

        let CircuitState::Open { retry_after, reason: TripReason::Failures } = circuit(&stage).await else { panic!("not open") };
        assert!(retry_after <= 60 * S && retry_after > 50 * S, "{retry_after:?}");
        let Refusal::CircuitOpen { retry_after } = refused(&stage.a, &anybody()).await else { panic!("led") };
        assert!(retry_after <= 60 * S && retry_after > 50 * S, "{retry_after:?}");
        landed(&stage.b, &ask("landed"), None).await;
        let Begun::Join(mut joined) = begin(&stage.b, &ask("joined")).await else { panic!("not joined") };
        complete(&stage.a, &lease, &leading, &success("two")).await;
        assert!(matches!(joined.news.news().await, News::Landed(_)));
        // A result from before the opening does not close it.
        assert!(matches!(circuit(&stage).await, CircuitState::Open { .. }));
    }

    async fn endless_pause_that_the_provider_asks_for_is_as_long_as_one_may_be(stage, breaker(2, 60 * S, 1)) {
        fly(&stage.a, &anybody(), &busy(Duration::from_millis(u64::MAX))).await;

        let CircuitState::Open { retry_after, reason: TripReason::RetryAfter } = circuit(&stage).await else { panic!("not open") };
        assert!(retry_after <= 300 * S && retry_after > 290 * S, "{retry_after:?}");
    }

    async fn success_between_failures_starts_the_count_anew(stage, breaker(2, 60 * S, 1)) {
        fly(&stage.a, &anybody(), &unknown()).await;
        fly(&stage.b, &anybody(), &success("one")).await;
        fly(&stage.a, &ask("next"), &unknown()).await;

        assert_eq!(circuit(&stage).await, CircuitState::Closed { failures: 1 });
    }

    async fn one_flight_is_one_failure_however_often_it_is_completed(stage, breaker(2, 60 * S, 1)) {
        let failing = ask("t");
        let lease = lead(&stage.a, &failing).await;
        let Begun::Join(_joined) = begin(&stage.b, &ask("t")).await else { panic!("two leaders") };

        for _ in 0..3 {
            complete(&stage.a, &lease, &failing, &unknown()).await;
        }

        assert_eq!(circuit(&stage).await, CircuitState::Closed { failures: 1 });
    }

    async fn failure_that_is_completed_again_after_it_is_forgotten_counts_once(stage, breaker(2, 60 * S, 1)) {
        let failing = ask("t");
        let lease = lead(&stage.a, &failing).await;
        complete(&stage.a, &lease, &failing, &unknown()).await;
        // The answer was lost on the way; the leader sends it again, longer than keep_failure later.
        stage.pass(S).await;
        complete(&stage.a, &lease, &failing, &unknown()).await;

        assert_eq!(circuit(&stage).await, CircuitState::Closed { failures: 1 });
    }

    async fn only_what_speaks_of_the_providers_health_counts(stage, breaker(1, 60 * S, 1)) {
        let neutral = [
            denied("invalid_grant"),
            denied("invalid_client"),
            denied("anything"),
            failure(ProviderFailure::not_sent("dns")),
            limited(None),
            Arc::new(Outcome::TokenLost(None)),
        ];
        for outcome in neutral {
            fly(&stage.a, &anybody(), &outcome).await;
        }
        let panics = anybody();
        let lease = lead(&stage.a, &panics).await;
        let panicked = Completion { health: ProviderHealth::Neutral, ..completion(&unknown()) };
        stage.a.complete(&lease, &panics, &panicked).await.expect("an answer");

        assert_eq!(circuit(&stage).await, CircuitState::Closed { failures: 0 });
    }

    async fn exactly_as_many_probes_are_out_as_are_allowed(stage, breaker(1, S, 2)) {
        fly(&stage.a, &anybody(), &unknown()).await;
        stage.pass(S).await;
        assert_eq!(circuit(&stage).await, CircuitState::HalfOpen { probes: 0, reason: TripReason::Failures });

        let (one, two) = (anybody(), anybody());
        let (first, _) = (lead(&stage.a, &one).await, lead(&stage.b, &two).await);

        assert_eq!(circuit(&stage).await, CircuitState::HalfOpen { probes: 2, reason: TripReason::Failures });
        let Refusal::CircuitOpen { retry_after } = refused(&stage.b, &anybody()).await else { panic!("a third") };
        assert!(retry_after <= S, "{retry_after:?}");
        // One that says nothing makes way for another, one that is healthy closes.
        complete(&stage.a, &first, &one, &denied("invalid_grant")).await;
        fly(&stage.b, &anybody(), &success("one")).await;
        assert_eq!(circuit(&stage).await, CircuitState::Closed { failures: 0 });
    }

    async fn probe_that_fails_or_is_given_back_leaves_the_circuit_as_it_should(stage, breaker(1, S, 1)) {
        fly(&stage.a, &anybody(), &unknown()).await;
        stage.pass(S).await;
        let shy = anybody();
        let lease = lead(&stage.a, &shy).await;
        stage.a.abandon(&lease, &shy).await.expect("an answer");

        fly(&stage.b, &anybody(), &unknown()).await;

        assert!(matches!(refused(&stage.a, &anybody()).await, Refusal::CircuitOpen { .. }));
        stage.pass(S).await;
        lead(&stage.a, &anybody()).await;
    }

    async fn lost_probe_comes_back_with_its_lease_and_decides_nothing(
        stage,
        Config { lease: S, store_timeout: S, ..breaker(1, S, 1) }
    ) {
        fly(&stage.a, &anybody(), &unknown()).await;
        stage.pass(S).await;
        let lost = anybody();
        let lease = lead(&stage.a, &lost).await;
        refused(&stage.b, &anybody()).await;
        stage.pass(S).await;

        lead(&stage.b, &anybody()).await;

        complete(&stage.a, &lease, &lost, &unknown()).await;
        assert_eq!(circuit(&stage).await, CircuitState::HalfOpen { probes: 1, reason: TripReason::Failures });
    }

    async fn probe_that_was_only_late_is_out_again_unless_another_took_its_place(
        stage,
        Config { lease: S, store_timeout: S, max_refresh_attempts: 1, ..breaker(1, S, 1) }
    ) {
        fly(&stage.a, &of("s"), &unknown()).await;
        stage.pass(S).await;
        let late = lead(&stage.a, &ask("t")).await;
        stage.pass(S).await;
        // It might go as a probe, but may not: the place is still free.
        assert!(is_cooling_down(&refused(&stage.b, &of("s")).await));

        assert_eq!(stage.a.renew(&late, &ask("t")).await.expect("an answer"), Renewed::Renewed);

        assert_eq!(circuit(&stage).await, CircuitState::HalfOpen { probes: 1, reason: TripReason::Failures });
        stage.pass(S).await;
        lead(&stage.b, &anybody()).await;
        stage.a.renew(&late, &ask("t")).await.expect("an answer");
        assert_eq!(circuit(&stage).await, CircuitState::HalfOpen { probes: 1, reason: TripReason::Failures });
    }

    async fn probe_that_renews_stays_out(stage, Config { lease: 4 * S, ..breaker(1, S, 1) }) {
        fly(&stage.a, &anybody(), &unknown()).await;
        stage.pass(S).await;
        let lease = lead(&stage.a, &anybody()).await;
        stage.pass(3 * S).await;
        assert_eq!(stage.a.renew(&lease, &anybody()).await.expect("an answer"), Renewed::Renewed);
        stage.pass(1500 * MS).await;

        assert!(matches!(refused(&stage.b, &anybody()).await, Refusal::CircuitOpen { .. }));
    }

    async fn results_of_calls_from_before_the_opening_decide_nothing(stage, breaker(1, S, 1)) {
        let (opens, healthy, failing, busy_one) = (anybody(), anybody(), anybody(), anybody());
        let opening = lead(&stage.a, &opens).await;
        // The last of them has the last fence before the opening.
        let leases = [lead(&stage.a, &healthy).await, lead(&stage.b, &busy_one).await, lead(&stage.b, &failing).await];
        complete(&stage.a, &opening, &opens, &unknown()).await;
        stage.pass(S).await;
        let probe = anybody();
        let probing = lead(&stage.a, &probe).await;

        complete(&stage.a, &leases[0], &healthy, &success("late")).await;
        assert!(matches!(circuit(&stage).await, CircuitState::HalfOpen { probes: 1, .. }));
        complete(&stage.a, &probing, &probe, &success("probed")).await;
        complete(&stage.b, &leases[1], &busy_one, &busy(60 * S)).await;
        complete(&stage.b, &leases[2], &failing, &unknown()).await;

        assert_eq!(circuit(&stage).await, CircuitState::Closed { failures: 0 });
    }

    async fn provider_that_asks_everybody_to_stay_away_is_obeyed_for_five_minutes_at_most(stage, breaker(3, 60 * S, 1)) {
        fly(&stage.a, &anybody(), &busy(3600 * S)).await;

        let CircuitState::Open { retry_after, reason: TripReason::RetryAfter } = circuit(&stage).await else { panic!("closed") };
        assert!(retry_after <= 300 * S && retry_after > 290 * S, "{retry_after:?}");
        assert!(matches!(refused(&stage.b, &anybody()).await, Refusal::CircuitOpen { .. }));
    }

    async fn one_probe_goes_first_when_the_provider_may_be_asked_again(stage, breaker(3, 60 * S, 1)) {
        fly(&stage.a, &anybody(), &busy(S)).await;
        refused(&stage.a, &anybody()).await;
        stage.pass(S).await;

        lead(&stage.b, &anybody()).await;

        refused(&stage.a, &anybody()).await;
    }

    async fn three_sessions_that_are_limited_hold_everybody_and_two_do_not(stage, breaker(3, 60 * S, 1)) {
        // The same session, twice, is one.
        for session in ["s", "t", "t"] {
            fly(&stage.a, &of(session), &limited(None)).await;
        }
        assert_eq!(circuit(&stage).await, CircuitState::Closed { failures: 0 });

        fly(&stage.b, &of("u"), &limited(Some(20 * S))).await;

        let CircuitState::Open { retry_after, reason: TripReason::SessionsLimited } = circuit(&stage).await else {
            panic!("not open");
        };
        assert!(retry_after <= 20 * S && retry_after > 10 * S, "{retry_after:?}");
    }

    async fn pod_that_may_not_lead_joins_and_lands(stage, unhurried()) {
        let no_memory = Refusal::MemoryPressure { retry_after: S };
        let terms = AdmissionTerms { pod_refuses: Some(no_memory.clone()), ..AdmissionTerms::at_once() };
        let begun = stage.b.begin(&ask("t"), None, &terms).await.expect("an answer");
        assert!(matches!(begun, Begun::Rejected(refusal) if refusal == no_memory));
        let leading = ask("t");
        let lease = lead(&stage.a, &leading).await;

        let Begun::Join(mut joined) = stage.b.begin(&ask("t"), None, &terms).await.expect("an answer") else {
            panic!("not joined");
        };
        complete(&stage.a, &lease, &leading, &success("one")).await;

        assert!(matches!(joined.news.news().await, News::Landed(_)));
        let begun = stage.b.begin(&ask("t"), None, &terms).await.expect("an answer");
        assert!(matches!(begun, Begun::Landed(_)), "{begun:?}");
    }

    async fn pod_that_may_not_lead_any_more_leaves_the_queue(stage, permits(1)) {
        let (leading, queues) = (anybody(), anybody());
        let lease = lead(&stage.a, &leading).await;
        let queued = queue(&stage.b, &queues).await;
        let no_memory = Some(Refusal::MemoryPressure { retry_after: S });
        let terms = AdmissionTerms {
            pod_refuses: no_memory,
            waiting_since: Some(queued.since),
            patience: S,
            ..AdmissionTerms::at_once()
        };

        stage.b.begin(&queues, None, &terms).await.expect("an answer");

        complete(&stage.a, &lease, &leading, &success("one")).await;
        lead(&stage.a, &anybody()).await;
    }
}
