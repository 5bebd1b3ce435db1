//! Answers that are held until somebody has used the token that they gave: what `held:<flight>` and `held_until` are in Redis,
//! and the fields of a record that say where its token stands in a chain. Mirrored by `lua/lib/held.lua` and `hold.lua`.
//!
//! Sealed, though they never leave the process: a dump of an idle pod is to hold no tokens.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::MemoryPod;
use super::chain::{Found, HeldAnswer, Link};
use super::record::{FlightRecord, State};
use crate::config::Config;
use crate::identity::{FlightName, Hash, Identity};
use crate::outcome::{Outcome, TokenState};
use crate::seal::{Label, Seal};
use crate::secret::Secret;
use crate::store::contract::{Ask, Begun, ChainEnd, Coming, Completion, Held, LARGEST_HELD, Lease, StoredOutcome, Tip};

impl FlightRecord {
    /// Whether nobody can present it with effect. That a stranger was told that it is dead says nothing.
    pub(super) fn is_spent_for(&self, client: Hash) -> bool {
        match self.token_state() {
            Some(TokenState::Rotated) => true,
            Some(TokenState::Dead) => self.is_of(client),
            Some(TokenState::Kept | TokenState::Untouched | TokenState::Unknown) | None => false,
        }
    }

    pub(super) fn token_state(&self) -> Option<TokenState> {
        match &self.state {
            State::Landed { outcome, .. } => Some(outcome.token_state()),
            State::Rotated => Some(TokenState::Rotated),
            State::Leading | State::LeaderLost { .. } | State::Abandoned => None,
        }
    }

    /// Until when a caller with an older token may present this one.
    pub(super) fn given_until(&self) -> Option<Instant> {
        self.link.as_ref().and_then(|link| link.given_until)
    }

    /// For how long the record of a given token is kept at least.
    pub(super) fn given_left(&self, now: Instant) -> Duration {
        self.given_until().map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// Whether a flight that only asks whether the token was used may be told that it was not.
    pub(super) fn is_unused(&self, client: Hash, now: Instant) -> bool {
        !self.is_spent_for(client) && self.given_until().is_some_and(|until| until > now)
    }

    /// It landed: whether callers with an older token may present it still.
    pub(super) fn stays_given(&mut self) {
        if self.token_state() != Some(TokenState::Rotated) {
            self.ends = self.given_until().map_or(self.ends, |until| self.ends.max(until));
        } else if let Some(link) = &mut self.link {
            link.given_until = None;
        }
    }
}

impl MemoryPod {
    /// What of its chain a flight finds at its token: notes which token its caller came with, and looks whether the way is
    /// over.
    pub(super) fn find_held<N>(&self, ask: &Ask, record: Option<&mut FlightRecord>, now: Instant) -> Found<N> {
        let Some(member) = &ask.identity.chain else { return Found::Nothing };
        let (is_walker, from) = match ask.coming {
            Coming::Unchained => return Found::Nothing,
            Coming::Directly | Coming::Past | Coming::InTurn => (false, None),
            Coming::Taking { from } | Coming::Walking { from } | Coming::Claiming { from } => (true, Some(from)),
        };
        let mut held = self.namespace.held.get_mut(&ask.identity.flight).filter(|held| !held.is_over(now));
        let mut link_used = None;
        if let Some(link) = record.and_then(|record| record.link.as_deref_mut())
            && link.holder == member.holder
        {
            link.used = link.used.max(from.unwrap_or(link.generation));
            link_used = Some(link.used);
        }
        if let Some(held) = held.as_deref_mut()
            && held.holder == member.holder
        {
            held.used = held.used.max(from.unwrap_or(held.generation)).max(link_used.unwrap_or(0));
            link_used = Some(held.used);
        }
        if is_walker {
            match link_used {
                None => return Found::Told(Begun::ChainOver(ChainEnd::Broken)),
                // What other claims used ends nothing for this one.
                Some(_) if matches!(ask.coming, Coming::Claiming { .. }) => {}
                Some(used) if Some(used) > from => return Found::Told(Begun::ChainOver(ChainEnd::Used)),
                Some(_) => {}
            }
        }
        let Some(held) = held else { return Found::Nothing };
        if held.claim != ask.identity.claim || ask.coming == Coming::Past {
            return Found::Rotated;
        }
        match self.open_held(&ask.identity, &held, now) {
            Some((landed, passed)) => {
                let next_has_ended = self.namespace.ended.has_any(held.next, now);
                Found::Held { held: Held { landed, passed, generation: held.generation }, next_has_ended }
            }
            None => Found::Rotated,
        }
    }

