//! The scripts of `lua/`, a function each: one atomic step on the data of the server that runs it.
//!
//! Left out: the session's attempts, the circuit but for its probe, the queue's order and all that is written for
//! whoever looks. What they decide is when somebody leads, never beside whom.

mod begin;
mod incarnation;
mod land;
mod renew;

use crate::provider::Outcome;
use crate::redis::{FlightState, Record, Server, bit};
use crate::rules::Rules;
use crate::settings::Uncertain;

/// What every command says of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sender {
    /// The pod.
    pub pod: u8,
    /// Its local flight.
    pub attempt: u8,
    /// The claim.
    pub claim: u8,
    /// The pod's lease.
    pub lease: u8,
    /// The longest lease that it knows to be in force.
    pub longest: u8,
    /// The highest fence that it has seen.
    pub seen: u8,
    /// The run id that its connection learnt.
    pub hello: u8,
}

/// What a store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// `begin.lua`.
    Begin {
        /// Who.
        from: Sender,
        /// The fence that it joined, 0 if none.
        joined: u8,
        /// The policy.
        uncertain: Uncertain,
    },
    /// `renew.lua`.
    Renew {
        /// Who.
        from: Sender,
        /// Under which fence.
        fence: u8,
        /// How long ago the flight began.
        age: u8,
        /// Leaders before it were lost.
        after_lost: bool,
        /// The leader's own lease stands: it may put back what Redis has forgotten.
        stands: bool,
    },
    /// `complete.lua`.
    Complete {
        /// Who.
        from: Sender,
        /// Under which fence.
        fence: u8,
        /// What lands.
        outcome: Outcome,
        /// A renewal of this flight may still be on its way.
        is_unanswered: bool,
    },
    /// `abandon.lua`.
    Abandon {
        /// Who.
        from: Sender,
        /// Under which fence, 0 where the pod never heard whether it leads.
        fence: u8,
        /// A renewal of this flight may still be on its way.
        is_unanswered: bool,
    },
}

impl Command {
    /// Who sent it.
    pub fn from(&self) -> Sender {
        match *self {
            Self::Begin { from, .. }
            | Self::Renew { from, .. }
            | Self::Complete { from, .. }
            | Self::Abandon { from, .. } => from,
        }
    }
}

/// What `renew` is told.
struct Renewal {
    from: Sender,
    fence: u8,
    age: u8,
    after_lost: bool,
    stands: bool,
}

/// What a script answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// `landed`, also for `complete`: the outcome stands.
    Landed(Outcome),
    /// `lost`, of `begin`: the token may have been rotated, and is not presented again.
    Lost,
    /// `join`: somebody leads, or was lost and may still come back.
    Join {
        /// The fence that is joined, 0 where it is another claim's.
        fence: u8,
        /// In how many ticks to look again.
        look_in: u8,
    },
    /// `lead`.
    Lead {
        /// The fence.
        fence: u8,
        /// Leaders before it were lost.
        after_lost: bool,
    },
    /// `queued`: all permits are out.
    Queued,
    /// `rejected`, `recovering`.
    Recovering(u8),
    /// `rejected`, `another_claim`.
    AnotherClaim,
    /// `abandoned`, of `begin`: the attempt was taken back before it arrived.
    Abandoned,
    /// `renewed`.
    Renewed,
    /// `lost`, of `renew`: a newer fence has the flight, or it is over.
    LeaseLost,
    /// `stands`: another outcome of the same claim.
    Stands(Outcome),
    /// `stale`, and what `abandon` answers: nothing of it is kept.
    Stale,
}

/// Where a script runs.
pub struct Host<'a> {
    /// The server.
    pub server: &'a mut Server,
    /// The rules in force.
    pub rules: Rules,
    /// Pods that listen at this server, a bit each.
    pub listening: u8,
    /// The highest fence that was ever given, wherever: what Redis' time is above; none once it was set back.
    pub time: Option<u8>,
    /// The leases of all pods, for the register.
    pub leases: [u8; crate::settings::PODS],
    /// Pods that are told to look.
    pub woken: u8,
}

impl Host<'_> {
    /// Runs a command.
    pub fn run(&mut self, command: &Command) -> Reply {
        match *command {
            Command::Begin { from, joined, uncertain } => self.begin(&from, joined, uncertain),
            Command::Renew { from, fence, age, after_lost, stands } => {
                self.renew(&Renewal { from, fence, age, after_lost, stands })
            }
            Command::Complete { from, fence, outcome, is_unanswered } => {
                self.complete(&from, fence, outcome, is_unanswered)
            }
            Command::Abandon { from, fence, is_unanswered } => self.abandon(&from, fence, is_unanswered),
        }
    }

    fn record(&mut self) -> &mut Record {
        &mut self.server.db.record
    }

    /// Who waits is told to look, and is forgotten.
    fn tell_waiting(&mut self) {
        self.woken |= self.server.db.record.waits;
        self.record().waits = 0;
    }

    /// Takes a lead back that asked nobody. Leaders before it may have.
    fn undo_lead(&mut self) {
        let record = self.record();
        let lost = record.lost - u8::from(matches!(record.state, FlightState::Lost { .. }));
        let (gone, waits, success_of) = (record.gone, record.waits, record.success_of);
        let marks = Record { gone, waits, success_of, ..Record::default() };
        *record = if lost > 0 {
            // The time of those was over when this one was given the lead.
            Record { state: FlightState::Lost { again_in: 0 }, lost, attempt: 0, pod: 0, age: 0, ..*record }
        } else {
            marks
        };
    }

    fn mark_gone(&mut self, attempt: u8) {
        self.record().gone |= 1 << attempt;
    }

    fn is_gone(&self, attempt: u8) -> bool {
        self.server.db.record.gone & 1 << attempt != 0
    }

    fn free(&mut self, from: &Sender, fence: u8) {
        let db = &mut self.server.db;
        db.free_permit(from.attempt);
        db.lock = db.lock.filter(|lock| (lock.pod, lock.fence) != (from.pod, fence));
    }

    /// A pod is in the register from its greeting on.
    pub fn register(&mut self, pod: usize, has_reported: bool) {
        self.server.db.register |= bit(pod);
        if has_reported {
            self.server.db.reported |= bit(pod);
        }
    }
}
