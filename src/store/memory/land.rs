//! How a lead in memory ends: renewed for a while, then completed or abandoned.

use std::sync::Arc;

use dashmap::mapref::entry::Entry;
use tokio::time::Instant;

use super::MemoryPod;
use super::chain::HeldAnswer;
use super::record::{FlightRecord, Lock, State};
use crate::admission::attempts;
use crate::admission::circuit::Flown;
use crate::identity::Hash;
use crate::outcome::{Class, Outcome, TokenState};
use crate::retention::Retention;
use crate::store::contract::{Ask, Completion, Lease, Renewed, Standing};

/// A completion that is under way.
pub(super) struct Landing<'a> {
    pub(super) lease: &'a Lease,
    pub(super) ask: &'a Ask,
    pub(super) completion: &'a Completion,
    pub(super) now: Instant,
}

/// An outcome has landed.
pub(super) struct Landed {
    /// The session has ended meanwhile.
    pub(super) is_ended: bool,
    /// Until when the record is kept, whatever is owed to the claims of its login.
    pub(super) keeps: Instant,
}

impl MemoryPod {
    pub(crate) fn renew(&self, lease: &Lease) -> Renewed {
        let now = Instant::now();
        let until = now + self.config.lease;
        let Some(mut record) = self.namespace.flights.get_mut(&lease.flight) else {
            return Renewed::Superseded;
        };
        if record.is_over(now) || record.fence > lease.fence || matches!(record.state, State::Abandoned) {
            return Renewed::Superseded;
        }
        if record.fence == lease.fence && record.attempt != lease.attempt {
            return Renewed::Superseded;
        }
        let holds = record.lock.as_ref().is_some_and(|lock| lock.fence == lease.fence && lock.until > now);
        if record.is_led_at(now) && !holds {
            return Renewed::Superseded;
        }
        if matches!(record.state, State::Landed { .. } | State::Rotated) && (record.attempt == lease.attempt || !holds)
        {
            // Over, for this leader or for all.
            return Renewed::Superseded;
        }
        self.gates().renew(lease.fence, lease.keeps_permit(&self.config), now, &self.config);
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
        if let Some(in_family) = self.landing_in_family(lease, ask, completion, now) {
            return self.complete_in_family(in_family, lease, ask, completion, now);
        }
        let next = self.give_next(lease, ask, completion, now);
        let followed = next.as_ref().map(|next| next.flight);
        let (login, given_until) = self.before_landing(&lease.flight);
        let answer = next.as_ref().and_then(|next| self.answer_to_hold(lease, ask, completion, next, now));
        let may_be_held = answer.is_some();
        match self.land(&Landing { lease, ask, completion, now }, answer) {
            Ok(Landed { is_ended, keeps }) => {
                let is_held = may_be_held && !is_ended;
                if is_held {
                    self.make_way(now);
                } else if let Some(next) = next {
                    self.take_back(&next.flight);
                }
                let holder = ask.identity.chain.as_ref().map(|member| member.holder);
                match (completion.outcome.token_state(), given_until) {
                    (TokenState::Rotated, Some(until)) if !is_held => self.stays_known(&lease.flight, until),
                    (TokenState::Dead, _) => self.end_held(lease, holder),
                    _ => {}
                }
                let is_dead = completion.outcome.token_state() == TokenState::Dead;
                // Once more: somebody may have found other claims under way, just before it landed.
                let login = login.or_else(|| self.before_landing(&lease.flight).0);
                if let Some((id, _)) = login.filter(|(_, member)| Some(*member) == holder)
                    && let Some(next) = followed
                {
                    // Claims of the login wait, or were told of its newest token: who comes with the one that followed finds them.
                    self.comes_to_login(&next, id, now);
                }
                if let Some((id, _)) = login.filter(|_| completion.outcome.token_state() == TokenState::Rotated) {
                    self.is_owed_to_claims(id, &lease.flight, now);
                }
                if let Some((id, _)) = login.filter(|_| completion.outcome.class() != Class::Success) {
                    self.owes_nobody(id, lease, given_until, keeps, now);
                }
                match login {
                    Some((id, member)) if is_dead && Some(member) == holder => self.end_family(id, lease, keeps, now),
                    Some((id, _)) if !completion.is_untold || is_ended => {
                        self.wake_family(id, None, now);
                        // Those of a login that is named after the holder, where another credential's is noted.
                        if let Some(own) = holder.filter(|own| *own != id) {
                            self.wake_family(own, None, now);
                        }
                    }
                    Some(_) | None => {}
                }
                if is_ended { Standing::Ended } else { Standing::Ours }
            }
            Err(stands) => {
                if let Some(next) = next {
                    self.take_back(&next.flight);
                }
                self.gates().release(lease.fence, now, &self.config);
                stands
            }
        }
    }