    /// What is held for the token of this request, and the refresh tokens beside it.
    pub(super) fn open_held(
        &self,
        identity: &Identity,
        held: &HeldAnswer,
        now: Instant,
    ) -> Option<(StoredOutcome, Vec<Secret>)> {
        let label = Label { flight: identity.flight, claim: held.claim, attempt: held.attempt, fence: held.fence };
        let (outcome, passed) = self.held_seal(identity).open(&label, &held.sealed).ok()?;
        let age = now.saturating_duration_since(held.at);
        Some((StoredOutcome { outcome: outcome.into(), fence: held.fence, age }, passed))
    }

    /// Makes the record of the token that an outcome gave, before that lands: nobody knows the token yet. Answers its
    /// flight. None where nothing is to be held, or where somebody has the token already.
    pub(super) fn give_next(
        &self,
        lease: &Lease,
        ask: &Ask,
        completion: &Completion,
        now: Instant,
    ) -> Option<Identity> {
        let Config { keep_outcome, store_timeout, wait_timeout, .. } = &*self.config;
        // What its token was used for may be forgotten by then.
        if completion.age > (*keep_outcome).max(*store_timeout.min(wait_timeout)) {
            return None;
        }
        let next = next_identity(&ask.identity, &completion.outcome, &self.config)?;
        let Outcome::Success(tokens) = &*completion.outcome else { return None };
        let holder = next.chain.as_ref()?.holder;
        let (generation, used, before) = {
            let record = self.namespace.flights.get(&lease.flight);
            let link = record.as_ref().and_then(|record| record.link.as_deref());
            link.map_or((1, 0, None), |link| (link.generation, link.used, Some(link.before)))
        };
        self.release_used(before, generation, used);
        let until = now + self.config.keep_until_used;
        let link = Link {
            holder,
            generation: generation + 1,
            used,
            given_until: Some(until),
            before: lease.flight,
            to: Some((next.claim, self.config.claim_is_known_for(tokens.expires_in()))),
        };
        let mut is_new = false;
        let mut entry = self.namespace.flights.entry(next.flight).or_insert_with(|| {
            is_new = true;
            FlightRecord::given(next.claim, link, now, until)
        });
        if !is_new && entry.is_over(now) {
            *entry = FlightRecord::given(next.claim, link, now, until);
            is_new = true;
        }
        is_new.then_some(next)
    }

    /// Of the answers before a token those are over that gave a token which somebody came with: `used` is the generation of the
    /// newest of these. A caller that is always a token late uses each, but never the newest.
    fn release_used(&self, before: Option<Hash>, generation: u64, used: u64) {
        let (mut before, held) = (before, &self.namespace.held);
        for given in (1..=generation).rev().take(16) {
            let Some(flight) = before else { return };
            before = held.get(&flight).and_then(|held| held.before);
            if used >= given {
                held.remove(&flight);
            }
        }
    }

    /// The answer as it is held from the moment on at which it lands.
    pub(super) fn answer_to_hold(
        &self,
        lease: &Lease,
        ask: &Ask,
        completion: &Completion,
        next: &Identity,
        now: Instant,
    ) -> Option<HeldAnswer> {
        let member = ask.identity.chain.as_ref()?;
        let link_of = |record: &FlightRecord| record.link.as_ref().map(|link| link.before);
        let before = self.namespace.flights.get(&lease.flight).and_then(|record| link_of(&record));
        let sealed = self.seal_held(&ask.identity, lease.attempt, lease.fence, &completion.outcome, &[])?;
        let (generation, used) = {
            let given = self.namespace.flights.get(&next.flight)?;
            let link = given.link.as_ref()?;
            (link.generation - 1, link.used)
        };
        let until = now + self.config.keep_until_used;
        let at = now - completion.age;
        Some(HeldAnswer {
            claim: lease.claim,
            holder: member.holder,
            attempt: lease.attempt,
            fence: lease.fence,
            at,
            until,
            generation,
            used,
            before,
            next: next.flight,
            sealed,
        })
    }

    /// A token was rotated, and its answer is not held: its record tells older tokens that it was used, as what is held would.
    pub(super) fn stays_known(&self, flight: &Hash, until: Instant) {
        if let Some(mut record) = self.namespace.flights.get_mut(flight) {
            record.ends = record.ends.max(until);
        }
    }

    /// The provider has called a token dead: nobody presents it for an older one any more, where that was its holder's, and what is
    /// held for it is over, where that is the same claim's.
    pub(super) fn end_held(&self, lease: &Lease, holder: Option<Hash>) {
        if let Some(mut record) = self.namespace.flights.get_mut(&lease.flight)
            && let Some(link) = record.link.as_deref_mut()
            && Some(link.holder) == holder
        {
            link.given_until = None;
        }
        self.namespace.held.remove_if(&lease.flight, |_, held| held.claim == lease.claim);
    }

