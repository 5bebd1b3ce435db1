//! The budget, told verb by verb: permits, the queue for them, and what becomes of both when a flight is lost.

use super::stage::*;

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
        // Known by the success before.
        lead(&stage.b, &ask("next")).await;
        assert!(matches!(refused(&stage.a, &anybody()).await, Refusal::Budget { .. }));
        stage.budget_holds().await;
    }

    async fn overview_counts_permits_and_the_queue_and_knows_how_long_its_first_has_waited(stage, permits(1)) {
        let empty = stage.b.overview().await.expect("an answer");
        assert_eq!((empty.permits_out, empty.queued, empty.oldest_queued, empty.recovering_for), (0, 0, None, None));
        let leading = anybody();
        let lease = lead(&stage.a, &leading).await;
        let _queued = queue(&stage.a, &anybody()).await;
        stage.pass(20 * MS).await;
        let _later = queue(&stage.b, &anybody()).await;

        let full = stage.b.overview().await.expect("an answer");

        assert_eq!((full.permits_out, full.queued), (1, 2));
        let oldest = full.oldest_queued.expect("somebody waits");
        assert!(oldest >= 19 * MS && oldest < 60 * S, "{oldest:?}");
        complete(&stage.a, &lease, &leading, &success("one")).await;
        // Reserved for the first of the queue.
        let next = stage.b.overview().await.expect("an answer");
        assert_eq!((next.permits_out, next.queued), (1, 1));
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
        assert!(matches!(queued_first.news.news().await, News::BeginAgain));
        // Neither a newcomer nor a flight that came later overtakes.
        assert!(matches!(refused(&stage.b, &anybody()).await, Refusal::Budget { .. }));
        let begun = begin_in_queue(&stage.a, &third, Some(queued_third.since)).await;
        assert!(matches!(begun, Begun::Queued(_)), "{begun:?}");
        let Begun::Lead(lease) = begin_in_queue(&stage.a, &first, Some(queued_first.since)).await else {
            panic!("the permit was not kept");
        };
        stage.budget_holds().await;
        stage.a.abandon(&lease, &first).await.expect("an answer");
        stage.budget_holds().await;
        assert!(matches!(queued_second.news.news().await, News::BeginAgain));
        let begun = begin_in_queue(&stage.b, &second, Some(queued_second.since)).await;
        assert!(matches!(begun, Begun::Lead(_)), "{begun:?}");
        stage.budget_holds().await;
    }

    async fn client_with_many_flights_delays_no_other(stage, permits(1)) {
        let many = || of_client("many");
        let mut led = (many(), None);
        led.1 = Some(lead(&stage.a, &led.0).await);
        let mut waiting = Vec::new();
        for _ in 0..5 {
            let asked = many();
            let queued = queue(&stage.a, &asked).await;
            waiting.push((asked, queued));
            stage.pass(10 * MS).await;
        }
        let one = of_client("one");
        let queued = queue(&stage.b, &one).await;

        // The first of the many came before; the second is behind.
        for place in 0..2 {
            let (asked, lease) = &led;
            complete(&stage.a, lease.as_ref().expect("it leads"), asked, &success("one")).await;
            stage.budget_holds().await;
            if place == 0 {
                let (next, place) = waiting.remove(0);
                let Begun::Lead(lease) = begin_in_queue(&stage.a, &next, Some(place.since)).await else {
                    panic!("not in its turn")
                };
                led = (next, Some(lease));
            }
        }

        let begun = begin_in_queue(&stage.b, &one, Some(queued.since)).await;
        assert!(matches!(begun, Begun::Lead(_)), "{begun:?}");
        for (asked, place) in &waiting {
            let begun = begin_in_queue(&stage.a, asked, Some(place.since)).await;
            assert!(matches!(begun, Begun::Queued(_)), "{begun:?}");
        }
        stage.budget_holds().await;
    }

    async fn client_whose_calls_take_long_leaves_the_other_its_share(stage, permits(4)) {
        let mut slow = Vec::new();
        for _ in 0..4 {
            let asked = of_client("slow");
            slow.push((lead(&stage.a, &asked).await, asked));
        }
        let (mut slow_ones, mut quick_ones) = (Vec::new(), Vec::new());
        for _ in 0..6 {
            let (asked, other) = (of_client("slow"), of_client("quick"));
            slow_ones.push((queue(&stage.a, &asked).await, asked));
            stage.pass(10 * MS).await;
            quick_ones.push((queue(&stage.b, &other).await, other));
            stage.pass(10 * MS).await;
        }
        for (lease, asked) in &slow {
            complete(&stage.a, lease, asked, &success("one")).await;
        }

        // Whoever has a permit comes. What is quick is done at once, what is slow never.
        let (mut served, mut waiting) = (0, Vec::new());
        for (place, asked) in &quick_ones {
            for (place, asked) in &slow_ones {
                // Kept, so that it can be told.
                waiting.push(begin_in_queue(&stage.a, asked, Some(place.since)).await);
            }
            if let Begun::Lead(lease) = begin_in_queue(&stage.b, asked, Some(place.since)).await {
                complete(&stage.b, &lease, asked, &success("two")).await;
                served += 1;
            }
            stage.budget_holds().await;
        }

        assert_eq!(served, quick_ones.len(), "the slow client has all permits");
    }

    async fn permit_of_a_dead_leader_is_back_when_its_lease_is_over(
        stage,
        Config { lease: 2 * S, store_timeout: 2 * S, ..permits(1) }
    ) {
        lead(&stage.a, &anybody()).await;
        let next = anybody();
        let mut queued = queue(&stage.b, &next).await;

        let News::BeginAgain = queued.news.news().await else { panic!("nothing landed") };

        let begun = begin_in_queue(&stage.b, &next, Some(queued.since)).await;
        assert!(matches!(begun, Begun::Lead(_)), "{begun:?}");
        stage.budget_holds().await;
    }

    async fn permit_is_kept_by_a_leader_that_renews(
        stage,
        Config { lease: 3 * S, store_timeout: 3 * S, ..permits(1) }
    ) {
        let lease = lead(&stage.a, &anybody()).await;
        for _ in 0..3 {
            stage.pass(1500 * MS).await;
            assert_eq!(stage.a.renew(&lease, &anybody()).await.expect("an answer"), Renewed::Renewed);
            stage.budget_holds().await;
        }

        assert!(matches!(refused(&stage.b, &anybody()).await, Refusal::Budget { .. }));
    }

    async fn permit_that_is_reserved_and_not_taken_goes_to_the_next(
        stage,
        Config { lease: 60 * S, store_timeout: 2 * S, ..permits(1) }
    ) {
        let (leading, gone, next) = (anybody(), anybody(), anybody());
        let lease = lead(&stage.a, &leading).await;
        let _queued_and_gone = queue(&stage.a, &gone).await;
        stage.pass(10 * MS).await;
        let queued = queue(&stage.b, &next).await;
        complete(&stage.a, &lease, &leading, &success("one")).await;
        assert!(matches!(refused(&stage.a, &anybody()).await, Refusal::Budget { .. }));

        stage.pass(2 * S).await;

        let begun = begin_in_queue(&stage.b, &next, Some(queued.since)).await;
        assert!(matches!(begun, Begun::Lead(_)), "{begun:?}");
        stage.budget_holds().await;
    }

    async fn flight_whose_patience_is_over_leaves_no_place_behind(stage, permits(1)) {
        let (leading, hasty) = (anybody(), anybody());
        let lease = lead(&stage.a, &leading).await;
        let queued = queue(&stage.b, &hasty).await;
        let terms = AdmissionTerms { waiting_since: Some(queued.since), ..AdmissionTerms::at_once() };

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

            stage.b.withdraw(&gone.id(), Some(queued.since)).await.expect("an answer");

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
            panic!("its turn has not come");
        };

        let begun = begin_in_queue(&stage.b, &joins, Some(queued_joins.since)).await;
        assert!(matches!(begun, Begun::Join(_)), "{begun:?}");
        // Nobody else queues, so this permit goes to the flight that is still there.
        complete(&stage.a, &lease, &first, &success("two")).await;
        stage.budget_holds().await;
        let begun = begin_in_queue(&stage.b, &lands, Some(queued_lands.since)).await;
        assert!(matches!(begun, Begun::Landed(_)), "{begun:?}");

        stage.budget_holds().await;
        lead(&stage.b, &anybody()).await;
    }

    async fn flight_that_queues_is_handed_what_lands_meanwhile_though_nobody_else_would_be(
        stage,
        Config { lease: 60 * S, store_timeout: 2 * S, keep_failure: Duration::ZERO, ..permits(1) }
    ) {
        let (leading, queues, leads) = (anybody(), ask("t"), ask("t"));
        let lease = lead(&stage.a, &leading).await;
        let queued = queue(&stage.b, &queues).await;
        complete(&stage.a, &lease, &leading, &success("one")).await;
        // It does not come for its permit in time.
        stage.pass(2 * S).await;
        let lease = lead(&stage.a, &leads).await;
        complete(&stage.a, &lease, &leads, &unknown()).await;
        stage.pass(10 * MS).await;

        let begun = begin_in_queue(&stage.b, &queues, Some(queued.since)).await;

        let Begun::Landed(landed) = begun else { panic!("it presents the token once more: {begun:?}") };
        assert_eq!((landed.fence, landed.outcome.class()), (lease.fence, Class::Unknown));
        lead(&stage.a, &ask("t")).await;
        stage.budget_holds().await;
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
