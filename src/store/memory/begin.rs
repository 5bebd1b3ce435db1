//! `begin` in memory: what a flight is to do, by what is remembered of its token.

use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;
use std::time::Duration;

use dashmap::mapref::entry::Entry;
use tokio::time::Instant;

use super::MemoryPod;
use super::chain::Found;
use super::gates::Admission;
use super::logins::LoginSeen;
use super::news::MemoryNews;
use super::next_lead::NextLead;
use super::record::{FlightRecord, Lock, State, WaitedFor};
use crate::admission::AdmissionTerms;
use crate::error::{Differs, Refusal};
use crate::moment::Moment;
use crate::outcome::Outcome;
use crate::own_lease::OwnLease;
use crate::store::contract::{self, Ask, ChainEnd, Coming, LeaderSeen, Lease, StoredOutcome, TokenHistory};

type Begun = contract::Begun<MemoryNews>;

impl MemoryPod {
    /// `wrap` makes of this store's source of news the asking store's. Not done to the answer as a whole, which would be
    /// moved once more with the lease in it.
    pub(crate) fn begin<N>(
        &self,
        ask: &Ask,
        joined: Option<u64>,
        terms: &AdmissionTerms,
        wrap: impl FnOnce(MemoryNews) -> N,
    ) -> contract::Begun<N> {
        self.start_cleanup();
        let now = Instant::now();
        match self.login_of_claims(ask, now) {
            LoginSeen::Ended => return contract::Begun::Ended,
            LoginSeen::WentOn if self.may_follow(ask) => return contract::Begun::Claims,
            LoginSeen::WentOn | LoginSeen::Goes => {}
        }
        let begun = match self.namespace.flights.entry(ask.identity.flight) {
            // Asked under the lock of the record: who ends the session looks at that when it has left its mark.
            _ if self.namespace.ended.has(ask.identity.flight, ask.identity.client, now) => contract::Begun::Ended,
            Entry::Occupied(mut known) if !known.get().is_over(now) => {
                self.begin_known(ask, joined, terms, now, known.get_mut()).map_news(wrap)
            }
            gone => match self.lead_unknown(ask, terms, now) {
                Ok((mut record, lease)) => {
                    // Another client may have ended the session.
                    self.namespace.ended.keep(ask.identity.flight, &mut record);
                    gone.insert(record);
                    contract::Begun::Lead(lease)
                }
                Err(begun) => {
                    if matches!(*begun, Begun::Queued(_)) {
                        gone.insert(FlightRecord::bare(ask.identity.claim, now)).wait(now + self.config.longest_wait());
                    }
                    begun.map_news(wrap)
                }
            },
        };
        self.note_next(ask);
        match begun {
            contract::Begun::Landed(_)
            | contract::Begun::Untold(_)
            | contract::Begun::Join(_)
            | contract::Begun::Held(_)
            | contract::Begun::Claims
            | contract::Begun::Unused
            | contract::Begun::Ended
            | contract::Begun::ChainOver(_) => {
                self.gates().leave_queue(ask.attempt, terms.waiting_since, now, &self.config)
            }
            contract::Begun::Lead(_)
            | contract::Begun::Queued(_)
            | contract::Begun::Recovering(_)
            | contract::Begun::Rejected(_) => {}
        }
        begun
    }

    /// Of a token of which no flight is remembered.
    fn lead_unknown(
        &self,
        ask: &Ask,
        terms: &AdmissionTerms,
        now: Instant,
    ) -> Result<(FlightRecord, Lease), Box<Begun>> {
        let history = match self.find_held(ask, None, now) {
            Found::Told(begun) => return Err(Box::new(begun)),
            _ if self.may_follow(ask) && self.goes_among_claims(ask, None, now) => {
                return Err(Box::new(Begun::Claims));
            }
            Found::Held { held, .. } => return Err(Box::new(Begun::Held(held))),
            Found::Rotated => TokenHistory::Rotated,
            Found::Nothing => TokenHistory::Unremarkable,
        };
        self.lead(ask, terms, now, 0, history)
    }

    /// As [`begin`](Self::begin) for a flight that must not lead here, nor queue for it. None where it would have to.
    pub(crate) fn begin_without_leading<N>(
        &self,
        ask: &Ask,
        joined: Option<u64>,
        terms: &AdmissionTerms,
        wrap: impl FnOnce(MemoryNews) -> N,
    ) -> Option<contract::Begun<N>> {
        let now = Instant::now();
        let mut record = self.namespace.flights.get_mut(&ask.identity.flight);
        if self.namespace.ended.has(ask.identity.flight, ask.identity.client, now) {
            return Some(contract::Begun::Ended);
        }
        let record = record.as_deref_mut().filter(|record| !record.is_over(now));
        let begun = record.and_then(|record| self.known(ask, joined, terms, now, record).break_value());
        self.gates().leave_queue(ask.attempt, terms.waiting_since, now, &self.config);
        begun.map(|begun| begun.map_news(wrap))
    }

