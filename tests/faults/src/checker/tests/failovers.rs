//! Another server takes over: what pods that live have to put back, and what is gone.

use super::*;

/// A server is gone at 10.1 s, with what it has written from 9.9 s on, and all pods have found another one at this time.
fn taken_over(harm: Harm, at: u64) -> Story {
    let mut story = Story::in_peace();
    story.fault(10_100, at + 100, harm);
    story.add(at, What::FailedOver { lost_since: Some(9_900 * MS), from: 10_100 * MS });
    story
}

/// Pod 1 leads from 10.005 s on and has no answer yet; pod 2 presents the same token at 14.2 s.
fn second_leader(mut story: Story) -> Vec<Rule> {
    story.asked(10_000, 1, 1, "t", Some(0)).led(10_005, 1).presented(10_010, 1, "t", Verdict::Rotated);
    story.asked(14_100, 2, 2, "t", Some(0)).led(14_200, 2).presented(14_200, 2, "t", Verdict::Reused);
    story.over(14_300, 2).broken()
}

#[test]
fn presentation_beside_a_leader_that_had_found_the_new_server_in_time_is_seen() {
    assert_eq!(second_leader(taken_over(Harm::Failover, 10_700)), [Rule::OnePresentation]);
}

#[test]
fn leader_that_found_the_new_server_after_its_lease_may_be_lost() {
    assert_eq!(second_leader(taken_over(Harm::Failover, 11_300)), []);
    assert_eq!(second_leader(taken_over(Harm::Store, 10_700)), [], "nobody took over");
}

/// Pod 1 has the answer at this time; pod 2 is told at 12.4 s that the session is over.
fn missed_success(answered: u64, mut story: Story) -> Vec<Rule> {
    story.asked(9_000, 1, 1, "t", Some(0)).led(9_005, 1).presented(9_010, 1, "t", Verdict::Rotated);
    story.answered(answered, 1, "t+").success(answered + 1, 1, "t+");
    story.asked(11_900, 2, 2, "t", Some(0)).over(12_400, 2).broken()
}

#[test]
fn success_that_a_living_pod_did_not_put_back_is_seen() {
    assert_eq!(missed_success(10_050, taken_over(Harm::Failover, 10_700)), [Rule::SuccessKept]);
}

#[test]
fn success_that_no_pod_had_to_keep_any_more_may_be_gone() {
    assert_eq!(missed_success(9_950, taken_over(Harm::Failover, 11_700)), []);
}

/// Pod 1 leads at this time and is killed with the server; pod 2 presents the same token at 11.3 s.
fn led_by_a_dead_pod(led: u64) -> Vec<Rule> {
    let mut story = taken_over(Harm::Failover, 10_700);
    story.asked(9_300, 1, 1, "t", Some(0)).led(led, 1).presented(led + 5, 1, "t", Verdict::Rotated);
    story.add(10_100, What::PodDown { pod: 1 });
    story.asked(10_050, 2, 2, "t", Some(0)).led(11_300, 2).presented(11_300, 2, "t", Verdict::Reused);
    story.over(11_400, 2).broken()
}

#[test]
fn lead_that_only_a_dead_pod_and_a_lost_server_knew_may_be_given_again() {
    assert_eq!(led_by_a_dead_pod(10_000), []);
    assert_eq!(led_by_a_dead_pod(9_400), [Rule::OnePresentation], "the replica had it");
}
