//! The scenarios as they were recorded, and our answers where they differ: `tests/origin/`, described there.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use serde::Deserialize;

use crate::config::{Breaker, Config, MemoryPressure};

/// One scripted history, and what the origin answered.
#[derive(Debug, Deserialize)]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) verdict: Verdict,
    config: Limits,
    pub(super) steps: Vec<Step>,
    expected: Vec<Answer>,
    refresh_runs_total: usize,
    max_overlap_same_token: usize,
    /// Not part of the recording: set when both files are read.
    #[serde(skip)]
    ours: Option<Ours>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Keep,
    Change,
}

/// Where our answers differ.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Ours {
    pub(super) why: String,
    /// The setting for which no coordinator is built.
    refused: Option<String>,
    window_ms: Option<u64>,
    expected: Vec<Answer>,
    runs: Option<usize>,
    overlap: Option<usize>,
}

/// What has to come of a replay.
#[derive(Debug)]
pub(super) enum Promise {
    Refused(String),
    Answered { answers: Vec<Answer>, runs: usize, overlap: usize },
}

/// The origin's settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    max_attempts: u32,
    window_ms: u64,
    cooldown_ms: u64,
    max_concurrent: u32,
    timeout_ms: u64,
    dedup_delay_ms: u64,
    cleanup_interval_ms: u64,
    memory_detection: bool,
    breaker_max_failures: u32,
    breaker_open_ms: u64,
    breaker_half_open_requests: u32,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Step {
    pub(super) at_ms: u64,
    #[serde(flatten)]
    pub(super) action: Action,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub(super) enum Action {
    Call(Call),
    Burst {
        n: usize,
        #[serde(flatten)]
        call: Call,
    },
    Pressure {
        pressure_level: u32,
    },
    Metrics {
        id: String,
    },
    Session {
        id: String,
        session: String,
    },
    Shutdown {
        id: String,
    },
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) session: String,
    pub(super) token: String,
    #[serde(default)]
    pub(super) refresh_ms: u64,
    pub(super) refresh_outcome: String,
    pub(super) cancel_after_ms: Option<u64>,
}

/// What came of a step: what was recorded, what we promise, what a replay brought.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    pub(super) id: String,
    pub(super) result: Option<String>,
    pub(super) value: Option<String>,
    pub(super) ran: Option<bool>,
    /// Of a burst: how many got which result, and how many ran.
    pub(super) results: Option<BTreeMap<String, usize>>,
    pub(super) ran_n: Option<usize>,
    pub(super) metrics: Option<Numbers>,
    pub(super) session: Option<Session>,
    /// In the recording: when it was over.
    pub(super) done_ms: Option<u64>,
    /// In a promise: when it is over at the earliest.
    pub(super) not_before_ms: Option<u64>,
    /// In a replay: when it was over.
    #[serde(skip)]
    pub(super) done: Duration,
}

/// The part of the origin's metrics that means the same here, and what ours say besides.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Numbers {
    pub(super) circuit_breaker_state: Option<String>,
    pub(super) memory_pressure_events: Option<u64>,
    pub(super) total_requests: Option<u64>,
    pub(super) current_inflight: Option<usize>,
    /// In a row, of a closed circuit.
    pub(super) failures: Option<u32>,
    /// Out, of a half-open one.
    pub(super) probes: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Session {
    pub(super) exists: bool,
}

/// All scenarios, with our answers.
pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = serde_json::from_str(include_str!("scenarios.json")).expect("the scenarios");
    let mut ours: BTreeMap<String, Ours> = serde_json::from_str(include_str!("ours.json")).expect("our answers");
    for scenario in &mut scenarios {
        scenario.ours = ours.remove(&scenario.name);
    }
    assert!(ours.is_empty(), "answers to no scenario: {:?}", ours.keys());
    scenarios
}

impl Scenario {
    /// Our own answers, where there are any.
    pub(super) fn ours(&self) -> Option<&Ours> {
        self.ours.as_ref()
    }

    /// The origin's settings in our words.
    pub(super) fn config(&self, namespace: String) -> Config {
        let Limits { max_attempts, cooldown_ms, max_concurrent, timeout_ms, .. } = self.config;
        let window_ms = self.ours().and_then(|ours| ours.window_ms).unwrap_or(self.config.window_ms);
        let timeout = ms(timeout_ms);
        Config::default()
            .with_namespace(namespace)
            // The origin's limit N admits N-1, ours N.
            .with_max_refresh_attempts(max_attempts.saturating_sub(1))
            .with_refresh_attempt_window(ms(window_ms))
            .with_refresh_cooldown_period(ms(cooldown_ms))
            .with_max_concurrent_refreshes(max_concurrent)
            .with_budget_wait(Some(Duration::ZERO))
            .with_refresh_timeout(timeout)
            // No scenario waits so long: the lease, which the origin has not, must not be longer.
            .with_wait_timeout(2 * timeout + Config::default().lease)
            .with_call_limit(Some(10 * timeout))
            .with_retry_lost_after(Some(Duration::ZERO))
            .with_keep_outcome(ms(self.config.dedup_delay_ms))
            .with_keep_failure(ms(self.config.dedup_delay_ms))
            .with_cleanup_interval(ms(self.config.cleanup_interval_ms))
            .with_memory_pressure(if self.config.memory_detection {
                MemoryPressure::Cgroup
            } else {
                MemoryPressure::Off
            })
            .with_breaker(
                Breaker::default()
                    .with_max_failures(self.config.breaker_max_failures)
                    .with_open_duration(ms(self.config.breaker_open_ms))
                    .with_half_open_requests(self.config.breaker_half_open_requests),
            )
            // Not of the origin: long enough for a machine that is busy with other tests.
            .with_store_timeout(Duration::from_secs(5))
    }

