//! How a lead in memory ends: renewed for a while, then completed or given back.

use std::sync::Arc;

use dashmap::mapref::entry::Entry;
use tokio::time::Instant;

use super::MemoryPod;
use super::record::{FlightRecord, Lock, State};
use crate::outcome::{Class, Outcome, TokenState};
use crate::retention::Retention;
use crate::store::contract::{Ask, Completion, Lease, Renewed, Standing};

/// A completion that is under way.
struct Landing<'a> {
    lease: &'a Lease,
    ask: &'a Ask,
    completion: &'a Completion,
    now: Instant,
}

impl MemoryPod {
    pub(crate) fn renew(&self, lease: &Lease) -> Renewed {
        let now = Instant::now();
        let until = now + self.config.lease;
        let Some(mut record) = self.namespace.flights.get_mut(&lease.flight) else {
            return Renewed::Superseded;
        };
        if record.is_over(now) || record.fence > lease.fence || matches!(record.state, State::GivenBack) {
            return Renewed::Superseded;
        }
        if record.fence == lease.fence && record.attempt != lease.attempt {
            return Renewed::Superseded;
        }
        let holds = record.lock.as_ref().is_some_and(|lock| lock.fence == lease.fence && lock.until > now);
        if record.is_led_at(now) && !holds {
            return Renewed::Superseded;
        }
        if record.landed(now).is_some() && (record.attempt == lease.attempt || !holds) {
            // Over, for this leader or for all.
            return Renewed::Superseded;
        }
        self.gates().renew(lease.fence, now, &self.config);
        record.lock = Some(Lock { fence: lease.fence, until });
        record.ends = record.ends.max(until + self.config.memory_of_lost());
        if record.fence == lease.fence && matches!(record.state, State::LeaderLost { .. }) {
            // It was only late.
            record.state = State::Leading;
            record.lost = record.lost.saturating_sub(1);
        }
        Renewed::Renewed
    }

    pub(crate) fn complete(&self, lease: &Lease, ask: &Ask, completion: &Completion) -> Standing {
        let now = Instant::now();
        match self.land(&Landing { lease, ask, completion, now }) {
            Ok(()) => Standing::Ours,
            Err(stands) => {
                self.gates().give_back(lease.fence, now, &self.config);
                stands
            }
        }
    }

    /// Lands it, and gives back its permit and its probe in the same step.
    ///
    /// # Errors
    ///
    /// What stands instead. Permit and probe are not given back.
    fn land(&self, landing: &Landing<'_>) -> Result<(), Standing> {
        let Landing { lease, completion, now, .. } = *landing;
        let outcome: &Outcome = &completion.outcome;
        let mut record = match self.namespace.flights.entry(lease.flight) {
            Entry::Occupied(occupied) if !occupied.get().is_over(now) => occupied.into_ref(),
            // It is forgotten; that the token was rotated or is uncertain must not be.
            _ if outcome.class() != Class::Success && outcome.token_state() != TokenState::Unknown => {
                return Err(Standing::Stale);
            }
            gone => gone.insert(FlightRecord::forgotten(lease, now)),
        };
        if record.success_of == Some(lease.attempt) {
            record.free(lease);
            return Err(Standing::Ours);
        }
        if record.stands_against(lease, outcome) {
            record.free(lease);
            record.tell_waiting(now);
            return Err(match record.landed(now) {
                Some(_) if record.attempt == lease.attempt => Standing::Ours,
                Some(landed) if record.claim == lease.claim => Standing::Theirs(landed),
                _ => Standing::Stale,
            });
        }
        // Of a flight that is not known any more nobody can say whether it was counted: this may be a repeat.
        let is_known = !matches!(record.state, State::GivenBack);
        self.write(&mut record, landing);
        self.count(&mut record, landing, is_known);
        record.tell_waiting(now);
        Ok(())
    }

    /// The outcome is the record's from now on.
    fn write(&self, record: &mut FlightRecord, landing: &Landing<'_>) {
        let Landing { lease, completion, now, .. } = *landing;
        let outcome = &completion.outcome;
        let at = now - completion.age;
        let Retention { fresh, lives, kept } = Retention::of(outcome, &self.config);
        // Some providers say "for ever" by the largest number there is: that is no bound.
        let dies_at = lives.and_then(|lives| at.checked_add(lives));
        let fresh_until = dies_at.map_or(now + fresh, |dies_at| dies_at.min(now + fresh));
        record.state = State::Landed { outcome: Arc::clone(outcome), at, fresh_until };
        record.claim = lease.claim;
        record.attempt = lease.attempt;
        record.fence = lease.fence;
        if outcome.class() == Class::Success {
            record.success_of = Some(lease.attempt);
        }
        record.ends = now + kept;
        if record.waiting.is_some() {
            record.ends = record.ends.max(now + self.config.wait_timeout);
        }
        if matches!(outcome.token_state(), TokenState::Untouched | TokenState::Unknown) && record.lost > 0 {
            record.ends = record.ends.max(now + self.config.memory_of_lost());
        }
        record.free(lease);
    }

    /// The rules of admission hear of a flight that landed; its permit and its probe are free.
    fn count(&self, record: &mut FlightRecord, landing: &Landing<'_>, is_known: bool) {
        let Landing { lease, ask, completion: Completion { outcome, health, .. }, now } = *landing;
        let session = ask.identity.session;
        let mut gates = self.gates();
        if !outcome.is_charged()
            && let Some(charged) = record.charged.take()
        {
            gates.uncharge(session, charged);
        }
        if is_known {
            gates.landed((lease.fence, self.namespace.last_fence()), session, *health, now, &self.config);
        }
        if outcome.token_state() == TokenState::Dead && session == lease.flight {
            gates.forget(session);
        }
        // Last: the circuit learned from its probe, if it was one.
        gates.give_back(lease.fence, now, &self.config);
    }

    pub(crate) fn abandon(&self, lease: &Lease, ask: &Ask) {
        let now = Instant::now();
        let Some(mut record) = self.namespace.flights.get_mut(&lease.flight) else { return };
        let leads =
            matches!(record.state, State::Leading | State::LeaderLost { .. }) && record.attempt == lease.attempt;
        if !leads || record.is_over(now) {
            return;
        }
        record.free(lease);
        let mut gates = self.gates();
        gates.give_back(lease.fence, now, &self.config);
        if let Some(charged) = record.charged.take() {
            gates.uncharge(ask.identity.session, charged);
        }
        drop(gates);
        record.tell_waiting(now);
        if matches!(record.state, State::LeaderLost { .. }) {
            // This leader was only late, and asked nobody.
            record.lost -= 1;
        }
        record.attempt = uuid::Uuid::nil();
        if record.lost > 0 {
            // This leader never asked, but one before it may have, and its time was over.
            record.state = State::LeaderLost { heard_until: None };
        } else {
            record.state = State::GivenBack;
            // Somebody may still come for the success before, and it is not to land again.
            record.ends = now + self.config.lease;
        }
    }
}
