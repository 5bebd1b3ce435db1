//! Who a flight that follows other claims is to their login, and whether it may go on there.

use super::seen::{Asker, Followed, Seen};
use crate::identity::Hash;
use crate::store::contract::Coming;
use crate::store::memory::family::FamilyRecord;

/// Who the flight is to the login: the name of its entry, as what it came with last or was given last. A stranger to the login comes
/// before anybody has used a later token.
///
/// # Errors
///
/// What the flight is told instead.
pub(super) fn may_go_on(family: &mut FamilyRecord, asker: Asker<'_>, seen: &Seen) -> Result<Hash, Followed> {
    let (ask, claim) = (asker.ask, asker.ask.identity.claim);
    let known = family.entry_of(if asker.is_led_on() { asker.first().identity.claim } else { claim });
    if matches!(ask.coming, Coming::Taking { .. } | Coming::Walking { .. }) {
        // An older token than its claim came with last is left behind.
        let is_unused = seen.is_given_unused && (family.newest.is_none() || family.used <= seen.place);
        let is_owed = known.map_or(is_unused, |entry| entry.given == seen.place && entry.came < seen.place);
        match ask.coming {
            _ if !is_owed => return Err(Followed::Spent),
            Coming::Taking { .. } => return Err(Followed::Unused),
            _ => {}
        }
    }
    if known.is_none() && !asker.is_led_on() {
        let is_newest = family.newest.as_ref().is_none_or(|newest| newest.flight == ask.identity.flight);
        if !is_newest && !seen.came_there && family.used > seen.place {
            return Err(Followed::Spent);
        }
        if family.is_full() && (seen.is_rotated || !is_newest) {
            return Err(Followed::Full);
        }
    }
    let name = known.map_or(claim, |entry| entry.name);
    if seen.is_end(family, &ask.identity.flight) && (seen.is_rotated || seen.is_held) && seen.other.is_none() {
        return Err(Followed::Spent);
    }
    if family.order.is_full_for(asker.first().attempt) { Err(Followed::Full) } else { Ok(name) }
}
