//! The history, by call, token and pod.

use std::collections::{BTreeMap, HashMap};

use crate::history::{ClientResult, Event, Harm, What, Who};
use crate::steps::{Answer, CallStep, Outcome, PresentationStep, Reply, Stage, Verdict};

pub(super) struct Call<'a> {
    pub(super) asked: u64,
    pub(super) pod: usize,
    pub(super) token: &'a str,
    pub(super) run: Option<usize>,
    pub(super) who: Who,
    pub(super) led: Option<(u64, u64)>,
    pub(super) has_sent: bool,
    pub(super) answered: Option<(u64, &'a Answer)>,
    pub(super) outcome: Option<(u64, &'a Outcome)>,
}

pub(super) struct Presentation {
    pub(super) t: u64,
    pub(super) call: u64,
    pub(super) verdict: Option<Verdict>,
    pub(super) reply: Option<Reply>,
}

pub(super) struct FaultSpan {
    pub(super) run: usize,
    pub(super) harm: Harm,
    pub(super) pods: Vec<usize>,
    pub(super) began: u64,
    pub(super) ended: u64,
    /// When all pods had found the server that took over.
    pub(super) taken_over: Option<u64>,
}

impl FaultSpan {
    /// Whether pods had found another server before a lease was over: then leaders that live go on leading.
    fn is_survived(&self, lease: u64) -> bool {
        self.harm == Harm::Failover && self.taken_over.is_some_and(|t| t <= self.began + lease)
    }

    /// Whether it keeps a pod from the store.
    pub(super) fn hits(&self, pod: usize) -> bool {
        match self.harm {
            Harm::Paused | Harm::CutOff => self.pods.contains(&pod),
            Harm::Store | Harm::Failover => true,
            Harm::Seen | Harm::ToProvider => false,
        }
    }
}

pub(super) struct Forgot {
    /// At the earliest, and at the latest.
    pub(super) from: u64,
    pub(super) t: u64,
    pub(super) since: u64,
    /// Another server took over, and pods that live put back what it lacks.
    pub(super) is_failover: bool,
}

pub(super) struct Client<'a> {
    pub(super) came: u64,
    pub(super) t: u64,
    pub(super) run: Option<usize>,
    pub(super) token: &'a str,
    pub(super) result: &'a ClientResult,
}

pub(super) struct Index<'a> {
    pub(super) calls: BTreeMap<u64, Call<'a>>,
    by_token: HashMap<&'a str, Vec<u64>>,
    pub(super) presentations: BTreeMap<&'a str, Vec<Presentation>>,
    pub(super) faults: Vec<FaultSpan>,
    pub(super) forgot: Vec<Forgot>,
    pub(super) clients: Vec<Client<'a>>,
    pub(super) verified: HashMap<&'a str, bool>,
    /// When another server began to decide, at the earliest and at the latest.
    pub(super) restarted: Vec<(u64, u64)>,
    pub(super) stood_still: Vec<(u64, u64)>,
    /// When Redis' clock was set forward, at the earliest and at the latest, and by how much.
    pub(super) stepped: Vec<(u64, u64, u64)>,
    pub(super) end: u64,
    down: HashMap<usize, u64>,
}

/// How long after its end a fault may still be felt: a lease is waited for, connections are made again. In us.
const AFTERMATH: u64 = 2_000_000;

