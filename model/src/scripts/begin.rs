//! `begin.lua`: asks what a flight is to do.

use super::incarnation::Noticed;
use super::{Host, Reply, Sender};
use crate::provider::Outcome;
use crate::redis::{FlightState, Lock, Permit, Record};
use crate::rules::Rule;
use crate::settings::{GRACE, RETRY_LOST_AFTER, Uncertain};

impl Host<'_> {
    pub(super) fn begin(&mut self, from: &Sender, joined: u8, uncertain: Uncertain) -> Reply {
        if self.is_gone(from.attempt) {
            return Reply::Abandoned;
        }
        if let Some(reply) = self.answer_again(from) {
            return reply;
        }
        let record = self.server.db.record;
        if let FlightState::Landed(outcome) = record.state
            && record.claim == from.claim
        {
            // Successes and refusals are fresh for longer than any history here lasts.
            let is_fresh = outcome.is_success() || outcome == Outcome::Denied;
            if is_fresh || (joined > 0 && record.fence >= joined) {
                return Reply::Landed(outcome);
            }
        }
        if let Some(lock) = self.server.db.lock {
            self.record().waits |= 1 << from.pod;
            let fence = if record.claim == from.claim { lock.fence } else { 0 };
            return Reply::Join { fence, look_in: lock.left };
        }
        let after_lost = match self.judge_token(from, uncertain) {
            Ok(after_lost) => after_lost,
            Err(reply) => return reply,
        };
        let recovering = self.recovering(from, Noticed::ByBegin);
        self.register(usize::from(from.pod), true);
        if recovering > 0 {
            return Reply::Recovering(recovering);
        }
        // A budget of one.
        if self.server.db.permits.iter().flatten().any(|permit| permit.attempt != from.attempt) {
            return Reply::Queued;
        }
        self.lead(from, after_lost)
    }

    /// The same attempt again: its first answer was lost on the way, or its lease was over before its call.
    fn answer_again(&mut self, from: &Sender) -> Option<Reply> {
        let record = self.server.db.record;
        if record.attempt != from.attempt {
            return None;
        }
        if let FlightState::Landed(outcome) = record.state {
            return Some(Reply::Landed(outcome));
        }
        match self.server.db.lock {
            Some(lock) if (lock.pod, lock.fence) == (record.pod, record.fence) => {
                self.take(from, record.fence);
                Some(Reply::Lead { fence: record.fence, after_lost: record.lost > 0 })
            }
            Some(_) => None,
            None => {
                self.undo_lead();
                None
            }
        }
    }

    /// Whether the token may be presented where no leader holds it, and if leaders before were lost.
    fn judge_token(&mut self, from: &Sender, uncertain: Uncertain) -> Result<bool, Reply> {
        if self.server.db.record.state == FlightState::Leading {
            let record = self.record();
            record.lost += 1;
            record.state = FlightState::Lost { again_in: GRACE };
        }
        let record = self.server.db.record;
        match record.state {
            FlightState::Nothing => Ok(false),
            FlightState::Leading => unreachable!("BUG: a leading flight without a lock was just marked lost"),
            FlightState::Lost { again_in } => {
                // Of one that was undone the time was over before.
                let retry_in = if record.attempt == 0 { 0 } else { RETRY_LOST_AFTER - record.age };
                let left = again_in.max(retry_in);
                if left > 0 {
                    self.record().waits |= 1 << from.pod;
                    let fence = if record.claim == from.claim { record.fence } else { 0 };
                    return Err(Reply::Join { fence, look_in: left });
                }
                match uncertain {
                    Uncertain::Never => Err(Reply::Lost),
                    Uncertain::Retry => Ok(true),
                }
            }
            FlightState::Landed(Outcome::Success(_)) => Err(Reply::AnotherClaim),
            FlightState::Landed(Outcome::Unknown) if uncertain == Uncertain::Never => Err(Reply::Lost),
            FlightState::Landed(Outcome::Untouched) => Ok(record.lost > 0),
            FlightState::Landed(Outcome::Unknown | Outcome::Denied) => Ok(false),
        }
    }

    fn lead(&mut self, from: &Sender, after_lost: bool) -> Reply {
        let mut fence = 1;
        if self.rules.has(Rule::FenceAboveLast) {
            fence = fence.max(self.server.db.fence + 1);
        }
        if self.rules.has(Rule::FenceAboveSeen) {
            fence = fence.max(from.seen + 1);
        }
        if self.rules.has(Rule::FenceAboveTime)
            && let Some(time) = self.time
        {
            fence = fence.max(time + 1);
        }
        self.server.db.fence = fence;
        let Record { lost, gone, waits, success_of, .. } = self.server.db.record;
        self.server.db.record = Record {
            state: FlightState::Leading,
            pod: from.pod,
            attempt: from.attempt,
            fence,
            claim: from.claim,
            age: 0,
            lost: if after_lost { lost } else { 0 },
            success_of,
            gone,
            waits,
        };
        self.take(from, fence);
        Reply::Lead { fence, after_lost }
    }

    /// Lock and permit are this leader's, for its lease.
    pub(super) fn take(&mut self, from: &Sender, fence: u8) {
        let &Sender { pod, attempt, lease, .. } = from;
        self.server.db.lock = Some(Lock { pod, fence, left: lease, lease });
        self.server.db.take_permit(Permit { attempt, fence, left: lease, lease });
    }
}
