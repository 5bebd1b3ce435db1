//! `follow` in memory: where a flight goes on whose token other claims of its client come with. Mirrored by `lua/follow.lua`.

use tokio::time::Instant;

use self::seen::{Asker, Followed, Seen};
use self::who::may_go_on;
use super::MemoryPod;
use super::family::{Entry, FamilyRecord};
use super::held::next_identity;
use super::news::MemoryNews;
use super::record::State;
use crate::identity::Hash;
use crate::outcome::TokenState;
use crate::store::contract::{Ask, Family, Origin, StoredOutcome};

mod note;
mod seen;
mod who;

impl MemoryPod {
    pub(crate) fn follow(&self, ask: &Ask, own: Option<&Ask>, may_lead: bool) -> Followed {
        let asker = Asker { ask, own, may_lead };
        let Some(member) = &ask.identity.chain else { return Followed::Spent };
        let now = Instant::now();
        if self.namespace.ended.has(ask.identity.flight, ask.identity.client, now) {
            return Followed::Ended;
        }
        if self.is_of_others(&ask.identity.flight, member.holder, now) {
            return Followed::Spent;
        }
        loop {
            let Seen { id, .. } = self.see(ask, member.holder, now);
            // Before another login took its token over, its claim may have come to the one that is named after the holder.
            let own_family = asker.comes_directly().then_some(member.holder).filter(|own| *own != id);
            let own_family = own_family.and_then(|own| self.known_family(own));
            let came_there = own_family.filter(|own| own.lock().has_only_come(ask.identity.claim, now));
            let family = self.family(id);
            let mut family = family.lock();
            // Once more: what stands in several records is told in one step.
            let seen = Seen { came_there: came_there.is_some(), ..self.see(ask, member.holder, now) };
            if seen.id == id {
                let followed = self.follow_in(&mut family, asker, seen, now);
                let is_known_here = family.entry_of(ask.identity.claim).is_some();
                drop(family);
                if let Some(own) = came_there.filter(|_| is_known_here) {
                    // Once: it leaves its token behind in this login from now on.
                    own.lock().entries.retain(|entry| entry.came_claim != Some(ask.identity.claim));
                }
                return followed;
            }
        }
    }

    /// A login of another credential counts for nothing.
    fn see(&self, ask: &Ask, holder: Hash, now: Instant) -> Seen {
        let claim = ask.identity.claim;
        let known = self.namespace.flights.get(&ask.identity.flight);
        let record = known.as_deref().filter(|record| !record.is_over(now));
        let login = record.and_then(|record| record.login.as_deref()).filter(|login| login.holder == holder);
        let link = record.and_then(|record| record.link.as_deref());
        let before = link.filter(|link| link.holder == holder).and_then(|link| self.namespace.held.get(&link.before));
        let to_came = before.filter(|held| !held.is_over(now)).map(|held| held.claim);
        let held = self.namespace.held.get(&ask.identity.flight).filter(|held| !held.is_over(now));
        let held = held.filter(|held| held.holder == holder);
        let (next, is_held) = (held.as_ref().map(|held| held.next), held.is_some());
        let place = link.map(|link| link.generation).or(held.as_ref().map(|held| held.generation)).unwrap_or(1);
        let is_rotated = record.is_some_and(|record| record.token_state() == Some(TokenState::Rotated));
        let presents = record.filter(|record| {
            record.client == Some(ask.identity.client) && (is_rotated || matches!(record.state, State::Leading))
        });
        let fresh = presents.filter(|record| is_rotated && !record.is_untold && record.is_fresh(now));
        let fresh = fresh.and_then(|record| record.landed(now).map(|landed| (record.claim, landed)));
        let is_of_held = fresh.is_none();
        let other = fresh.or_else(|| {
            let held = held.filter(|held| held.used <= place)?;
            self.open_held(&ask.identity, &held, now).map(|(landed, _)| (held.claim, landed))
        });
        let mut seen = Seen {
            // Named after who holds this token, so that nobody else's is called so.
            id: login.map_or(holder, |login| login.id),
            holder,
            key: login.and_then(|login| login.key.clone()),
            place,
            is_member: login.is_some(),
            is_rotated,
            is_proven: is_rotated || is_held || link.is_some(),
            to: link.and_then(|link| link.to),
            to_came,
            is_given_unused: link.is_some_and(|link| {
                link.to.is_some_and(|(to, _)| to == claim) && link.holder == holder && link.used < place
            }),
            presents: presents.map(|record| record.claim),
            other,
            came_there: false,
            is_held,
            next,
            next_place: None,
            next_holds: None,
            is_next_held: false,
            went_on_in: None,
        };
        drop(known);
        let Some(next) = next else { return seen };
        seen.is_next_held = self.namespace.held.get(&next).is_some_and(|held| !held.is_over(now));
        if let Some(followed) = self.namespace.flights.get(&next).filter(|record| !record.is_over(now)) {
            seen.next_place = followed.link.as_ref().filter(|_| is_of_held).map(|link| link.generation);
            seen.next_holds = followed.link.as_ref().and_then(|link| Some(link.to?.1));
            match followed.token_state() {
                // Dead.
                Some(TokenState::Dead) if followed.given_until().is_none() && !seen.is_next_held => seen.other = None,
                Some(TokenState::Rotated) => seen.went_on_in = followed.login.as_ref().map(|login| login.id),
                Some(_) | None => {}
            }
        } else if !seen.is_next_held {
            // Nothing is known of it any more.
            seen.other = None;
        }
        seen
    }

