//! `renew.lua`: moves lease and permit on, unless a newer leader has the flight; puts back what Redis has forgotten.

use super::incarnation::Noticed;
use super::{Host, Renewal, Reply};
use crate::redis::{FlightState, Record};
use crate::rules::Rule;

impl Host<'_> {
    pub(super) fn renew(&mut self, renewal: &Renewal) -> Reply {
        let &Renewal { ref from, fence, age, after_lost, stands } = renewal;
        let recovering = self.recovering(from, Noticed::ByRenew);
        self.register(usize::from(from.pod), true);
        let holder = self.server.db.lock.map(|lock| (lock.pod, lock.fence));
        let holds = holder == Some((from.pod, fence));
        let record = self.server.db.record;
        let is_own_record = record.attempt == from.attempt;
        let is_older =
            record.fence < fence && matches!(record.state, FlightState::Landed(outcome) if !outcome.is_success());
        let has_landed =
            matches!(record.state, FlightState::Landed(_)) && !(is_older && self.rules.has(Rule::PutBackOverOlder));
        // An older holder stands there only when Redis came back with older data.
        if holder.is_some_and(|(_, there)| !holds && there >= fence)
            || record.fence > fence
            || (record.fence == fence && !is_own_record)
            || (has_landed && (is_own_record || !holds))
        {
            return Reply::LeaseLost;
        }
        let is_forgotten = record.state == FlightState::Nothing;
        if self.is_gone(from.attempt) || (is_forgotten && recovering == 0) {
            return Reply::LeaseLost;
        }
        if self.rules.has(Rule::PutBackOnlyStanding) && !is_own_record && !stands && recovering == 0 {
            return Reply::LeaseLost;
        }
        if let (true, FlightState::Lost { .. }) = (is_own_record, record.state) {
            // It was only late.
            let record = self.record();
            record.state = FlightState::Leading;
            record.lost -= 1;
        } else if !is_own_record && !has_landed {
            *self.record() = Record {
                state: FlightState::Leading,
                pod: from.pod,
                attempt: from.attempt,
                fence,
                claim: from.claim,
                age,
                lost: u8::from(after_lost),
                ..record
            };
        }
        self.take(from, fence);
        Reply::Renewed
    }
}
