//! How a lead ends that presented the newest token of a login: what it brought lands there, for the claim that it was presented for.
//! Mirrored by `lua/lib/land_family.lua`.

use std::time::Duration;

use tokio::time::Instant;

use super::MemoryPod;
use super::chain::Link;
use super::family::{Answer, Entry, FamilyRecord, Membership, Newest};
use super::held::next_identity;
use super::land::{Landed, Landing};
use crate::identity::{FlightName, Hash, Identity};
use crate::outcome::Outcome;
use crate::retention;
use crate::store::contract::Given;
use crate::store::contract::{Ask, Completion, LARGEST_HELD, Lease, Origin, Standing, StoredOutcome};

/// What lands in a login, sealed before anything is locked.
pub(super) struct FamilyLanding<'a> {
    origin: &'a Origin,
    /// The request with the token that was given.
    next: Identity,
    next_place: u64,
    next_holder: Hash,
    here_holder: Hash,
    next_key: Vec<u8>,
    here_key: Vec<u8>,
    newest_token: Vec<u8>,
    answer: Answer,
    /// What the claim is called in the login, with whatever token it comes.
    entry: Hash,
    /// What another claim was given for the token before this one, where the family did not tell this, and for how long that is known.
    before: Option<(Hash, Answer, Duration)>,
    /// By what claims are called with the tokens at these places.
    named: [(u64, Vec<u8>); 2],
    /// What the claim is called with other tokens than its caller's own.
    called: Vec<Hash>,
    /// For how long the claim is known from now on.
    holds: Duration,
}

