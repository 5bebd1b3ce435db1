//! Plays one history, step by step, as coordinators would: a pod has one flight per token and claim, and a flight that
//! was overtaken waits for the other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::task::Poll;

use super::super::stage::*;
use super::{End, History, LATE, Step, TICK, Who};
use crate::admission::circuit::CircuitState;
use crate::store::NewsSource;

/// What a step was answered: words, which are to be the same, and a span, which may differ by what a machine is late.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    pub(super) words: String,
    pub(super) span: Option<Duration>,
}

impl Observed {
    pub(super) fn agrees_with(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.span.unwrap_or_default(), other.span.unwrap_or_default());
        self.words == other.words && ours.abs_diff(theirs) <= LATE
    }
}

impl std::fmt::Display for Observed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.words)?;
        self.span.map_or(Ok(()), |span| write!(f, " ({} ms)", span.as_millis()))
    }
}

/// Two pods and their flights, as a coordinator would fly them.
pub(super) struct Play {
    pub(super) pods: [Store; 2],
    flights: BTreeMap<Who, Flying>,
    leases: Vec<Held>,
    /// The fences that were given: stores give different ones, and in the same order.
    fences: Vec<u64>,
    attempts: u128,
    gives_back: bool,
    stutters: bool,
    has_unhurried: bool,
}

/// A local flight that does not lead.
pub(super) struct Flying {
    ask: Ask,
    joined: Option<u64>,
    queued_since: Option<Instant>,
    /// Its function has run: should it lead again, it gives the lead back.
    is_spent: bool,
    news: Option<NewsSource>,
}

pub(super) struct Held {
    who: Who,
    ask: Ask,
    lease: Lease,
    state: HeldState,
}

pub(super) enum HeldState {
    Leads,
    Completed(Completion),
    Abandoned,
}

impl Play {
    pub(super) fn new(pods: [Store; 2], history: &History, stutters: bool) -> Self {
        Self {
            pods,
            flights: BTreeMap::new(),
            leases: Vec::new(),
            fences: Vec::new(),
            attempts: 0,
            gives_back: history.gives_back,
            stutters,
            has_unhurried: history.has_unhurried,
        }
    }

    /// None: Redis gave no answer in time. `expected` is what memory answered, when this is not memory.
    pub(super) async fn step(&mut self, step: Step, config: &Config, expected: Option<&Observed>) -> Option<Observed> {
        match step {
            Step::Begin { who, listens, queues, may_lead } => {
                let leads = |held: &Held| held.who == who && matches!(held.state, HeldState::Leads);
                match self.leases.iter().position(leads) {
                    Some(lease) => self.renew(lease).await,
                    None => {
                        let told = if listens { self.listen(who, expected).await } else { None };
                        if told.is_some() { told } else { self.begin(who, queues, may_lead, config).await }
                    }
                }
            }
            Step::Leave { who } => {
                let Some(flying) = self.flights.remove(&who) else { return Some(Observed::default()) };
                if flying.queued_since.is_some() {
                    for _ in self.times() {
                        self.pods[who.pod].withdraw(&flying.ask.id(), flying.queued_since).await.ok()?;
                    }
                }
                Some(Observed::default())
            }
            Step::EndSession { who } => self.end_session(who).await,
            Step::Pass { .. } => Some(Observed::default()),
            _ if self.leases.is_empty() => Some(Observed::default()),
            Step::Renew { lease } => self.renew(self.pick(lease)).await,
            Step::Complete { lease, end } => self.complete(self.pick(lease), end).await,
            Step::Abandon { lease } => self.abandon(self.pick(lease)).await,
        }
    }

    /// Mostly one that its leader has not ended yet.
    fn pick(&self, lease: usize) -> usize {
        let leads = |index: &usize| matches!(self.leases[*index].state, HeldState::Leads);
        let living: Vec<usize> = (0..self.leases.len()).filter(leads).collect();
        if lease.is_multiple_of(4) || living.is_empty() {
            lease % self.leases.len()
        } else {
            living[lease / 4 % living.len()]
        }
    }

