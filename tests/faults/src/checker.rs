//! The judge: reads a history, and says what was promised and not kept. Pure: no clock, no network, no files.
//!
//! A second presentation is allowed only on a ground that section "Outcomes" of the guide names, and the ground has to
//! be found in the history.

use std::collections::{BTreeMap, HashMap};

use crate::history::{Event, Harm, Kind, Run, What, Who};
use crate::steps::{Answer, Outcome};
use crate::wire::Rules;

mod chains;
mod index;
mod presentations;
mod sessions;
#[cfg(test)]
mod tests;

use index::Index;

/// What is promised. The numbers are those of the list in the suite's README.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// 1 and 6: a token is presented once, or again as the policy says.
    OnePresentation,
    /// 2: everybody has an answer in time.
    AnswerInTime,
    /// 2: and all the same one.
    SameOutcome,
    /// 3: permits are counted right, are never more than the limit, and come back within a lease.
    Permits,
    /// 4: a session leads no more often than it may.
    Attempts,
    /// 5: a success that a living process held reaches every caller that waits or comes.
    SuccessKept,
    /// 5: no session is lost but as the policy says.
    SessionKept,
    /// A call presents once, and hands out nothing that was presented.
    Walk,
    /// 7: no secret in Redis or a log.
    Secrets,
    /// 8: nobody gets an outcome without the client's credential.
    Entitlement,
    /// 9: every key ends.
    KeysEnd,
    /// Liveness: what nothing happens to succeeds.
    Unfaulted,
    /// Liveness: a client that goes on trying ends with something final.
    Finality,
    /// Liveness: where the policy is to go on without Redis, it is done.
    GoesOn,
    /// Liveness: after a leader's death all have an outcome within a lease, a look and a call.
    Takeover,
}

#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    /// None where nothing was done to the flight.
    pub(crate) run: Option<usize>,
    pub(crate) what: String,
}

/// What a fault did, over all its runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) kind: Option<Kind>,
    pub(crate) runs: usize,
    pub(crate) refreshes: usize,
    /// Presentations beyond the first of a token, by the ground that allows each.
    pub(crate) allowed: BTreeMap<&'static str, usize>,
    pub(crate) not_allowed: usize,
    pub(crate) outcomes_lost: usize,
    /// Lost sessions, by what in the policy names them.
    pub(crate) sessions_named: BTreeMap<&'static str, usize>,
    pub(crate) sessions_lost: usize,
    pub(crate) late: usize,
    pub(crate) permits_left: u64,
    /// From the fault to the end of each client that was caught by it, in us.
    pub(crate) recovery: Vec<u64>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) name: String,
    pub(crate) rows: BTreeMap<String, Row>,
    pub(crate) unfaulted: usize,
    pub(crate) unfaulted_failed: usize,
    pub(crate) violations: Vec<Violation>,
    /// Of the flights that no fault touched, some that failed, also where so few are allowed.
    pub(crate) notes: Vec<String>,
    /// How long the machine stood still, each time, in us.
    pub(crate) stood_still: Vec<u64>,
    /// From a leader's death to the last outcome of its flights, in us.
    pub(crate) takeovers: Vec<u64>,
}

/// For how long a client waits at most before it comes again, in us.
const LONGEST_PAUSE: u64 = 500_000;
/// What a loaded machine adds to any bound, in us.
const SLACK: u64 = 700_000;

pub(crate) fn judge(name: &str, rules: &Rules, runs: &[Run], events: &[Event]) -> Report {
    let mut judge =
        Judge { rules, runs, index: Index::new(events), report: Report { name: name.to_owned(), ..Report::default() } };
    for run in runs {
        let row = judge.report.rows.entry(run.fault.clone()).or_default();
        row.runs += 1;
        row.kind = Some(run.kind);
    }
    judge.report.stood_still = judge.index.stood_still.iter().map(|(began, ended)| ended - began).collect();
    judge.presentations();
    judge.answers();
    judge.budget(events);
    judge.attempts();
    judge.successes();
    judge.sessions();
    judge.chains();
    judge.rest(events);
    judge.unfaulted();
    judge.goes_on();
    judge.takeovers();
    judge.report
}

struct Judge<'a> {
    rules: &'a Rules,
    runs: &'a [Run],
    index: Index<'a>,
    report: Report,
}

