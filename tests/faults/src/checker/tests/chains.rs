//! The same for chains of tokens: a fleet whose answers are held. Tokens are told by their place in the chain.

use super::*;

/// The access token that comes with any of them lives for 4 s.
fn token(generation: u64) -> String {
    format!("hush.family.short.400.{generation}")
}

impl Story {
    /// The tab closes that call 1 at pod 1 presents the first token for; the answer is there at 10.4 s.
    fn tab_closes(&mut self) -> &mut Self {
        self.fault(9_000, 9_100, Harm::Seen);
        self.rules.walks = true;
        self.rules.keep_outcome_ms = 1500;
        self.asked(10_000, 1, 1, &token(0), Some(0)).led(10_005, 1).presented(10_010, 1, &token(0), Verdict::Rotated);
        self.step(10_020, 1, CallStep::Outcome(Outcome::Dropped)).answered(10_400, 1, &token(1))
    }

    /// A caller at pod 2 that comes with the first token, and has a newer one presented.
    fn walks(&mut self, t: u64, call: u64, generation: u64) -> &mut Self {
        self.asked(t, call, 2, &token(0), Some(0)).led(t + 5, call);
        self.presented(t + 10, call, &token(generation), Verdict::Rotated);
        self.answered(t + 50, call, &token(generation + 1)).success(t + 60, call, &token(generation + 1))
    }

    /// The first token is presented once more.
    fn reuses(&mut self, t: u64, call: u64) -> &mut Self {
        self.asked(t, call, 2, &token(0), Some(0)).led(t + 5, call);
        self.presented(t + 10, call, &token(0), Verdict::Reused);
        self.step(t + 50, call, CallStep::Answered(Answer::Denied)).over(t + 60, call);
        self.client(t + 70, &token(0), lost()).verified(t + 200, &token(0), false)
    }
}

#[test]
fn closed_tab_that_is_handed_what_is_held_and_walks_later_is_as_promised() {
    let mut story = Story::in_peace();
    story.tab_closes().asked(12_000, 2, 2, &token(0), Some(0)).success(12_010, 2, &token(1));
    story.walks(14_000, 3, 1).client(14_100, &token(0), has(&token(2))).verified(14_300, &token(0), true);
    assert_eq!(story.broken(), []);
    assert_eq!(story.report().rows["planted"].refreshes, 1);
}

#[test]
fn call_that_presents_twice_or_an_older_token_is_seen() {
    let mut story = Story::in_peace();
    story.tab_closes().walks(14_000, 3, 1).presented(14_055, 3, &token(2), Verdict::Rotated);
    assert_eq!(story.broken(), [Rule::Walk]);
    let mut story = Story::in_peace();
    story.tab_closes().asked(14_000, 3, 2, &token(2), Some(0)).led(14_005, 3);
    story.presented(14_010, 3, &token(1), Verdict::Rotated);
    assert_eq!(story.broken(), [Rule::Walk]);
}

#[test]
fn token_that_was_presented_is_handed_out_in_no_peace() {
    let handed_out = |t: u64, forgot: u64| {
        let mut story = Story::in_peace();
        story.tab_closes().walks(12_000, 3, 1).add(forgot, What::RedisForgot { since: 0, from: forgot * MS });
        story.asked(t, 4, 3, &token(0), Some(0)).success(t + 10, 4, &token(1)).broken()
    };
    assert_eq!(handed_out(14_000, 9_000), [Rule::Walk]);
    // It crossed the walk, or the store knows nothing of the walk.
    assert_eq!(handed_out(12_200, 9_000), []);
    assert_eq!(handed_out(14_000, 13_000), []);
}

#[test]
fn token_that_does_not_follow_the_callers_own_is_seen() {
    let mut story = Story::in_peace();
    story.tab_closes().asked(12_000, 2, 2, &token(1), Some(0)).success(12_010, 2, &token(1));
    assert_eq!(story.broken(), [Rule::SameOutcome]);
}

#[test]
fn closed_tab_that_is_logged_out_though_its_answer_was_to_be_held_is_seen() {
    let mut story = Story::in_peace();
    story.tab_closes().reuses(12_000, 2);
    assert_eq!(story.broken(), [Rule::OnePresentation, Rule::SessionKept]);
    assert_eq!(story.report().rows["planted"].sessions_lost, 1);
}

