//! What the rules of admission go by, for a namespace in memory: what `circuit`, `attempts:<session>`, `permits` and
//! `queue` are in Redis.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use crate::admission::attempts::Attempts;
use crate::admission::budget::{Applicant, Budget, BudgetLimits};
use crate::admission::circuit::{Circuit, CircuitState, Flown, Passage};
use crate::admission::concerned::ClientName;
use crate::admission::known::Known;
use crate::admission::moved::Moved;
use crate::admission::overview::Overview;
use crate::admission::queue::{Line, PodNumber, Wake};
use crate::admission::session::{Account, Charge, Session};
use crate::admission::{AdmissionTerms, FAIR_PAUSE};
use crate::config::Config;
use crate::error::Refusal;
use crate::identity::{Caller, Hash};
use crate::outcome::ProviderHealth;
use crate::store::contract::{self, Ask};

use super::news::{MemoryNews, Turn};

type Queued = contract::Queued<MemoryNews>;

/// Locked after a flight's record, never before it.
#[derive(Debug, Default)]
pub(super) struct Gates {
    circuit: Circuit,
    sessions: HashMap<Hash, Session, RandomState>,
    budget: Budget<Bell>,
    known: Known,
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
    Admitted(Candidate),
    Queued(Queued),
    Rejected(Refusal),
}

/// A flight that may lead: nothing is taken yet.
pub(super) struct Candidate {
    session: Hash,
    account: Account,
    applicant: Applicant,
    passage: Passage,
    is_charged: bool,
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
            Ok((passage, account)) => {
                let applicant = Applicant { attempt: ask.attempt, since: terms.waiting_since.unwrap_or(now) };
                match self.seat(pod, ask, applicant, terms, now, config) {
                    Some(admission) => admission,
                    None => {
                        let (session, is_charged) = (ask.identity.session, !ask.is_background);
                        Admission::Admitted(Candidate { session, account, applicant, passage, is_charged })
                    }
                }
            }
            Err(refusal) => {
                self.leave_queue(ask.attempt, terms.waiting_since, now, config);
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
    ) -> Result<(Passage, Account), Refusal> {
        if let Some(refusal) = &terms.pod_refuses {
            return Err(refusal.clone());
        }
        let is_known = || self.known.has(ask.caller(config.pepper.as_ref()), now);
        if let Some(refusal) = &terms.refuses_strangers
            && !is_known()
        {
            return Err(refusal.clone());
        }
        let passage = self.circuit.admit(|| ask.identity.client_name(config.pepper.as_ref()), now, config)?;
        if passage == Passage::Probe && (ask.is_background || !is_known()) {
            // A caller comes first, and a stranger does not decide whether the provider is well.
            return Err(Refusal::CircuitOpen { retry_after: FAIR_PAUSE });
        }
        let own = ask.identity.account;
        let Some(session) = self.sessions.get_mut(&ask.identity.session) else {
            return Ok((passage, Account::Own(own)));
        };
        let is_known = || self.known.has(ask.caller(config.pepper.as_ref()), now);
        let account = session.account(own, is_known, now, config);
        if session.attempts(account).is_some() {
            session.attempts_mut(account).admit(ask.is_background, now, config)?;
        }
        Ok((passage, account))
    }

    /// None where a permit is there.
    fn seat(
        &mut self,
        pod: PodNumber,
        ask: &Ask,
        applicant: Applicant,
        terms: &AdmissionTerms,
        now: Instant,
        config: &Config,
    ) -> Option<Admission> {
        let refused = Admission::Rejected(Refusal::Budget { retry_after: FAIR_PAUSE });
        if ask.is_background {
            return (!self.budget.is_permit_unwanted(now, limits(config))).then_some(refused);
        }
        let line = || {
            let pepper = config.pepper.as_ref();
            let is_known = self.known.has(ask.caller(pepper), now);
            if is_known { Line::Client(ask.identity.client_name(pepper)) } else { Line::Strangers }
        };
        let line = self.budget.apply_for_permit(applicant, line, now, limits(config)).err()?;
        if terms.patience.is_zero() {
            self.budget.leave(applicant, now, limits(config));
            return Some(refused);
        }
        let (ring, came) = oneshot::channel();
        let look_at = self.budget.queue(applicant, line, Bell { ring, pod }, now, limits(config));
        let news = MemoryNews::Queue(Turn::new(came, look_at));
        Some(Admission::Queued(Queued { since: applicant.since, news }))
    }

    /// The admitted flight leads: permit, probe and charge are its own. Answers what it is charged to, and how that moved the
    /// circuit.
    pub(super) fn lead(
        &mut self,
        candidate: Candidate,
        fence: u64,
        now: Instant,
        config: &Config,
    ) -> (Charge, Option<Moved>) {
        let Candidate { session, account, applicant, passage, is_charged } = candidate;
        let until = now + config.lease;
        self.budget.take(applicant, fence, until);
        let is_probe = passage == Passage::Probe;
        let moved = if is_probe { self.circuit.probe(fence, now, until, config) } else { None };
        let charge = |session: &mut Session| session.attempts_mut(account).charge(now, config);
        let window = is_charged.then(|| charge(self.sessions.entry(session).or_insert_with(|| Session::new(account))));
        (Charge { account, window }, moved)
    }

