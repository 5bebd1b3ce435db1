//! Sessions that are ended, in memory. Mirrored by `lua/end.lua`.

use tokio::time::Instant;

use super::MemoryPod;
use super::record::State;
use crate::outcome::TokenState;
use crate::store::contract::{Ask, EndedFlight, StoredOutcome};

impl MemoryPod {
    pub(crate) fn end_session(&self, ask: &Ask) -> EndedFlight {
        self.start_cleanup();
        let now = Instant::now();
        let (flight, client) = (ask.identity.flight, ask.identity.client);
        // First the mark, then the look: a flight that begins between the two finds one or is found.
        let span = if self.concerns(ask, now) { self.config.session_stays_ended() } else { self.config.wait_timeout };
        let leads = self.namespace.flights.get(&flight).and_then(|record| record.client);
        self.namespace.ended.note(flight, client, leads, now + span);
        let mut found = EndedFlight::Idle;
        if let Some(mut record) = self.namespace.flights.get_mut(&flight).filter(|record| !record.is_over(now)) {
            self.namespace.ended.keep(flight, &mut record);
            // Who waits finds the mark, or waits again.
            record.waiting = None;
            let is_own = record.client == Some(client);
            found = match &record.state {
                State::Leading | State::LeaderLost { .. } if is_own => EndedFlight::UnderWay,
                State::Landed { outcome, .. } if is_own && outcome.token_state() == TokenState::Rotated => {
                    record.landed(now).map_or(EndedFlight::Idle, EndedFlight::Rotated)
                }
                State::Landed { .. }
                | State::Leading
                | State::LeaderLost { .. }
                | State::Abandoned
                | State::Rotated => EndedFlight::Idle,
            };
        }
        if let Some(newest) = self.end_claims(ask, now) {
            return EndedFlight::FurtherOn(newest);
        }
        // First what is held: another claim may lead the token that was rotated for this one.
        self.held_for_holder(ask, now).map_or(found, EndedFlight::Rotated)
    }

    /// Whether anything is known of the token for this client, or of the client. Anybody can make tokens up.
    fn concerns(&self, ask: &Ask, now: Instant) -> bool {
        let (flight, client) = (&ask.identity.flight, ask.identity.client);
        let is_of_client = self.namespace.flights.get(flight).is_some_and(|record| {
            record.link.is_some()
                || (record.client == Some(client)
                    && match &record.state {
                        State::Landed { outcome, .. } => {
                            !matches!(outcome.token_state(), TokenState::Dead | TokenState::Untouched)
                        }
                        State::Leading | State::LeaderLost { .. } | State::Rotated => true,
                        State::Abandoned => false,
                    })
        });
        is_of_client || self.namespace.held.contains_key(flight) || self.gates().knows(ask, now, &self.config)
    }

    /// The answer that is held for the token, where its holder asks.
    fn held_for_holder(&self, ask: &Ask, now: Instant) -> Option<StoredOutcome> {
        let holder = ask.identity.chain.as_ref()?.holder;
        let held = self.namespace.held.get(&ask.identity.flight)?;
        if held.is_over(now) || held.holder != holder {
            return None;
        }
        self.open_held(&ask.identity, &held, now).map(|(landed, _)| landed)
    }
}