    /// A flight of this token is remembered.
    fn begin_known(
        &self,
        ask: &Ask,
        joined: Option<u64>,
        terms: &AdmissionTerms,
        now: Instant,
        record: &mut FlightRecord,
    ) -> Begun {
        let (history, lost) = match self.known(ask, joined, terms, now, record) {
            Continue(known) => known,
            Break(begun) => return begun,
        };
        if let Some(others) = &mut record.others {
            let is_known = self.gates().knows(ask, now, &self.config);
            let called = self.config.permit_reserved_for();
            if let Some(until) = others.wait_for_turn(ask.identity.client, is_known, called, now) {
                return record.wait_for_others(ask, until, now + self.config.longest_wait());
            }
        }
        match self.lead(ask, terms, now, lost, history) {
            Ok((led, lease)) => {
                let waiting = record.waiting.take();
                let last = record.last_success(now, self.config.longest_wait());
                let others = record.others_when_led_by(ask.identity.client, &self.config);
                let ends = led.ends.max(now + record.given_left(now)).max(record.ends_with_login().unwrap_or(now));
                let (link, login) = (record.link.take(), record.login.take());
                *record =
                    FlightRecord { waiting, last, success_of: record.success_of, others, link, login, ends, ..led };
                let holder = ask.identity.chain.as_ref().map(|member| member.holder);
                let is_of_holder =
                    record.link.as_ref().is_none_or(|link| holder.is_none_or(|holder| holder == link.holder));
                if !is_of_holder {
                    record.others().stranger = Some(record.fence);
                }
                self.namespace.ended.keep(ask.identity.flight, record);
                Begun::Lead(lease)
            }
            Err(begun) => {
                if matches!(*begun, Begun::Queued(_)) {
                    record.wait(now + self.config.longest_wait());
                }
                *begun
            }
        }
    }

    /// What a remembered flight of this token means for one that asks: the answer, or, where the token is to be presented,
    /// what its leader has to know.
    fn known(
        &self,
        ask: &Ask,
        joined: Option<u64>,
        terms: &AdmissionTerms,
        now: Instant,
        record: &mut FlightRecord,
    ) -> ControlFlow<Begun, (TokenHistory, u32)> {
        // A walker that waits for the outcome of this token came before anybody used it: that is for it.
        let waits = joined.is_some() || terms.waiting_since.is_some();
        let may_follow = self.may_follow(ask);
        // Where several claims come, what one of them used ends nothing for the others.
        let is_followed = may_follow && record.is_of_login_of(ask);
        let found = match self.find_held(ask, Some(record), now) {
            Found::Told(begun) if !waits && !is_followed => return Break(begun),
            Found::Held { held, next_has_ended: true }
                if !waits && !record.is_led_at(now) && record.attempt != ask.attempt =>
            {
                return Break(Begun::Held(held));
            }
            found => found,
        };
        // First an outcome for this flight: it costs nobody anything.
        let waited_for = WaitedFor {
            attempt: ask.attempt,
            claim: ask.identity.claim,
            joined,
            since: terms.waiting_since,
            newer_than: ask.newer_than,
        };
        if let Some(landed) = record.outcome_for(&waited_for, now) {
            let is_told = !record.is_untold || landed.fence != record.fence;
            return Break(if is_told { Begun::Landed(landed) } else { Begun::Untold(landed) });
        }
        // The same attempt again: its own lease was over before it called, and it was never lost.
        if record.is_led_by(ask.attempt) {
            match record.lock {
                Some(lock) if lock.until > now && lock.fence == record.fence => {
                    return Break(Begun::Lead(self.lead_again(ask, now, record)));
                }
                Some(lock) if lock.until > now => {}
                // Others were admitted meanwhile: it begins anew.
                Some(_) | None => self.abandon_lead(record, record.fence, ask, now),
            }
        }
        if may_follow && self.goes_among_claims(ask, Some(record), now) {
            return Break(Begun::Claims);
        }
        // Then the leader, with whatever claim: one presentation at a time.
        let waits_until = now + self.config.longest_wait();
        if let Some(Lock { fence, until }) = record.lock
            && until > now
        {
            if record.claim != ask.identity.claim && !ask.is_background && self.gates().knows(ask, now, &self.config) {
                record.others().take_turn(ask.identity.client);
            }
            return Break(record.join(ask, fence, until, LeaderSeen::Living, waits_until));
        }
        let found = match found {
            Found::Told(begun) => return Break(begun),
            found => found,
        };
        if matches!(ask.coming, Coming::Taking { .. }) && record.is_unused(ask.identity.client, now) {
            return Break(Begun::Unused);
        }
        record.notice_lost_leader(now, &self.config);
        let is_known = || self.gates().knows(ask, now, &self.config);
        match record.next_lead(ask.identity.client, is_known, now, &self.config) {
            NextLead::May { history, lost } => match (found, ask.coming) {
                (Found::Held { held, .. }, _) => Break(Begun::Held(held)),
                (Found::Rotated, Coming::Directly | Coming::Past | Coming::InTurn) => {
                    Continue((TokenHistory::Rotated, 0))
                }
                (Found::Rotated | Found::Nothing, Coming::Taking { .. } | Coming::Walking { .. })
                    if !record.is_unused(ask.identity.client, now) =>
                {
                    Break(Begun::ChainOver(ChainEnd::Broken))
                }
                // It is owed what follows the newest token of its login, whenever that was given.
                (Found::Rotated, Coming::Claiming { .. }) => Break(Begun::ChainOver(ChainEnd::Broken)),
                (Found::Nothing, Coming::Claiming { .. }) if record.is_spent_for(ask.identity.client) => {
                    Break(Begun::ChainOver(ChainEnd::Broken))
                }
                _ => Continue((history, lost)),
            },
            NextLead::NotBefore(again_at) => {
                Break(record.join(ask, record.fence, again_at, LeaderSeen::Lost, waits_until))
            }
            NextLead::Never { fence } => Break(token_lost(fence)),
            NextLead::AnotherClaim { retry_after } => {
                self.gates().leave_queue(ask.attempt, terms.waiting_since, now, &self.config);
                let differs = Differs::of(ask.identity.chain.is_some(), self.may_follow(ask));
                Break(Begun::Rejected(Refusal::AnotherClaim { differs, retry_after }))
            }
        }
    }

