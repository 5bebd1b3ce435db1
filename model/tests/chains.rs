//! Chains and strangers: the rules that stand keep every promise, each of them is missed when it is taken out, and without what
//! this model found histories break them. Run with `--nocapture` to read the histories.

use std::time::Duration;

use refresh_model::chain::catalogue::{self, named};
use refresh_model::chain::cuts;
use refresh_model::chain::model::Chains;
use refresh_model::chain::promises::Promise;
use refresh_model::chain::rules::{BEFORE, MENDS, Rule, Rules};
use refresh_model::report::Broken;

const LIMIT: Duration = Duration::from_secs(300);

fn keeps(scenario: &str) {
    let verdict = Chains::check(named(scenario), Rules::today(), LIMIT);

    println!("{verdict}");
    assert!(verdict.is_complete, "the time was over: {verdict}");
    if let Some(Broken { name, story, .. }) = verdict.broken {
        panic!("{scenario}: {name}\n\n{story}");
    }
    assert!(verdict.is_possible, "nobody was ever handed what was held");
}

fn breaks(scenario: &str, rules: Rules, expected: Promise) -> String {
    let verdict = Chains::check(named(scenario), rules, LIMIT);

    let Some(Broken { promise, name, story }) = verdict.broken else { panic!("{scenario} is kept: {verdict}") };
    println!("{scenario}: {name}\n\n{story}");
    assert_eq!(promise, expected, "{scenario}\n\n{story}");
    story
}

#[test]
fn rules_keep_every_promise_in_every_small_scenario() {
    for scenario in catalogue::ALL.iter().filter(|scenario| !scenario.is_deep) {
        keeps(scenario.name);
    }
}

#[test]
fn each_rule_is_missed_when_it_is_taken_out() {
    for cut in cuts::ALL {
        println!("without {:?}", cut.rule);
        breaks(cut.scenario, cut.rules(), cut.promise);
    }
}

#[test]
fn every_rule_is_cut_or_said_to_be_unseen() {
    let is_known = |rule: &Rule| cuts::UNSEEN.contains(rule) || cuts::ALL.iter().any(|cut| cut.rule == *rule);

    let forgotten: Vec<&Rule> = BEFORE.iter().chain(MENDS).filter(|rule| !is_known(rule)).collect();

    assert!(forgotten.is_empty(), "{forgotten:?}");
}

/// A tab is closed. Somebody with the old token alone comes with a wrong secret, and the provider refuses that: the
/// record said so, and what was held was not looked at.
#[test]
fn stranger_with_the_old_token_made_its_owner_present_it() {
    let rules = Rules::today().without(Rule::HeldWhateverStands);

    let story = breaks("chain-stranger", rules, Promise::SuccessorIsThere);

    assert!(story.contains("B steals the token of A") && story.contains("T1: led under fence 3; held: T2"), "{story}");
}