    pub(super) fn renew(&mut self, fence: u64, keeps_permit: bool, now: Instant, config: &Config) {
        let until = now + config.lease;
        if keeps_permit {
            self.budget.renew(fence, until, now, limits(config));
        } else {
            self.budget.release(fence, now, limits(config));
        }
        self.circuit.renew(fence, until, config);
    }

    /// A leader is done: its permit and its probe are free.
    pub(super) fn release(&mut self, fence: u64, now: Instant, config: &Config) {
        self.budget.release(fence, now, limits(config));
        self.circuit.release(fence);
    }

    /// A flight of this caller landed: once, however often it is completed. Answers whether the circuit heard of it, because what
    /// strangers bring says nothing of the provider, and how that moved it.
    pub(super) fn landed(
        &mut self,
        flown: Flown,
        client: impl Fn() -> ClientName,
        caller: impl FnOnce() -> Caller,
        account: Account,
        now: Instant,
        config: &Config,
    ) -> (bool, Option<Moved>) {
        let Flown { session, health, .. } = flown;
        let counts =
            matches!(health, ProviderHealth::Healthy | ProviderHealth::Neutral) || self.known.has(caller(), now);
        let moved = if counts { self.circuit.learn(flown, client, now, config) } else { None };
        if let ProviderHealth::SessionLimited(Some(retry_after)) = health {
            let session = self.sessions.entry(session).or_insert_with(|| Session::new(account));
            session.attempts_mut(account).limit(now, retry_after);
        }
        (counts, moved)
    }

    pub(super) fn knows(&self, ask: &Ask, now: Instant, config: &Config) -> bool {
        self.known.has(ask.caller(config.pepper.as_ref()), now)
    }

    /// A caller got tokens.
    pub(super) fn note_known(&mut self, credential: Option<Hash>, next: impl FnOnce() -> Hash, now: Instant) {
        self.known.note(credential, next, now);
    }

    pub(super) fn uncharge(&mut self, session: Hash, charge: Charge, now: Instant) {
        if let Some(session) = self.sessions.get_mut(&session)
            && let Some(window) = charge.window
        {
            session.attempts_mut(charge.account).uncharge(window, now);
        }
    }

    /// The session's access tokens live so short that it may lead so many flights in its window.
    pub(super) fn allow(&mut self, session: Hash, account: Account, allowed: u32) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.attempts_mut(account).allow(allowed);
        }
    }

    /// A claim that is over with its token.
    pub(super) fn forget(&mut self, session: Hash, account: Account, now: Instant, config: &Config) {
        if let Some(known) = self.sessions.get_mut(&session) {
            *known.attempts_mut(account) = Attempts::default();
            if known.is_over(now, config) {
                self.sessions.remove(&session);
            }
        }
    }

    /// The account that pays for flights of a claim with this one.
    pub(super) fn account(&mut self, session: Hash, own: u64, now: Instant, config: &Config) -> Account {
        match self.sessions.get_mut(&session) {
            Some(session) => session.account(own, || false, now, config),
            None => Account::Own(own),
        }
    }

    pub(super) fn leave_queue(&mut self, attempt: Uuid, since: Option<Instant>, now: Instant, config: &Config) {
        if let Some(since) = since {
            self.budget.leave(Applicant { attempt, since }, now, limits(config));
        }
    }

    pub(super) fn clean_up(&mut self, now: Instant, config: &Config) {
        self.sessions.retain(|_, session| !session.is_over(now, config));
    }

    #[cfg(test)]
    pub(super) fn remembers(&self, session: Hash) -> bool {
        self.sessions.contains_key(&session)
    }

    /// What can be counted: permits, queued flights, and the attempts of a session.
    #[cfg(test)]
    pub(super) fn counts(&self, session: &Hash, now: Instant, config: &Config) -> [usize; 3] {
        let (permits, queued) = self.budget.counts(now);
        [permits, queued, self.sessions.get(session).map_or(0, |session| session.count_in(now, config) as usize)]
    }

    /// A process that agrees with itself loses no writes, and keeps no register.
    pub(super) fn overview(&mut self, now: Instant) -> Overview {
        let (permits, queued) = self.budget.counts(now);
        let oldest = self.budget.oldest_queued();
        Overview {
            circuit: self.circuit.state(now),
            permits_out: permits as u64,
            queued: queued as u64,
            oldest_queued: oldest.map(|since| now.saturating_duration_since(since)),
            recovering_for: None,
            pods: None,
        }
    }

    pub(super) fn circuit_state(&mut self, now: Instant) -> CircuitState {
        self.circuit.state(now)
    }
}

fn limits(config: &Config) -> BudgetLimits {
    BudgetLimits {
        limit: config.max_concurrent_refreshes as usize,
        lease: config.lease,
        reserved_for: config.permit_reserved_for(),
    }
}
