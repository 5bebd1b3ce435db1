//! Judges what happens by the promises, where it happens.

use super::host::Terms;
use super::lazy::redis::Stage;
use super::promises::Promise;
use super::redis::State;
use super::scenario::{Scenario, Settings, Store};
use super::scripts::Ask;
use super::sizes::{CLAIMS, TOKENS, bit};
use super::world::{Flight, World};

/// Its own token, the turn, the newest token; and once more its own where that is all there is.
const LOOKS: u8 = 4;

/// What is known of a caller's token when its flight asks about it.
pub fn look(world: &World, ask: &Ask, rested: u8, is_lazy: bool) -> (bool, bool, bool) {
    let claim = usize::from(ask.claim);
    let is_given = world.known.given[claim] == ask.own;
    let is_left_behind = world.db.rightful[claim] > ask.own;
    // Until it has presented the token of another claim, the stores know it by its own.
    let is_known = is_lazy && world.db.known_by[claim] == ask.own;
    let is_rightful = is_given || is_known || world.db.rightful[claim] == ask.own;
    let is_owed = is_rightful && !is_left_behind && rested < 2;
    let is_left_behind = if is_lazy { world.db.known_by[claim] > ask.own } else { is_left_behind };
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
pub fn presentation(world: &mut World, flight: &Flight, terms: Terms) {
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
        // What a family names is presented where nothing else is known of it.
        let is_evicted = terms.is_lazy() && world.known.has_evicted;
        if !is_forgotten && !is_evicted {
            world.breaks(Promise::OnlyGiven);
        }
        return;
    }
    let is_excused = world.known.excused >> own != 0;
    // What one claim does alone, the model of chains judges.
    let rotated_for = |it: u8| world.known.rotated_for[usize::from(it)] == flight.ask.claim + 1;
    let is_alone = terms.is_lazy() && (own..world.current).all(rotated_for);
    if flight.is_owed && !is_excused && !is_alone && usize::from(flight.ask.claim) < terms.places {
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
    if world.db.lazy.families().next().is_some() {
        return lazy_memory(world);
    }
    let Some(family) = world.db.family else { return };
    let rotated = world.db.records.iter().flatten().filter(|it| it.state == State::Rotated).count();
    let claims = (0..CLAIMS).filter(|&claim| family.claims[claim].is_some()).count();
    // For each claim the token that it came with and the one that it was given, and what nobody has come past.
    let missed = usize::from(world.known.losses);
    if rotated > 2 * claims + 1 + missed {
        world.breaks(Promise::LittleMemory);
    }
}

/// The same where the family is made lazily: what stays of tokens that were rotated, for the claims of all logins.
fn lazy_memory(world: &mut World) {
    let keys = &world.db.lazy;
    let tokens = || 1..=TOKENS as u8;
    let stays = |token: &u8| keys.record(*token).is_some_and(|it| it.stage == Stage::Rotated && it.life > 0);
    let rotated = tokens().filter(stays).count();
    let is_known = |claim: u8| keys.families().any(|it| it.entries.iter().flatten().any(|it| it.name.claim() == claim));
    let claims = (0..CLAIMS as u8).filter(|&claim| is_known(claim)).count();
    let missed = usize::from(world.known.losses);
    if rotated > 2 * claims + 1 + missed {
        world.breaks(Promise::LittleMemory);
    }
}