impl MemoryPod {
    /// Of an outcome that gave a token. None where this flight does not come along with other claims, or where too much came to be kept.
    pub(super) fn landing_in_family<'a>(
        &self,
        lease: &Lease,
        ask: &'a Ask,
        completion: &Completion,
        now: Instant,
    ) -> Option<FamilyLanding<'a>> {
        let (origin, config) = (ask.origin.as_deref()?, &*self.config);
        let Outcome::Success(tokens) = &*completion.outcome else { return None };
        let kept = || ask.request_with_kept(&completion.outcome, config.max_token);
        let kept = || Some(kept()?.in_process(config.pepper.as_ref(), FlightName::Token));
        let next = next_identity(&ask.identity, &completion.outcome, config).or_else(kept)?;
        // What may be used again stands where it stood.
        let next_place = if next.flight == ask.identity.flight { origin.newest } else { origin.newest + 1 };
        let seal = |claim: Hash, fence, outcome: &Outcome, age: Duration| {
            let given = Given { claim, attempt: lease.attempt, fence };
            let sealed = origin.family.seal_answer(&given, outcome, &ask.identity.entitlement, config);
            let good = match outcome {
                Outcome::Success(tokens) => retention::good_for(tokens, config),
                Outcome::Failure(_) | Outcome::TokenLost(_) => Duration::ZERO,
            };
            let at = now - age;
            (sealed.len() <= LARGEST_HELD).then(|| Answer { given, at, good_until: at + good, sealed })
        };
        let before = origin.before.as_ref().and_then(|(claim, StoredOutcome { outcome, fence, age })| {
            let Outcome::Success(tokens) = &**outcome else { return None };
            let holds = config.claim_is_known_for(tokens.expires_in());
            seal(*claim, *fence, outcome, *age).map(|answer| (*claim, answer, holds))
        });
        Some(FamilyLanding {
            origin,
            next_holder: next.chain.as_ref()?.holder,
            here_holder: ask.identity.chain.as_ref()?.holder,
            next_key: origin.family.key_for(&next, config),
            here_key: origin.family.key_for(&ask.identity, config),
            newest_token: origin.family.seal_token(
                next_place,
                &next.entitlement.token,
                &ask.identity.entitlement,
                config,
            ),
            entry: origin.family.entry_of(&ask.identity)?,
            answer: seal(next.claim, lease.fence, &completion.outcome, completion.age)?,
            before,
            named: [
                (origin.place, origin.own_naming.clone()),
                (origin.newest, origin.family.seal_naming(&ask.identity, config)),
            ],
            called: origin.called_with(&ask.identity),
            holds: config.claim_is_known_for(tokens.expires_in()),
            next,
            next_place,
        })
    }

    pub(super) fn complete_in_family(
        &self,
        in_family: FamilyLanding<'_>,
        lease: &Lease,
        ask: &Ask,
        completion: &Completion,
        now: Instant,
    ) -> Standing {
        let FamilyLanding { origin, next, .. } = &in_family;
        let (id, next_flight) = (origin.family.id, next.flight);
        let family = self.family(id);
        let mut family = family.lock();
        // First the record of the token that was given: nobody knows the token yet.
        let is_kept = next_flight == lease.flight;
        let is_new = !is_kept && self.give_in_family(&in_family, lease, now);
        let (login, given_until) = self.before_landing(&lease.flight);
        let landed = self.land(&Landing { lease, ask, completion, now }, None);
        let answered = match landed {
            Ok(Landed { is_ended: false, .. }) => Some(self.land_in_family(in_family, &mut family, lease, now)),
            Ok(_) | Err(_) => None,
        };
        drop(family);
        if answered.is_none() && is_new {
            self.take_back(&next_flight);
        }
        match landed {
            Ok(Landed { is_ended, .. }) => {
                if let Some(until) = given_until.filter(|_| is_ended) {
                    self.stays_known(&lease.flight, until);
                }
                if !completion.is_untold || is_ended {
                    let other = answered.and(Some(id)).filter(|id| login.is_none_or(|(login, _)| login != *id));
                    for id in login.map(|(id, _)| id).into_iter().chain(other) {
                        self.wake_family(id, answered, now);
                    }
                }
                if is_ended { Standing::Ended } else { Standing::Ours }
            }
            Err(stands) => {
                self.gates().release(lease.fence, now, &self.config);
                stands
            }
        }
    }

    /// The record of the token that was given says where that stands. Answers whether it was made for that.
    fn give_in_family(&self, landing: &FamilyLanding<'_>, lease: &Lease, now: Instant) -> bool {
        let FamilyLanding { origin, next, next_holder, holds, .. } = landing;
        let to = Some((next.claim, *holds));
        self.with_record(next.flight, next.claim, now, |record| {
            let is_new = record.is_over(now);
            record.ends = record.ends.max(now + *holds);
            record.link.get_or_insert_with(|| {
                let (generation, given_until) = (origin.newest + 1, Some(now + *holds));
                Box::new(Link { holder: *next_holder, generation, used: 0, given_until, before: lease.flight, to })
            });
            is_new
        })
    }

    /// It has landed. Answers the entry of the claim.
    fn land_in_family(
        &self,
        landing: FamilyLanding<'_>,
        family: &mut FamilyRecord,
        lease: &Lease,
        now: Instant,
    ) -> Hash {
        let FamilyLanding { origin, next, next_place, answer, before, named, holds, entry: name, .. } = landing;
        let Origin { claim, place, newest: here_place, .. } = *origin;
        family.forget_if_over(now);
        // Until a claim has presented a token, its entry is called as the claim is with the token that it came with.
        let first_name = family.entry_of(claim).map_or(name, |entry| entry.name);
        if family.newest.as_ref().is_some_and(|newest| newest.place > next_place) {
            // A leader that was taken for lost: others have gone on since.
            return first_name;
        }
        family.forget_over(now);
        family.rename(first_name, name);
        let to = self.namespace.flights.get(&lease.flight).and_then(|record| record.link.as_ref()?.to);
        let until = now + holds;
        let mut longest = until;
        if let Some(((other, answer, its_holds), (to, _))) = before.zip(to) {
            note_before(family, (place, other), answer, (here_place, to), its_holds, now);
            longest = longest.max(now + its_holds);
        }
        if family.newest.is_none() {
            if let Some((to, its_holds)) = to.filter(|(to, _)| *to != lease.claim) {
                note_to(family, to, here_place, its_holds, now);
            }
            family.keep_first(holds, now);
        }
        // One claim more has presented the newest token itself, and nothing is kept for it.
        if !family.is_full() || family.entries.iter().any(|entry| entry.name == name) {
            let entry = family.entry_named(name, || Entry::new(name, place, holds, now));
            if entry.came <= place {
                entry.came_with(place, claim);
            }
            entry.was_given(next_place, next.claim);
            (entry.holds, entry.ends, entry.answer) = (holds, until, Some(answer));
            family.merge(name, &landing.called, here_place);
        }
        family.keep_names(named);

        family.newest = Some(Newest { place: next_place, flight: next.flight, sealed: landing.newest_token });
        family.used = family.used.max(place);
        family.flights.extend([(place, origin.flight), (next_place, next.flight)]);
        let ends = family.keep_until(longest);
        let ends = family.keep_for_claims().unwrap_or(ends);
        let id = origin.family.id;
        self.with_record(next.flight, next.claim, now, |record| {
            record.joins(
                Membership {
                    id,
                    holder: landing.next_holder,
                    key: Some(landing.next_key),
                    entry: (next.flight != lease.flight).then_some(name),
                },
                ends,
            );
        });
        self.stays_given_until(&next.flight, ends, now);
        self.with_record(origin.flight, claim, now, |record| {
            let key = Some(origin.own_key.clone());
            record.joins(Membership { id, holder: origin.holder, key, entry: None }, longest);
        });
        let stay = self.places_that_stay(family, next_place);
        if origin.flight != lease.flight && (family.names_place(here_place) || stay.contains(&here_place)) {
            family.flights.insert(here_place, lease.flight);
            self.with_record(lease.flight, lease.claim, now, |record| {
                let key = Some(landing.here_key);
                record.joins(Membership { id, holder: landing.here_holder, key, entry: None }, ends);
            });
        }
        let short = now + self.config.keep_outcome + self.config.wait_timeout;
        for flight in family.release(&stay) {
            if let Some(mut record) = self.namespace.flights.get_mut(&flight).filter(|record| !record.says_more()) {
                record.ends = record.ends.min(short);
                self.namespace.ended.keep(flight, &mut record);
            }
        }
        name
    }
}