    /// The token that followed is behind a token that was used: an older way may have been made short, and lead there at once.
    pub(super) fn note_next(&self, ask: &Ask) {
        if !matches!(ask.coming, Coming::Directly | Coming::Past | Coming::InTurn) {
            return;
        }
        let holder = ask.identity.chain.as_ref().map(|member| member.holder);
        let next = self.namespace.held.get(&ask.identity.flight).map(|held| (held.holder, held.next, held.used));
        if let Some((held_by, next, used)) = next
            && holder == Some(held_by)
            && let Some(mut record) = self.namespace.flights.get_mut(&next)
            && let Some(link) = &mut record.link
            && link.before == ask.identity.flight
        {
            link.used = link.used.max(used);
        }
    }

    /// The answer did not land: its token is nobody's.
    pub(super) fn take_back(&self, next: &Hash) {
        self.namespace.flights.remove_if(next, |_, record| {
            matches!(record.state, State::Abandoned) && record.waiting.is_none() && record.link.is_some()
        });
    }

    pub(crate) fn tip(&self, ask: &Ask, tip: Option<&Tip>) {
        let (flight, now) = (ask.identity.flight, Instant::now());
        let Some(tip) = tip else {
            self.namespace.held.remove_if(&flight, |_, held| held.claim == ask.identity.claim);
            return;
        };
        let Tip { landed: StoredOutcome { outcome, fence, age }, passed } = tip;
        let Some(sealed) = self.seal_held(&ask.identity, ask.attempt, *fence, outcome, passed) else { return };
        let Some(next) = next_identity(&ask.identity, outcome, &self.config) else { return };
        let until = now + self.config.keep_until_used;
        if !self.stays_given_until(&next.flight, until, now) {
            return;
        }
        let Some(mut held) = self.namespace.held.get_mut(&flight) else { return };
        if held.claim == ask.identity.claim && held.fence < *fence {
            held.attempt = ask.attempt;
            held.fence = *fence;
            held.at = now - *age;
            held.until = until;
            held.next = next.flight;
            held.sealed = sealed;
        }
    }

    /// A token is given for as long as anything is held that leads to it. Answers false where its record says nothing of what gave
    /// it: somebody came with it before that landed, and nothing there would tell of it.
    pub(super) fn stays_given_until(&self, flight: &Hash, until: Instant, now: Instant) -> bool {
        let Some(mut record) = self.namespace.flights.get_mut(flight).filter(|record| !record.is_over(now)) else {
            return false;
        };
        let Some(link) = &mut record.link else { return false };
        if let Some(given_until) = &mut link.given_until {
            *given_until = (*given_until).max(until);
            let given_until = *given_until;
            record.ends = record.ends.max(given_until);
        }
        true
    }

    /// The oldest make way where there are too many. A tenth at once: to find them is a walk over all.
    pub(super) fn make_way(&self, now: Instant) {
        let most = self.config.keep_at_most as usize;
        if self.namespace.held.len() <= most {
            return;
        }
        self.namespace.held.retain(|_, held| !held.is_over(now));
        let mut ends: Vec<(Instant, Hash)> = self.namespace.held.iter().map(|held| (held.until, *held.key())).collect();
        ends.sort_unstable();
        let excess = ends.len().saturating_sub(most);
        let make_way = if excess == 0 { 0 } else { excess.max(most / 10) };
        for (_, flight) in ends.iter().take(make_way) {
            if self.namespace.held.remove(flight).is_some() {
                self.counters.held_evicted.add_one();
            }
        }
    }

    fn seal_held(
        &self,
        identity: &Identity,
        attempt: Uuid,
        fence: u64,
        outcome: &Outcome,
        passed: &[Secret],
    ) -> Option<Vec<u8>> {
        let label = Label { flight: identity.flight, claim: identity.claim, attempt, fence };
        let sealed = self.held_seal(identity).seal_with(&label, outcome, passed);
        (sealed.len() <= LARGEST_HELD).then_some(sealed)
    }

    fn held_seal(&self, identity: &Identity) -> Seal {
        let Config { pepper, namespace, .. } = &*self.config;
        Seal::new(&identity.entitlement, pepper.as_ref(), namespace, &identity.flight)
    }
}

/// The request that was given an outcome, with the refresh token in that. None where it holds none but the one presented.
pub(super) fn next_identity(identity: &Identity, outcome: &Outcome, config: &Config) -> Option<Identity> {
    let Outcome::Success(tokens) = outcome else { return None };
    let next = tokens.refresh_token().filter(|_| !tokens.is_kept())?;
    let request = identity.chain.as_ref()?.with_token(next, config.max_token)?;
    Some(request.in_process(config.pepper.as_ref(), FlightName::Token))
}
