//! How often a token was presented, and what allowed it.

use crate::steps::{Answer, BY_DRIVER, Outcome, Verdict};

use super::index::{Forgot, Presentation};
use super::sessions::LANDING_AFTER;
use super::{Judge, Rule};

/// Between the pod that says that it leads and the provider that logs what it is sent, and where Redis' clock is read.
pub(super) const TOLERANCE: u64 = 300_000;

impl Judge<'_> {
    pub(super) fn presentations(&mut self) {
        let mut allowed = Vec::new();
        let mut refused = Vec::new();
        for (token, presentations) in &self.index.presentations {
            let mut of_callers: Vec<&Presentation> = presentations
                .iter()
                .filter(|one| one.call != BY_DRIVER && one.verdict != Some(Verdict::WrongClient))
                .collect();
            // In the order in which they were decided on: a network may deliver late what was sent long ago.
            of_callers.sort_by_key(|one| self.decided(one));
            for place in 1..of_callers.len() {
                let (before, again) = (of_callers[place - 1], of_callers[place]);
                let run = self.index.calls.get(&again.call).and_then(|call| call.run);
                let ground = match self.ground(token, before, again) {
                    Err(_) if self.are_told_in_reverse(before, again) => self.ground(token, again, before),
                    Err(why) => self.ground_after_refusal(token, &of_callers[..place], again).ok_or(why),
                    ground => ground,
                };
                match ground {
                    Ok(ground) => allowed.push((run, ground)),
                    Err(_) if self.could_not_see(before, again) => allowed.push((run, "a pod went on alone")),
                    Err(why) => refused
                        .push((run, format!("{token} was presented again: {why}; {}", self.scene(before, again)))),
                }
            }
        }
        for (run, ground) in allowed {
            if let Some(row) = self.row(run) {
                *row.allowed.entry(ground).or_default() += 1;
            }
        }
        for (run, what) in refused {
            if let Some(row) = self.row(run) {
                row.not_allowed += 1;
            }
            self.violated(Rule::OnePresentation, run, what);
        }
    }

    /// Whether Redis gave the lead of the second one first: its pod stood still before it heard of that.
    fn are_told_in_reverse(&self, before: &Presentation, again: &Presentation) -> bool {
        let calls = &self.index.calls;
        let (Some(first), Some(second)) = (calls.get(&before.call), calls.get(&again.call)) else { return false };
        let (Some((led, fence)), Some((led_again, fence_again))) = (first.led, second.led) else { return false };
        let is_alone = self.alone_until(first.pod, led).or(self.alone_until(second.pod, led_again)).is_some();
        let has_forgotten = self.index.forgot.iter().any(|forgot| second.asked <= forgot.t && forgot.from <= led_again);
        fence_again < fence && !is_alone && !has_forgotten
    }

    /// When a presentation was decided on: when its caller led.
    pub(super) fn decided(&self, presentation: &Presentation) -> u64 {
        let led = self.index.calls.get(&presentation.call).and_then(|call| call.led);
        led.map_or(presentation.t, |(led, _)| led.min(presentation.t))
    }

    /// Until when a pod may go on without Redis, where the policy is to do so and it may at this moment.
    pub(super) fn alone_until(&self, pod: usize, t: u64) -> Option<u64> {
        let patience = (self.rules.lease_ms + self.rules.store_timeout_ms) * 1000 - TOLERANCE;
        self.index.alone_until(pod, t, patience).filter(|_| self.rules.goes_on_alone)
    }

    /// Whether one of the two was decided on by a pod that had gone on alone and could not see the other, or could not
    /// be seen by it. What it did itself a pod knows, and what it was told.
    fn could_not_see(&self, before: &Presentation, again: &Presentation) -> bool {
        let calls = &self.index.calls;
        let (Some(first), Some(second)) = (calls.get(&before.call), calls.get(&again.call)) else { return false };
        let (are_two, t) = (first.pod != second.pod, self.decided(again));
        if let Some((answered, Answer::Success { .. })) = first.answered
            && t + TOLERANCE < answered + self.rules.keep_outcome_ms * 1000
            && self.was_told(second.pod, first.token, t)
        {
            return false;
        }
        if are_two && self.alone_until(second.pod, t).is_some() {
            return true;
        }
        let Some(until) = self.alone_until(first.pod, self.decided(before)) else { return false };
        match first.answered {
            Some((answered, Answer::Success { .. })) => are_two && t <= answered.max(until) + LANDING_AFTER,
            // The fleet keeps no failure of a flight that it never heard of.
            Some(_) => are_two || t > until,
            None => are_two,
        }
    }

    fn was_told(&self, pod: usize, token: &str, by: u64) -> bool {
        self.index.of_token(token).any(|(_, call)| {
            call.pod == pod && matches!(call.outcome, Some((t, Outcome::Success { .. })) if t + TOLERANCE < by)
        })
    }

    /// Whether an outcome that landed so early was kept by no pod any more when another server took over: pods keep what a
    /// new server may lack for a lease.
    pub(super) fn is_out_of_keeping(&self, landed: u64, forgot: &Forgot) -> bool {
        landed + self.rules.lease_ms * 1000 <= forgot.t + TOLERANCE
            || self.index.stood_still_between(landed, forgot.t) > 0
    }

    /// What the reader of a violation wants to know without the history.
    fn scene(&self, before: &Presentation, again: &Presentation) -> String {
        let by = |one: &Presentation| match self.index.calls.get(&one.call) {
            Some(call) => {
                format!("pod {}, asked {} ms before", call.pod, self.decided(one).saturating_sub(call.asked) / 1000)
            }
            None => "nobody known".to_owned(),
        };
        let apart = self.decided(again).saturating_sub(self.decided(before)) / 1000;
        let run = self.index.run_at(self.decided(again));
        let fault = run.and_then(|id| self.runs.iter().find(|run| run.id == id)).map_or("no fault", |run| &run.fault);
        format!("first by {}, {apart} ms later by {}; the fault before: {fault}", by(before), by(again))
    }

    /// What allows to present a token again, after what is known to have been done with it before.
    fn ground(&self, token: &str, before: &Presentation, again: &Presentation) -> Result<&'static str, String> {
        let index = &self.index;
        let t = self.decided(again);
        let Some(leader) = index.calls.get(&before.call) else { return Err("nobody knows by whom before".to_owned()) };
        let led = leader.led.map_or(before.t, |(led, _)| led);
        let landed = leader.outcome.map(|(landed, _)| landed).or(leader.answered.map(|(answered, _)| answered));
        let is_dead = index.is_down(leader.pod, t);

        // What Redis forgets, leaders that live put back: what is in flight is as safe as before.
        for forgot in &index.forgot {
            // A failover is judged below.
            let was_in_flight = !forgot.is_failover
                && led <= forgot.from
                && leader.answered.is_none_or(|(answered, _)| answered > forgot.t);
            // Unless the machine stood still until it was too late.
            if was_in_flight && forgot.t <= t && !is_dead && index.stood_still_between(forgot.from, t) == 0 {
                return Err("it was in flight at a living leader when redis forgot".to_owned());
            }
        }
        let lacks =
            |forgot: &&Forgot, written: u64| forgot.from <= t && forgot.t >= led && written + TOLERANCE >= forgot.since;
        let mut emptied = index.forgot.iter().filter(|forgot| !forgot.is_failover);
        if emptied.any(|forgot| lacks(&forgot, landed.unwrap_or(u64::MAX - TOLERANCE))) {
            if self.was_to_land_again(token, leader, t) {
                return Err("its pod was to land it again".to_owned());
            }
            return Ok("redis forgot the outcome");
        }
        // What a server that took over lacks, pods that live put back: it excuses what only a dead one knew, and what
        // nobody kept any more.
        let mut failed_over = index.forgot.iter().filter(|forgot| forgot.is_failover);
        let is_gone = |forgot: &Forgot| is_dead || landed.is_some_and(|at| self.is_out_of_keeping(at, forgot));
        let is_lost = failed_over.any(|forgot| is_gone(forgot) && lacks(&forgot, landed.unwrap_or(led)));
        let unless_lost = |why: String| if is_lost { Ok("redis forgot the outcome") } else { Err(why) };

        let retry = &self.rules.presents_uncertain_tokens_again;
        let is_cut_off = index.could_not_lead(leader.pod, led, t, self.rules.lease_ms * 1000);
        match leader.answered {
            Some((answered, Answer::Success { .. }))
                if t + TOLERANCE >= answered + self.rules.keep_outcome_ms * 1000 =>
            {
                if self.rules.walks && !self.went_down_with(leader, answered) {
                    return self.ground_past_what_is_held(token, answered, t);
                }
                if !self.rules.walks {
                    return Ok("after keep_outcome");
                }
            }
            Some((answered, Answer::Unknown | Answer::GivenUp)) if answered <= t + TOLERANCE && !is_dead => {
                if !retry {
                    return unless_lost("uncertain, and never is to be presented".to_owned());
                }
                return Ok("its leader reported that nobody knows");
            }
            Some(_) | None => {}
        }
        if !is_dead && !is_cut_off {
            return unless_lost("its leader lived and was well".to_owned());
        }
        if !retry {
            return unless_lost("its leader was lost, and never is to be presented".to_owned());
        }
        // Redis gave it the lead after it had asked; of that it heard later, by less than a lease of the time it ran, or it
        // would not lead.
        let late = self.rules.lease_ms * 1000 + index.paused(leader.pod, leader.asked, led);
        let given = led.saturating_sub(late).max(leader.asked);
        // Leases and pauses are measured by Redis' clock.
        let steps = index.stepped.iter().filter(|(since, at, _)| given <= *at && *since <= t);
        let skipped: u64 = steps.map(|(.., by)| by).sum();
        let earliest = given + 1000 * self.rules.retry_lost_after_ms.max(self.rules.lease_ms);
        if t + skipped + TOLERANCE < earliest {
            return unless_lost(format!("{} ms before its time", (earliest - t - skipped) / 1000));
        }
        Ok(match (is_dead, skipped) {
            (true, _) => "its leader is dead",
            (false, 0) => "its leader was cut off",
            (false, _) => "its lease was over by redis' clock",
        })
    }
}
