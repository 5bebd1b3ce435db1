//! A world in words, for counterexamples.

use crate::pod::{Flight, Kept, Lead, NEVER, Pod, Step};
use crate::redis::{Db, FlightState, Server};
use crate::settings::PODS;
use crate::world::World;

/// The parts of a world, a line each, always in this order: pods, primary, demoted primary, provider, judge.
pub fn parts(world: &World) -> Vec<String> {
    let mut parts: Vec<String> = (0..PODS).map(|pod| tell_pod(pod, &world.pods[pod])).collect();
    parts.push(tell_server("primary", &world.primary));
    parts.push(world.demoted.as_ref().map_or_else(String::new, |demoted| tell_server("demoted", demoted)));
    let presented = world.provider.presentations.iter();
    let presented = presented.map(|one| format!("{} under fence {}: {:?}", name(one.pod), one.fence, one.outcome));
    parts.push(format!("provider: {}", presented.collect::<Vec<_>>().join("; ")));
    parts.push(world.broken.map_or_else(String::new, |promise| format!("BROKEN: {}", promise.name())));
    parts
}

fn name(pod: u8) -> &'static str {
    ["A", "B", "C"][usize::from(pod)]
}

fn tell_pod(index: usize, pod: &Pod) -> String {
    let name = name(index as u8);
    if !pod.is_alive {
        return format!("{name}: does not run");
    }
    let flight = pod.flight.map_or_else(|| "at rest".to_owned(), |flight| tell_flight(&flight));
    let mut text =
        format!("{name}: {flight}; at server {}, knows of {}, has seen fence {}", pod.lane, pod.knows, pod.seen);
    if let Some(Kept { server, left, .. }) = pod.kept {
        text += &format!(", keeps a completion of server {server} for {left}");
    }
    if pod.late.is_some() {
        text += ", a command is late";
    }
    if pod.heard == NEVER {
        text += ", refused a renewal though nobody newer leads";
    } else if pod.heard > 0 {
        text += &format!(", heard of {} ticks yet", pod.heard);
    }
    text
}

fn tell_flight(flight: &Flight) -> String {
    let lease = |lead: &Lead| format!("fence {} of server {}, own lease {}", lead.fence, lead.server, lead.own_lease);
    let step = match flight.step {
        Step::Ask { wait: 0 } => "asks now".to_owned(),
        Step::Ask { wait } => format!("asks in {wait}"),
        Step::Led(lead) => format!("leads, call not polled ({})", lease(&lead)),
        Step::Connecting(lead) => format!("connects to the provider ({})", lease(&lead)),
        Step::Calling { lead, .. } => format!("CALL UNDER WAY ({})", lease(&lead)),
        Step::Landing { outcome, .. } => format!("holds {outcome:?}, to land"),
        Step::GivingBack { .. } => "gives back".to_owned(),
    };
    let callers = if flight.waits.is_some() { "callers wait" } else { "callers were told" };
    format!("attempt {} {step}, {callers}", flight.attempt)
}

fn tell_server(what: &str, server: &Server) -> String {
    let Server { id, db, .. } = server;
    let Db { lock, record, fence, recovering, noted, .. } = db;
    let state = match record.state {
        FlightState::Nothing => "no record".to_owned(),
        FlightState::Leading => format!("leading {}/{}", name(record.pod), record.fence),
        FlightState::Lost { again_in } => format!("lost {}/{} ({again_in})", name(record.pod), record.fence),
        FlightState::Landed(outcome) => format!("landed {outcome:?} of fence {}", record.fence),
    };
    let lock = lock.map_or_else(
        || "no lock".to_owned(),
        |lock| format!("lock {}/{} for {}", name(lock.pod), lock.fence, lock.left),
    );
    let permits: Vec<String> = db.permits.iter().flatten().map(|permit| permit.attempt.to_string()).collect();
    let noted = noted.map_or_else(String::new, |noted| format!(", noted server {noted}"));
    format!(
        "{what} {id}: {state}, {lock}, fence {fence}, recovering {recovering}, permits [{}]{noted}",
        permits.join(" ")
    )
}
