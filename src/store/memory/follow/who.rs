//! Who a flight that follows other claims is to their login, and whether it may go on there.

use tokio::time::Instant;

use super::seen::{Asker, Followed, Seen};
use crate::identity::Hash;
use crate::store::contract::Coming;
use crate::store::memory::family::FamilyRecord;

/// The name of its entry, as what it came with last or was given last.
fn entry_of_caller(family: &mut FamilyRecord, asker: Asker<'_>, seen: &Seen, now: Instant) -> Option<Hash> {
    let claim = asker.ask.identity.claim;
    let owed = if asker.is_led_on() { asker.first().identity.claim } else { claim };
    if let Some(known) = family.entry_of(owed) {
        return Some(known.name);
    }
    // The token was given to it, and it has come with the token before alone.
    let came = seen.to_came.filter(|_| seen.to.is_some_and(|(to, _)| to == claim))?;
    let known = family.entries.iter_mut().find(|entry| entry.is_called(came))?;
    if known.given <= seen.place {
        known.was_given(seen.place, claim);
        known.ends = now + known.holds;
    }
    Some(known.name)
}

/// Who the flight is to the login: the name of its entry. A stranger to the login comes
/// before anybody has used a later token.
///
/// # Errors
///
/// What the flight is told instead.
pub(super) fn may_go_on(
    family: &mut FamilyRecord,
    asker: Asker<'_>,
    seen: &Seen,
    now: Instant,
) -> Result<Hash, Followed> {
    let (ask, claim) = (asker.ask, asker.ask.identity.claim);
    let name = entry_of_caller(family, asker, seen, now);
    let known = name.and_then(|name| family.entries.iter().find(|entry| entry.name == name));
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
    let name = name.unwrap_or(claim);
    if seen.is_end(family, &ask.identity.flight) && (seen.is_rotated || seen.is_held) && seen.other.is_none() {
        return Err(Followed::Spent);
    }
    if family.order.is_full_for(asker.first().attempt) { Err(Followed::Full) } else { Ok(name) }
}
