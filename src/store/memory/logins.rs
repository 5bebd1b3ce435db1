//! The login that a token belongs to in memory: how its record leads there, and when it is over for all claims.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::MemoryPod;
use super::family::{Membership, SharedFamily};
use super::record::{FlightRecord, State};
use crate::identity::Hash;
use crate::outcome::{Class, TokenState};
use crate::secret::Secret;
use crate::store::contract::{self, Ask, Coming, Lease};

/// How the login of a token stands for who comes with it.
pub(super) enum LoginSeen {
    Goes,
    /// A logout with another of its tokens has ended its session.
    Ended,
    /// Another token is the newest.
    WentOn,
}

impl FlightRecord {
    /// Until when it is known, where its token belongs to a login: whoever presents the token ends it no earlier.
    pub(super) fn ends_with_login(&self) -> Option<Instant> {
        self.login.as_ref().map(|_| self.ends)
    }

    /// Whether it is known as a token of a login to who asks.
    pub(super) fn is_of_login_of(&self, ask: &Ask) -> bool {
        let holder = ask.identity.chain.as_ref().map(|member| member.holder);
        self.login.as_ref().is_some_and(|login| Some(login.holder) == holder)
    }

    /// Its record leads to the login for as long as anybody is owed what follows.
    pub(super) fn joins(&mut self, login: Membership, until: Instant) {
        let entry = login.entry.or_else(|| self.login.as_ref().and_then(|before| before.entry));
        self.login = Some(Box::new(Membership { entry, ..login }));
        self.ends = self.ends.max(until);
    }

    /// No claim is owed what follows the token that this attempt has presented: it is known no longer than until then, unless somebody
    /// leads it anew.
    fn is_owed_nothing(&mut self, attempt: Uuid, until: Instant) {
        if self.has_landed_of(attempt) {
            self.ends = self.ends.min(until);
        }
    }

    /// Whether it is to be remembered for what it says of itself: somebody leads, or the token is uncertain for somebody.
    pub(super) fn says_more(&self) -> bool {
        let is_uncertain = || self.lost > 0 || self.has_uncertain();
        match &self.state {
            State::Leading | State::LeaderLost { .. } => true,
            State::Rotated => false,
            State::Abandoned => is_uncertain(),
            State::Landed { outcome, .. } => match outcome.token_state() {
                TokenState::Rotated => false,
                TokenState::Unknown => true,
                TokenState::Kept | TokenState::Dead | TokenState::Untouched => is_uncertain(),
            },
        }
    }

    /// The login keeps the answer of a token that was rotated, sealed: nobody is handed it from here, once nobody waits for it any more.
    pub(super) fn forget_answer(&mut self, now: Instant, waits: Duration) {
        if let State::Landed { outcome, fresh_until, .. } = &self.state
            && self.login.is_some()
            && outcome.class() == Class::Success
            && outcome.token_state() == TokenState::Rotated
            && *fresh_until + waits <= now
        {
            self.state = State::Rotated;
            self.last = None;
        }
    }
}

impl MemoryPod {
    /// The login of this name, which is made where there is none.
    pub(super) fn family(&self, id: Hash) -> Arc<SharedFamily> {
        Arc::clone(&self.namespace.families.entry(id).or_default())
    }

    pub(super) fn known_family(&self, id: Hash) -> Option<Arc<SharedFamily>> {
        self.namespace.families.get(&id).map(|family| Arc::clone(&family))
    }

    /// The record of a token of a login, which is made where there is none. With it the claim is told, should it be.
    pub(super) fn with_record<T>(
        &self,
        flight: Hash,
        claim: Hash,
        now: Instant,
        change: impl FnOnce(&mut FlightRecord) -> T,
    ) -> T {
        let mut record = self.namespace.flights.entry(flight).or_insert_with(|| FlightRecord::bare(claim, now));
        if record.is_over(now) {
            *record = FlightRecord::bare(claim, now);
        }
        change(&mut record)
    }

    /// Who comes with the token that followed finds the login, too.
    pub(super) fn comes_to_login(&self, next: &Hash, id: Hash, until: Instant) {
        if let Some(mut record) = self.namespace.flights.get_mut(next)
            && record.login.is_none()
            && let Some(holder) = record.link.as_ref().map(|link| link.holder)
        {
            record.joins(Membership { id, holder, key: None, entry: None }, until);
        }
    }

    /// The same of all tokens that followed this one, as far as what is held tells.
    pub(super) fn way_comes_to_login(&self, next: Hash, id: Hash, now: Instant) {
        // Not over before this flight asks about them.
        let (mut next, until) = (Some(next), now + self.config.unproven_claim_is_known_for());
        for _ in 0..16 {
            let Some(flight) = next else { return };
            if let Some(mut record) = self.namespace.flights.get_mut(&flight).filter(|record| record.login.is_some()) {
                record.ends = record.ends.max(until);
                return;
            }
            self.comes_to_login(&flight, id, until);
            let record = self.namespace.flights.get(&flight);
            let holder = record.and_then(|record| Some(record.link.as_ref()?.holder));
            let held = self.namespace.held.get(&flight).filter(|held| !held.is_over(now));
            // Where another credential presented it, what followed is of that one's login.
            next = held.filter(|held| Some(held.holder) == holder).map(|held| held.next);
        }
    }

