//! Outcomes in memory of which nobody was told yet. Mirrored by `lua/tell.lua` and `lua/lib/untold.lua`.

use tokio::time::Instant;

use super::MemoryPod;
use super::held::next_identity;
use super::record::{FlightRecord, Lock, State};
use crate::config::Config;
use crate::identity::{Hash, Identity};
use crate::outcome::{Outcome, TokenState};
use crate::retention::Retention;
use crate::store::contract::{Ask, Telling};

impl FlightRecord {
    /// Callers that come until then join; later ones find what landed.
    pub(super) fn keep_back(&mut self, fence: u64, until: Instant) {
        self.lock = Some(Lock { fence, until });
        self.ends = self.ends.max(until);
    }

    /// Callers hear of a rotated token only now: those that come a moment later have it for as long as if it had just landed.
    fn freshen(&mut self, now: Instant, config: &Config) {
        if let State::Landed { outcome, fresh_until, .. } = &mut self.state
            && outcome.token_state() == TokenState::Rotated
        {
            *fresh_until = now + Retention::of(outcome, config).fresh;
            self.ends = self.ends.max(*fresh_until);
        }
    }
}

impl MemoryPod {
    /// Answers whether this outcome stands here untold.
    pub(crate) fn tell(&self, ask: &Ask, fence: u64, outcome: &Outcome, telling: Telling) -> bool {
        let next = next_identity(&ask.identity, outcome, &self.config);
        if let Some(next) = next.as_ref().filter(|_| telling == Telling::Done) {
            self.note_used(next);
        }
        let now = Instant::now();
        let Some(mut record) = self.namespace.flights.get_mut(&ask.identity.flight) else { return false };
        if record.fence != fence || !record.is_untold {
            return false;
        }
        let is_led_by_another = record.is_led_at(now) && record.lock.is_some_and(|lock| lock.fence != fence);
        match telling {
            Telling::Waits if is_led_by_another => {}
            Telling::Waits => record.keep_back(fence, now + self.config.lease),
            Telling::Failed | Telling::Done => {
                if !is_led_by_another {
                    record.lock = None;
                }
                if telling == Telling::Done {
                    record.is_untold = false;
                    record.freshen(now, &self.config);
                    if record.client.is_some_and(|client| self.namespace.ended.has(ask.identity.flight, client, now)) {
                        record.waiting = None;
                    } else {
                        record.tell_waiting(now);
                    }
                } else {
                    // They begin again, and find it.
                    record.waiting = None;
                }
            }
        }
        let login = record.login.as_ref().map(|login| login.id).filter(|_| telling != Telling::Waits);
        drop(record);
        if let Some(id) = login {
            // Also of its own claim: they wait for it, too.
            self.wake_family(id, next.and_then(|next| self.given_to(&next.flight)), now);
        }
        true
    }

    /// The entry of the claim that this token of a login was given to.
    fn given_to(&self, flight: &Hash) -> Option<Hash> {
        self.namespace.flights.get(flight)?.login.as_ref()?.entry
    }

    /// As if somebody had come with the token in it: what is held for the token before it is over for all that come with that.
    fn note_used(&self, next: &Identity) {
        let Some(member) = &next.chain else { return };
        let Some(mut record) = self.namespace.flights.get_mut(&next.flight) else { return };
        if let Some(link) = record.link.as_deref_mut()
            && link.holder == member.holder
        {
            link.used = link.used.max(link.generation);
        }
    }
}