impl<'a> Index<'a> {
    pub(super) fn new(events: &'a [Event]) -> Self {
        let mut index = Self {
            calls: BTreeMap::new(),
            by_token: HashMap::new(),
            presentations: BTreeMap::new(),
            faults: Vec::new(),
            forgot: Vec::new(),
            clients: Vec::new(),
            verified: HashMap::new(),
            restarted: Vec::new(),
            stood_still: Vec::new(),
            stepped: Vec::new(),
            end: events.last().map_or(0, |event| event.t),
            down: HashMap::new(),
        };
        let mut by_number: HashMap<u64, (&str, usize)> = HashMap::new();
        // First the callers: a pod may be quicker to tell of a call than the driver is to note it.
        for Event { t, what } in events {
            if let What::Asked { call, pod, token, run, who } = what {
                let call_made = Call {
                    asked: *t,
                    pod: *pod,
                    token,
                    run: *run,
                    who: *who,
                    led: None,
                    has_sent: false,
                    answered: None,
                    outcome: None,
                };
                index.calls.insert(*call, call_made);
                index.by_token.entry(token).or_default().push(*call);
            }
        }
        for Event { t, what } in events {
            let t = *t;
            match what {
                What::PodUp { .. } | What::AtRest { .. } | What::Unequal { .. } | What::Asked { .. } => {}
                What::PodDown { pod } => _ = index.down.insert(*pod, t),
                What::FaultBegan { run, harm, pods } => index.faults.push(FaultSpan {
                    run: *run,
                    harm: *harm,
                    pods: pods.clone(),
                    began: t,
                    ended: u64::MAX - AFTERMATH,
                    taken_over: None,
                }),
                What::FaultEnded { run } => {
                    index.faults.iter_mut().filter(|fault| fault.run == *run).for_each(|fault| fault.ended = t);
                }
                // Nobody's fault: it excuses what a pause of everybody does, and is told in the table.
                What::StoodStill { for_us } => index.stood_still.push((t.saturating_sub(*for_us), t)),
                What::RedisStepped { by_ms, since } => index.stepped.push((*since, t, by_ms * 1000)),
                What::RedisRestarted { from } => index.restarted.push((*from, t)),
                What::RedisForgot { since, from } => {
                    index.forgot.push(Forgot { from: *from, t, since: *since, is_failover: false });
                }
                What::FailedOver { lost_since, from } => {
                    if let Some(since) = *lost_since {
                        index.forgot.push(Forgot { from: *from, t, since, is_failover: true });
                    }
                    if let Some(fault) = index.faults.last_mut() {
                        fault.taken_over = Some(t);
                    }
                }
                What::Call { call, step } => index.with(*call, |call| match step {
                    CallStep::Led { fence } => call.led = Some((t, *fence)),
                    CallStep::At(stage) => call.has_sent |= *stage >= Stage::Sent,
                    CallStep::Answered(answer) => call.answered = Some((t, answer)),
                    CallStep::Outcome(outcome) => call.outcome = Some((t, outcome)),
                }),
                What::Presentation { number, step } => match step {
                    PresentationStep::Presented { token, call } => {
                        let of_token = index.presentations.entry(token.as_str()).or_default();
                        by_number.insert(*number, (token, of_token.len()));
                        of_token.push(Presentation { t, call: *call, verdict: None, reply: None });
                    }
                    PresentationStep::Judged(verdict) => {
                        index.presented(&by_number, *number, |presented| presented.verdict = Some(*verdict));
                    }
                    PresentationStep::Replied(reply) => {
                        index.presented(&by_number, *number, |presented| presented.reply = Some(*reply));
                    }
                },
                What::ClientEnded { run, token, came, result } => {
                    index.clients.push(Client { t, came: *came, run: *run, token, result });
                }
                What::Verified { token, is_alive, .. } => _ = index.verified.insert(token, *is_alive),
            }
        }
        index
    }

