//! A world in words, for counterexamples.

use super::action::name;
use super::lazy::story as lazily;
use super::redis::Family;
use super::sizes::{CLAIMS, TOKENS};
use super::world::{Caller, Flight, Step, World};

/// The parts of a world, a line each, always in this order: callers, tokens, family, provider, judge.
pub fn parts(world: &World) -> Vec<String> {
    let callers = world.callers.iter().enumerate().map(|(index, caller)| tell_caller(index, caller));
    let mut parts: Vec<String> = callers.collect();
    parts.push(format!("the shared store has T{}", world.shared));
    parts.extend((1..=TOKENS as u8).map(|token| lazily::tell_token(&world.db.lazy, token)));
    parts.push(lazily::tell_families(&world.db.lazy));
    parts.extend((0..TOKENS).map(|index| match &world.db.records[index] {
        None => format!("T{}: no record", index + 1),
        Some(record) => format!("T{}: {:?}", index + 1, record.state),
    }));
    parts.push(world.db.family.as_ref().map_or_else(|| "no family".to_owned(), tell_family));
    parts.push(format!("server {}", world.server));
    let revoked = if world.is_revoked { "the family is REVOKED" } else { "" };
    parts.push(format!("provider: T{} is good {revoked}", world.current));
    parts.push(world.broken.map_or_else(String::new, |promise| format!("BROKEN: {}", promise.name())));
    parts
}

fn tell_caller(index: usize, caller: &Caller) -> String {
    let flight = caller.flight.as_ref().map(tell_flight).unwrap_or_default();
    let leaves = caller.leaves.map(|(own, next)| format!("; has not told yet that T{} leads to T{next}", own.token));
    format!("{}: keeps T{}{flight}{}", name(index), caller.token, leaves.unwrap_or_default())
}

fn tell_flight(flight: &Flight) -> String {
    let ask = &flight.ask;
    let past = if ask.is_past { ", all the same" } else { "" };
    let step = match flight.step {
        Step::Asking => "asks about",
        Step::Waiting => "waits at",
        Step::Led => "LEADS",
        Step::Calling => "HAS HAD ROTATED",
    };
    let course = lazily::tell_course(&flight.course);
    format!("; its flight for claim {} came with T{} and {step} T{}{past}{course}", ask.claim, ask.own, ask.token)
}

fn tell_family(family: &Family) -> String {
    let mut text = format!("family: newest T{}, used T{}", family.tip, family.used);
    for claim in 0..CLAIMS {
        if let Some(entry) = family.claims[claim] {
            let over = if entry.is_over { " (over)" } else { "" };
            text += &format!("; claim {claim} came with T{}, was given T{}{over}", entry.came, entry.given);
        }
    }
    if let Some(first) = family.first() {
        text += &format!("; it is the turn of {}", name(usize::from(first)));
    }
    text
}