    /// To which login its token belongs, and to whom there; and until when callers with an older token may present it.
    pub(super) fn before_landing(&self, flight: &Hash) -> (Option<(Hash, Hash)>, Option<Instant>) {
        let Some(record) = self.namespace.flights.get(flight) else { return (None, None) };
        (record.login.as_ref().map(|login| (login.id, login.holder)), record.given_until())
    }

    /// Lands it, and releases its permit and its probe in the same step. The answer, if one is to be, is held from that moment on: who
    /// finds the token rotated finds where it goes on.
    ///
    /// # Errors
    ///
    /// What stands instead. Permit and probe are not released, and nothing is held.
    pub(super) fn land(&self, landing: &Landing<'_>, answer: Option<HeldAnswer>) -> Result<Landed, Standing> {
        let Landing { lease, ask, completion, now, .. } = *landing;
        let outcome: &Outcome = &completion.outcome;
        // Asked under the lock of the record.
        let is_ended = || self.namespace.ended.has(lease.flight, ask.identity.client, now);
        let mut record = match self.namespace.flights.entry(lease.flight) {
            Entry::Occupied(occupied) if !occupied.get().is_over(now) => occupied.into_ref(),
            // It is forgotten; that the token was rotated or is uncertain must not be.
            _ if outcome.class() != Class::Success && outcome.token_state() != TokenState::Unknown => {
                return Err(if is_ended() { Standing::Ended } else { Standing::Stale });
            }
            gone => gone.insert(FlightRecord::forgotten(lease, now)),
        };
        let is_ended = is_ended();
        // Again: it has landed already, and somebody may lead anew since.
        if record.success_of == Some(lease.attempt) || record.has_landed_of(lease.attempt) {
            self.believe_age(&mut record, landing);
            if !(completion.is_untold && record.is_untold) {
                record.free(lease);
            }
            return Err(if is_ended { Standing::Ended } else { Standing::Ours });
        }
        if record.stands_against(lease, outcome) {
            record.free(lease);
            record.tell_waiting(now);
            if is_ended {
                return Err(Standing::Ended);
            }
            return Err(match record.landed(now) {
                Some(landed) if record.claim == lease.claim && record.is_untold => Standing::TheirsUntold(landed),
                Some(landed) if record.claim == lease.claim => Standing::Theirs(landed),
                _ => Standing::Stale,
            });
        }
        // Of a flight that is not known any more nobody can say whether it was counted: this may be a repeat.
        let is_known = !matches!(record.state, State::Abandoned);
        let keeps = self.write(&mut record, landing);
        // Of a session that has ended it is not: the mark is over before the answer would be.
        if let Some(answer) = answer.filter(|_| !is_ended) {
            self.namespace.held.insert(lease.flight, answer);
        }
        self.count(&mut record, landing, is_known);
        if is_ended {
            // They begin again, and hear of that.
            record.is_untold = false;
            record.free(lease);
            record.waiting = None;
        } else if !completion.is_untold {
            record.tell_waiting(now);
        }
        Ok(Landed { is_ended, keeps })
    }

    /// A success that comes again may say that it is older than it was taken for.
    fn believe_age(&self, record: &mut FlightRecord, landing: &Landing<'_>) {
        let Landing { lease, completion, now, .. } = *landing;
        if record.attempt != lease.attempt || completion.outcome.class() != Class::Success {
            return;
        }
        let State::Landed { at, fresh_until, .. } = &mut record.state else { return };
        *at = (*at).min(now - completion.age);
        if let Some(dies_at) =
            Retention::of(&completion.outcome, &self.config).lives.and_then(|lives| at.checked_add(lives))
        {
            *fresh_until = (*fresh_until).min(dies_at);
        }
    }