    fn follow_in(&self, family: &mut FamilyRecord, asker: Asker<'_>, mut seen: Seen, now: Instant) -> Followed {
        let attempt = asker.first().attempt;
        family.forget_if_over(now);
        if family.has_ended(now) {
            return Followed::Ended;
        }
        // A later token than that in the answer was presented for a login of which nothing is known any more.
        let is_forgotten = seen.went_on_in.is_some_and(|login| login != seen.id || family.newest.is_none());
        let is_end = seen.is_end(family, &asker.ask.identity.flight);
        seen.other.take_if(|_| !is_end || (is_forgotten && !seen.is_next_held));
        let name = match may_go_on(family, asker, &seen, now) {
            Ok(name) => name,
            Err(followed) => {
                family.order.leave(attempt, self.config.permit_reserved_for(), now);
                return followed;
            }
        };
        let holds = self.config.claim_is_known_for(None);
        self.note_coming(family, asker, &seen, name, holds, now);
        // Who presents the newest token, or what followed the caller's; and who has, and tells nobody yet.
        let led_until = |flight: &Hash| self.led_until(asker.ask, flight);
        let untold_until =
            |flight: &Hash| self.namespace.flights.get(flight).filter(|record| record.is_untold)?.led_until();
        let newest = family.newest.as_ref().map(|newest| newest.flight);
        let before =
            newest.and_then(|newest| self.namespace.flights.get(&newest)?.link.as_ref().map(|link| link.before));
        let tells_until = before.and_then(|before| untold_until(&before));
        let is_told = tells_until.is_none_or(|until| until <= now);
        let is_newest = |entry: &Entry| family.newest.as_ref().is_some_and(|newest| newest.place == entry.given);
        let is_untold = !is_told && family.entries.iter().any(|entry| entry.name == name && is_newest(entry));
        if !is_untold && let Some(given) = self.given_later(family, asker.ask, &seen, name, now) {
            family.order.leave(attempt, self.config.permit_reserved_for(), now);
            return given;
        }
        let next = seen.other.as_ref().and(seen.next);
        if let Some(next) = next {
            // Whoever presents a token that followed calls those that wait here.
            self.way_comes_to_login(next, seen.id, now);
        }
        let tokens = [Some(newest.unwrap_or(asker.ask.identity.flight)), next];
        let leads_until = tokens.iter().flatten().filter_map(led_until).chain(tells_until).max();
        if !asker.may_lead && leads_until.is_none_or(|until| until <= now) {
            family.order.leave(attempt, self.config.permit_reserved_for(), now);
            return Followed::Spent;
        }
        match family.order.take_turn(attempt, leads_until, self.config.permit_reserved_for(), now) {
            Err(look_at) => Followed::Wait(MemoryNews::Queue(family.order.wait(attempt, name, look_at))),
            Ok(()) => self.present_in_turn(family, asker, seen).unwrap_or(Followed::Spent),
        }
    }

