//! Reads the history of a run: which token was presented twice, which success was lost, who was refused, who waited.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{ClientResult, Event, What};
use crate::steps::{Answer, CallStep, Outcome, PresentationStep};

/// What was seen. Spans in us.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) presentations: usize,
    /// A token presented while a call for it was under way at a pod that lives.
    pub(crate) beside_a_leader: Vec<String>,
    /// A success that a pod which lives had in hand, and that somebody was not given.
    pub(crate) successes_lost: Vec<String>,
    /// Those of both that a process stood still meanwhile for more than a third of the lease.
    pub(crate) where_the_machine_stood_still: Vec<String>,
    /// Clients that came to no end.
    pub(crate) endless: Vec<String>,
    /// Two leads under one fence.
    pub(crate) fences_twice: Vec<u64>,
    /// What callers were told instead of an outcome, and how often.
    pub(crate) refused: BTreeMap<String, usize>,
    /// From the arrival of a flight's first caller to its lead, of those that came within a lease and a half
    /// of a failover.
    pub(crate) leads_after: Vec<u64>,
    /// From a caller's arrival to its outcome, of all.
    pub(crate) answers: Vec<u64>,
    pub(crate) stood_still: Vec<u64>,
}

struct Call<'a> {
    pod: usize,
    token: &'a str,
    asked: u64,
    led: Option<u64>,
    answered: Option<(u64, &'a Answer)>,
    outcome: Option<(u64, &'a Outcome)>,
}

#[derive(Default)]
struct History<'a> {
    calls: BTreeMap<u64, Call<'a>>,
    /// By token: when, and by which call.
    presented: BTreeMap<&'a str, Vec<(u64, u64)>>,
    down: BTreeMap<usize, u64>,
    stood_still: Vec<(u64, u64)>,
    failovers: Vec<u64>,
    clients: Vec<(&'a str, &'a ClientResult)>,
    fences: Vec<u64>,
}

pub(crate) fn judge(events: &[Event], lease: u64) -> Report {
    let history = History::read(events);
    let mut report =
        Report { stood_still: history.stood_still.iter().map(|(from, to)| to - from).collect(), ..Report::default() };
    history.presentations(&mut report, lease);
    history.outcomes(&mut report, lease);
    history.waits(&mut report, lease + lease / 2);
    let mut seen = BTreeSet::new();
    report.fences_twice = history.fences.iter().copied().filter(|fence| !seen.insert(*fence)).collect();
    report
}

impl<'a> History<'a> {
    fn read(events: &'a [Event]) -> Self {
        let mut history = Self::default();
        // First the callers: a pod may be quicker to tell of a call than the driver is to note it.
        for Event { t, what } in events {
            if let What::Asked { call, pod, token, .. } = what {
                let asked = Call { pod: *pod, token, asked: *t, led: None, answered: None, outcome: None };
                history.calls.insert(*call, asked);
            }
        }
        for Event { t, what } in events {
            match what {
                What::Call { call, step } => history.step(*t, *call, step),
                What::Presentation { step: PresentationStep::Presented { token, call }, .. } => {
                    history.presented.entry(token).or_default().push((*t, *call));
                }
                What::PodDown { pod } => _ = history.down.insert(*pod, *t),
                What::StoodStill { for_us } => history.stood_still.push((t.saturating_sub(*for_us), *t)),
                What::FaultBegan { .. } => history.failovers.push(*t),
                What::ClientEnded { token, result, .. } => history.clients.push((token, result)),
                _ => {}
            }
        }
        history
    }

    fn step(&mut self, t: u64, call: u64, step: &'a CallStep) {
        let Some(call) = self.calls.get_mut(&call) else { return };
        match step {
            CallStep::Led { fence } => {
                call.led = Some(t);
                self.fences.push(*fence);
            }
            CallStep::At(_) => {}
            CallStep::Answered(answer) => call.answered = Some((t, answer)),
            CallStep::Outcome(outcome) => call.outcome = Some((t, outcome)),
        }
    }

    fn is_down(&self, pod: usize, by: u64) -> bool {
        self.down.get(&pod).is_some_and(|down| *down <= by)
    }

    /// Whether anything stood still in this time, or just before: what a lease is waited for.
    fn stood_still(&self, from: u64, to: u64) -> bool {
        self.stood_still.iter().any(|(began, ended)| *began <= to && from <= *ended)
    }

    /// When the last failover before was, for the reader of a violation.
    fn scene(&self, t: u64) -> String {
        let before = self.failovers.iter().enumerate().rfind(|(_, at)| **at <= t);
        before.map_or("before any failover".to_owned(), |(number, at)| {
            format!("{} ms after failover {number}", (t - at) / 1000)
        })
    }

    fn presentations(&self, report: &mut Report, lease: u64) {
        for (token, presented) in &self.presented {
            report.presentations += presented.len();
            for pair in presented.windows(2) {
                let ((_, first), (t, again)) = (pair[0], pair[1]);
                let Some(leader) = self.calls.get(&first) else { continue };
                let (led, by) = (leader.led.unwrap_or(leader.asked), self.calls.get(&again).map(|call| call.pod));
                let what = format!(
                    "{token}: pod {} led, asked at {}, {} ms later presented by pod {by:?}, {}",
                    leader.pod,
                    leader.asked,
                    t.saturating_sub(led) / 1000,
                    self.scene(t)
                );
                let kind = match leader.answered {
                    _ if self.is_down(leader.pod, t) => continue,
                    Some((answered, Answer::Success { .. })) if answered <= t => &mut report.successes_lost,
                    Some((answered, _)) if answered <= t => continue,
                    Some(_) | None => &mut report.beside_a_leader,
                };
                if self.stood_still(led.saturating_sub(lease), t) {
                    report.where_the_machine_stood_still.push(what);
                } else {
                    kind.push(what);
                }
            }
        }
    }