    /// The outcome is the record's from now on. Answers until when that is kept, whatever is owed to the claims of its login.
    fn write(&self, record: &mut FlightRecord, landing: &Landing<'_>) -> Instant {
        let Landing { lease, completion, now, .. } = *landing;
        let outcome = &completion.outcome;
        let at = now - completion.age;
        let Retention { fresh, lives, kept } = Retention::of(outcome, &self.config);
        // Some providers say "for ever" by the largest number there is: that is no bound.
        let dies_at = lives.and_then(|lives| at.checked_add(lives));
        let fresh_until = dies_at.map_or(now + fresh, |dies_at| dies_at.min(now + fresh));
        record.state = State::Landed { outcome: Arc::clone(outcome), at, fresh_until };
        record.claim = lease.claim;
        record.client = Some(landing.ask.identity.client);
        record.attempt = lease.attempt;
        record.fence = lease.fence;
        if outcome.class() == Class::Success {
            record.success_of = Some(lease.attempt);
        }
        let with_login = record.ends_with_login();
        record.ends = now + kept;
        if record.is_waited_for(now) {
            record.ends = record.ends.max(now + self.config.wait_timeout);
        }
        if outcome.class() == Class::Success
            && let Some(others) = &mut record.others
        {
            others.forget_uncertain();
        }
        let is_uncertain = matches!(outcome.token_state(), TokenState::Untouched | TokenState::Unknown);
        if (is_uncertain && record.lost > 0) || record.has_uncertain() {
            record.ends = record.ends.max(now + self.config.memory_of_lost());
        }
        record.stays_given();
        self.namespace.ended.keep(lease.flight, record);
        let keeps = record.ends;
        record.ends = with_login.map_or(keeps, |until| keeps.max(until));
        record.free(lease);
        record.is_untold = completion.is_untold;
        if completion.is_untold && !record.is_led_at(now) {
            record.keep_back(lease.fence, now + self.config.lease);
        }
        keeps
    }

    /// The rules of admission hear of a flight that landed; its permit and its probe are free.
    fn count(&self, record: &mut FlightRecord, landing: &Landing<'_>, is_known: bool) {
        let Landing { lease, ask, completion: Completion { outcome, health, .. }, now } = *landing;
        let session = ask.identity.session;
        let mut gates = self.gates();
        let account = record.charged.map(|charge| charge.account);
        let account = account.unwrap_or_else(|| gates.account(session, ask.identity.account, now, &self.config));
        if !outcome.is_charged(ask.identity.payer)
            && let Some(charged) = record.charged.take()
        {
            gates.uncharge(session, charged, now);
        }
        if let Some(allowed) = attempts::allowed_by(outcome, &self.config) {
            gates.allow(session, account, allowed);
        }
        let pepper = self.config.pepper.as_ref();
        let mut moved = None;
        if is_known {
            let (fence, last_fence) = (lease.fence, self.namespace.last_fence());
            let flown = Flown { fence, last_fence, token: lease.flight, session, health: *health };
            let client_name = || ask.identity.client_name(pepper);
            let counts;
            (counts, moved) = gates.landed(flown, client_name, || ask.caller(pepper), account, now, &self.config);
            if !counts {
                ask.note_stranger();
            }
        }
        if let Outcome::Success(tokens) = &**outcome {
            gates.note_known(ask.identity.credential(pepper), || ask.next_client(tokens, pepper), now);
        }
        if outcome.token_state() == TokenState::Dead && session == lease.flight {
            gates.forget(session, account, now, &self.config);
        }
        // Last: the circuit learned from its probe, if it was one.
        gates.release(lease.fence, now, &self.config);
        drop(gates);
        if let Some(moved) = moved {
            moved.say(&self.config.namespace, self.number, &lease.flight);
        }
    }

    pub(crate) fn abandon(&self, lease: &Lease, ask: &Ask) {
        let now = Instant::now();
        let Some(mut record) = self.namespace.flights.get_mut(&lease.flight) else { return };
        if !record.is_led_by(lease.attempt) || record.is_over(now) {
            return;
        }
        self.abandon_lead(&mut record, lease.fence, ask, now);
        record.tell_waiting(now);
        let login = record.login.as_ref().map(|login| login.id);
        drop(record);
        if let Some(id) = login {
            self.wake_family(id, None, now);
        }
    }

    /// Abandons a lead that asked nobody, with its permit, its probe and its charge.
    pub(super) fn abandon_lead(&self, record: &mut FlightRecord, fence: u64, ask: &Ask, now: Instant) {
        let mut gates = self.gates();
        gates.release(fence, now, &self.config);
        if let Some(charged) = record.charged.take() {
            gates.uncharge(ask.identity.session, charged, now);
        }
        drop(gates);
        record.undo_lead(now, now + self.config.lease);
        self.namespace.ended.keep(ask.identity.flight, record);
    }
}
