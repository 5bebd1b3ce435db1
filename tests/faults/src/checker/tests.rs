//! Planted violations: each rule sees what breaks it, and nothing in what keeps it.

use super::*;
use crate::history::ClientResult;
use crate::steps::{CallStep, PresentationStep, Reply, Stage, Verdict};

mod chains;
mod failovers;

const MS: u64 = 1000;

/// A history that is written as it is told: which caller asks when, and what comes of it. Times are in ms.
struct Story {
    rules: Rules,
    runs: Vec<Run>,
    events: Vec<Event>,
}

impl Story {
    /// A fleet of which nothing is known but that forty flights in peace went well.
    fn in_peace() -> Self {
        let rules = Rules {
            namespace: "n".to_owned(),
            lease_ms: 1000,
            store_timeout_ms: 500,
            refresh_timeout_ms: 3000,
            wait_timeout_ms: 5000,
            call_limit_ms: 4500,
            keep_outcome_ms: 5000,
            retry_lost_after_ms: 3000,
            uncertain_memory_ms: 60_000,
            presents_uncertain_tokens_again: true,
            goes_on_alone: false,
            walks: false,
            max_concurrent: 3,
            max_attempts: 5,
        };
        let mut story = Self { rules, runs: Vec::new(), events: Vec::new() };
        for number in 0..40 {
            let (t, call) = (number * 100, 1000 + number);
            let [token, next] = [0, 1].map(|generation| format!("hush.peace{number}.well.0.{generation}"));
            story.asked(t, call, 7, &token, None).led(t + 1, call).presented(t + 2, call, &token, Verdict::Rotated);
            story.answered(t + 10, call, &next).success(t + 11, call, &next);
        }
        // What is told of later lies far behind it.
        story
    }

    /// As above, under `never`.
    fn under_never() -> Self {
        let mut story = Self::in_peace();
        story.rules.presents_uncertain_tokens_again = false;
        story
    }

    /// As above, where pods go on alone.
    fn going_on_alone() -> Self {
        let mut story = Self::in_peace();
        story.rules.goes_on_alone = true;
        story
    }

    fn add(&mut self, t: u64, what: What) -> &mut Self {
        self.events.push(Event { t: t * MS, what });
        self
    }

    /// A fault of run 0 that hits pod 1.
    fn fault(&mut self, began: u64, ended: u64, harm: Harm) -> &mut Self {
        self.runs.push(Run {
            id: 0,
            fault: "planted".to_owned(),
            nothing_was_sent: false,
            leader_dies: false,
            call_ms: 20,
            kind: Kind::Process,
        });
        self.add(began, What::FaultBegan { run: 0, harm, pods: vec![1] });
        self.add(ended, What::FaultEnded { run: 0 })
    }

    fn asked(&mut self, t: u64, call: u64, pod: usize, token: &str, run: Option<usize>) -> &mut Self {
        self.add(t, What::Asked { call, pod, token: token.to_owned(), run, who: Who::Client })
    }

    fn step(&mut self, t: u64, call: u64, step: CallStep) -> &mut Self {
        self.add(t, What::Call { call, step })
    }

    fn led(&mut self, t: u64, call: u64) -> &mut Self {
        self.step(t, call, CallStep::Led { fence: call })
    }

    fn presented(&mut self, t: u64, call: u64, token: &str, verdict: Verdict) -> &mut Self {
        let number = self.events.len() as u64;
        self.step(t, call, CallStep::At(Stage::Sent));
        let presented = PresentationStep::Presented { token: token.to_owned(), call };
        for step in [presented, PresentationStep::Judged(verdict), PresentationStep::Replied(Reply::Whole)] {
            self.add(t, What::Presentation { number, step });
        }
        self
    }

    fn answered(&mut self, t: u64, call: u64, successor: &str) -> &mut Self {
        self.step(t, call, CallStep::Answered(Answer::Success { successor: successor.to_owned() }))
    }