impl Judge<'_> {
    fn row(&mut self, run: Option<usize>) -> Option<&mut Row> {
        let fault = &self.runs.iter().find(|known| Some(known.id) == run)?.fault;
        self.report.rows.get_mut(fault)
    }

    fn violated(&mut self, rule: Rule, run: Option<usize>, what: String) {
        self.report.violations.push(Violation { rule, run, what });
    }

    /// Everybody has an answer in time, and all of a token the same success.
    fn answers(&mut self) {
        let bound = self.rules.wait_timeout_ms * 1000 + SLACK;
        let mut found = Vec::new();
        for (id, call) in &self.index.calls {
            let end = call.outcome.map_or(self.index.end, |(t, _)| t);
            let paused = self.index.paused(call.pod, call.asked, end);
            if end.saturating_sub(call.asked) <= bound + paused {
                continue;
            }
            if self.index.down_at(call.pod).is_some_and(|down| down <= call.asked + bound + paused) {
                continue;
            }
            found.push((
                call.run,
                format!("call {id} for {} had no answer after {} ms", call.token, (end - call.asked) / 1000),
            ));
        }
        for (run, what) in found {
            if let Some(row) = self.row(run) {
                row.late += 1;
            }
            self.violated(Rule::AnswerInTime, run, what);
        }

        let mut successors: HashMap<&str, &str> = HashMap::new();
        let mut found = Vec::new();
        for call in self.index.calls.values() {
            if let Some((_, Outcome::Success { successor, .. })) = call.outcome {
                let first = *successors.entry(call.token).or_insert(successor);
                if first != successor && !self.rules.walks {
                    found.push((call.run, format!("{} was told as two successors", call.token)));
                }
                if call.who == Who::Intruder {
                    found.push((None, format!("somebody without the client's secret got {}", call.token)));
                }
            }
        }
        for (run, what) in found {
            let rule =
                if run.is_none() && what.starts_with("somebody") { Rule::Entitlement } else { Rule::SameOutcome };
            self.violated(rule, run, what);
        }
    }

    fn budget(&mut self, events: &[Event]) {
        for event in events {
            if let What::Unequal { counter, permits } = event.what {
                let run = self.index.run_at(event.t);
                self.violated(Rule::Permits, run, format!("the counter said {counter}, {permits} permits were out"));
            }
        }
        // How many leaders ask the provider at once, as those that live tell it.
        let mut turns: Vec<(u64, i64)> = Vec::new();
        for call in self.index.calls.values() {
            let Some((led, _)) = call.led else { continue };
            let end = call.answered.map_or(self.index.end, |(t, _)| t);
            if self.index.is_impaired(call.pod, led, end) {
                continue;
            }
            turns.push((led, 1));
            turns.push((end, -1));
        }
        turns.sort_unstable();
        let mut at_once = 0;
        let mut most = 0;
        for (_, change) in turns {
            at_once += change;
            most = most.max(at_once);
        }
        if most > i64::from(self.rules.max_concurrent) {
            self.violated(
                Rule::Permits,
                None,
                format!("{most} refreshes at once, {} allowed", self.rules.max_concurrent),
            );
        }
    }

    /// Every token is a session of its own here, and no window is as long as a run.
    fn attempts(&mut self) {
        let mut led: HashMap<&str, (u32, Option<usize>)> = HashMap::new();
        for call in self.index.calls.values() {
            let is_free = matches!(call.answered, Some((_, Answer::NotSent)))
                || (call.who == Who::Intruder && matches!(call.answered, Some((_, Answer::Denied))));
            // A pod that goes on without Redis counts by itself.
            let counts = call.led.is_some_and(|(t, _)| self.alone_until(call.pod, t).is_none());
            if counts && !is_free {
                led.entry(call.token).or_insert((0, call.run)).0 += 1;
            }
        }
        for (token, (count, run)) in led {
            if count > self.rules.max_attempts {
                self.violated(Rule::Attempts, run, format!("{token} was led {count} times"));
            }
        }
    }

    /// What is left when nothing flies.
    fn rest(&mut self, events: &[Event]) {
        for event in events {
            let What::AtRest { run, permits, counter, locks, endless, secrets } = &event.what else { continue };
            let run = Some(*run);
            if let Some(row) = self.row(run) {
                row.permits_left += permits + counter;
            }
            if *permits + *counter + *locks > 0 {
                let what = format!("a lease later {permits} permits, a counter of {counter}, {locks} locks are left");
                self.violated(Rule::Permits, run, what);
            }
            for key in endless {
                self.violated(Rule::KeysEnd, run, format!("{key} has no end of life, or no business here"));
            }
            for place in secrets {
                self.violated(Rule::Secrets, run, format!("a secret stands in {place}"));
            }
        }
    }

    /// Flights that no fault touched succeed at the first try.
    fn unfaulted(&mut self) {
        let mut flights: HashMap<&str, (bool, String)> = HashMap::new();
        let mut faulted: std::collections::HashSet<&str> = std::collections::HashSet::new();
        for (id, call) in &self.index.calls {
            if call.run.is_some() || call.who == Who::Intruder {
                continue;
            }
            let end = call.outcome.map_or(self.index.end, |(t, _)| t);
            if self.index.is_impaired(call.pod, call.asked, end) || self.index.is_impaired_fleet(call.asked, end) {
                faulted.insert(call.token);
            }
            let flight = flights.entry(call.token).or_insert((true, String::new()));
            if !matches!(call.outcome, Some((_, Outcome::Success { .. }))) {
                *flight = (false, format!("call {id} for {}: {:?}", call.token, call.outcome));
            }
        }
        flights.retain(|token, _| !faulted.contains(token));
        let failed: Vec<String> = flights.values().filter(|(ok, _)| !ok).map(|(_, what)| what.clone()).collect();
        self.report.unfaulted = flights.len();
        self.report.unfaulted_failed = failed.len();
        self.report.notes = failed.iter().take(5).cloned().collect();
        // 99.9 %, and one that a loaded machine may cost.
        if failed.len() > 1 + flights.len() / 1000 {
            for what in failed.iter().take(5) {
                self.violated(Rule::Unfaulted, None, what.clone());
            }
        } else if flights.len() < 20 {
            self.violated(Rule::Unfaulted, None, format!("only {} flights were left in peace", flights.len()));
        }
    }

    /// While Redis is away for everybody, and for long, pods lead that may go on alone.
    fn goes_on(&mut self) {
        if !self.rules.goes_on_alone {
            return;
        }
        let patience = (self.rules.store_timeout_ms + self.rules.lease_ms) * 1000;
        let mut found = Vec::new();
        for fault in self.index.faults.iter().filter(|fault| fault.harm == Harm::Store) {
            let mut led = self.index.calls.values().filter_map(|call| call.led);
            let still = self.index.stood_still_between(fault.began, fault.ended);
            let is_long = fault.began + patience + 2 * SLACK + still <= fault.ended;
            if is_long && !led.any(|(t, _)| fault.began + patience <= t && t <= fault.ended) {
                found.push(fault.run);
            }
        }
        for run in found {
            self.violated(Rule::GoesOn, Some(run), "nobody led without redis".to_owned());
        }
    }

    /// After the death of a leader that is not waited for, everybody has an outcome soon.
    fn takeovers(&mut self) {
        // Pods look when the lease that they know of should end, with a jitter of a twentieth.
        let lease = self.rules.lease_ms * 1000;
        let look = lease + lease / 20;
        let mut found = Vec::new();
        for run in self.runs.iter().filter(|run| run.leader_dies) {
            let Some(fault) = self.index.faults.iter().find(|fault| fault.run == run.id) else { continue };
            for client in self.index.clients.iter().filter(|client| client.run == Some(run.id)) {
                // Until something final: to be told to come again is no outcome.
                if client.came >= fault.began {
                    continue;
                }
                let still = self.index.stood_still_between(fault.began, client.t);
                // A caller that gave up before the lease ended was told to come again, and does so after a pause.
                let mut told = self.index.of_token(client.token).filter_map(|(_, call)| call.outcome);
                let came_again = told.any(|(t, outcome)| {
                    let is_late = matches!(outcome, Outcome::Later { why, .. } if why == "timed_out");
                    is_late && fault.began <= t && t <= client.t
                });
                let pause = if came_again { LONGEST_PAUSE } else { 0 };
                let bound = look + run.call_ms * 1000 + SLACK / 2 + still + pause;
                found.push((run.id, client.token, client.t.saturating_sub(fault.began), bound));
            }
        }
        for (run, token, span, bound) in found {
            self.report.takeovers.push(span);
            if self.rules.retry_lost_after_ms == 0 && span > bound {
                self.violated(Rule::Takeover, Some(run), format!("{token}: {} ms after its leader died", span / 1000));
            }
        }
    }
}