    /// A flight that is told its outcome ends with it.
    async fn listen(&mut self, who: Who, expected: Option<&Observed>) -> Option<Observed> {
        let flying = self.flights.get_mut(&who).filter(|flying| flying.queued_since.is_none())?;
        let source = flying.news.as_mut()?;
        let told = match expected {
            // Whether it is told or looks because it is time to, when both are so, is a matter of chance.
            None => {
                let mut told = None;
                for _ in 0..32 {
                    if let Some(News::Landed(landed)) = once(source.news()).await {
                        told = Some(tell("told", self.nth(landed.fence), &landed));
                        break;
                    }
                }
                told
            }
            // A pod on Redis hears more than each of its flights waits for; what it must hear is what memory tells.
            Some(seen) if seen.words.starts_with("told") => loop {
                match tokio::time::timeout(LATE, source.news()).await {
                    Ok(News::Landed(landed)) => break Some(tell("told", self.nth(landed.fence), &landed)),
                    Ok(News::BeginAgain) => {}
                    Err(_) => break Some(Observed { words: "told nothing".to_owned(), span: None }),
                }
            },
            Some(_) => None,
        };
        if told.is_some() {
            self.flights.remove(&who);
        }
        told
    }

    pub(super) async fn begin(&mut self, who: Who, queues: bool, may_lead: bool, config: &Config) -> Option<Observed> {
        let flying = self.flights.remove(&who).unwrap_or_else(|| {
            self.attempts += 1;
            let mut ask = Ask::new(who.identity(), Uuid::from_u128(self.attempts));
            if self.has_unhurried {
                ask.is_background = self.attempts.is_multiple_of(3);
                ask.newer_than = self.fences.last().copied().filter(|_| self.attempts.is_multiple_of(4));
            }
            Flying { ask, joined: None, queued_since: None, is_spent: false, news: None }
        });
        let Flying { ask, joined, queued_since, is_spent, .. } = flying;
        let terms = AdmissionTerms {
            pod_refuses: (!may_lead).then_some(Refusal::MemoryPressure { retry_after: TICK }),
            refuses_strangers: None,
            patience: if queues { config.budget_wait() } else { Duration::ZERO },
            waiting_since: queued_since,
        };
        let mut begun = None;
        for _ in self.times() {
            begun = Some(self.pods[who.pod].begin(&ask, joined, &terms).await.ok()?);
        }
        let mut seen = Observed::default();
        let fly_on = |ask, joined, queued_since: Option<Instant>, news| {
            // On Redis nobody waits in the queue, so that no pod takes back permits by itself: when it does is its own
            // affair. In memory, a flight that is not there is not called.
            let news = match news {
                NewsSource::Redis(_) if queued_since.is_some() => None,
                NewsSource::Redis(_) | NewsSource::Memory(_) | NewsSource::Local(_) => Some(news),
            };
            Flying { ask, joined, queued_since, is_spent, news }
        };
        match begun? {
            Begun::Landed(landed) | Begun::Untold(landed) => seen = tell("landed", self.nth(landed.fence), &landed),
            Begun::Lead(lease) => {
                self.fences.push(lease.fence);
                seen.words = format!("lead {} {:?}", self.nth(lease.fence), lease.history);
                if is_spent {
                    self.pods[who.pod].abandon(&lease, &ask).await.ok()?;
                    seen.words += ", given back";
                } else {
                    self.leases.push(Held { who, ask, lease, state: HeldState::Leads });
                }
            }
            Begun::Join(with) => {
                seen.words = format!("join {:?} {:?}", with.fence.map(|fence| self.nth(fence)), with.leader);
                self.flights.insert(who, fly_on(ask, with.fence.or(joined), None, with.news));
            }
            Begun::Queued(Queued { since, news }) => {
                seen.words = "queued".to_owned();
                self.flights.insert(who, fly_on(ask, joined, Some(since), news));
            }
            Begun::Held(_) | Begun::Claims | Begun::Unused | Begun::ChainOver(_) => {
                unreachable!("BUG: these histories have no client with a credential")
            }
            Begun::Ended => seen.words = "ended".to_owned(),
            Begun::Recovering(_) => seen.words = "recovering".to_owned(),
            Begun::Rejected(refusal) => {
                let text = format!("{refusal:?}");
                seen.words = format!("rejected {}", text.split(' ').next().unwrap_or_default());
                seen.span = Some(refusal.retry_after());
            }
        }
        Some(seen)
    }