    fn success(&mut self, t: u64, call: u64, successor: &str) -> &mut Self {
        let outcome = Outcome::Success { successor: successor.to_owned(), fence: 1, role: "Led".to_owned() };
        self.step(t, call, CallStep::Outcome(outcome))
    }

    fn over(&mut self, t: u64, call: u64) -> &mut Self {
        self.step(t, call, CallStep::Outcome(Outcome::Over { why: "lost".to_owned() }))
    }

    fn client(&mut self, t: u64, token: &str, result: ClientResult) -> &mut Self {
        self.add(t, What::ClientEnded { run: Some(0), token: token.to_owned(), came: 0, result })
    }

    fn verified(&mut self, t: u64, token: &str, is_alive: bool) -> &mut Self {
        self.add(t, What::Verified { run: Some(0), token: token.to_owned(), is_alive })
    }

    /// Call 1 at pod 1 presents `t` at 10.01 s, and pod 1 dies at 10.2 s; call 2 at pod 2 waits for it.
    fn leader_dies(&mut self) -> &mut Self {
        self.fault(10_200, 10_300, Harm::Seen);
        self.asked(10_000, 1, 1, "t", Some(0)).led(10_005, 1).presented(10_010, 1, "t", Verdict::Rotated);
        self.asked(10_050, 2, 2, "t", Some(0)).add(10_200, What::PodDown { pod: 1 })
    }

    /// Call 1 at pod 1 has presented `t`, and has the answer at 10.1 s.
    fn leader_answers(&mut self) -> &mut Self {
        self.fault(9_000, 9_100, Harm::Seen);
        self.asked(10_000, 1, 1, "t", Some(0)).led(10_005, 1).presented(10_010, 1, "t", Verdict::Rotated);
        self.answered(10_100, 1, "t+").success(10_101, 1, "t+")
    }

    fn report(&mut self) -> Report {
        self.events.sort_by_key(|event| event.t);
        judge("story", &self.rules, &self.runs, &self.events)
    }

