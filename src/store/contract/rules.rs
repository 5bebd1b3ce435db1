//! The rules of admission, told verb by verb: attempts and holds of a session, the budget and its queue, the circuit,
//! and pods that may not lead.

use super::stage::*;
use crate::admission::circuit::{CircuitState, Why};
use crate::config::Breaker;
use crate::outcome::{ProviderResponse, Verdict};

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// A flight of a token that nobody else has, for this session.
fn of(session: &str) -> Ask {
    ask_as(Refresh::new(Uuid::new_v4().to_string()).session(session))
}

/// A flight that is alone in everything.
fn anybody() -> Ask {
    ask(&Uuid::new_v4().to_string())
}

fn unknown() -> Arc<Outcome> {
    failure(ProviderFailure::unknown("reset"))
}

fn denied(error: &str) -> Arc<Outcome> {
    failure(ProviderFailure::denied(error))
}

fn limited(retry_after: Option<Duration>) -> Arc<Outcome> {
    failure(ProviderFailure::busy(retry_after))
}

fn busy(retry_after: Duration) -> Arc<Outcome> {
    failure(ProviderFailure::busy(Some(retry_after)).with_response(ProviderResponse::new(503, "")))
}

fn is_cooling_down(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::CoolingDown { .. })
}

fn attempts(max_refresh_attempts: u32) -> Config {
    Config { max_refresh_attempts, ..unhurried() }
}

fn permits(max_concurrent_refreshes: u32) -> Config {
    Config { max_concurrent_refreshes, ..unhurried() }
}

fn breaker(max_failures: u32, open_duration: Duration, half_open_requests: u32) -> Config {
    Config { breaker: Breaker { max_failures, open_duration, half_open_requests }, ..unhurried() }
}

async fn circuit(stage: &Stage) -> CircuitState {
    stage.b.circuit_state().await.expect("an answer")
}

