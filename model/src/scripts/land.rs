//! `complete.lua` and `abandon.lua`: how a lead ends.

use super::{Host, Reply, Sender};
use crate::provider::Outcome;
use crate::redis::{FlightState, Record};
use crate::rules::Rule;

impl Host<'_> {
    pub(super) fn complete(&mut self, from: &Sender, fence: u8, outcome: Outcome, is_unanswered: bool) -> Reply {
        let record = self.server.db.record;
        let was_held = self.server.db.lock.is_some_and(|lock| (lock.pod, lock.fence) != (from.pod, fence));
        self.free(from, fence);
        if is_unanswered && self.rules.has(Rule::Gone) {
            self.mark_gone(from.attempt);
        }
        self.register(usize::from(from.pod), true);
        let has_landed = matches!(record.state, FlightState::Landed(_));
        if record.success_of == from.attempt || (has_landed && record.attempt == from.attempt) {
            return Reply::Landed(outcome);
        }
        let lands = match outcome {
            Outcome::Success(_) => !matches!(record.state, FlightState::Landed(Outcome::Success(_))),
            Outcome::Denied | Outcome::Untouched | Outcome::Unknown => {
                let is_own = matches!(record.state, FlightState::Leading | FlightState::Lost { .. })
                    && record.attempt == from.attempt
                    && record.fence == fence;
                // Redis has forgotten the flight; that the token is uncertain must not be forgotten with it.
                let is_forgotten = record.state == FlightState::Nothing && !was_held && outcome == Outcome::Unknown;
                is_own || is_forgotten
            }
        };
        self.tell_waiting();
        if !lands {
            return match record.state {
                FlightState::Landed(standing) if record.claim == from.claim => Reply::Stands(standing),
                _ => Reply::Stale,
            };
        }
        let record = self.record();
        let success_of = if outcome.is_success() { from.attempt } else { record.success_of };
        *record = Record {
            state: FlightState::Landed(outcome),
            pod: from.pod,
            attempt: from.attempt,
            fence,
            claim: from.claim,
            success_of,
            ..*record
        };
        Reply::Landed(outcome)
    }

    pub(super) fn abandon(&mut self, from: &Sender, fence: u8, is_unanswered: bool) -> Reply {
        let record = self.server.db.record;
        let leads =
            record.attempt == from.attempt && matches!(record.state, FlightState::Leading | FlightState::Lost { .. });
        if !leads {
            if fence == 0 || (is_unanswered && self.rules.has(Rule::Gone)) {
                self.mark_gone(from.attempt);
            }
            return Reply::Stale;
        }
        self.free(from, record.fence);
        self.undo_lead();
        self.mark_gone(from.attempt);
        self.tell_waiting();
        Reply::Stale
    }
}
