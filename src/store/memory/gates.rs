//! What the rules of admission go by, for a namespace in memory: what `circuit`, `attempts:<session>`, `permits` and
//! `queue` are in Redis.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::admission::attempts::Attempts;
use crate::admission::budget::{Applicant, Budget, BudgetLimits, PodNumber, Wake};
use crate::admission::circuit::{Circuit, CircuitState, Passage};
use crate::admission::{AdmissionTerms, FAIR_PAUSE};
use crate::config::Config;
use crate::error::Refusal;
use crate::identity::Hash;
use crate::outcome::ProviderHealth;
use crate::store::contract::{self, Ask};

use super::news::{NewsSource, PermitCall};

type Queued = contract::Queued<NewsSource>;

/// Locked after a flight's record, never before it.
#[derive(Debug, Default)]
pub(super) struct Gates {
    circuit: Circuit,
    sessions: HashMap<Hash, Attempts, RandomState>,
    budget: Budget<Bell>,
}

#[derive(Debug)]
struct Bell {
    ring: oneshot::Sender<()>,
    pod: PodNumber,
}

impl Wake for Bell {
    fn wake(self) -> bool {
        self.ring.send(()).is_ok()
    }

    fn pod(&self) -> PodNumber {
        self.pod
    }
}

/// What the rules say to a flight that would lead.
pub(super) enum Admission {
    Admitted(Admitted),
    Queued(Queued),
    Rejected(Refusal),
}

/// A flight that may lead: nothing is taken yet.
pub(super) struct Admitted {
    session: Hash,
    applicant: Applicant,
    passage: Passage,
}

impl Gates {
    /// Asks all rules; nothing is taken yet.
    pub(super) fn admit(
        &mut self,
        pod: PodNumber,
        ask: &Ask,
        terms: &AdmissionTerms,
        now: Instant,
        config: &Config,
    ) -> Admission {
        match self.ask_rules(ask, terms, now, config) {
            Ok(passage) => {
                let applicant = Applicant { attempt: ask.attempt, since: terms.queued_since.unwrap_or(now) };
                match self.seat(pod, applicant, terms, now, config) {
                    Some(admission) => admission,
                    None => Admission::Admitted(Admitted { session: ask.identity.session, applicant, passage }),
                }
            }
            Err(refusal) => {
                self.leave_queue(ask, terms.queued_since, now, config);
                Admission::Rejected(refusal)
            }
        }
    }

    fn ask_rules(
        &mut self,
        ask: &Ask,
        terms: &AdmissionTerms,
        now: Instant,
        config: &Config,
    ) -> Result<Passage, Refusal> {
        if let Some(refusal) = &terms.pod_refuses {
            return Err(refusal.clone());
        }
        let passage = self.circuit.admit(now, config)?;
        let session = ask.identity.session;
        let mut attempts = self.sessions.get(&session).copied().unwrap_or_default();
        let admitted = attempts.admit(now, config);
        if admitted.is_err() {
            self.sessions.insert(session, attempts);
        }
        admitted.map(|()| passage)
    }

    /// None where a permit is there.
    fn seat(
        &mut self,
        pod: PodNumber,
        applicant: Applicant,
        terms: &AdmissionTerms,
        now: Instant,
        config: &Config,
    ) -> Option<Admission> {
        if self.budget.claim_place(applicant, now, limits(config)) {
            return None;
        }
        if terms.patience.is_zero() {
            return Some(Admission::Rejected(Refusal::Budget { retry_after: FAIR_PAUSE }));
        }
        let (ring, called) = oneshot::channel();
        let look_at = self.budget.queue(applicant, Bell { ring, pod }, now, limits(config));
        let news = NewsSource::Queue(PermitCall::new(called, look_at));
        Some(Admission::Queued(Queued { since: applicant.since, news }))
    }

    /// The admitted flight leads: permit, probe and charge are its own. Answers what it is charged to.
    pub(super) fn lead(&mut self, admitted: Admitted, fence: u64, now: Instant, config: &Config) -> Instant {
        let Admitted { session, applicant, passage } = admitted;
        let until = now + config.lease;
        self.budget.take(applicant, fence, until);
        if passage == Passage::Probe {
            self.circuit.probe(fence, now, until, config);
        }
        self.sessions.entry(session).or_default().charge(now, config)
    }

    pub(super) fn renew(&mut self, fence: u64, now: Instant, config: &Config) {
        let until = now + config.lease;
        self.budget.renew(fence, until, now, limits(config));
        self.circuit.renew(fence, until, config);
    }

    /// A leader is done: its permit and its probe are free.
    pub(super) fn give_back(&mut self, fence: u64, now: Instant, config: &Config) {
        self.budget.give_back(fence, now, limits(config));
        self.circuit.give_back(fence);
    }

    /// A flight landed: once, however often it is completed.
    pub(super) fn landed(
        &mut self,
        (fence, last_fence): (u64, u64),
        session: Hash,
        health: ProviderHealth,
        now: Instant,
        config: &Config,
    ) {
        self.circuit.learn((fence, last_fence), health, session, now, config);
        if let ProviderHealth::SessionLimited(Some(retry_after)) = health {
            self.sessions.entry(session).or_default().hold(now, retry_after);
        }
    }

    pub(super) fn uncharge(&mut self, session: Hash, charged: Instant) {
        if let Some(attempts) = self.sessions.get_mut(&session) {
            attempts.uncharge(charged);
        }
    }

    /// A session that is over with its token.
    pub(super) fn forget(&mut self, session: Hash) {
        self.sessions.remove(&session);
    }

    pub(super) fn leave_queue(&mut self, ask: &Ask, since: Option<Instant>, now: Instant, config: &Config) {
        if let Some(since) = since {
            self.budget.leave(Applicant { attempt: ask.attempt, since }, now, limits(config));
        }
    }

    pub(super) fn clean_up(&mut self, now: Instant, config: &Config) {
        self.sessions.retain(|_, attempts| !attempts.is_over(now, config));
    }

    #[cfg(test)]
    pub(super) fn remembers(&self, session: Hash) -> bool {
        self.sessions.contains_key(&session)
    }

    /// What can be counted: permits, queued flights, and the attempts of a session.
    #[cfg(test)]
    pub(super) fn counts(&self, session: &Hash, now: Instant, config: &Config) -> [usize; 3] {
        let (permits, queued) = self.budget.counts(now);
        [permits, queued, self.sessions.get(session).map_or(0, |attempts| attempts.count_in(now, config) as usize)]
    }

    pub(super) fn circuit_state(&mut self, now: Instant) -> CircuitState {
        self.circuit.state(now)
    }
}

fn limits(config: &Config) -> BudgetLimits {
    BudgetLimits {
        limit: config.max_concurrent_refreshes as usize,
        lease: config.lease,
        called_for: config.called_for(),
    }
}