    /// Which rules were broken, each once.
    fn broken(&mut self) -> Vec<Rule> {
        let mut rules: Vec<Rule> = self.report().violations.iter().map(|violation| violation.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }
}

fn gives_up() -> ClientResult {
    ClientResult::GaveUp { last: "store_outage".to_owned() }
}

fn has(successor: &str) -> ClientResult {
    ClientResult::Success { successor: successor.to_owned() }
}

fn lost() -> ClientResult {
    ClientResult::Over { why: "lost".to_owned() }
}

#[test]
fn nothing_is_found_where_everything_is_as_promised() {
    let mut story = Story::in_peace();
    story.leader_answers().client(10_200, "t", has("t+")).verified(10_300, "t", true);
    assert_eq!(story.broken(), []);
    assert_eq!(story.report().unfaulted, 40);
}

#[test]
fn second_presentation_while_the_leader_lives_is_seen() {
    let mut story = Story::in_peace();
    story.leader_answers().asked(10_200, 2, 2, "t", Some(0)).led(10_205, 2);
    story.presented(10_210, 2, "t", Verdict::Reused).over(10_250, 2);
    assert_eq!(story.broken(), [Rule::OnePresentation]);
}

#[test]
fn second_presentation_after_a_leaders_death_is_allowed_in_its_time_and_named() {
    let mut story = Story::in_peace();
    story.leader_dies().led(13_100, 2).presented(13_100, 2, "t", Verdict::Reused).over(13_150, 2);
    story.client(13_160, "t", lost()).verified(13_300, "t", false);
    assert_eq!(story.broken(), []);
    let row = &story.report().rows["planted"];
    assert_eq!(row.allowed["its leader is dead"], 1);
    assert_eq!(row.sessions_named["presented again as the policy says"], 1);
}

#[test]
fn second_presentation_before_its_time_is_seen() {
    let mut story = Story::in_peace();
    story.leader_dies().led(11_400, 2).presented(11_400, 2, "t", Verdict::Reused).over(11_450, 2);
    assert_eq!(story.broken(), [Rule::OnePresentation]);
}

#[test]
fn second_presentation_of_what_is_uncertain_is_seen_under_never() {
    let mut story = Story::under_never();
    story.leader_dies().led(13_100, 2).presented(13_100, 2, "t", Verdict::Reused).over(13_150, 2);
    assert_eq!(story.broken(), [Rule::OnePresentation]);
}

#[test]
fn what_its_leader_reports_as_unknown_is_presented_again_but_not_under_never() {
    let plant = |mut story: Story| {
        story.fault(9_000, 9_100, Harm::Seen);
        story.asked(10_000, 1, 1, "t", Some(0)).led(10_005, 1).presented(10_010, 1, "t", Verdict::Untouched);
        story.step(10_100, 1, CallStep::Answered(Answer::Unknown));
        story.step(10_101, 1, CallStep::Outcome(Outcome::Later { why: "unknown".into(), retry_after_ms: 1 }));
        story.asked(10_300, 2, 2, "t", Some(0)).led(10_305, 2).presented(10_310, 2, "t", Verdict::Rotated);
        story.answered(10_350, 2, "t+").success(10_360, 2, "t+");
        story.broken()
    };
    assert_eq!(plant(Story::in_peace()), []);
    assert_eq!(plant(Story::under_never()), [Rule::OnePresentation]);
}

#[test]
fn presentation_that_arrives_after_the_one_that_replaced_it_is_the_first() {
    let mut story = Story::in_peace();
    story.fault(9_000, 9_100, Harm::Seen);
    story.asked(10_000, 1, 1, "t", Some(0)).led(10_005, 1).step(14_500, 1, CallStep::Answered(Answer::GivenUp));
    story.step(14_501, 1, CallStep::Outcome(Outcome::Later { why: "unknown".into(), retry_after_ms: 1 }));
    story.asked(14_600, 2, 2, "t", Some(0)).led(14_605, 2).presented(14_610, 2, "t", Verdict::Rotated);
    story.presented(14_700, 1, "t", Verdict::Reused).answered(14_800, 2, "t+").success(14_810, 2, "t+");
    assert_eq!(story.broken(), []);
}

/// Pod 1 is cut off from 10 to 16 s, may go on alone from 11.5 s on, and leads what pod 2 leads in the fleet.
#[test]
fn pods_that_do_not_see_each_other_may_present_a_token_each_and_no_pod_twice() {
    let leads_twice = |mut story: Story, first: (u64, usize), second: (u64, usize)| {
        story.fault(10_000, 16_000, Harm::CutOff);
        let (t, pod) = first;
        story.asked(t, 1, pod, "t", Some(0)).led(t + 1, 1).presented(t + 2, 1, "t", Verdict::Rotated);
        story.answered(t + 50, 1, "t+").success(t + 51, 1, "t+");
        let (t, pod) = second;
        story.asked(t, 2, pod, "t", Some(0)).led(t + 1, 2).presented(t + 2, 2, "t", Verdict::Reused).over(t + 60, 2);
        story.broken()
    };
    let alone = Story::going_on_alone;
    assert_eq!(leads_twice(alone(), (12_000, 2), (13_000, 1)), []);
    assert_eq!(leads_twice(alone(), (12_000, 1), (13_000, 2)), []);
    assert_eq!(leads_twice(Story::in_peace(), (12_000, 2), (13_000, 1)), [Rule::OnePresentation, Rule::SuccessKept]);
    // Itself, before a lease was over, and after its outcome had the time to land.
    assert_eq!(leads_twice(alone(), (12_000, 1), (13_000, 1)), [Rule::OnePresentation]);
    assert_eq!(leads_twice(alone(), (10_100, 2), (11_000, 1)), [Rule::OnePresentation, Rule::SuccessKept]);
    assert_eq!(leads_twice(alone(), (15_500, 1), (18_000, 2)), [Rule::OnePresentation, Rule::SuccessKept]);
}

/// As above, and pod 1 was told of pod 2's success before it was cut off.
#[test]
fn pod_that_presents_alone_what_it_was_told_of_is_seen() {
    let mut story = Story::going_on_alone();
    story.asked(9_900, 1, 2, "t", Some(0)).led(9_901, 1).presented(9_902, 1, "t", Verdict::Rotated);
    story.answered(9_950, 1, "t+").success(9_951, 1, "t+");
    story.asked(9_900, 3, 1, "t", Some(0)).success(9_952, 3, "t+");
    story.fault(10_000, 16_000, Harm::CutOff);
    story.asked(12_000, 2, 1, "t", Some(0)).led(12_001, 2).presented(12_002, 2, "t", Verdict::Reused);
    assert_eq!(story.over(12_060, 2).broken(), [Rule::OnePresentation]);
}

#[test]
fn fleet_that_should_go_on_without_redis_and_does_not_is_seen() {
    let leads_at = |t: u64| {
        let mut story = Story::going_on_alone();
        story.fault(10_000, 16_000, Harm::Store);
        story.asked(10_000, 1, 1, "t", Some(0)).led(t, 1).presented(t, 1, "t", Verdict::Rotated);
        story.answered(t + 50, 1, "t+").success(t + 51, 1, "t+").broken()
    };
    assert_eq!(leads_at(12_000), []);
    assert_eq!(leads_at(10_500), [Rule::GoesOn]);
}

#[test]
fn second_presentation_of_what_was_in_flight_when_redis_forgot_is_seen() {
    let story = |answered: u64, stood_still_until: u64| {
        let mut story = Story::in_peace();
        story.fault(10_100, 10_200, Harm::Store).add(10_150, What::RedisForgot { since: 0, from: 10_120 * MS });
        story.asked(10_000, 1, 3, "t", Some(0)).led(10_005, 1).presented(10_010, 1, "t", Verdict::Rotated);
        story.answered(answered, 1, "t+").success(answered + 1, 1, "t+");
        story.asked(14_000, 2, 2, "t", Some(0)).led(14_100, 2);
        story.presented(14_101, 2, "t", Verdict::Reused).over(14_200, 2);
        story.add(stood_still_until, What::StoodStill { for_us: 2000 * MS });
        story
    };
    assert_eq!(story(15_000, 9_000).broken(), [Rule::OnePresentation]);
    // It landed before Redis forgot; or its leader could not put it back in time.
    assert_eq!(story(10_130, 9_000).broken(), []);
    assert_eq!(story(15_000, 12_300).broken(), []);
}

#[test]
fn outcome_that_redis_forgot_may_be_asked_for_again() {
    let mut story = Story::in_peace();
    story.leader_answers().add(10_500, What::RedisForgot { since: 0, from: 10_500 * MS });
    story.asked(11_000, 2, 2, "t", Some(0)).led(11_005, 2).presented(11_010, 2, "t", Verdict::Reused).over(11_050, 2);
    assert_eq!(story.broken(), []);
    assert_eq!(story.report().rows["planted"].allowed["redis forgot the outcome"], 1);
}

#[test]
fn lease_that_ended_by_the_clock_that_was_set_forward_may_be_taken_over_at_once() {
    let story = |since: u64, set: u64| {
        let mut story = Story::in_peace();
        story.fault(10_000, 10_100, Harm::Store);
        story.add(set, What::RedisStepped { by_ms: 4000, since: since * MS });
        story.asked(9_990, 1, 3, "t", None).led(10_005, 1).presented(10_006, 1, "t", Verdict::Rotated);
        story.asked(9_990, 2, 2, "t", None).led(10_007, 2).presented(10_009, 2, "t", Verdict::Reused).over(10_050, 2);
        story.answered(10_900, 1, "t+").success(10_901, 1, "t+");
        story
    };
    // Led a moment before the clock was set forward, though after that began to be done.
    assert_eq!(story(10_001, 10_008).broken(), []);
    // Led before, and told so after the driver was told that the clock is set.
    assert_eq!(story(10_001, 10_003).broken(), []);
    // Set forward before anybody asked, or after it was led again: nothing allowed that.
    assert_eq!(story(9_980, 9_989).broken(), [Rule::OnePresentation]);
    assert_eq!(story(10_008, 10_010).broken(), [Rule::OnePresentation]);
}

/// A pod that stood still between being given the lead and reading that it was.
#[test]
fn lead_counts_from_when_it_was_given_not_from_when_that_was_heard() {
    let story = |led_again: u64| {
        let mut story = Story::in_peace();
        story.fault(10_005, 12_000, Harm::Paused);
        story.asked(10_000, 1, 1, "t", Some(0)).led(10_900, 1).presented(10_901, 1, "t", Verdict::Rotated);
        story.asked(10_010, 2, 2, "t", Some(0)).led(led_again, 2);
        story.presented(led_again + 1, 2, "t", Verdict::Reused).over(led_again + 50, 2);
        story
    };
    assert_eq!(story(13_000).broken(), []);
    assert_eq!(story(12_600).broken(), [Rule::OnePresentation]);
}

#[test]
fn leads_are_in_the_order_of_their_fences_not_of_when_a_stopped_pod_heard_of_them() {
    let story = |first: u64, second: u64| {
        let mut story = Story::in_peace();
        story.rules.retry_lost_after_ms = 0;
        story.fault(10_010, 12_210, Harm::Paused);
        story.asked(10_020, second, 2, "t", Some(0)).led(11_100, second);
        story.presented(11_101, second, "t", Verdict::Rotated).answered(11_150, second, "t+");
        story.asked(10_000, first, 1, "t", Some(0)).led(12_215, first).presented(12_216, first, "t", Verdict::Reused);
        story.success(11_151, second, "t+").success(12_250, first, "t+");
        story
    };
    assert_eq!(story(1, 2).broken(), []);
    // Given later, while the other lived and was well.
    assert_eq!(story(2, 1).broken(), [Rule::OnePresentation]);
}

#[test]
fn caller_without_an_answer_in_time_is_seen() {
    let mut story = Story::in_peace();
    story.fault(9_000, 9_100, Harm::Seen).asked(10_000, 1, 1, "t", Some(0));
    story.step(16_000, 1, CallStep::Outcome(Outcome::Gone));
    assert_eq!(story.broken(), [Rule::AnswerInTime]);
    assert_eq!(story.report().rows["planted"].late, 1);
}

#[test]
fn caller_of_a_pod_that_stood_still_has_so_much_longer() {
    let mut story = Story::in_peace();
    story.fault(10_100, 12_100, Harm::Paused).asked(10_000, 1, 1, "t", Some(0));
    story.success(16_500, 1, "t+");
    assert_eq!(story.broken(), []);
}

#[test]
fn two_successors_of_one_token_are_seen() {
    let mut story = Story::in_peace();
    story.leader_answers().asked(10_020, 2, 2, "t", Some(0)).success(10_120, 2, "other");
    assert_eq!(story.broken(), [Rule::SameOutcome]);
}

#[test]
fn counter_that_differs_from_the_permits_is_seen() {
    let mut story = Story::in_peace();
    story.leader_answers().add(10_500, What::Unequal { counter: 2, permits: 1 });
    assert_eq!(story.broken(), [Rule::Permits]);
}

#[test]
fn permits_and_locks_that_are_left_are_seen() {
    for (permits, counter, locks) in [(1, 1, 0), (0, 1, 0), (0, 0, 1)] {
        let mut story = Story::in_peace();
        let left = What::AtRest { run: 0, permits, counter, locks, endless: vec![], secrets: vec![] };
        story.leader_answers().add(12_000, left);
        assert_eq!(story.broken(), [Rule::Permits]);
    }
}

#[test]
fn more_refreshes_at_once_than_allowed_are_seen() {
    let mut story = Story::in_peace();
    story.fault(9_000, 9_100, Harm::Seen);
    for call in 1..=4 {
        let token = format!("t{call}");
        story.asked(20_000, call, 2, &token, Some(0)).led(20_001, call);
        story.presented(20_002, call, &token, Verdict::Rotated);
        story.answered(20_100, call, "x").success(20_101, call, &format!("{token}+"));
    }
    assert_eq!(story.broken(), [Rule::Permits]);
}

#[test]
fn session_that_leads_too_often_is_seen() {
    let mut story = Story::in_peace();
    story.fault(9_000, 9_100, Harm::Seen);
    for call in 1..=6 {
        let t = 10_000 + call * 200;
        story.asked(t, call, 2, "t", Some(0)).led(t + 1, call).presented(t + 2, call, "t", Verdict::Untouched);
        story.step(t + 10, call, CallStep::Answered(Answer::Unknown));
        story.step(t + 11, call, CallStep::Outcome(Outcome::Later { why: "unknown".into(), retry_after_ms: 1 }));
    }
    assert_eq!(story.broken(), [Rule::Attempts]);
}

#[test]
fn success_that_a_living_process_held_and_others_missed_is_seen() {
    let mut story = Story::in_peace();
    story.leader_answers().asked(12_000, 2, 2, "t", Some(0)).over(12_010, 2);
    assert_eq!(story.broken(), [Rule::SuccessKept]);
    assert_eq!(story.report().rows["planted"].outcomes_lost, 1);
}

#[test]
fn success_that_went_down_before_anybody_was_told_is_nobodys() {
    let story = |is_told: bool| {
        let mut story = Story::in_peace();
        story.fault(9_000, 9_100, Harm::Seen);
        story.asked(10_000, 1, 1, "t", Some(0)).led(10_005, 1).presented(10_010, 1, "t", Verdict::Rotated);
        story.answered(10_100, 1, "t+").add(10_700, What::PodDown { pod: 1 });
        if is_told {
            story.success(10_101, 1, "t+");
        }
        story.asked(12_000, 2, 2, "t", Some(0)).over(12_010, 2);
        story
    };
    assert_eq!(story(false).broken(), []);
    assert_eq!(story(true).broken(), [Rule::SuccessKept]);
}

#[test]
fn session_that_is_lost_for_no_reason_is_seen() {
    let mut story = Story::in_peace();
    story.leader_answers().client(10_200, "t", lost()).verified(10_300, "t", false);
    assert_eq!(story.broken(), [Rule::SessionKept]);
}

#[test]
fn session_whose_leader_had_sent_nothing_must_live() {
    let mut story = Story::in_peace();
    story.fault(10_200, 10_300, Harm::Seen);
    story.runs[0].nothing_was_sent = true;
    story.asked(10_000, 1, 1, "t", Some(0)).led(10_005, 1).add(10_200, What::PodDown { pod: 1 });
    story.asked(10_050, 2, 2, "t", Some(0)).led(13_100, 2).presented(13_110, 2, "t", Verdict::Rotated);
    story.step(13_150, 2, CallStep::Answered(Answer::Unknown)).over(13_160, 2);
    story.client(13_170, "t", lost()).verified(13_300, "t", false);
    assert_eq!(story.broken(), [Rule::SessionKept]);
}

#[test]
fn session_that_nobody_led_must_live_under_never() {
    let mut story = Story::under_never();
    story.fault(9_990, 12_000, Harm::CutOff);
    story.asked(10_000, 1, 1, "t", Some(0)).over(13_000, 1);
    // That is not why.
    story.client(13_010, "t", lost()).add(13_020, What::PodDown { pod: 1 }).verified(13_300, "t", true);
    assert_eq!(story.broken(), [Rule::SessionKept]);
}

/// Redis heard the call, and its answer was lost in the cut: the pod can give the lead back when that is over.
#[test]
fn lead_that_could_not_be_given_back_in_time_is_uncertain_under_never() {
    let story = |asked: u64, ended: u64| {
        let mut story = Story::under_never();
        let refused = Outcome::Later { why: "store_outage".into(), retry_after_ms: 1000 };
        story.fault(10_100, ended, Harm::Store);
        story.asked(asked, 1, 1, "t", Some(0)).step(asked + 500, 1, CallStep::Outcome(refused));
        story.asked(15_010, 2, 2, "t", Some(0)).over(15_011, 2);
        story.client(15_012, "t", lost()).verified(15_300, "t", true);
        story
    };
    assert_eq!(story(10_099, 15_000).broken(), []);
    assert_eq!(story(10_101, 15_000).broken(), [Rule::SessionKept]);
    assert_eq!(story(10_099, 13_000).broken(), [Rule::SessionKept]);
}

#[test]
fn secrets_and_keys_without_an_end_are_seen() {
    let mut story = Story::in_peace();
    let (endless, secrets) = (vec!["rc:{n}:flight:x".to_owned()], vec!["pods.log".to_owned()]);
    story.leader_answers().add(12_000, What::AtRest { run: 0, permits: 0, counter: 0, locks: 0, endless, secrets });
    assert_eq!(story.broken(), [Rule::Secrets, Rule::KeysEnd]);
}

#[test]
fn outcome_for_somebody_without_the_clients_secret_is_seen() {
    let mut story = Story::in_peace();
    story.leader_answers();
    story.add(10_200, What::Asked { call: 2, pod: 2, token: "t".into(), run: None, who: Who::Intruder });
    story.success(10_210, 2, "t+");
    assert_eq!(story.broken(), [Rule::Entitlement]);
}

#[test]
fn flights_in_peace_that_fail_are_seen_and_one_is_forgiven() {
    let fails = |count: u64| {
        let mut story = Story::in_peace();
        for call in 1..=count {
            let refused = Outcome::Later { why: "memory_pressure".into(), retry_after_ms: 1 };
            story.asked(20_000, call, 7, &format!("t{call}"), None);
            story.step(20_001, call, CallStep::Outcome(refused));
        }
        story.broken()
    };
    assert_eq!(fails(1), []);
    assert_eq!(fails(2), [Rule::Unfaulted]);
}

#[test]
fn fleet_without_flights_in_peace_is_seen() {
    let mut story = Story::in_peace();
    story.events.clear();
    assert_eq!(story.broken(), [Rule::Unfaulted]);
}

#[test]
fn client_that_comes_to_no_end_is_seen() {
    let mut story = Story::in_peace();
    story.leader_answers().client(24_000, "t", gives_up());
    assert_eq!(story.broken(), [Rule::Finality]);
    story.add(15_000, What::StoodStill { for_us: 2000 * MS });
    assert_eq!(story.broken(), []);
}

#[test]
fn waiting_longer_than_a_lease_for_a_dead_leader_is_seen_where_nobody_has_to() {
    let takes_over_at = |t: u64, told: &str| {
        let mut story = Story::in_peace();
        story.rules.retry_lost_after_ms = 0;
        story.leader_dies().led(t, 2).presented(t, 2, "t", Verdict::Rotated).answered(t + 20, 2, "t+");
        story.runs[0].leader_dies = true;
        let later = Outcome::Later { why: told.to_owned(), retry_after_ms: 1000 };
        story.asked(10_060, 3, 3, "t", Some(0)).step(11_000, 3, CallStep::Outcome(later));
        story.success(t + 21, 2, "t+").client(t + 22, "t", has("t+"));
        story.broken()
    };
    assert_eq!(takes_over_at(11_300, "store_outage"), []);
    assert_eq!(takes_over_at(12_000, "store_outage"), [Rule::Takeover]);
    // A caller that was told so late waits a moment before it comes again.
    assert_eq!(takes_over_at(12_000, "timed_out"), []);
    assert_eq!(takes_over_at(12_800, "timed_out"), [Rule::Takeover]);
}
