//! Judges what happens by the promises, where it happens: at a presentation, when a caller is given something, when a
//! late command has run.

use crate::pod::{Given, Lead, Pod};
use crate::promises::Promise;
use crate::provider::{Outcome, Presentation};
use crate::scripts::Command;
use crate::settings::Uncertain;
use crate::world::World;

/// Whether nothing kept a process from saying what it knows: it runs, it was not stopped or cut off within this tick,
/// and its connection leads to the primary.
fn is_in_touch(world: &World, pod: &Pod) -> bool {
    pod.is_alive && !pod.is_paused && !pod.is_disturbed && pod.lane == world.primary.id
}

/// Whether a process other than this one holds a success, of one claim or of any, and has had a tick to say so.
pub fn success_is_held(world: &World, by_others_than: usize, of_claim: Option<u8>) -> bool {
    world.pods.iter().enumerate().any(|(index, pod)| {
        index != by_others_than
            && is_in_touch(world, pod)
            && pod.holds.is_some_and(|holds| {
                holds.outcome.is_success() && holds.is_settled && of_claim.is_none_or(|claim| claim == holds.claim)
            })
    })
}

/// The token is about to be sent.
pub fn presentation(world: &mut World, by: usize, lead: &Lead, uncertain: Uncertain) {
    let beside = world
        .pods
        .iter()
        .enumerate()
        .any(|(index, pod)| index != by && pod.is_alive && pod.is_calling() && pod.heard > 0);
    if beside {
        world.breaks(Promise::OnePresentation);
    }
    // A lead that was given while the holder was silent is what the policy allows, though the holder came meanwhile.
    if lead.was_success_held && success_is_held(world, by, None) {
        world.breaks(Promise::SuccessKept);
    }
    // Of a token that the provider has denied there is nothing left to lose.
    let is_known_dead = world
        .provider
        .presentations
        .last()
        .is_some_and(|last| last.outcome == Outcome::Denied && !world.pods[usize::from(last.pod)].is_calling());
    let is_sent_before = |before: &Presentation| before.outcome != Outcome::Untouched && !is_excused(world, before);
    if uncertain == Uncertain::Never && !is_known_dead && world.provider.presentations.iter().any(is_sent_before) {
        world.breaks(Promise::NeverTwice);
    }
    if lead.is_fence_used {
        world.breaks(Promise::FencesGrow);
    }
}

/// Whether the token was presented before under this fence or a higher one. Where Redis has lost writes and its time is
/// no help, a fence that the asking pod has not seen is known to nobody.
pub fn is_fence_used(world: &World, pod: usize, fence: u8) -> bool {
    let is_lost = world.is_set_back && world.has_lost_writes;
    let seen = world.pods[pod].seen;
    world.provider.presentations.iter().any(|before| before.fence >= fence && (before.fence <= seen || !is_lost))
}

/// Redis has lost writes, and no process that could have said so knows of that presentation: nobody can.
fn is_excused(world: &World, before: &Presentation) -> bool {
    let pod = &world.pods[usize::from(before.pod)];
    let is_in_flight = pod.flight.is_some_and(|flight| flight.attempt == before.attempt);
    let is_held = pod.holds.is_some_and(|holds| holds.attempt == before.attempt);
    world.has_lost_writes && !(is_in_touch(world, pod) && (is_in_flight || is_held))
}

/// A caller is given something.
pub fn given(world: &mut World, to: usize, claim: u8, given: Given) {
    match given {
        Given::Outcome(Outcome::Success(attempt)) => {
            let first = &mut world.given[usize::from(claim)];
            if *first != 0 && *first != attempt {
                world.breaks(Promise::SameOutcome);
            } else {
                *first = attempt;
            }
        }
        Given::Lost => {
            if success_is_held(world, to, Some(claim)) {
                world.breaks(Promise::SuccessKept);
            }
        }
        // A denial follows a second presentation, and that was judged.
        Given::Outcome(Outcome::Denied | Outcome::Untouched | Outcome::Unknown) | Given::Refused => {}
        Given::Recovering => world.breaks(Promise::RecoveringWaits),
    }
}

/// A tick has passed: has somebody waited too long?
pub fn patience(world: &mut World) {
    let hangs = |pod: &Pod| pod.flight.is_some_and(|flight| flight.waits == Some(0));
    if world.pods.iter().any(hangs) {
        world.breaks(Promise::NobodyHangs);
    }
}

/// A command has run after its pod gave it up: did it give anything to a flight that is over?
pub fn late(world: &mut World, pod: usize, attempt: u8, held_before: bool) {
    let over = match &world.pods[pod].flight {
        Some(flight) => flight.attempt != attempt,
        None => world.pods[pod].is_alive,
    };
    if over && !held_before && holds_permit(world, attempt) {
        world.breaks(Promise::PermitsComeBack);
    }
}

/// Whether a renewal was refused, though the leader's lease stands and no newer leader has the flight: it is heard of.
pub fn is_wronged(world: &World, renewal: &Command) -> bool {
    let &Command::Renew { fence, stands, .. } = renewal else { return false };
    let db = &world.primary.db;
    stands && db.record.fence < fence && db.lock.is_none_or(|lock| lock.fence < fence)
}

/// Whether an attempt holds a permit at the primary.
pub fn holds_permit(world: &World, attempt: u8) -> bool {
    world.primary.db.permits.iter().flatten().any(|permit| permit.attempt == attempt)
}

/// Whether every caller that came was given the success.
pub fn everybody_was_given_the_success(world: &World) -> bool {
    world.pods.iter().all(|pod| pod.callers == 0 && pod.flight.is_none()) && world.given[0] != 0
}