    /// Until when the token is led. A stranger's lead is waited for where the token is asked for: in the order of known clients, and not
    /// behind all strangers that come.
    fn led_until(&self, ask: &Ask, flight: &Hash) -> Option<Instant> {
        let record = self.namespace.flights.get(flight)?;
        let is_strangers = if *flight == ask.identity.flight {
            matches!(record.state, State::Leading) && record.client != Some(ask.identity.client)
        } else {
            record.is_led_by_stranger()
        };
        record.led_until().filter(|_| !is_strangers)
    }

    /// What its claim was given later, while the access token in that is good.
    fn given_later(&self, family: &FamilyRecord, ask: &Ask, seen: &Seen, name: Hash, now: Instant) -> Option<Followed> {
        let entry = family.entries.iter().find(|entry| entry.name == name && entry.given > seen.place)?;
        let answer = entry.answer.as_ref().filter(|answer| answer.good_until > now)?;
        let of_key = Family::open(seen.id, seen.key.as_ref()?, &ask.identity, &self.config);
        let opened = of_key.and_then(|family| {
            family.open_answer(&answer.given, &answer.sealed, &ask.identity.entitlement, &self.config)
        });
        // Nobody but its holder comes so far.
        let Ok(outcome) = opened else { return Some(Followed::Spent) };
        let age = now.saturating_duration_since(answer.at);
        Some(Followed::Given(StoredOutcome { outcome: outcome.into(), fence: answer.given.fence, age }))
    }

    /// What the flight presents whose turn it is. None where what is held does not open.
    fn present_in_turn(&self, family: &FamilyRecord, asker: Asker<'_>, seen: Seen) -> Option<Followed> {
        let Seen { id, key, place, other, next_place, .. } = seen;
        let identity = &asker.ask.identity;
        let led_on_from = asker.ask.origin.as_ref().filter(|_| asker.own.is_some()).map(|origin| origin.place);
        let opened = match &key {
            Some(key) => Some(Family::open(id, key, identity, &self.config).ok()?),
            None => None,
        };
        let named: Vec<&Vec<u8>> = family.named.values().collect();
        let origin = |family: Family, newest, before| {
            let own = &asker.first().identity;
            let own_key = family.key_for(own, &self.config);
            let own_naming = family.seal_naming(own, &self.config);
            let called = named.iter().filter_map(|sealed| family.claim_called_by(sealed, own, &self.config)).collect();
            let holder = own.chain.as_ref().map_or(own.flight, |member| member.holder);
            let (flight, claim, place) = (own.flight, own.claim, led_on_from.unwrap_or(place));
            Box::new(Origin { family, flight, claim, holder, place, newest, own_key, own_naming, before, called })
        };
        if let Some((claim, landed)) = other {
            let token = next_identity(identity, &landed.outcome, &self.config)?.entitlement.token;
            let family = opened.unwrap_or_else(|| Family::new(id));
            let origin = origin(family, next_place.unwrap_or(place + 1), Some((claim, landed)));
            return Some(Followed::Newest { token, origin });
        }
        if let Some(newest) = family.newest.as_ref().filter(|newest| newest.flight != identity.flight) {
            let opened = opened?;
            let token = opened.open_token(newest.place, &newest.sealed, &identity.entitlement, &self.config).ok()?;
            return Some(Followed::Newest { token, origin: origin(opened, newest.place, None) });
        }
        let family = opened.unwrap_or_else(|| Family::new(id));
        Some(Followed::Own(origin(family, place, None)))
    }
}

#[cfg(test)]
mod tests;
