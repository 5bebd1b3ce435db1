//! A world in words, for counterexamples.

use super::action::name;
use super::flight::{Flight, Step};
use super::redis::{Age, Db, State, TOKENS};
use super::scripts::Coming;
use super::world::{Caller, World};

/// The parts of a world, a line each, always in this order: callers, tokens, server, provider, judge.
pub fn parts(world: &World) -> Vec<String> {
    let callers = world.callers.iter().enumerate().map(|(index, caller)| tell_caller(index, caller));
    let mut parts: Vec<String> = callers.collect();
    parts.extend((0..TOKENS).map(|index| tell_token(&world.db, index)));
    let recovering = if world.db.is_recovering { ", recovers" } else { "" };
    parts.push(format!("server {}, noted {}{recovering}", world.server, world.db.noted));
    let revoked = if world.provider.is_revoked { "the family is REVOKED" } else { "" };
    parts.push(format!("provider: T{} is good {revoked}", world.provider.current));
    parts.push(world.broken.map_or_else(String::new, |promise| format!("BROKEN: {}", promise.name())));
    parts
}

fn tell_caller(index: usize, caller: &Caller) -> String {
    let name = name(index);
    let mut text = match caller.token {
        0 => format!("{name}: has no token"),
        token => format!("{name}: holds T{token}"),
    };
    if let Some(flight) = &caller.flight {
        text += &format!(", waits: {}", tell_flight(flight));
    }
    if let Some(flight) = &caller.behind {
        text += &format!(", without it: {}", tell_flight(flight));
    }
    text
}

fn tell_flight(flight: &Flight) -> String {
    let token = flight.ask.token;
    let coming = match flight.ask.coming {
        Coming::Directly => String::new(),
        Coming::Taking => format!(" (would be handed it; came with T{}, place {})", flight.own, flight.ask.from),
        Coming::Walking => format!(" (would present it; came with T{}, place {})", flight.own, flight.ask.from),
        Coming::Past => " (all the same)".to_owned(),
    };
    match flight.step {
        Step::Asking if flight.ask.joined > 0 => format!("joined fence {} of T{token}{coming}", flight.ask.joined),
        Step::Asking => format!("asks about T{token}{coming}"),
        Step::Led(fence) => format!("leads T{token} under fence {fence}{coming}"),
        Step::Calling(call) => format!("CALL WITH T{token} under fence {}, {:?}{coming}", call.fence, call.outcome),
        Step::Leaving(Some((answer, _))) => format!("leaves for T{} that the chain came to T{answer}", flight.own),
        Step::Leaving(None) => format!("leaves for T{} that the chain leads nowhere", flight.own),
    }
}

fn tell_token(db: &Db, index: usize) -> String {
    let (record, held) = (&db.records[index], &db.held[index]);
    let mut text = format!("T{}: ", index + 1);
    text += &match record.state {
        State::Nothing => "no outcome".to_owned(),
        State::Leading if record.lock != 0 => format!("led under fence {}", record.fence),
        State::Leading => "led, and the lease is over".to_owned(),
        State::Lost => "its leader is lost".to_owned(),
        State::Landed(token, Age::Fresh) => format!("landed {token:?}, fresh"),
        State::Landed(token, Age::Stale) => format!("landed {token:?}"),
    };
    if let Some(link) = record.link {
        let given = if link.is_given { "given" } else { "was given" };
        text += &format!("; {given} at place {}, used {}", link.generation, link.used);
    }
    if let Some(held) = held {
        text += &format!("; held: T{}, place {}, used {}", held.answer, held.generation, held.used);
    }
    text
}