    /// Moves a lead on that its own attempt asks for again.
    fn lead_again(&self, ask: &Ask, now: Instant, record: &mut FlightRecord) -> Lease {
        let until = now + self.config.lease;
        record.lock = Some(Lock { fence: record.fence, until });
        record.ends = record.ends.max(until + self.config.memory_of_lost());
        self.gates().renew(record.fence, true, now, &self.config);
        Lease { started: record.started, ..self.lease(ask, record.fence, now, record.history) }
    }

    fn lease(&self, ask: &Ask, fence: u64, now: Instant, history: TokenHistory) -> Lease {
        Lease {
            flight: ask.identity.flight,
            claim: ask.identity.claim,
            attempt: ask.attempt,
            fence,
            started: now,
            own: OwnLease::new(Moment::at(now), self.config.lease),
            granted: now,
            history,
            server: None,
            is_local: false,
        }
    }

    /// Leads, if the rules of admission let it.
    fn lead(
        &self,
        ask: &Ask,
        terms: &AdmissionTerms,
        now: Instant,
        lost: u32,
        history: TokenHistory,
    ) -> Result<(FlightRecord, Lease), Box<Begun>> {
        let mut gates = self.gates();
        let candidate = match gates.admit(self.number, ask, terms, now, &self.config) {
            Admission::Admitted(candidate) => candidate,
            Admission::Queued(queued) => return Err(Box::new(Begun::Queued(queued))),
            Admission::Rejected(refusal) => return Err(Box::new(Begun::Rejected(refusal))),
        };
        // Under the gates' lock: when the circuit opens, the last fence that was let through is known.
        let fence = self.namespace.next_fence();
        let (charged, moved) = gates.lead(candidate, fence, now, &self.config);
        drop(gates);
        if let Some(moved) = moved {
            moved.say(&self.config.namespace, self.number, &ask.identity.flight);
        }
        let until = now + self.config.lease;
        let lease = self.lease(ask, fence, now, history);
        let record = FlightRecord {
            lock: Some(Lock { fence, until }),
            state: State::Leading,
            client: Some(ask.identity.client),
            attempt: lease.attempt,
            fence,
            history,
            lost,
            ends: until + self.config.memory_of_lost(),
            charged: Some(charged),
            ..FlightRecord::bare(lease.claim, now)
        };
        Ok((record, lease))
    }
}

/// A token that may have been rotated and must not be presented again.
fn token_lost(fence: u64) -> Begun {
    Begun::Landed(StoredOutcome { outcome: Arc::new(Outcome::TokenLost(None)), fence, age: Duration::ZERO })
}