impl MemoryPod {
    /// The newest place; and where the token that a claim came with has not got the family's key, the one after that: the way from there
    /// leads by the token that followed, which has.
    fn places_that_stay(&self, family: &FamilyRecord, newest: u64) -> Vec<u64> {
        let has_key = |flight: &Hash| {
            let record = self.namespace.flights.get(flight);
            record.is_some_and(|record| record.login.as_ref().is_some_and(|login| login.key.is_some()))
        };
        let keyless = family.came().into_iter().filter(|(_, flight)| !has_key(flight)).map(|(place, _)| place + 1);
        keyless.chain([newest]).collect()
    }
}

/// What another claim was given for the token before this one, where the family did not tell this: it is owed what follows the token in
/// that, which has this place and is given to this claim, for as long as `holds`.
fn note_before(
    family: &mut FamilyRecord,
    (came, other): (u64, Hash),
    answer: Answer,
    (place, to): (u64, Hash),
    holds: Duration,
    now: Instant,
) {
    // It may have come with the token in that already.
    let name = family.entry_of(other).or_else(|| family.entry_of(to)).map_or(other, |entry| entry.name);
    let entry = family.entry_named(name, || {
        let mut entry = Entry::new(name, came, holds, now);
        entry.came_with(came, other);
        entry
    });
    if entry.given < place {
        entry.was_given(place, to);
        entry.answer = Some(answer);
        // Who found it under way could not know how long what it brought lives.
        entry.holds = entry.holds.max(holds);
        entry.ends = now + entry.holds;
    }
}

/// The claim that the token was given to, where nobody has noted that when the second claim came.
fn note_to(family: &mut FamilyRecord, to: Hash, place: u64, holds: Duration, now: Instant) {
    if family.entry_of(to).is_none() && !family.has_named(to) && !family.is_full() {
        family.entry_named(to, || Entry::new(to, place - 1, holds, now)).was_given(place, to);
    }
}