    /// A logout ends the session of all claims of the login that this token belongs to. Answers the newest token, where that is another.
    pub(super) fn end_claims(&self, ask: &Ask, now: Instant) -> Option<Secret> {
        let (id, key) = {
            let record = self.namespace.flights.get(&ask.identity.flight)?;
            let login = record.login.as_ref().filter(|_| !record.is_over(now) && record.is_of_login_of(ask))?;
            (login.id, login.key.clone())
        };
        let family = self.family(id);
        let mut family = family.lock();
        family.forget_if_over(now);
        let until = now + self.config.session_stays_ended();
        family.ended = Some(until);
        family.keep_until(until);
        family.order.call_all();
        let newest = family.newest.as_ref().filter(|newest| newest.flight != ask.identity.flight)?;
        let opened = contract::Family::open(id, &key?, &ask.identity, &self.config).ok()?;
        opened.open_token(newest.place, &newest.sealed, &ask.identity.entitlement, &self.config).ok()
    }

    /// How the login of the token stands, for its holder.
    pub(super) fn login_of_claims(&self, ask: &Ask, now: Instant) -> LoginSeen {
        if ask.identity.chain.is_none() {
            return LoginSeen::Goes;
        }
        let flight = ask.identity.flight;
        let login = self.namespace.flights.get(&flight).and_then(|record| {
            let login = record.login.as_ref().filter(|_| record.is_of_login_of(ask))?;
            Some(login.id)
        });
        let Some(family) = login.and_then(|id| self.known_family(id)) else { return LoginSeen::Goes };
        let family = family.lock();
        let newest = family.newest.as_ref().filter(|_| !family.is_over(now));
        let is_newest = newest.is_none_or(|newest| newest.flight == flight);
        match ask.coming {
            _ if family.has_ended(now) => LoginSeen::Ended,
            // What became of the token may be written over by a stranger that came with it since.
            Coming::InTurn | Coming::Claiming { .. } if !is_newest => LoginSeen::WentOn,
            _ => LoginSeen::Goes,
        }
    }

    /// A presentation has failed. Where no claim of the login has presented what another was given, nobody is owed anything by that, unless
    /// its session has ended; who waits notes itself again. Callers with an older token may present it until `given_until`. What the record of the
    /// token remembers of itself, it does until `keeps`.
    pub(super) fn owes_nobody(
        &self,
        id: Hash,
        lease: &Lease,
        given_until: Option<Instant>,
        keeps: Instant,
        now: Instant,
    ) {
        let Some(family) = self.known_family(id) else { return };
        let mut family = family.lock();
        if family.newest.is_some() || family.has_ended(now) {
            return;
        }
        let until = given_until.map_or(now, |until| until.max(now)).max(now + self.config.wait_timeout);
        family.ends_by(until);
        if let Some(mut record) = self.namespace.flights.get_mut(&lease.flight) {
            record.is_owed_nothing(lease.attempt, until.max(keeps));
            self.namespace.ended.keep(lease.flight, &mut record);
        }
    }

    /// The provider has called a token dead. Where it is the newest, nobody is owed anything any more; one that was left behind says
    /// nothing of the others.
    pub(super) fn end_family(&self, id: Hash, lease: &Lease, keeps: Instant, now: Instant) {
        let Some(family) = self.known_family(id) else { return };
        let mut family = family.lock();
        if family.newest.as_ref().is_some_and(|newest| newest.flight != lease.flight) {
            family.order.wake(None, self.config.permit_reserved_for(), now);
            return;
        }
        family.forget();
        if let Some(mut record) = self.namespace.flights.get_mut(&lease.flight) {
            record.login = None;
            record.is_owed_nothing(lease.attempt, keeps);
            self.namespace.ended.keep(lease.flight, &mut record);
        }
        family.order.call_all();
    }
}

impl MemoryPod {
    /// Wakes the flights that wait in this login, where there is one.
    pub(super) fn wake_family(&self, id: Hash, answered: Option<Hash>, now: Instant) {
        if let Some(family) = self.known_family(id) {
            family.lock().order.wake(answered, self.config.permit_reserved_for(), now);
        }
    }

    /// An attempt of this token waits no longer.
    pub(super) fn leave_order(&self, flight: &Hash, attempt: Uuid) {
        let login = self.namespace.flights.get(flight).and_then(|record| record.login.as_ref().map(|login| login.id));
        if let Some(family) = login.and_then(|id| self.known_family(id)) {
            family.lock().order.leave(attempt, self.config.permit_reserved_for(), Instant::now());
        }
    }
}