    pub(super) async fn renew(&mut self, lease: usize) -> Option<Observed> {
        let held = &self.leases[lease];
        let mut seen = Observed::default();
        for _ in self.times() {
            let renewed = self.pods[held.who.pod].renew(&held.lease, &held.ask).await.ok()?;
            seen.words = format!("{} {renewed:?}", self.nth(held.lease.fence));
        }
        Some(seen)
    }

    pub(super) async fn complete(&mut self, lease: usize, end: End) -> Option<Observed> {
        let times = self.times();
        let held = &mut self.leases[lease];
        let (completion, is_first) = match &held.state {
            HeldState::Leads => (end.completion(&format!("access-{lease}"), held.lease.history), true),
            // Its reply was lost on the way.
            HeldState::Completed(completion) => (completion.clone(), false),
            HeldState::Abandoned => return Some(Observed::default()),
        };
        held.state = HeldState::Completed(completion.clone());
        let mut standing = None;
        for _ in times {
            standing = Some(self.pods[held.who.pod].complete(&held.lease, &held.ask, &completion).await.ok()?);
        }
        let (mut seen, mut is_overtaken) = (Observed::default(), false);
        match standing? {
            Standing::Ours => seen.words = "ours".to_owned(),
            Standing::Ended => seen.words = "ended".to_owned(),
            Standing::Theirs(landed) => seen = tell("theirs", self.nth(landed.fence), &landed),
            Standing::TheirsUntold(landed) => {
                seen = tell("theirs untold", self.nth(landed.fence), &landed);
                is_overtaken = is_first && self.gives_back;
            }
            Standing::Stale => {
                seen.words = "stale".to_owned();
                is_overtaken = is_first && self.gives_back && completion.outcome.class() != Class::Success;
            }
        }
        if is_overtaken {
            // It waits for the other.
            let held = &self.leases[lease];
            let ask = Ask::new(held.who.identity(), held.ask.attempt);
            let joined = Some(held.lease.fence);
            let flying = Flying { ask, joined, queued_since: None, is_spent: true, news: None };
            self.flights.insert(held.who, flying);
        }
        Some(seen)
    }

    pub(super) async fn abandon(&mut self, lease: usize) -> Option<Observed> {
        let times = self.times();
        let held = &mut self.leases[lease];
        if matches!(held.state, HeldState::Leads) {
            held.state = HeldState::Abandoned;
            for _ in times {
                self.pods[held.who.pod].abandon(&held.lease, &held.ask).await.ok()?;
            }
        }
        Some(Observed::default())
    }

    /// Which of the leads that were given has this fence.
    fn nth(&self, fence: u64) -> usize {
        let mut fences = self.fences.clone();
        fences.sort_unstable();
        fences.dedup();
        fences.binary_search(&fence).map_or(0, |index| index + 1)
    }

    /// How often everything is asked.
    pub(super) fn times(&self) -> std::ops::Range<u32> {
        0..if self.stutters { 2 } else { 1 }
    }

    /// The circuit, and what can be counted.
    pub(super) async fn gates(&self, counts: &[usize; 3]) -> Option<Observed> {
        let mut seen = match self.pods[0].circuit_state().await.ok()? {
            CircuitState::Open { retry_after, reason } => {
                Observed { words: format!("open {reason:?}"), span: Some(retry_after) }
            }
            other => Observed { words: format!("{other:?}"), span: None },
        };
        let [permits, queued, attempts] = counts;
        _ = write!(seen.words, "; {permits} permits, {queued} queued, {attempts} attempts");
        Some(seen)
    }
}

/// Polls once.
async fn once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

fn tell(how: &str, nth: usize, landed: &StoredOutcome) -> Observed {
    let name = match &*landed.outcome {
        Outcome::Success(tokens) => tokens.access_token().to_owned(),
        Outcome::Failure(ProviderFailure::Denied { error, .. }) => error.clone(),
        other => format!("{:?}", other.class()),
    };
    Observed { words: format!("{how} {nth} {name}"), span: Some(landed.age) }
}
