//! The rules of the next step: with what was found missing they keep every promise; as they were decided on they do not.

use std::time::Duration;

use refresh_model::catalogue;
use refresh_model::model::Protocol;
use refresh_model::promises::Promise;
use refresh_model::report::{Broken, Verdict};
use refresh_model::rules::{Rule, Rules};

fn check(scenario: &str, rules: Rules) -> Verdict<Promise> {
    let verdict = Protocol::check(catalogue::named(scenario), rules, Duration::from_secs(120));
    println!("{verdict}");
    assert!(verdict.is_complete, "the time was over: {verdict}");
    verdict
}

fn keeps(scenario: &str) {
    let verdict = check(scenario, Rules::mended());

    if let Some(Broken { name, story, .. }) = verdict.broken {
        panic!("{scenario}: {name}\n\n{story}");
    }
    assert!(verdict.is_possible, "no success was ever given, so the promises are kept by doing nothing");
}

#[test]
fn mended_rules_keep_every_promise_in_every_small_scenario() {
    // Those that take the longest are shown by themselves below, because tests run beside each other; the last gap is
    // not kept, and shown below, too.
    let apart = ["failover-pause", "restart-pause", "clock-back", "long-lease-forgotten", "pause-last-gap"];
    let small = catalogue::ALL.iter().filter(|scenario| !scenario.is_deep && !apart.contains(&scenario.name));
    for scenario in small {
        keeps(scenario.name);
    }
}

#[test]
fn mended_rules_keep_every_promise_when_a_pod_stops_around_a_failover() {
    keeps("failover-pause");
    keeps("restart-pause");
}

#[test]
fn mended_rules_keep_every_promise_when_the_clock_is_set_back_around_a_failover() {
    keeps("clock-back");
}

#[test]
fn mended_rules_keep_every_promise_when_a_long_lease_is_forgotten() {
    keeps("long-lease-forgotten");
}

/// A rule as it was decided on is not enough: the promise is broken, with all rules in force but the mend.
fn is_broken(scenario: &str, rules: Rules, expected: Promise) -> String {
    let verdict = check(scenario, rules);

    let Broken { promise, name, story } = verdict.broken.expect("a counterexample");
    println!("{scenario}: {name}\n\n{story}");
    assert_eq!(promise, expected);
    story
}

#[test]
fn recovering_that_ends_early_forgets_pods_whose_register_entry_was_lost() {
    is_broken("failover-newcomer", Rules::mended().with(Rule::EarlyEnd), Promise::OnePresentation);
    is_broken("restart-empty", Rules::mended().with(Rule::EarlyEnd), Promise::OnePresentation);
}

#[test]
fn lead_of_a_demoted_primary_is_presented_by_a_pod_that_knows_of_no_newer_one() {
    is_broken("demoted", Rules::mended().without(Rule::AskLocator), Promise::OnePresentation);
}

#[test]
fn taker_that_has_not_noticed_a_failover_presents_beside_the_old_leader_that_came_back_with_older_data() {
    let story = is_broken("failover-pause", Rules::mended().without(Rule::AskLocator), Promise::OnePresentation);

    assert!(story.contains("is stopped") && story.contains("a replica is promoted"), "{story}");
}

#[test]
fn nothing_can_close_the_gap_between_the_last_look_and_the_sending() {
    is_broken("pause-last-gap", Rules::mended(), Promise::OnePresentation);
}
