//! Flights, told verb by verb: what leads, what joins, what lands, and what is remembered of a token.

use super::stage::*;

/// Joins a leader that was lost and may still be heard of.
async fn is_lost(store: &Store, ask: &Ask) {
    let begun = store.begin(ask, None, &AdmissionTerms::at_once()).await.expect("an answer");
    assert!(matches!(&begun, Begun::Join(joined) if joined.leader == LeaderSeen::Lost), "{begun:?}");
}

both! {
    async fn one_leads_and_the_other_is_handed_the_outcome(stage, config()) {
        let (first, second) = (ask("t"), ask("t"));
        let lease = lead(&stage.a, &first).await;
        let Begun::Join(mut joined) = stage.b.begin(&second, None, &AdmissionTerms::at_once()).await.expect("an answer") else {
            panic!("two leaders");
        };
        assert_eq!((joined.fence, joined.leader), (Some(lease.fence), LeaderSeen::Living));

        assert!(matches!(complete(&stage.a, &lease, &first, &success("one")).await, Standing::Ours));

        let News::Landed(told) = joined.news.news().await else { panic!("told to look") };
        assert_eq!((access_token(&told), told.fence), ("one", lease.fence));
        assert_eq!(access_token(&landed(&stage.b, &ask("t"), None).await), "one");
    }

    async fn pod_that_waits_for_as_long_as_a_call_may_take_is_told(
        stage,
        Config { lease: 30 * S, wait_timeout: S, call_limit: Some(20 * S), keep_failure: Duration::ZERO, ..config() }
    ) {
        let first = ask("t");
        let lease = lead(&stage.a, &first).await;
        let Begun::Join(mut joined) = begin(&stage.b, &ask("t")).await else { panic!("two leaders") };
        // Callers come to its pod all the while, so it waits on.
        stage.pass(2 * S).await;

        complete(&stage.a, &lease, &first, &unknown()).await;

        assert!(matches!(joined.news.news().await, News::Landed(_)));
    }

    async fn attempt_that_begins_again_while_its_lease_stands_has_its_lead_still(stage, attempts(1)) {
        let first = ask("t");
        let lease = lead(&stage.a, &first).await;

        let again = lead(&stage.a, &first).await;

        assert_eq!((again.fence, again.history), (lease.fence, TokenHistory::Unremarkable));
        stage.budget_holds().await;
        assert!(matches!(complete(&stage.a, &again, &first, &success("one")).await, Standing::Ours));
    }

    async fn attempt_that_begins_again_after_its_lease_begins_anew_and_is_charged_once(
        stage,
        Config { max_refresh_attempts: 1, max_concurrent_refreshes: 1, uncertain: Uncertain::Never, ..config() }
    ) {
        let first = ask("t");
        let lease = lead(&stage.a, &first).await;
        stage.lease_over(&first).await;

        let again = lead(&stage.a, &first).await;

        // Nobody was lost: this leader knows that it asked nobody.
        assert_eq!((again.fence > lease.fence, again.history), (true, TokenHistory::Unremarkable));
        assert!(matches!(complete(&stage.a, &again, &first, &success("one")).await, Standing::Ours));
    }

    async fn attempt_that_begins_again_joins_the_leader_that_took_over(stage, config()) {
        let (slow, quick) = (ask("t"), ask("t"));
        let lost = lead(&stage.a, &slow).await;
        stage.lease_over(&slow).await;
        let taken = lead(&stage.b, &quick).await;

        let begun = stage.a.begin(&slow, Some(lost.fence), &AdmissionTerms::at_once()).await.expect("an answer");

        assert!(matches!(&begun, Begun::Join(joined) if joined.fence == Some(taken.fence)), "{begun:?}");
        complete(&stage.b, &taken, &quick, &success("one")).await;
        assert_eq!(access_token(&landed(&stage.a, &slow, Some(lost.fence)).await), "one");
    }

    async fn stale_leader_changes_nothing_but_by_its_success(stage, Config { lease: 3 * S, ..config() }) {
        let (slow, quick) = (ask("t"), ask("t"));
        let lost = lead(&stage.a, &slow).await;
        stage.lease_over(&slow).await;
        let taken = lead(&stage.b, &quick).await;
        assert_eq!((taken.history, taken.fence > lost.fence), (TokenHistory::LostLeaders, true));
        let before = stage.snapshot().await;

        assert_eq!(stage.a.renew(&lost, &slow).await.expect("an answer"), Renewed::Superseded);
        stage.a.abandon(&lost, &slow).await.expect("an answer");
        let late = complete(&stage.a, &lost, &slow, &failure(ProviderFailure::denied("invalid_grant"))).await;

        assert!(matches!(late, Standing::Stale), "{late:?}");
        assert_eq!(stage.snapshot().await, before);
        assert!(matches!(complete(&stage.a, &lost, &slow, &success("late")).await, Standing::Ours));
        assert_eq!(access_token(&landed(&stage.b, &ask("t"), None).await), "late");
        // The leader that took over still has the token in hand; what stands is what it is given.
        assert_eq!(stage.b.renew(&taken, &quick).await.expect("an answer"), Renewed::Renewed);
        let Standing::Theirs(stands) =
            complete(&stage.b, &taken, &quick, &failure(ProviderFailure::denied("invalid_grant"))).await
        else {
            panic!("a failure over a success");
        };
        assert_eq!((access_token(&stands), stands.fence), ("late", lost.fence));
    }

    async fn late_success_replaces_the_failure_of_who_took_over_and_is_told_again(stage, config()) {
        let (slow, quick) = (ask("t"), ask("t"));
        let lost = lead(&stage.a, &slow).await;
        stage.lease_over(&slow).await;
        let taken = lead(&stage.b, &quick).await;
        complete(&stage.b, &taken, &quick, &failure(ProviderFailure::denied("invalid_grant"))).await;

        assert!(matches!(complete(&stage.a, &lost, &slow, &success("late")).await, Standing::Ours));

        assert_eq!(access_token(&landed(&stage.b, &ask("t"), None).await), "late");
    }

    async fn late_unknown_of_a_suspended_machine_replaces_no_success(
        stage,
        Config { keep_outcome: S, ..config() }
    ) {
        let (slow, quick) = (ask("t"), ask("t"));
        let lost = lead(&stage.a, &slow).await;
        stage.lease_over(&slow).await;
        let taken = lead(&stage.b, &quick).await;
        complete(&stage.b, &taken, &quick, &success("one")).await;
        stage.pass(S).await;

        // Its clock stood still: the success was over before this flight began, as far as it knows.
        let suspended = Lease { granted: Instant::now(), ..lost };
        let late = complete(&stage.a, &suspended, &slow, &failure(ProviderFailure::unknown("reset"))).await;

        assert!(!matches!(late, Standing::Ours), "{late:?}");
        assert_eq!(lead(&stage.b, &ask("t")).await.history, TokenHistory::Rotated);
    }

    async fn first_success_stays(stage, config()) {
        let (slow, quick) = (ask("t"), ask("t"));
        let lost = lead(&stage.a, &slow).await;
        stage.lease_over(&slow).await;
        let taken = lead(&stage.b, &quick).await;
        complete(&stage.b, &taken, &quick, &success("first")).await;
        let before = stage.snapshot().await;

        let Standing::Theirs(stands) = complete(&stage.a, &lost, &slow, &success("second")).await else {
            panic!("a second success replaced the first");
        };

        assert_eq!(access_token(&stands), "first");
        assert_eq!(stage.snapshot().await, before);
    }

    async fn completing_twice_is_completing_once(stage, Config { lease: 60 * S, ..config() }) {
        let asked = ask("t");
        let lease = lead(&stage.a, &asked).await;
        complete(&stage.a, &lease, &asked, &success("one")).await;
        let before = stage.snapshot().await;

        assert!(matches!(complete(&stage.a, &lease, &asked, &success("one")).await, Standing::Ours));
        assert_eq!(stage.a.renew(&lease, &asked).await.expect("an answer"), Renewed::Superseded);
        stage.a.abandon(&lease, &asked).await.expect("an answer");

        assert_eq!(stage.snapshot().await, before);
    }

    async fn leader_that_is_only_late_goes_on(stage, Config { retry_lost_after: Some(Duration::from_secs(30)), ..config() }) {
        let (slow, other) = (ask("t"), ask("t"));
        let lease = lead(&stage.a, &slow).await;
        stage.lease_over(&slow).await;
        let Begun::Join(joined) = stage.b.begin(&other, None, &AdmissionTerms::at_once()).await.expect("an answer") else {
            panic!("led before retry_lost_after");
        };
        assert_eq!(joined.leader, LeaderSeen::Lost);

        assert_eq!(stage.a.renew(&lease, &slow).await.expect("an answer"), Renewed::Renewed);

        let Begun::Join(joined) = stage.b.begin(&other, joined.fence, &AdmissionTerms::at_once()).await.expect("an answer") else {
            panic!("led beside a leader that lives");
        };
        assert_eq!(joined.leader, LeaderSeen::Living);
        // Nothing was lost after all, so a refusal is a refusal.
        complete(&stage.a, &lease, &slow, &failure(ProviderFailure::denied("invalid_grant"))).await;
        assert_eq!(landed(&stage.b, &other, joined.fence).await.outcome.class(), Class::Denied);
    }

    async fn given_back_lead_leaves_the_token_as_it_was(stage, config()) {
        let (first, second) = (ask("t"), ask("t"));
        let lease = lead(&stage.a, &first).await;
        let Begun::Join(mut joined) = stage.b.begin(&second, None, &AdmissionTerms::at_once()).await.expect("an answer") else {
            panic!("two leaders");
        };

        stage.a.abandon(&lease, &first).await.expect("an answer");

        assert!(matches!(joined.news.news().await, News::BeginAgain));
        assert_eq!(lead(&stage.b, &second).await.history, TokenHistory::Unremarkable);
    }

    async fn given_back_takeover_does_not_forget_who_was_lost(stage, config()) {
        let (dead, shy) = (ask("t"), ask("t"));
        lead(&stage.a, &dead).await;
        stage.lease_over(&dead).await;
        let taken = lead(&stage.b, &shy).await;

        stage.b.abandon(&taken, &shy).await.expect("an answer");

        assert_eq!(lead(&stage.a, &ask("t")).await.history, TokenHistory::LostLeaders);
    }

    async fn takeover_that_ends_unknown_does_not_forget_who_was_lost(stage, config()) {
        let (dead, taker) = (ask("t"), ask("t"));
        lead(&stage.a, &dead).await;
        stage.lease_over(&dead).await;
        let taken = lead(&stage.b, &taker).await;

        complete(&stage.b, &taken, &taker, &failure(ProviderFailure::unknown("a 500"))).await;

        stage.pass(stage.config.keep_failure + S / 10).await;
        assert_eq!(lead(&stage.a, &ask("t")).await.history, TokenHistory::LostLeaders);
    }

    // Where the store was away for everybody, the leader is on its way there with what it holds.
    async fn leader_that_is_missed_late_may_still_be_heard_of(
        stage,
        Config { retry_lost_after: Some(3 * S), ..config() }
    ) {
        let (away, newcomer) = (ask("t"), ask("t"));
        let lease = lead(&stage.a, &away).await;
        stage.pass(4 * S).await;
        is_lost(&stage.b, &newcomer).await;

        complete(&stage.a, &lease, &away, &success("late")).await;

        assert_eq!(access_token(&landed(&stage.b, &newcomer, None).await), "late");
        lead(&stage.a, &ask("u")).await;
        stage.pass(4 * S).await;
        is_lost(&stage.b, &ask("u")).await;
        stage.pass(2 * S).await;
        assert_eq!(lead(&stage.b, &ask("u")).await.history, TokenHistory::LostLeaders);
    }

    async fn leader_that_is_missed_in_time_is_waited_for_no_longer(
        stage,
        Config { retry_lost_after: Some(3 * S), ..config() }
    ) {
        lead(&stage.a, &ask("t")).await;
        stage.pass(S).await;
        is_lost(&stage.b, &ask("t")).await;
        stage.pass(2 * S).await;

        let taken = ask("t");
        let lease = lead(&stage.b, &taken).await;

        // Nor once more, when the leader that took over asked nobody and was missed itself.
        stage.pass(S).await;
        is_lost(&stage.a, &ask("t")).await;
        stage.b.abandon(&lease, &taken).await.expect("an answer");
        assert_eq!(lead(&stage.a, &ask("t")).await.history, TokenHistory::LostLeaders);
    }

    async fn lead_that_was_never_heard_of_is_given_back_in_time_under_never(
        stage,
        Config { uncertain: Uncertain::Never, ..config() }
    ) {
        let unheard = ask("t");
        let lease = lead(&stage.a, &unheard).await;
        stage.pass(2 * S).await;
        is_lost(&stage.b, &ask("t")).await;

        stage.a.abandon(&lease, &unheard).await.expect("an answer");

        assert_eq!(lead(&stage.b, &ask("t")).await.history, TokenHistory::Unremarkable);
    }

    async fn waiter_gets_what_it_joined_when_it_is_no_longer_fresh(stage, Config { keep_failure: Duration::ZERO, ..config() }) {
        let (first, second) = (ask("t"), ask("t"));
        let lease = lead(&stage.a, &first).await;
        let Begun::Join(joined) = stage.b.begin(&second, None, &AdmissionTerms::at_once()).await.expect("an answer") else {
            panic!("two leaders");
        };
        complete(&stage.a, &lease, &first, &failure(ProviderFailure::unknown("reset"))).await;

        assert_eq!(landed(&stage.b, &second, joined.fence).await.outcome.class(), Class::Unknown);

        lead(&stage.b, &ask("t")).await;
    }

    async fn another_claim_waits_and_is_refused_after_a_rotation(stage, config()) {
        let (first, other) = (ask_as(Refresh::new("t").client("app", "pw")), ask_as(Refresh::new("t").client("app", "x")));
        let lease = lead(&stage.a, &first).await;
        let Begun::Join(mut joined) = stage.b.begin(&other, None, &AdmissionTerms::at_once()).await.expect("an answer") else {
            panic!("two leaders");
        };
        assert_eq!(joined.fence, None);

        complete(&stage.a, &lease, &first, &success("one")).await;

        assert!(matches!(joined.news.news().await, News::BeginAgain));
        let Begun::Rejected(Refusal::AnotherClaim { retry_after, .. }) = stage.b.begin(&other, None, &AdmissionTerms::at_once()).await.expect("an answer")
        else {
            panic!("a rotated token was presented again");
        };
        assert!(retry_after <= stage.config.keep_outcome && retry_after > Duration::ZERO);
    }

    async fn another_claim_leads_after_a_refusal(stage, config()) {
        let (first, other) = (ask_as(Refresh::new("t").client("app", "x")), ask_as(Refresh::new("t").client("app", "pw")));
        let lease = lead(&stage.a, &first).await;
        complete(&stage.a, &lease, &first, &failure(ProviderFailure::denied("invalid_client"))).await;

        lead(&stage.b, &other).await;
    }

    async fn rotated_token_that_comes_again_is_noticed(stage, Config { keep_outcome: Duration::ZERO, ..config() }) {
        let asked = ask("t");
        let lease = lead(&stage.a, &asked).await;
        complete(&stage.a, &lease, &asked, &success("one")).await;

        assert_eq!(lead(&stage.b, &ask("t")).await.history, TokenHistory::Rotated);
    }

    async fn uncertain_token_is_not_presented_when_the_policy_says_never(
        stage,
        Config { uncertain: Uncertain::Never, keep_failure: Duration::ZERO, store_timeout: S, ..config() }
    ) {
        let (reset, dead) = (ask("reset"), ask("dead"));
        let lease = lead(&stage.a, &reset).await;
        complete(&stage.a, &lease, &reset, &failure(ProviderFailure::unknown("reset"))).await;
        lead(&stage.a, &dead).await;
        stage.lease_over(&dead).await;

        assert_eq!(landed(&stage.b, &ask("reset"), None).await.outcome.class(), Class::TokenLost);
        is_lost(&stage.b, &ask("dead")).await;
        stage.pass(2 * S).await;
        assert_eq!(landed(&stage.b, &ask("dead"), None).await.outcome.class(), Class::TokenLost);
    }

    async fn late_success_is_for_those_who_joined_the_leader_after_it(stage, Config { keep_outcome: Duration::ZERO, ..config() }) {
        let (slow, quick, waiter) = (ask("t"), ask("t"), ask("t"));
        let lost = lead(&stage.a, &slow).await;
        stage.lease_over(&slow).await;
        let taken = lead(&stage.b, &quick).await;
        let Begun::Join(mut joined) = stage.a.begin(&waiter, None, &AdmissionTerms::at_once()).await.expect("an answer") else {
            panic!("two leaders");
        };
        assert_eq!(joined.fence, Some(taken.fence));

        complete(&stage.a, &lost, &slow, &success("late")).await;

        let News::Landed(told) = joined.news.news().await else { panic!("told to look") };
        assert_eq!(access_token(&told), "late");
        assert_eq!(access_token(&landed(&stage.a, &waiter, joined.fence).await), "late");
    }

    async fn success_is_there_for_a_waiter_though_a_newcomer_leads_already(
        stage,
        Config { keep_outcome: Duration::ZERO, ..config() }
    ) {
        let (first, waiter, newcomer) = (ask("t"), ask("t"), ask("t"));
        let lease = lead(&stage.a, &first).await;
        let Begun::Join(joined) = stage.b.begin(&waiter, None, &AdmissionTerms::at_once()).await.expect("an answer") else {
            panic!("two leaders");
        };
        complete(&stage.a, &lease, &first, &success("one")).await;
        lead(&stage.a, &newcomer).await;

        assert_eq!(access_token(&landed(&stage.b, &waiter, joined.fence).await), "one");
    }

    async fn repeated_completion_does_not_bring_back_an_old_success(
        stage,
        Config { lease: 60 * S, keep_outcome: Duration::ZERO, ..config() }
    ) {
        let (first, second) = (ask("t"), ask("t"));
        let old = lead(&stage.a, &first).await;
        complete(&stage.a, &old, &first, &success("old")).await;
        let new = lead(&stage.b, &second).await;
        let before = stage.snapshot().await;

        assert!(matches!(complete(&stage.a, &old, &first, &success("old")).await, Standing::Ours));

        assert_eq!(stage.snapshot().await, before);
        assert!(matches!(complete(&stage.b, &new, &second, &success("new")).await, Standing::Ours));
    }

    async fn second_success_leaves_nothing_to_renew(stage, config()) {
        let (slow, quick) = (ask("t"), ask("t"));
        let lost = lead(&stage.a, &slow).await;
        stage.lease_over(&slow).await;
        let taken = lead(&stage.b, &quick).await;
        complete(&stage.b, &taken, &quick, &success("first")).await;
        complete(&stage.a, &lost, &slow, &success("second")).await;

        assert_eq!(stage.a.renew(&lost, &slow).await.expect("an answer"), Renewed::Superseded);
        assert_eq!(stage.b.renew(&taken, &quick).await.expect("an answer"), Renewed::Superseded);
    }

    async fn given_back_takeover_cannot_be_renewed(stage, config()) {
        let (dead, shy) = (ask("t"), ask("t"));
        lead(&stage.a, &dead).await;
        stage.lease_over(&dead).await;
        let taken = lead(&stage.b, &shy).await;
        stage.b.abandon(&taken, &shy).await.expect("an answer");

        assert_eq!(stage.b.renew(&taken, &shy).await.expect("an answer"), Renewed::Superseded);

        assert_eq!(lead(&stage.a, &ask("t")).await.history, TokenHistory::LostLeaders);
    }

    async fn takeover_that_asks_nothing_does_not_forget_who_was_lost(
        stage,
        Config { keep_failure: Duration::ZERO, ..config() }
    ) {
        let (dead, next) = (ask("t"), ask("t"));
        lead(&stage.a, &dead).await;
        stage.lease_over(&dead).await;
        let taken = lead(&stage.b, &next).await;
        complete(&stage.b, &taken, &next, &failure(ProviderFailure::not_sent("dns"))).await;

        assert_eq!(lead(&stage.a, &ask("t")).await.history, TokenHistory::LostLeaders);
    }

    async fn uncertainty_is_forgotten_when_its_time_is_over(
        stage,
        Config { uncertain: Uncertain::Never, uncertain_memory: Duration::from_secs(1), keep_failure: Duration::ZERO, ..config() }
    ) {
        let asked = ask("t");
        let lease = lead(&stage.a, &asked).await;
        complete(&stage.a, &lease, &asked, &failure(ProviderFailure::unknown("reset"))).await;
        assert_eq!(landed(&stage.b, &ask("t"), None).await.outcome.class(), Class::TokenLost);

        stage.pass(Duration::from_millis(1500)).await;

        lead(&stage.b, &ask("t")).await;
    }

    async fn access_token_of_a_kept_refresh_token_is_not_fresh_past_its_expiry(stage, config()) {
        let asked = ask("t");
        let lease = lead(&stage.a, &asked).await;
        let kept = TokenResponse::from_json(r#"{"access_token":"a","expires_in":2}"#).expect("tokens");
        let outcome = Arc::new(Outcome::Success(kept));
        let late = Completion { age: Duration::from_secs(3), ..completion(&outcome) };
        stage.a.complete(&lease, &asked, &late).await.expect("an answer");

        lead(&stage.b, &ask("t")).await;
    }

    async fn success_that_comes_again_and_says_more_of_its_age_is_believed(stage, config()) {
        let asked = ask("t");
        let lease = lead(&stage.a, &asked).await;
        let kept = TokenResponse::from_json(r#"{"access_token":"a","expires_in":40}"#).expect("tokens");
        let outcome = Arc::new(Outcome::Success(kept));
        complete(&stage.a, &lease, &asked, &outcome).await;
        assert!(landed(&stage.b, &ask("t"), None).await.age < 10 * S);

        // What Redis held back for long said that it is new; that was sent again, later.
        let late = Completion { age: 15 * S, ..completion(&outcome) };
        stage.a.complete(&lease, &asked, &late).await.expect("an answer");
        let age = landed(&stage.b, &ask("t"), None).await.age;
        complete(&stage.a, &lease, &asked, &outcome).await;
        let later = landed(&stage.b, &ask("t"), None).await.age;
        let over = Completion { age: 39 * S, ..completion(&outcome) };
        stage.a.complete(&lease, &asked, &over).await.expect("an answer");

        assert!(age >= 15 * S && later >= age, "{age:?} {later:?}");
        lead(&stage.b, &ask("t")).await;
    }

    async fn outcome_is_fresh_for_as_long_as_it_should(stage, Config { keep_outcome: 2 * S, ..config() }) {
        let asked = ask("t");
        let lease = lead(&stage.a, &asked).await;
        complete(&stage.a, &lease, &asked, &success("one")).await;

        landed(&stage.b, &ask("t"), None).await;
        stage.pass(2 * S + 200 * MS).await;

        lead(&stage.b, &ask("t")).await;
    }

    async fn lead_that_is_given_back_leaves_the_success_before_to_who_waits_for_it(
        stage,
        Config { keep_outcome: Duration::ZERO, ..config() }
    ) {
        let (first, waiter, shy) = (ask("t"), ask("t"), ask("t"));
        let lease = lead(&stage.a, &first).await;
        let Begun::Join(joined) = begin(&stage.b, &waiter).await else { panic!("two leaders") };
        complete(&stage.a, &lease, &first, &success("one")).await;
        let given_back = lead(&stage.a, &shy).await;

        stage.a.abandon(&given_back, &shy).await.expect("an answer");

        assert_eq!(access_token(&landed(&stage.b, &waiter, joined.fence).await), "one");
        // And a completion that comes again does not land again.
        complete(&stage.a, &lease, &first, &success("one")).await;
        assert_eq!(lead(&stage.b, &ask("t")).await.history, TokenHistory::Unremarkable);
    }

    async fn leader_that_was_only_late_was_not_lost(
        stage,
        Config { retry_lost_after: Some(Duration::from_secs(30)), keep_failure: Duration::ZERO, ..config() }
    ) {
        let slow = ask("t");
        let lease = lead(&stage.a, &slow).await;
        stage.lease_over(&slow).await;
        let Begun::Join(_waiter) = begin(&stage.b, &ask("t")).await else { panic!("two leaders") };
        assert_eq!(stage.a.renew(&lease, &slow).await.expect("an answer"), Renewed::Renewed);

        complete(&stage.a, &lease, &slow, &failure(ProviderFailure::not_sent("dns"))).await;

        assert_eq!(lead(&stage.b, &ask("t")).await.history, TokenHistory::Unremarkable);
    }

    async fn lost_leader_is_remembered_for_as_long_as_somebody_may_wait_for_it(
        stage,
        Config { uncertain_memory: Duration::ZERO, ..config() }
    ) {
        let slow = ask("t");
        let lease = lead(&stage.a, &slow).await;
        let Begun::Join(_waiter) = begin(&stage.b, &ask("t")).await else { panic!("two leaders") };

        stage.pass(stage.config.lease + 500 * MS).await;

        assert_eq!(stage.a.renew(&lease, &slow).await.expect("an answer"), Renewed::Renewed);
    }

    async fn lead_that_is_given_back_when_it_is_forgotten_frees_nothing(
        stage,
        Config { uncertain_memory: Duration::ZERO, max_refresh_attempts: 1, ..config() }
    ) {
        let shy = ask("t");
        let lease = lead(&stage.a, &shy).await;
        stage.pass(stage.config.lease + 300 * MS).await;

        stage.a.abandon(&lease, &shy).await.expect("an answer");

        assert!(matches!(refused(&stage.b, &ask("t")).await, Refusal::CoolingDown { .. }));
    }
}
