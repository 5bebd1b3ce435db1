//! Other claims of a credential: the rules keep every promise but one that none can keep, and each of them is missed when it is
//! taken out. Run with `--nocapture` to read the histories.

use std::time::Duration;

use refresh_model::claims::catalogue::{self, named};
use refresh_model::claims::cuts;
use refresh_model::claims::model::Claims;
use refresh_model::claims::promises::Promise;
use refresh_model::claims::rules::{ALL, Rule, Rules};
use refresh_model::report::Broken;

const LIMIT: Duration = Duration::from_secs(300);

fn keeps(scenario: &str, rules: Rules) {
    let verdict = Claims::check(named(scenario), rules, LIMIT);

    println!("{verdict}");
    assert!(verdict.is_complete, "the time was over: {verdict}");
    if let Some(Broken { name, story, .. }) = verdict.broken {
        panic!("{scenario}: {name}\n\n{story}");
    }
    assert!(verdict.is_possible, "no claim was served past another claim's presentation");
}

fn breaks(scenario: &str, rules: Rules, expected: Promise) -> String {
    let verdict = Claims::check(named(scenario), rules, LIMIT);

    let Some(Broken { promise, name, story }) = verdict.broken else { panic!("{scenario} is kept: {verdict}") };
    println!("{scenario}: {name}\n\n{story}");
    assert_eq!(promise, expected, "{scenario}\n\n{story}");
    story
}

#[test]
fn rules_keep_every_promise_in_every_small_scenario() {
    for scenario in catalogue::ALL.iter().filter(|scenario| !scenario.is_deep) {
        keeps(scenario.name, Rules::all());
    }
}

#[test]
fn each_rule_is_missed_when_it_is_taken_out() {
    for cut in cuts::ALL {
        println!("without {:?}", cut.rule);
        breaks(cut.scenario, Rules::all().without(cut.rule), cut.promise);
    }
}

#[test]
fn family_that_is_made_lazily_keeps_every_promise_in_small_scenarios() {
    let names = ["claims-two", "claims-three", "claims-rare", "claims-crash", "claims-evicted", "claims-thief-shared"];
    for name in names.into_iter().chain(["lazy-lulls", "lazy-long", "lazy-flushed"]) {
        keeps(name, Rules::lazy());
    }
}

#[test]
fn each_rule_of_lazy_families_is_missed_when_it_is_taken_out() {
    for cut in cuts::LAZY {
        println!("without {:?}", cut.rule);
        breaks(cut.scenario, Rules::lazy().without(cut.rule), cut.promise);
    }
}

/// A claim goes away while it waits for another's first refresh, and that goes on.
#[test]
fn stores_serve_a_claim_that_went_away_before_the_family_was_made() {
    keeps("claims-crash", Rules::stores());
}

/// The answer of a claim is lost, and it comes along the chain while others wait: they are called, and go on from where it has come to.
#[test]
fn stores_serve_claims_that_come_while_another_walks() {
    for name in ["claims-missed", "lazy-lulls", "lazy-gives-up"] {
        keeps(name, Rules::stores());
    }
}

/// A thief with an older token comes as a claim that was noted by the name that it has with that.
#[test]
fn stores_know_a_claim_by_its_older_names_when_it_has_presented_a_token() {
    for name in ["claims-thief", "claims-thief-other", "claims-failover-shared"] {
        keeps(name, Rules::stores());
    }
}

/// Its pod died while it waited with the first token, and nobody has that when the login gets a key.
#[test]
fn claim_that_waited_in_vain_with_a_token_that_nobody_landed_is_known_by_two_names() {
    let story = breaks("lazy-gives-up-tabs", Rules::lazy(), Promise::LeftBehind);

    assert!(story.contains("the pod of C dies") && !story.contains("REVOKED"), "{story}");
}

#[test]
fn every_rule_is_cut_or_said_to_be_unseen() {
    let is_known =
        |rule: &Rule| cuts::UNSEEN.contains(rule) || cuts::ALL.iter().chain(cuts::LAZY).any(|cut| cut.rule == *rule);

    let forgotten: Vec<&Rule> = ALL.iter().filter(|rule| !is_known(rule)).collect();

    assert!(forgotten.is_empty(), "{forgotten:?}");
}

/// Whoever is owed what followed comes late without end. A thief who has invented a claim does the same, and the store sees the
/// same of both: what finds the one logs the other out.
#[test]
fn thief_who_invents_a_claim_is_not_found_and_an_honest_one_that_does_the_same_is_served() {
    let story = breaks("claims-thief-invents", Rules::all(), Promise::ThiefIsFound);
    keeps("claims-honest", Rules::all());

    assert!(story.contains("C steals the token of A") && !story.contains("REVOKED"), "{story}");
}