#[test]
fn use_of_the_newer_token_by_its_client_is_the_end_of_what_is_held_and_that_by_a_stranger_is_not() {
    let used_by = |who| {
        let mut story = Story::in_peace();
        story.tab_closes().add(12_000, What::Asked { call: 2, pod: 2, token: token(1), run: Some(0), who });
        story.step(12_010, 2, CallStep::Outcome(Outcome::Later { why: "budget".into(), retry_after_ms: 1 }));
        story.reuses(13_000, 3).broken()
    };
    assert_eq!(used_by(Who::Client), []);
    assert_eq!(used_by(Who::Intruder), [Rule::OnePresentation, Rule::SessionKept]);
}

#[test]
fn restart_of_redis_is_a_ground_only_when_the_access_token_is_over() {
    let reused_at = |t: u64| {
        let mut story = Story::in_peace();
        story.tab_closes().add(11_000, What::RedisRestarted { from: 10_900 * MS }).reuses(t, 2).broken()
    };
    assert_eq!(reused_at(14_500), []);
    assert_eq!(reused_at(13_000), [Rule::OnePresentation, Rule::SessionKept]);
}

#[test]
fn answer_that_its_pod_was_to_land_again_in_a_redis_that_forgot_is_missed() {
    let forgot_at = |t: u64, reused: u64, is_away: bool| {
        let mut story = Story::in_peace();
        story.tab_closes().add(t, What::RedisForgot { since: 0, from: (t - 10) * MS });
        if is_away {
            story.add(t + 10, What::RedisRestarted { from: (t - 10) * MS });
        }
        story.reuses(reused, 2).broken()
    };
    assert_eq!(forgot_at(10_800, 12_500, false), [Rule::OnePresentation, Rule::SessionKept]);
    // It is over, was not to be found so soon, or landed too long before; and here it took too long to connect.
    assert_eq!(forgot_at(10_800, 14_500, false), []);
    assert_eq!(forgot_at(10_800, 11_500, false), []);
    assert_eq!(forgot_at(11_500, 13_500, false), []);
    assert_eq!(forgot_at(10_800, 12_500, true), []);
}

#[test]
fn answer_that_landed_too_late_is_not_held() {
    let cut_off_until = |ended: u64| {
        let mut story = Story::in_peace();
        story.tab_closes().add(10_200, What::FaultBegan { run: 1, harm: Harm::CutOff, pods: vec![1] });
        story.add(ended, What::FaultEnded { run: 1 });
        // Late, and in the place of the refusal that came before it.
        story.reuses(14_000, 2).reuses(16_500, 3).broken()
    };
    assert_eq!(cut_off_until(12_500), []);
    assert_eq!(cut_off_until(10_450), [Rule::OnePresentation, Rule::SessionKept]);
}

#[test]
fn session_that_ends_for_no_reason_is_seen_whichever_of_its_tokens_is_told() {
    let mut story = Story::in_peace();
    story.tab_closes().walks(14_000, 3, 1).asked(16_000, 4, 2, &token(1), Some(0)).over(16_010, 4);
    story.client(16_020, &token(1), lost()).verified(16_200, &token(0), true);
    assert_eq!(story.broken(), [Rule::SessionKept]);
}

#[test]
fn walk_whose_leader_dies_ends_the_session_under_never() {
    let dies = |dies: bool| {
        let mut story = Story::under_never();
        story.tab_closes().asked(12_900, 3, 1, &token(0), Some(0)).led(12_905, 3);
        if dies {
            story.add(13_000, What::PodDown { pod: 1 });
        } else {
            story.step(13_000, 3, CallStep::Answered(Answer::NotSent)).over(13_001, 3);
        }
        story.asked(14_500, 4, 2, &token(0), Some(0)).over(14_510, 4);
        story.client(14_520, &token(0), lost()).verified(14_700, &token(0), true).broken()
    };
    assert_eq!(dies(true), []);
    assert_eq!(dies(false), [Rule::SessionKept]);
}
