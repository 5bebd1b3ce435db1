//! One caller cannot harm another: what strangers bring about, and what the owner of a token and all others see of it.

use super::stage::*;
use crate::admission::circuit::CircuitState;

/// A client: its credential is known once it has succeeded.
fn app(token: &str) -> Ask {
    ask_as(Refresh::new(token).client("app", "right"))
}

/// Each pod has seen them succeed: without a pepper it knows for itself.
async fn are_known(stage: &Stage, clients: &[&str]) {
    for client in clients {
        fly(&stage.a, &of_client(client), &success("one")).await;
        fly(&stage.b, &of_client(client), &success("one")).await;
    }
}

/// Somebody with another secret.
fn wrong(token: &str, number: usize) -> Ask {
    ask_as(Refresh::new(token).client("app", format!("wrong {number}")))
}

fn some_token() -> String {
    Uuid::new_v4().to_string()
}

async fn circuit(stage: &Stage) -> CircuitState {
    stage.a.circuit_state().await.expect("an answer")
}

/// All pods know whom one of them has seen succeed.
fn peppered() -> Config {
    Config { pepper: Some("a pepper of all pods".into()), ..config() }
}

const CLOSED: CircuitState = CircuitState::Closed { failures: 0 };

both! {
    async fn strangers_move_no_circuit_and_known_callers_do(stage, breaker(3, 60 * S, 1)) {
        fly(&stage.a, &app(&some_token()), &success("one")).await;

        for number in 0..5 {
            for outcome in [unknown(), busy(60 * S), limited(Some(60 * S))] {
                let stranger = wrong(&some_token(), number);
                fly(&stage.a, &stranger, &outcome).await;
                assert!(stranger.was_stranger());
            }
        }

        assert_eq!(circuit(&stage).await, CLOSED);
        let failing = [0, 1, 2].map(|_| app(&some_token()));
        for known in &failing {
            fly(&stage.a, known, &unknown()).await;
            assert!(!known.was_stranger());
        }
        assert!(matches!(circuit(&stage).await, CircuitState::Open { .. }));
    }

    async fn known_client_whose_requests_fail_is_left_out_and_no_other(stage, breaker(3, 60 * S, 1)) {
        are_known(&stage, &["app", "other"]).await;

        for outcome in [unknown(), busy(60 * S)] {
            for _ in 0..3 {
                let failing = of_client("app");
                if let Begun::Lead(lease) = begin(&stage.a, &failing).await {
                    complete(&stage.a, &lease, &failing, &outcome).await;
                }
            }
        }

        for store in [&stage.a, &stage.b] {
            let refusal = refused(store, &of_client("app")).await;
            assert!(matches!(refusal, Refusal::CircuitOpen { .. }), "{refusal:?}");
        }
        // Failures of others meanwhile are counted anew.
        for _ in 0..2 {
            fly(&stage.a, &of_client("other"), &unknown()).await;
        }
        fly(&stage.a, &of_client("other"), &success("two")).await;
        fly(&stage.b, &of_client("third"), &success("two")).await;
    }

    async fn client_that_is_limited_is_left_out_and_no_other(stage, breaker(3, 60 * S, 1)) {
        are_known(&stage, &["app", "other"]).await;

        for _ in 0..3 {
            fly(&stage.b, &of_client("app"), &limited(Some(20 * S))).await;
        }

        let refusal = refused(&stage.a, &of_client("app")).await;
        assert!(matches!(refusal, Refusal::CircuitOpen { retry_after } if retry_after <= 20 * S), "{refusal:?}");
        fly(&stage.b, &of_client("other"), &limited(Some(20 * S))).await;
        fly(&stage.b, &of_client("other"), &success("two")).await;
    }

    async fn failures_of_other_clients_close_the_way_to_everybody(stage, breaker(3, 60 * S, 1)) {
        are_known(&stage, &["app", "other", "third"]).await;
        for _ in 0..3 {
            fly(&stage.a, &of_client("app"), &unknown()).await;
        }

        for client in ["other", "other", "third"] {
            fly(&stage.b, &of_client(client), &unknown()).await;
        }

        for client in ["app", "other", "third"] {
            let refusal = refused(&stage.a, &of_client(client)).await;
            assert!(matches!(refusal, Refusal::CircuitOpen { .. }), "{refusal:?}");
        }
    }

    async fn client_that_is_left_out_comes_back_by_a_probe_of_its_own(stage, breaker(1, S, 1)) {
        are_known(&stage, &["app", "other"]).await;
        fly(&stage.a, &of_client("app"), &unknown()).await;
        stage.pass(S + 10 * MS).await;

        let probe = of_client("app");
        let lease = lead(&stage.a, &probe).await;
        let refusal = refused(&stage.b, &of_client("app")).await;
        assert!(matches!(refusal, Refusal::CircuitOpen { .. }), "{refusal:?}");
        fly(&stage.b, &of_client("other"), &success("two")).await;
        assert!(matches!(circuit(&stage).await, CircuitState::HalfOpen { probes: 1, .. }));
        complete(&stage.a, &lease, &probe, &success("three")).await;

        assert_eq!(circuit(&stage).await, CLOSED);
        fly(&stage.b, &of_client("app"), &success("four")).await;
    }

    async fn while_nobody_is_known_all_count(stage, breaker(3, 60 * S, 1)) {
        for number in 0..3 {
            fly(&stage.b, &wrong(&some_token(), number), &unknown()).await;
        }

        assert!(matches!(circuit(&stage).await, CircuitState::Open { .. }));
    }

    async fn token_of_a_public_client_is_known_to_all_pods_once_a_success_gave_it(stage, breaker(2, 60 * S, 1)) {
        let public = |token: &str| ask_as(Refresh::new(token).public_client("spa"));
        fly(&stage.a, &public("first"), &success("one")).await;

        fly(&stage.b, &public("made up"), &unknown()).await;
        assert_eq!(circuit(&stage).await, CLOSED);
        fly(&stage.b, &ask_as(Refresh::new("next").public_client("another")), &unknown()).await;
        assert_eq!(circuit(&stage).await, CLOSED);
        fly(&stage.b, &public("next"), &unknown()).await;

        assert_eq!(circuit(&stage).await, CircuitState::Closed { failures: 1 });
    }

    async fn stranger_is_no_probe(stage, breaker(1, S, 1)) {
        fly(&stage.a, &app(&some_token()), &success("one")).await;
        fly(&stage.a, &app(&some_token()), &unknown()).await;
        stage.pass(S + 10 * MS).await;

        let refusal = refused(&stage.a, &wrong(&some_token(), 1)).await;

        assert!(matches!(refusal, Refusal::CircuitOpen { retry_after } if retry_after <= S), "{refusal:?}");
        fly(&stage.a, &app(&some_token()), &success("two")).await;
        assert_eq!(circuit(&stage).await, CLOSED);
    }

    async fn stranger_logs_nobody_out_under_never_and_the_owners_uncertain_end_is_kept(
        stage,
        Config { uncertain: Uncertain::Never, retry_lost_after: None, ..breaker(9, S, 1) }
    ) {
        let owners = success("one");
        fly(&stage.a, &app(&some_token()), &owners).await;
        fly(&stage.a, &wrong("t", 1), &unknown()).await;

        fly(&stage.a, &app("t"), &unknown()).await;

        let is_lost = |begun: &Begun| matches!(begun, Begun::Landed(landed) if landed.outcome.class() == Class::TokenLost);
        let again = begin(&stage.b, &app("t")).await;
        assert!(is_lost(&again), "{again:?}");
        assert!(is_lost(&begin(&stage.b, &wrong("t", 1)).await));
        // A third one leads, and ends as one that says nothing of the token.
        fly(&stage.b, &wrong("t", 2), &denied("invalid_client")).await;
        let still = begin(&stage.b, &app("t")).await;
        assert!(is_lost(&still), "{still:?}");
    }

    async fn lost_leader_of_a_stranger_is_not_the_owners(
        stage,
        Config { uncertain: Uncertain::Never, retry_lost_after: None, store_timeout: S, ..config() }
    ) {
        let stranger = wrong("t", 1);
        lead(&stage.a, &stranger).await;
        stage.lease_over(&stranger).await;
        let Begun::Join(waiting) = begin(&stage.b, &app("t")).await else { panic!("not waited for") };
        assert_eq!(waiting.leader, LeaderSeen::Lost);
        stage.pass(2 * stage.config.grace_of_lost()).await;

        let lease = lead(&stage.b, &app("t")).await;

        assert_eq!(lease.history, TokenHistory::Unremarkable);
        let lost = begin(&stage.a, &wrong("t", 1)).await;
        assert!(matches!(lost, Begun::Join(_)), "the owner leads: {lost:?}");
    }

    async fn completion_that_comes_again_forgets_nobody_who_waits(
        stage,
        Config { keep_failure: S, ..permits(1) }
    ) {
        let (first, again, other, busy) = (app("t"), app("t"), wrong("t", 1), anybody());
        let old = lead(&stage.a, &first).await;
        complete(&stage.a, &old, &first, &unknown()).await;
        let blocks = lead(&stage.b, &busy).await;
        let queued = queue(&stage.b, &other).await;
        assert!(matches!(complete(&stage.a, &old, &first, &unknown()).await, Standing::Ours));
        stage.b.withdraw(&other.id(), Some(queued.since)).await.expect("an answer");
        complete(&stage.b, &blocks, &busy, &success("one")).await;
        stage.pass(S + 10 * MS).await;

        let new = lead(&stage.a, &again).await;
        complete(&stage.a, &new, &again, &unknown()).await;

        // What landed stays for who waits, however short failures are kept.
        stage.pass(S + 10 * MS).await;
        let stands = complete(&stage.a, &old, &first, &unknown()).await;
        assert!(matches!(&stands, Standing::Theirs(landed) if landed.fence == new.fence), "{stands:?}");
    }

    async fn wrong_secrets_neither_cool_the_owner_down_nor_hold_it(
        stage,
        Config { keep_refusal: Duration::ZERO, ..attempts(5) }
    ) {
        fly(&stage.a, &app(&some_token()), &success("one")).await;
        fly(&stage.a, &wrong("t", 100), &limited(Some(60 * S))).await;
        for number in 0..100 {
            let stranger = wrong("t", number);
            match begin(&stage.a, &stranger).await {
                Begun::Lead(lease) => complete(&stage.a, &lease, &stranger, &denied("forbidden")).await,
                // Beyond the 64th they pay together.
                Begun::Rejected(Refusal::CoolingDown { .. }) => continue,
                other => panic!("{other:?}"),
            };
        }

        for _ in 0..5 {
            fly(&stage.a, &app("t"), &denied("invalid_scope")).await;
        }

        assert!(is_cooling_down(&refused(&stage.b, &app("t")).await), "its own are counted");
    }

    async fn claims_beyond_the_64th_share_one_account(
        stage,
        Config { keep_refusal: Duration::ZERO, ..attempts(2) }
    ) {
        fly(&stage.a, &app(&some_token()), &success("one")).await;
        for number in 0..64 {
            fly(&stage.a, &wrong("t", number), &denied("forbidden")).await;
        }
        for number in 64..66 {
            fly(&stage.a, &wrong("t", number), &denied("forbidden")).await;
        }

        assert!(is_cooling_down(&refused(&stage.a, &wrong("t", 66)).await));
        fly(&stage.a, &wrong("t", 63), &denied("forbidden")).await;
    }

    async fn known_client_leads_before_all_strangers_that_wait(stage, unhurried()) {
        fly(&stage.a, &app(&some_token()), &success("one")).await;
        let first = wrong("t", 0);
        let lease = lead(&stage.a, &first).await;
        for number in 1..50 {
            assert!(matches!(begin(&stage.b, &wrong("t", number)).await, Begun::Join(_)));
        }
        let owner = app("t");
        assert!(matches!(begin(&stage.a, &owner).await, Begun::Join(_)));
        for number in 50..100 {
            assert!(matches!(begin(&stage.b, &wrong("t", number)).await, Begun::Join(_)));
        }

        complete(&stage.a, &lease, &first, &denied("invalid_client")).await;

        for number in 1..100 {
            assert!(matches!(begin(&stage.b, &wrong("t", number)).await, Begun::Join(_)), "{number} leads");
        }
        lead(&stage.a, &owner).await;
    }

    async fn known_client_that_does_not_come_keeps_nobody_waiting_for_long(
        stage,
        Config { store_timeout: 2 * S, ..unhurried() }
    ) {
        fly(&stage.a, &app(&some_token()), &success("one")).await;
        let first = wrong("t", 0);
        let lease = lead(&stage.a, &first).await;
        assert!(matches!(begin(&stage.a, &app("t")).await, Begun::Join(_)));
        complete(&stage.a, &lease, &first, &denied("invalid_client")).await;
        assert!(matches!(begin(&stage.a, &wrong("t", 1)).await, Begun::Join(_)));

        stage.pass(stage.config.permit_reserved_for() + 50 * MS).await;

        lead(&stage.a, &wrong("t", 1)).await;
    }

    async fn last_quarter_of_the_permits_is_for_known_callers_and_they_queue_first(stage, permits(4)) {
        fly(&stage.a, &app(&some_token()), &success("one")).await;
        let mut leading = Vec::new();
        for number in 0..3 {
            let stranger = wrong(&some_token(), number);
            leading.push((lead(&stage.a, &stranger).await, stranger));
        }
        let stranger = wrong(&some_token(), 4);
        let mut turn = queue(&stage.a, &stranger).await;
        lead(&stage.a, &app(&some_token())).await;
        let owner = app("t");
        let mut owners_turn = queue(&stage.a, &owner).await;

        let (lease, first) = leading.remove(0);
        complete(&stage.a, &lease, &first, &denied("invalid_client")).await;

        owners_turn.news.news().await;
        assert!(matches!(begin_in_queue(&stage.a, &owner, Some(owners_turn.since)).await, Begun::Lead(_)));
        let begun = begin_in_queue(&stage.a, &stranger, Some(turn.since)).await;
        let Begun::Queued(queued) = begun else { panic!("not queued: {begun:?}") };
        turn = queued;
        // One of the strangers and the owner are gone: two are left.
        for (lease, stranger) in leading {
            complete(&stage.a, &lease, &stranger, &denied("invalid_client")).await;
        }
        turn.news.news().await;
        assert!(matches!(begin_in_queue(&stage.a, &stranger, Some(turn.since)).await, Begun::Lead(_)));
        stage.budget_holds().await;
    }

    async fn call_that_runs_for_longer_than_callers_wait_has_no_permit(
        stage,
        Config { refresh_timeout: 2 * S, lease: 10 * S, ..permits(1) }
    ) {
        let (slow, next) = (app("slow"), app("next"));
        let lease = lead(&stage.a, &slow).await;
        let refusal = refused(&stage.a, &next).await;
        assert!(matches!(refusal, Refusal::Budget { .. }), "{refusal:?}");

        stage.pass(2 * S + 10 * MS).await;
        assert_eq!(stage.a.renew(&lease, &slow).await.expect("an answer"), Renewed::Renewed);

        lead(&stage.b, &next).await;
        complete(&stage.a, &lease, &slow, &success("late")).await;
        stage.budget_holds().await;
    }

    async fn what_strangers_leave_uncertain_is_bounded_and_the_owner_is_not_lost(
        stage,
        Config { uncertain: Uncertain::Never, ..attempts(2) }
    ) {
        fly(&stage.a, &app(&some_token()), &success("one")).await;
        for number in 0..65 {
            fly(&stage.a, &wrong("t", number), &unknown()).await;
        }

        let Begun::Landed(lost) = begin(&stage.a, &wrong("t", 65)).await else { panic!("one too many leads") };

        assert_eq!(lost.outcome.class(), Class::TokenLost);
        lead(&stage.a, &app("t")).await;
    }

    async fn client_whose_success_came_second_is_known_to_all_pods_by_its_next_one(stage, peppered()) {
        let of = |token: &str, client: &str| {
            let refresh = Refresh::new(token).client(client, "right");
            Ask::new(Identity::of(refresh, stage.config.pepper.as_ref()).expect("valid"), Uuid::new_v4())
        };
        let (first, second) = (of("shared", "app"), of("shared", "other"));
        let late = lead(&stage.a, &first).await;
        stage.lease_over(&first).await;
        fly(&stage.b, &second, &success("one")).await;
        assert!(matches!(complete(&stage.a, &late, &first, &success("two")).await, Standing::Stale));

        fly(&stage.a, &of("another", "app"), &success("three")).await;

        let failing = of("a third", "app");
        fly(&stage.b, &failing, &unknown()).await;
        assert!(!failing.was_stranger());
    }
}