// The session.
both! {
    async fn session_of_n_attempts_leads_n_times_and_then_cools_down(
        stage,
        Config { refresh_cooldown_period: 2 * S, ..attempts(2) }
    ) {
        // Afterwards the count starts at 1, so that the second round is as the first.
        for _ in 0..2 {
            fly(&stage.a, &of("s"), &success("one")).await;
            fly(&stage.b, &of("s"), &failure(ProviderFailure::unknown("reset"))).await;
            let Refusal::CoolingDown { retry_after } = refused(&stage.a, &of("s")).await else { panic!("no cooldown") };
            assert!(retry_after <= 2 * S && retry_after > S, "{retry_after:?}");
            lead(&stage.b, &anybody()).await;

            stage.pass(S).await;
            // Asking does not make it longer.
            let Refusal::CoolingDown { retry_after } = refused(&stage.b, &of("s")).await else { panic!("forgotten") };
            assert!(retry_after <= S, "{retry_after:?}");
            stage.pass(S).await;
        }
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
        Config { max_concurrent_refreshes: 1, max_refresh_attempts: 1, ..breaker(1, S, 1) }
    ) {
        let failing = anybody();
        let lease = lead(&stage.a, &failing).await;
        assert!(matches!(refused(&stage.b, &of("s")).await, Refusal::Budget { .. }));
        let no_memory = Refusal::MemoryPressure { retry_after: S };
        let terms = Terms { pod_refuses: Some(no_memory.clone()), ..Terms::at_once() };
        let begun = stage.b.begin(&of("s"), None, &terms).await.expect("an answer");
        assert!(matches!(begun, Begun::Rejected(refusal) if refusal == no_memory));
        complete(&stage.a, &lease, &failing, &unknown()).await;
        assert!(matches!(refused(&stage.b, &of("s")).await, Refusal::CircuitOpen { .. }));
        stage.pass(S).await;

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

// The budget.
both! {
    async fn no_more_ask_at_once_than_there_are_permits(stage, permits(2)) {
        let (one, two) = (anybody(), anybody());
        let first = lead(&stage.a, &one).await;
        lead(&stage.b, &two).await;
        stage.budget_holds().await;

        assert!(matches!(refused(&stage.a, &anybody()).await, Refusal::Budget { .. }));
        stage.budget_holds().await;

        complete(&stage.a, &first, &one, &success("one")).await;
        stage.budget_holds().await;
        lead(&stage.b, &anybody()).await;
        assert!(matches!(refused(&stage.a, &anybody()).await, Refusal::Budget { .. }));
        stage.budget_holds().await;
    }

    async fn permits_go_to_those_who_queue_in_the_order_they_came(stage, permits(1)) {
        let (leading, first, second, third) = (anybody(), anybody(), anybody(), anybody());
        let lease = lead(&stage.a, &leading).await;
        let mut queued_first = queue(&stage.a, &first).await;
        stage.pass(10 * MS).await;
        let mut queued_second = queue(&stage.b, &second).await;
        stage.pass(10 * MS).await;
        let queued_third = queue(&stage.a, &third).await;

        complete(&stage.a, &lease, &leading, &success("one")).await;

        stage.budget_holds().await;
        assert!(matches!(queued_first.waiting.news().await, News::Look));
        // Neither a newcomer nor who came later overtakes.
        assert!(matches!(refused(&stage.b, &anybody()).await, Refusal::Budget { .. }));
        let begun = begin_in_queue(&stage.a, &third, Some(queued_third.since)).await;
        assert!(matches!(begun, Begun::Queued(_)), "{begun:?}");
        let Begun::Lead(lease) = begin_in_queue(&stage.a, &first, Some(queued_first.since)).await else {
            panic!("the permit was not kept");
        };
        stage.budget_holds().await;
        stage.a.abandon(&lease, &first).await.expect("an answer");
        stage.budget_holds().await;
        assert!(matches!(queued_second.waiting.news().await, News::Look));
        let begun = begin_in_queue(&stage.b, &second, Some(queued_second.since)).await;
        assert!(matches!(begun, Begun::Lead(_)), "{begun:?}");
        stage.budget_holds().await;
    }

    async fn permit_of_a_dead_leader_is_back_when_its_lease_is_over(
        stage,
        Config { lease: 500 * MS, store_timeout: 500 * MS, ..permits(1) }
    ) {
        lead(&stage.a, &anybody()).await;
        let next = anybody();
        let mut queued = queue(&stage.b, &next).await;

        let News::Look = queued.waiting.news().await else { panic!("nothing landed") };

        let begun = begin_in_queue(&stage.b, &next, Some(queued.since)).await;
        assert!(matches!(begun, Begun::Lead(_)), "{begun:?}");
        stage.budget_holds().await;
    }

    async fn permit_is_kept_by_a_leader_that_renews(
        stage,
        Config { lease: S, store_timeout: S, ..permits(1) }
    ) {
        let lease = lead(&stage.a, &anybody()).await;
        for _ in 0..3 {
            stage.pass(500 * MS).await;
            assert_eq!(stage.a.renew(&lease).await.expect("an answer"), Renewed::Renewed);
            stage.budget_holds().await;
        }

        assert!(matches!(refused(&stage.b, &anybody()).await, Refusal::Budget { .. }));
    }

    async fn permit_of_who_was_called_and_did_not_come_goes_to_the_next(
        stage,
        Config { lease: 60 * S, store_timeout: 500 * MS, ..permits(1) }
    ) {
        let (leading, gone, next) = (anybody(), anybody(), anybody());
        let lease = lead(&stage.a, &leading).await;
        let _queued_and_gone = queue(&stage.a, &gone).await;
        stage.pass(10 * MS).await;
        let queued = queue(&stage.b, &next).await;
        complete(&stage.a, &lease, &leading, &success("one")).await;
        assert!(matches!(refused(&stage.a, &anybody()).await, Refusal::Budget { .. }));

        stage.pass(500 * MS).await;

        let begun = begin_in_queue(&stage.b, &next, Some(queued.since)).await;
        assert!(matches!(begun, Begun::Lead(_)), "{begun:?}");
        stage.budget_holds().await;
    }

    async fn flight_whose_patience_is_over_leaves_no_place_behind(stage, permits(1)) {
        let (leading, hasty) = (anybody(), anybody());
        let lease = lead(&stage.a, &leading).await;
        let queued = queue(&stage.b, &hasty).await;
        let terms = Terms { queued_since: Some(queued.since), ..Terms::at_once() };

        let begun = stage.b.begin(&hasty, None, &terms).await.expect("an answer");

        assert!(matches!(begun, Begun::Rejected(Refusal::Budget { .. })), "{begun:?}");
        complete(&stage.a, &lease, &leading, &success("one")).await;
        lead(&stage.a, &anybody()).await;
        stage.budget_holds().await;
    }

    async fn flight_that_gives_up_leaves_its_place_and_its_permit(stage, permits(1)) {
        for is_called in [false, true] {
            let (leading, gone) = (anybody(), anybody());
            let lease = lead(&stage.a, &leading).await;
            let queued = queue(&stage.b, &gone).await;
            if is_called {
                complete(&stage.a, &lease, &leading, &success("one")).await;
            }

            stage.b.disown(&gone, Some(queued.since)).await.expect("an answer");

            stage.budget_holds().await;
            complete(&stage.a, &lease, &leading, &success("one")).await;
            let next = anybody();
            let lease = lead(&stage.a, &next).await;
            complete(&stage.a, &lease, &next, &success("two")).await;
        }
    }

    async fn flight_that_joins_or_lands_leaves_the_queue(stage, permits(1)) {
        let (leading, first, joins, lands) = (anybody(), ask("t"), ask("t"), ask("t"));
        let lease = lead(&stage.a, &leading).await;
        let queued_first = queue(&stage.a, &first).await;
        stage.pass(10 * MS).await;
        let queued_joins = queue(&stage.b, &joins).await;
        let queued_lands = queue(&stage.b, &lands).await;
        complete(&stage.a, &lease, &leading, &success("one")).await;
        let Begun::Lead(lease) = begin_in_queue(&stage.a, &first, Some(queued_first.since)).await else {
            panic!("not called");
        };

        let begun = begin_in_queue(&stage.b, &joins, Some(queued_joins.since)).await;
        assert!(matches!(begun, Begun::Join(_)), "{begun:?}");
        // Nobody else queues, so this permit goes to who is still there.
        complete(&stage.a, &lease, &first, &success("two")).await;
        stage.budget_holds().await;
        let begun = begin_in_queue(&stage.b, &lands, Some(queued_lands.since)).await;
        assert!(matches!(begun, Begun::Landed(_)), "{begun:?}");

        stage.budget_holds().await;
        lead(&stage.b, &anybody()).await;
    }

    async fn flight_that_is_refused_leaves_the_queue(stage, Config { max_concurrent_refreshes: 1, ..breaker(1, 60 * S, 1) }) {
        let (failing, queues) = (anybody(), anybody());
        let lease = lead(&stage.a, &failing).await;
        let queued = queue(&stage.b, &queues).await;
        complete(&stage.a, &lease, &failing, &unknown()).await;

        let begun = begin_in_queue(&stage.b, &queues, Some(queued.since)).await;

        assert!(matches!(begun, Begun::Rejected(Refusal::CircuitOpen { .. })), "{begun:?}");
        if let Some(redis) = &stage.redis {
            for key in ["permits", "budget", "queue"] {
                let key = format!("rc:{{{}}}:{key}", stage.config.namespace);
                assert_eq!(redis.cli(&["EXISTS", &key]).await, "0", "{key}");
            }
        }
    }
}

// The circuit.
both! {
    async fn circuit_opens_for_the_fleet_and_still_serves_what_costs_the_provider_nothing(stage, breaker(2, 60 * S, 1)) {
        let leading = ask("joined");
        let lease = lead(&stage.a, &leading).await;
        fly(&stage.a, &ask("landed"), &success("one")).await;
        fly(&stage.a, &anybody(), &unknown()).await;
        assert_eq!(circuit(&stage).await, CircuitState::Closed { failures: 1 });

        fly(&stage.b, &anybody(), &unknown()).await;

        let CircuitState::Open { retry_after, why: Why::Failures } = circuit(&stage).await else { panic!("not open") };
        assert!(retry_after <= 60 * S && retry_after > 50 * S, "{retry_after:?}");
        let Refusal::CircuitOpen { retry_after } = refused(&stage.a, &anybody()).await else { panic!("led") };
        assert!(retry_after <= 60 * S && retry_after > 50 * S, "{retry_after:?}");
        landed(&stage.b, &ask("landed"), None).await;
        let Begun::Join(mut joined) = begin(&stage.b, &ask("joined")).await else { panic!("not joined") };
        complete(&stage.a, &lease, &leading, &success("two")).await;
        assert!(matches!(joined.waiting.news().await, News::Landed(_)));
        // A result from before the opening does not close it.
        assert!(matches!(circuit(&stage).await, CircuitState::Open { .. }));
    }

    async fn success_between_failures_starts_the_count_anew(stage, breaker(2, 60 * S, 1)) {
        fly(&stage.a, &anybody(), &unknown()).await;
        fly(&stage.b, &anybody(), &success("one")).await;
        fly(&stage.a, &anybody(), &unknown()).await;

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

    async fn only_what_speaks_of_the_providers_health_counts(stage, breaker(1, 60 * S, 1)) {
        let neutral = [
            denied("invalid_grant"),
            denied("invalid_client"),
            denied("anything"),
            failure(ProviderFailure::not_sent("dns")),
            limited(None),
            Arc::new(Outcome::Lost(None)),
        ];
        for outcome in neutral {
            fly(&stage.a, &anybody(), &outcome).await;
        }
        let panics = anybody();
        let lease = lead(&stage.a, &panics).await;
        let panicked = Completion { verdict: Verdict::Neutral, ..completion(&unknown()) };
        stage.a.complete(&lease, &panics, &panicked).await.expect("an answer");

        assert_eq!(circuit(&stage).await, CircuitState::Closed { failures: 0 });
    }

    async fn exactly_as_many_probes_are_out_as_are_allowed(stage, breaker(1, S, 2)) {
        fly(&stage.a, &anybody(), &unknown()).await;
        stage.pass(S).await;
        assert_eq!(circuit(&stage).await, CircuitState::HalfOpen { probes: 0, why: Why::Failures });

        let (one, two) = (anybody(), anybody());
        let (first, _) = (lead(&stage.a, &one).await, lead(&stage.b, &two).await);

        assert_eq!(circuit(&stage).await, CircuitState::HalfOpen { probes: 2, why: Why::Failures });
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
        assert_eq!(circuit(&stage).await, CircuitState::HalfOpen { probes: 1, why: Why::Failures });
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

        assert_eq!(stage.a.renew(&late).await.expect("an answer"), Renewed::Renewed);

        assert_eq!(circuit(&stage).await, CircuitState::HalfOpen { probes: 1, why: Why::Failures });
        stage.pass(S).await;
        lead(&stage.b, &anybody()).await;
        stage.a.renew(&late).await.expect("an answer");
        assert_eq!(circuit(&stage).await, CircuitState::HalfOpen { probes: 1, why: Why::Failures });
    }

    async fn probe_that_renews_stays_out(stage, Config { lease: S, store_timeout: S, ..breaker(1, S, 1) }) {
        fly(&stage.a, &anybody(), &unknown()).await;
        stage.pass(S).await;
        let lease = lead(&stage.a, &anybody()).await;
        stage.pass(500 * MS).await;
        assert_eq!(stage.a.renew(&lease).await.expect("an answer"), Renewed::Renewed);
        stage.pass(700 * MS).await;

        assert!(matches!(refused(&stage.b, &anybody()).await, Refusal::CircuitOpen { .. }));
    }

    async fn results_of_calls_from_before_the_opening_decide_nothing(stage, breaker(1, S, 1)) {
        let (healthy, failing, busy_one) = (anybody(), anybody(), anybody());
        let leases = [lead(&stage.a, &healthy).await, lead(&stage.b, &failing).await, lead(&stage.b, &busy_one).await];
        fly(&stage.a, &anybody(), &unknown()).await;
        stage.pass(S).await;
        let probe = anybody();
        let probing = lead(&stage.a, &probe).await;

        complete(&stage.a, &leases[0], &healthy, &success("late")).await;
        assert!(matches!(circuit(&stage).await, CircuitState::HalfOpen { probes: 1, .. }));
        complete(&stage.a, &probing, &probe, &success("probed")).await;
        complete(&stage.b, &leases[1], &failing, &unknown()).await;
        complete(&stage.b, &leases[2], &busy_one, &busy(60 * S)).await;

        assert_eq!(circuit(&stage).await, CircuitState::Closed { failures: 0 });
    }

    async fn provider_that_asks_everybody_to_stay_away_is_obeyed_for_five_minutes_at_most(stage, breaker(3, 60 * S, 1)) {
        fly(&stage.a, &anybody(), &busy(3600 * S)).await;

        let CircuitState::Open { retry_after, why: Why::RetryAfter } = circuit(&stage).await else { panic!("closed") };
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

        let CircuitState::Open { retry_after, why: Why::SessionsLimited } = circuit(&stage).await else {
            panic!("not open");
        };
        assert!(retry_after <= 20 * S && retry_after > 10 * S, "{retry_after:?}");
    }
}

// The pod.
both! {
    async fn pod_that_may_not_lead_joins_and_lands(stage, unhurried()) {
        let no_memory = Refusal::MemoryPressure { retry_after: S };
        let terms = Terms { pod_refuses: Some(no_memory.clone()), ..Terms::at_once() };
        let begun = stage.b.begin(&ask("t"), None, &terms).await.expect("an answer");
        assert!(matches!(begun, Begun::Rejected(refusal) if refusal == no_memory));
        let leading = ask("t");
        let lease = lead(&stage.a, &leading).await;

        let Begun::Join(mut joined) = stage.b.begin(&ask("t"), None, &terms).await.expect("an answer") else {
            panic!("not joined");
        };
        complete(&stage.a, &lease, &leading, &success("one")).await;

        assert!(matches!(joined.waiting.news().await, News::Landed(_)));
        let begun = stage.b.begin(&ask("t"), None, &terms).await.expect("an answer");
        assert!(matches!(begun, Begun::Landed(_)), "{begun:?}");
    }

    async fn pod_that_may_not_lead_any_more_leaves_the_queue(stage, permits(1)) {
        let (leading, queues) = (anybody(), anybody());
        let lease = lead(&stage.a, &leading).await;
        let queued = queue(&stage.b, &queues).await;
        let no_memory = Some(Refusal::MemoryPressure { retry_after: S });
        let terms = Terms { pod_refuses: no_memory, queued_since: Some(queued.since), patience: S };

        stage.b.begin(&queues, None, &terms).await.expect("an answer");

        complete(&stage.a, &lease, &leading, &success("one")).await;
        lead(&stage.a, &anybody()).await;
    }
}
