//! What each rule is for: without it a history breaks a promise. A few need another rule out as well, and one is not seen
//! at all; `cuts.rs` names them. Run with `--nocapture` to read the histories.

use std::time::Duration;

use refresh_model::report;
use refresh_model::rules::{MENDS, PROPOSED, Rule, Rules};
use refresh_model::{catalogue, cuts};

#[test]
fn each_rule_is_missed_when_it_is_taken_out() {
    for cut in cuts::ALL {
        let verdict = report::check(catalogue::named(cut.scenario), cut.rules(), Duration::from_secs(60));

        let Some((promise, story)) = verdict.broken else { panic!("{:?} is not missed: {verdict}", cut.rule) };
        println!("without {:?}, {}: {}\n\n{story}", cut.rule, cut.scenario, promise.name());
        assert_eq!(promise, cut.promise, "{:?}", cut.rule);
    }
}

/// Where a mend that closes the same history is taken out as well, the scenario is kept before the rule is, too.
#[test]
fn put_back_is_needed_where_the_locator_is_not_asked() {
    let cut = cuts::ALL.iter().find(|cut| cut.rule == Rule::PutBackOnlyStanding).expect("a cut of it");

    let verdict = report::check(catalogue::named(cut.scenario), cut.base(), Duration::from_secs(120));

    assert!(verdict.broken.is_none() && verdict.is_complete, "{verdict}");
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
