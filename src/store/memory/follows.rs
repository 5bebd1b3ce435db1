//! Whether a flight is to ask where other claims of its client went. Mirrored by `lua/lib/follows.lua`.

use tokio::time::Instant;

use super::record::FlightRecord;
use super::{Follows, MemoryPod};
use crate::identity::Hash;
use crate::outcome::TokenState;
use crate::store::contract::{Ask, Coming};

impl MemoryPod {
    pub(super) fn may_follow(&self, ask: &Ask) -> bool {
        self.follows == Follows::OtherClaims && ask.identity.chain.is_some() && self.config.follows_claims()
    }

    /// By the record of its token, where there is one, and by what is held for the token.
    pub(super) fn goes_among_claims(&self, ask: &Ask, record: Option<&FlightRecord>, now: Instant) -> bool {
        let Some(member) = &ask.identity.chain else { return false };
        let (claim, client) = (ask.identity.claim, ask.identity.client);
        let is_member = record.is_some_and(|record| record.is_of_login_of(ask));
        let is_in_turn = matches!(ask.coming, Coming::InTurn | Coming::Claiming { .. });
        if matches!(ask.coming, Coming::Unchained | Coming::Past) {
            return false;
        }
        if let Some(record) = record.filter(|record| record.is_led_at(now)) {
            // A stranger's lead of the newest token is waited for here: known clients lead next, and no other stranger before them.
            return record.claim != claim && (record.client == Some(client) || (is_member && !is_in_turn));
        }
        let held = self.namespace.held.get(&ask.identity.flight).filter(|held| !held.is_over(now));
        let held = held.filter(|held| held.holder == member.holder);
        let rotated = record.filter(|record| record.token_state() == Some(TokenState::Rotated));
        if is_in_turn {
            let is_own = is_member || held.is_some() || record.is_some_and(|record| record.client == Some(client));
            return is_own && (held.is_some() || rotated.is_some());
        }
        if is_member {
            return true;
        }
        if let Some(held) = held {
            return held.claim != claim && held.used <= held.generation;
        }
        if let Some(record) = rotated {
            return record.claim != claim && record.client == Some(client) && record.is_fresh(now);
        }
        // It was given to another claim, which may come with it yet.
        let link = record.and_then(|record| record.link.as_deref());
        ask.coming == Coming::Directly
            && link.is_some_and(|link| link.to.is_some_and(|(to, _)| to != claim) && link.holder == member.holder)
    }

    /// Whether the token is known as one of another credential's login. Where none of that one's claims has presented what another was
    /// given, there is nothing in it.
    pub(super) fn is_of_others(&self, flight: &Hash, holder: Hash, now: Instant) -> bool {
        let login = self
            .namespace
            .flights
            .get(flight)
            .filter(|record| !record.is_over(now))
            .and_then(|record| record.login.as_ref().filter(|login| login.holder != holder).map(|login| login.id));
        login.and_then(|id| self.known_family(id)).is_some_and(|family| {
            let family = family.lock();
            family.newest.is_some() && !family.is_over(now)
        })
    }
}
