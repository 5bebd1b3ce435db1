//! Judges what happens by the promises, where it happens.

use super::promises::Promise;
use super::redis::{CLAIMS, State, bit};
use super::scenario::{Scenario, Settings, Store};
use super::scripts::Ask;
use super::world::{Flight, World};

/// Its own token, the turn, the newest token; and once more its own where that is all there is.
const LOOKS: u8 = 4;

/// What is known of a caller's token when its flight asks about it.
pub fn look(world: &World, ask: &Ask, rested: u8) -> (bool, bool, bool) {
    let claim = usize::from(ask.claim);
    let is_given = world.known.given[claim] == ask.own;
    let is_left_behind = world.db.rightful[claim] > ask.own;
    let is_rightful = is_given || world.db.rightful[claim] == ask.own;
    let is_owed = is_rightful && !is_left_behind && rested < 2;
    let used = world.db.came.iter().max().is_some_and(|&used| used > ask.own);
    let is_stray = used && !is_rightful && world.known.ever_given[claim] & bit(ask.own) == 0;
    (is_owed, is_left_behind, is_stray)
}

/// A flight has asked once more.
pub fn looks(world: &mut World, flight: &Flight) {
    if flight.looks > LOOKS + 3 * world.known.losses {
        world.breaks(Promise::FewLooks);
    }
}

/// A token is about to be sent.
pub fn presentation(world: &mut World, flight: &Flight, places: usize) {
    let (token, own) = (flight.ask.token, flight.ask.own);
    if flight.has_called {
        world.breaks(Promise::OncePerWalk);
    }
    if token == world.current {
        return;
    }
    if token != own {
        // What Redis has lost, and no living pod has told it again, nobody knows.
        let is_forgotten = world.server > 0 && world.known.unsure & bit(token) != 0;
        if !is_forgotten {
            world.breaks(Promise::OnlyGiven);
        }
        return;
    }
    let is_excused = world.known.excused >> own != 0;
    if flight.is_owed && !is_excused && usize::from(flight.ask.claim) < places {
        world.breaks(Promise::Owed);
    }
}

/// A caller is handed the answer with this token.
pub fn handed(world: &mut World, scenario: &Scenario, flight: &Flight, token: u8) {
    if flight.is_left_behind {
        world.breaks(Promise::LeftBehind);
    }
    if flight.is_stray && world.known.excused >> flight.ask.own == 0 {
        world.breaks(Promise::StrayIsFound);
    }
    if token > world.known.given[usize::from(flight.ask.claim)] {
        world.breaks(Promise::OwnScope);
    }
    let is_thief = |settings: &&Settings| settings.store == Store::Stolen;
    let callers = || scenario.callers.iter().flatten();
    if let Some(thief) = callers().find(is_thief) {
        // Its owner is who has the same claim; where the thief has invented one, the first caller.
        let has_invented = callers().filter(|it| it.claim == thief.claim).count() == 1;
        let owner = if has_invented { 0 } else { thief.claim };
        let caller = &scenario.callers[usize::from(flight.ask.flight)];
        if caller.as_ref().is_some_and(|it| is_thief(&it)) {
            if world.known.advances >= 2 {
                world.breaks(Promise::ThiefIsFound);
            }
            world.known.advances = 0;
        } else if flight.ask.claim == owner
            && world.callers.iter().zip(&scenario.callers).all(|(caller, it)| {
                // What the thief has itself is nothing newer.
                it.as_ref().is_none_or(|it| !is_thief(&it) || token > caller.token)
            })
        {
            world.known.advances = (world.known.advances + 1).min(2);
        }
    }
    if flight.ask.token != flight.ask.own || token > flight.ask.own + 1 {
        world.known.was_shared = true;
    }
}

/// How much there is.
pub fn memory(world: &mut World) {
    let Some(family) = world.db.family else { return };
    let rotated = world.db.records.iter().flatten().filter(|it| it.state == State::Rotated).count();
    let claims = (0..CLAIMS).filter(|&claim| family.claims[claim].is_some()).count();
    // For each claim the token that it came with and the one that it was given, and what nobody has come past.
    let missed = usize::from(world.known.losses);
    if rotated > 2 * claims + 1 + missed {
        world.breaks(Promise::LittleMemory);
    }
}