    fn outcomes(&self, report: &mut Report, lease: u64) {
        let mut held: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
        for call in self.calls.values() {
            if let Some((t, Answer::Success { .. })) = call.answered {
                held.insert(call.token, (t, call.pod));
            }
        }
        for call in self.calls.values() {
            match call.outcome {
                Some((t, Outcome::Over { why })) => {
                    let Some((answered, pod)) = held.get(call.token) else { continue };
                    if *answered <= t && !self.is_down(*pod, t) {
                        let what = format!("{}: pod {} was told {why}, {}", call.token, call.pod, self.scene(t));
                        if self.stood_still(answered.saturating_sub(lease), t) {
                            report.where_the_machine_stood_still.push(what);
                        } else {
                            report.successes_lost.push(what);
                        }
                    }
                }
                Some((_, Outcome::Later { why, .. })) => *report.refused.entry(why.clone()).or_default() += 1,
                Some((t, Outcome::Success { .. })) => report.answers.push(t.saturating_sub(call.asked)),
                Some((_, Outcome::Gone | Outcome::Dropped)) | None => {}
            }
        }
        for (token, result) in &self.clients {
            if let ClientResult::GaveUp { last } = result {
                report.endless.push(format!("{token}: {last}"));
            }
        }
    }

    fn waits(&self, report: &mut Report, after: u64) {
        let mut first: BTreeMap<&str, u64> = BTreeMap::new();
        for call in self.calls.values() {
            let asked = first.entry(call.token).or_insert(call.asked);
            *asked = call.asked.min(*asked);
        }
        for call in self.calls.values() {
            let Some(led) = call.led else { continue };
            let came = first[call.token];
            if self.failovers.iter().any(|at| *at <= came && came <= at + after) {
                report.leads_after.push(led.saturating_sub(came));
            }
        }
        report.leads_after.sort_unstable();
        report.answers.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Who;

    const LEASE: u64 = 1_000_000;

    fn at(t: u64, what: What) -> Event {
        Event { t, what }
    }

    fn asked(t: u64, call: u64, pod: usize) -> Event {
        at(t, What::Asked { call, pod, token: "t".to_owned(), run: None, who: Who::Client })
    }

    fn presented(t: u64, call: u64) -> Event {
        at(t, What::Presentation { number: call, step: PresentationStep::Presented { token: "t".to_owned(), call } })
    }

    fn step(t: u64, call: u64, step: CallStep) -> Event {
        at(t, What::Call { call, step })
    }

    fn success() -> Answer {
        Answer::Success { successor: "n".to_owned() }
    }

    /// Pod 1 leads and presents; pod 2 presents a second later.
    fn twice() -> Vec<Event> {
        vec![
            asked(0, 1, 1),
            step(1, 1, CallStep::Led { fence: 5 }),
            presented(2, 1),
            asked(3, 2, 2),
            step(LEASE, 2, CallStep::Led { fence: 6 }),
            presented(LEASE + 1, 2),
        ]
    }

    #[test]
    fn presentation_beside_a_leader_is_told_unless_its_pod_is_down() {
        let report = judge(&twice(), LEASE);
        assert_eq!((report.beside_a_leader.len(), report.successes_lost.len()), (1, 0));

        let mut events = twice();
        events.push(at(LEASE, What::PodDown { pod: 1 }));
        assert!(judge(&events, LEASE).beside_a_leader.is_empty());
    }

    #[test]
    fn presentation_after_a_success_is_a_success_that_was_lost() {
        let mut events = twice();
        events.push(step(10, 1, CallStep::Answered(success())));

        let report = judge(&events, LEASE);

        assert_eq!((report.beside_a_leader.len(), report.successes_lost.len()), (0, 1));
    }

    #[test]
    fn caller_that_is_told_that_a_session_is_over_although_a_pod_held_its_success_is_told() {
        let over = Outcome::Over { why: "lost".to_owned() };
        let events = vec![
            asked(0, 1, 1),
            step(1, 1, CallStep::Led { fence: 5 }),
            step(10, 1, CallStep::Answered(success())),
            asked(20, 2, 2),
            step(30, 2, CallStep::Outcome(over)),
        ];

        assert_eq!(judge(&events, LEASE).successes_lost.len(), 1);
    }

    #[test]
    fn what_happened_while_the_machine_stood_still_is_counted_apart() {
        let mut events = twice();
        events.push(at(LEASE / 2, What::StoodStill { for_us: LEASE / 3 }));

        let report = judge(&events, LEASE);

        assert_eq!((report.beside_a_leader.len(), report.where_the_machine_stood_still.len()), (0, 1));
    }

    #[test]
    fn fence_that_is_given_twice_is_told() {
        let mut events = twice();
        events.push(step(LEASE + 2, 2, CallStep::Led { fence: 5 }));

        assert_eq!(judge(&events, LEASE).fences_twice, [5]);
    }

    #[test]
    fn refusals_and_waits_are_counted() {
        let later = Outcome::Later { why: "store_outage".to_owned(), retry_after_ms: 1 };
        let events = vec![
            at(100, What::FaultBegan { run: 0, harm: crate::history::Harm::Store, pods: vec![] }),
            asked(200, 1, 1),
            step(700, 1, CallStep::Led { fence: 5 }),
            step(800, 1, CallStep::Outcome(later)),
        ];

        let report = judge(&events, LEASE);

        assert_eq!((report.leads_after, report.refused["store_outage"]), (vec![500], 1));
    }
}