    /// What was over by then when it was recorded, and is to be over here, too: on a busy machine a few milliseconds
    /// between two steps are soon gone.
    pub(super) fn over_before(&self, at_ms: u64) -> impl Iterator<Item = &str> {
        let over = self.kept().filter(move |answer| answer.done_ms.is_some_and(|done| done < at_ms));
        over.map(|answer| answer.id.as_str())
    }

    /// The origin's answers that are not replaced by ours.
    fn kept(&self) -> impl Iterator<Item = &Answer> {
        let is_ours = |id: &str| self.ours().is_some_and(|ours| ours.expected.iter().any(|answer| answer.id == id));
        self.expected.iter().filter(move |answer| !is_ours(&answer.id))
    }

    /// The origin's answers, with ours in their places.
    pub(super) fn promise(&self) -> Promise {
        let none = Ours::default();
        let ours = self.ours().unwrap_or(&none);
        if let Some(setting) = &ours.refused {
            return Promise::Refused(setting.clone());
        }
        // The origin's process died in some; ours answers.
        let theirs = self.kept().filter(|answer| answer.id != "process");
        let theirs = theirs.cloned().map(|mut answer| {
            answer.session = None;
            answer.metrics = answer.metrics.filter(|_| self.verdict == Verdict::Keep);
            answer
        });
        Promise::Answered {
            answers: theirs.chain(ours.expected.iter().cloned()).collect(),
            runs: ours.runs.unwrap_or(self.refresh_runs_total),
            overlap: ours.overlap.unwrap_or(self.max_overlap_same_token),
        }
    }
}

impl Answer {
    /// What in `seen` is not as it is promised here.
    pub(super) fn contradicts(&self, seen: &Self) -> Vec<String> {
        let Self { id, result, value, ran, results, ran_n, metrics, session, not_before_ms, done_ms: _, done: _ } =
            self;
        let mut broken = Vec::new();
        differs(&mut broken, "result", result, &seen.result);
        differs(&mut broken, "value", value, &seen.value);
        differs(&mut broken, "ran", ran, &seen.ran);
        differs(&mut broken, "results", results, &seen.results);
        differs(&mut broken, "ran_n", ran_n, &seen.ran_n);
        if let Some(numbers) = metrics {
            numbers.contradict(&mut broken, &seen.metrics.clone().unwrap_or_default());
        }
        if let Some(session) = session {
            differs(&mut broken, "session exists", &Some(session.exists), &seen.session.map(|seen| seen.exists));
        }
        if let Some(not_before) = *not_before_ms
            && seen.done < ms(not_before)
        {
            broken.push(format!("over not before {not_before} ms, was after {:?}", seen.done));
        }
        broken.into_iter().map(|broken| format!("{id}: {broken}")).collect()
    }
}

impl Numbers {
    /// Only what is named here is promised.
    fn contradict(&self, broken: &mut Vec<String>, seen: &Self) {
        let Self { circuit_breaker_state, memory_pressure_events, total_requests, current_inflight, failures, probes } =
            self;
        named(broken, "circuit_breaker_state", circuit_breaker_state, &seen.circuit_breaker_state);
        named(broken, "memory_pressure_events", memory_pressure_events, &seen.memory_pressure_events);
        named(broken, "total_requests", total_requests, &seen.total_requests);
        named(broken, "current_inflight", current_inflight, &seen.current_inflight);
        named(broken, "failures", failures, &seen.failures);
        named(broken, "probes", probes, &seen.probes);
    }
}

fn named<T: PartialEq + Debug>(broken: &mut Vec<String>, name: &str, promised: &Option<T>, seen: &Option<T>) {
    if promised.is_some() {
        differs(broken, name, promised, seen);
    }
}

fn differs<T: PartialEq + Debug>(broken: &mut Vec<String>, name: &str, promised: &Option<T>, seen: &Option<T>) {
    if promised != seen {
        broken.push(format!("{name} is promised as {promised:?}, was {seen:?}"));
    }
}

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
