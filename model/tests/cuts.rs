//! What each rule is for: without it a history breaks a promise. A few need another rule out as well, and one is not seen
//! at all; `cuts.rs` names them. Run with `--nocapture` to read the histories.

use std::time::Duration;

use refresh_model::model::Protocol;
use refresh_model::rules::{MENDS, PROPOSED, Rule, Rules};
use refresh_model::{catalogue, cuts};

#[test]
fn each_rule_is_missed_when_it_is_taken_out() {
    for cut in cuts::ALL {
        let verdict = Protocol::check(catalogue::named(cut.scenario), cut.rules(), Duration::from_secs(60));

        let Some(broken) = verdict.broken else { panic!("{:?} is not missed: {verdict}", cut.rule) };
        println!("without {:?}, {}: {}\n\n{}", cut.rule, cut.scenario, broken.name, broken.story);
        assert_eq!(broken.promise, cut.promise, "{:?}", cut.rule);
    }
}

/// While Redis recovers, also a leader whose lease is over by its own clock puts its flight back: it may have been cut off from Redis
/// for as long. That is safe because it asks the endpoint before it renews; else it would renew at a demoted primary.
#[test]
fn put_back_while_redis_recovers_is_safe_where_the_endpoint_is_asked() {
    let check = |rules| Protocol::check(catalogue::named("restart-pause"), rules, Duration::from_secs(120));

    let unasked = check(Rules::mended().without(Rule::AskLocator));
    let asked = check(Rules::mended());

    assert!(unasked.broken.is_some(), "{unasked}");
    assert!(asked.broken.is_none() && asked.is_complete, "{asked}");
}

#[test]
fn every_rule_is_cut_or_said_to_be_unseen() {
    let is_known = |rule: &Rule| {
        // It is taken out in the mended rules, and putting it in is what breaks them.
        *rule == Rule::EarlyEnd || cuts::UNSEEN.contains(rule) || cuts::ALL.iter().any(|cut| cut.rule == *rule)
    };

    let forgotten: Vec<&Rule> = PROPOSED.iter().chain(MENDS).filter(|rule| !is_known(rule)).collect();

    assert!(forgotten.is_empty(), "{forgotten:?}");
    assert!(!Rules::mended().has(Rule::EarlyEnd));
}
