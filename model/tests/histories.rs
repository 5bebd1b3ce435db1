//! Four histories that today's rules allow. Each test finds one and prints it: run with `--nocapture`.

use std::time::Duration;

use refresh_model::catalogue;
use refresh_model::model::Protocol;
use refresh_model::promises::Promise;
use refresh_model::report::Broken;
use refresh_model::rules::Rules;

/// The steps of the shortest history of this scenario in which the token is presented beside a leader that lives.
fn second_presentation(scenario: &str) -> String {
    let verdict = Protocol::check(catalogue::named(scenario), Rules::today(), Duration::from_secs(60));

    let Broken { promise, name, story } = verdict.broken.expect("a counterexample");
    println!("{scenario}: {name}\n\n{story}");
    assert_eq!(promise, Promise::OnePresentation);
    story
}

#[test]
fn failover_that_lost_the_lead_presents_the_token_twice() {
    let story = second_presentation("failover");

    assert!(story.contains("a replica is promoted without the last 1 writes"), "{story}");
    assert!(story.contains("primary 1: no record, no lock, fence 0, recovering 0"), "nobody notices: {story}");
}

#[test]
fn redis_that_restarts_empty_is_led_at_once_by_a_pod_that_has_seen_no_fence() {
    let story = second_presentation("restart-empty");

    assert!(story.contains("the server restarts empty"), "{story}");
    assert!(story.contains("has seen fence 0"), "{story}");
}

#[test]
fn pod_that_stops_between_the_lead_and_its_call_presents_beside_the_next_leader() {
    let story = second_presentation("pause");

    assert!(story.contains("is stopped"), "{story}");
    assert!(story.contains("own lease 0"), "it calls under a lease that is over: {story}");
}

#[test]
fn demoted_primary_that_still_answers_gives_a_lead_beside_the_new_one() {
    let story = second_presentation("demoted");

    assert!(story.contains("the old primary goes on answering"), "{story}");
    assert!(story.contains("demoted 0: leading"), "{story}");
}
