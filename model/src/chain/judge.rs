//! Judges what happens by the promises, where it happens.

use super::flight::Flight;
use super::promises::Promise;
use super::redis::{Age, State, TokenState, bit};
use super::scripts::Coming;
use super::world::World;
use crate::settings::Uncertain;

/// A token is about to be sent.
pub fn presentation(world: &mut World, flight: &Flight, uncertain: Uncertain) {
    let (token, is_owner) = (flight.ask.token, flight.ask.claim.credential == 0);
    if flight.has_called {
        world.breaks(Promise::OncePerWalk);
    }
    if !is_owner {
        return;
    }
    let known = world.known;
    let is_spent = token < world.provider.current && !world.provider.is_revoked;
    let is_unsure = flight.is_unsure;
    if uncertain == Uncertain::Never && is_unsure && known.forgotten & bit(token) == 0 && !world.provider.is_revoked {
        world.breaks(Promise::NeverTwice);
    }
    if !is_spent {
        return;
    }
    if flight.ask.coming == Coming::Walking {
        if !is_unsure || uncertain == Uncertain::Never || known.forgotten & bit(token) != 0 {
            world.breaks(Promise::OnlyGiven);
        }
        return;
    }
    let is_later_used = known.uses >> (token + 1) != 0;
    let is_old = flight.ask.coming == Coming::Past && known.old & bit(token) != 0;
    if !is_later_used && !is_unsure && !is_old && known.excused & bit(token) == 0 {
        world.breaks(Promise::SuccessorIsThere);
    }
}

/// A caller is handed the tokens of an answer.
pub fn handed(world: &mut World, flight: &Flight, answer: u8) {
    if flight.ask.claim.credential != 0 {
        world.breaks(Promise::EntitledOnly);
        return;
    }
    if world.provider.is_revoked {
        // An old token has reached it.
        return;
    }
    if world.server > 0 && flight.ask.joined > 0 {
        // The leader that it waited for is lost with the server, and an older success stands there.
        return;
    }
    // What Redis has lost, and no living process has told it again, nobody knows.
    let used = flight.uses & world.db.uses & !world.known.evicted;
    let between = (flight.own + 1..answer).any(|token| used & bit(token) != 0);
    let given_by = world.db.records[usize::from(answer) - 2].state;
    let is_fresh = given_by == State::Landed(TokenState::Rotated, Age::Fresh);
    if between || (used & bit(answer) != 0 && !is_fresh) {
        world.breaks(Promise::UsedIsOver);
    }
}

/// A flight goes back to its own token: is what it waited for there?
pub fn goes_back(world: &mut World, flight: &Flight) {
    let record = world.db.records[usize::from(flight.ask.token) - 1];
    let has_landed = matches!(record.state, State::Landed(TokenState::Rotated, _)) && record.claim == flight.ask.claim;
    if flight.ask.joined > 0 && record.fence >= flight.ask.joined && has_landed {
        world.breaks(Promise::WaiterGetsIt);
    }
}

/// A caller is told that its token is lost.
pub fn lost(world: &mut World, flight: &Flight) {
    let is_own = world.known.unsure & bit(flight.ask.token) != 0;
    if flight.ask.claim.credential == 0 && !is_own {
        world.breaks(Promise::StrangerLosesNothing);
    }
}

/// A flight is given the lead. Where it is the known client's, that has had its turn.
pub fn led(world: &mut World, by: &Flight) {
    if by.ask.claim.credential == 0 {
        for caller in &mut world.callers {
            let flights = caller.flight.iter_mut().chain(&mut caller.behind);
            flights.filter(|flight| flight.ask.token == by.ask.token).for_each(|flight| flight.has_turn = false);
        }
    }
    let waits = |flight: &Flight| flight.has_turn && flight.ask.token == by.ask.token;
    if by.ask.claim.credential != 0 && world.flights().any(|(_, is_waited_for, flight)| is_waited_for && waits(flight))
    {
        world.breaks(Promise::KnownFirst);
    }
}