    fn with(&mut self, call: u64, change: impl FnOnce(&mut Call<'a>)) {
        if let Some(call) = self.calls.get_mut(&call) {
            change(call);
        }
    }

    fn presented(
        &mut self,
        by_number: &HashMap<u64, (&'a str, usize)>,
        number: u64,
        change: impl FnOnce(&mut Presentation),
    ) {
        if let Some((token, place)) = by_number.get(&number)
            && let Some(of_token) = self.presentations.get_mut(token)
        {
            change(&mut of_token[*place]);
        }
    }

    /// All calls for a token.
    pub(super) fn of_token(&self, token: &str) -> impl Iterator<Item = (u64, &Call<'a>)> {
        self.by_token.get(token).into_iter().flatten().map(|call| (*call, &self.calls[call]))
    }

    pub(super) fn down_at(&self, pod: usize) -> Option<u64> {
        self.down.get(&pod).copied()
    }

    pub(super) fn is_down(&self, pod: usize, by: u64) -> bool {
        self.down_at(pod).is_some_and(|down| down <= by)
    }

    /// How long a pod did not run meanwhile, with a moment to come to itself.
    pub(super) fn paused(&self, pod: usize, from: u64, to: u64) -> u64 {
        let spans = self.faults.iter().filter(|fault| fault.harm == Harm::Paused && fault.pods.contains(&pod));
        let stopped: u64 = spans.map(|fault| to.min(fault.ended).saturating_sub(from.max(fault.began))).sum();
        stopped + self.stood_still_between(from, to)
    }

    /// How long the machine did nothing meanwhile.
    pub(super) fn stood_still_between(&self, from: u64, to: u64) -> u64 {
        self.stood_still.iter().map(|(began, ended)| to.min(*ended).saturating_sub(from.max(*began))).sum()
    }

    /// When the last of what kept a pod from the store in this time was over.
    pub(super) fn cut_off_until(&self, pod: usize, from: u64, to: u64) -> Option<u64> {
        let harmful =
            self.faults.iter().filter(|fault| fault.hits(pod) && fault.began <= to && from <= fault.ended + AFTERMATH);
        let still = self.stood_still.iter().filter(|(began, ended)| *began <= to && from <= ended + AFTERMATH);
        harmful.map(|fault| fault.ended).chain(still.map(|(_, ended)| *ended)).max()
    }

    /// Whether a pod was kept from the store in this time for so long that others may take its leads over.
    pub(super) fn could_not_lead(&self, pod: usize, from: u64, to: u64, lease: u64) -> bool {
        let mut faults = self.faults.iter().filter(|fault| fault.hits(pod) && !fault.is_survived(lease));
        faults.any(|fault| fault.began <= to && from <= fault.ended + AFTERMATH)
            || self.stood_still.iter().any(|(began, ended)| *began <= to && from <= ended + AFTERMATH)
    }

    /// When what began to keep a pod from the store in this time was over.
    pub(super) fn cut_off_after(&self, pod: usize, from: u64, to: u64) -> Option<u64> {
        let faults = self.faults.iter().filter(|fault| from <= fault.began && fault.began <= to && fault.hits(pod));
        faults.map(|fault| fault.ended).max()
    }

    /// Until when a pod that goes on without Redis after `patience` may do so, where it may at this moment. Redis is
    /// out of reach for as much longer as the machine stands still.
    pub(super) fn alone_until(&self, pod: usize, t: u64, patience: u64) -> Option<u64> {
        let ends = self.faults.iter().filter_map(|fault| {
            let hits = fault.harm != Harm::Paused && fault.hits(pod);
            let over = fault.ended.saturating_add(self.stood_still_between(fault.began, t));
            (hits && fault.began + patience <= t && t <= over.saturating_add(AFTERMATH)).then_some(over)
        });
        ends.max()
    }

    /// Whether anything was done to this pod in this time, or it ended.
    pub(super) fn is_impaired(&self, pod: usize, from: u64, to: u64) -> bool {
        let is_down = self.down_at(pod).is_some_and(|down| down >= from && down <= to);
        is_down
            || self.cut_off_until(pod, from, to).is_some()
            || self
                .faults
                .iter()
                .any(|fault| fault.pods.contains(&pod) && fault.began <= to && from <= fault.ended + AFTERMATH)
    }

    pub(super) fn is_impaired_fleet(&self, from: u64, to: u64) -> bool {
        self.faults.iter().any(|fault| fault.pods.is_empty() && fault.began <= to && from <= fault.ended + AFTERMATH)
    }

    pub(super) fn run_at(&self, t: u64) -> Option<usize> {
        self.faults.iter().rfind(|fault| fault.began <= t).map(|fault| fault.run)
    }
}
