//! A pod: a process with one flight at a time, what it knows, and what it keeps.

use crate::provider::Outcome;
use crate::scripts::{Command, Sender};
use crate::settings::{RETRY_LOST_AFTER, Settings, count_down};

/// Instead of a span: not again.
pub const NEVER: u8 = u8::MAX;

/// What a flight's callers were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Given {
    /// The outcome.
    Outcome(Outcome),
    /// The token may have been rotated, and is not presented again.
    Lost,
    /// Come again: the store gave no answer, or another claim has it.
    Refused,
    /// Come again: Redis has forgotten.
    Recovering,
}

/// A lead as its pod knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lead {
    /// Its fence.
    pub fence: u8,
    /// The server that gave it.
    pub server: u8,
    /// What is left of the lease by the pod's own clock, from the sending of what was answered on.
    pub own_lease: u8,
    /// How long ago it was given, up to `retry_lost_after`.
    pub age: u8,
    /// Leaders before it were lost.
    pub after_lost: bool,
    /// A renewal was sent and not answered.
    pub is_unanswered: bool,
    /// Note of the judges: the fence was presented under before it was given.
    pub is_fence_used: bool,
    /// Note of the judges: when it was given, a process held a success and could have said so.
    pub was_success_held: bool,
}

impl Lead {
    fn tick(&mut self) {
        count_down(&mut self.own_lease);
        self.age = (self.age + 1).min(RETRY_LOST_AFTER);
    }
}

/// How far a flight has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Is to ask what to do, after so many ticks or when it is woken.
    Ask {
        /// What is left to wait.
        wait: u8,
    },
    /// `begin` has answered that it leads; the call is not polled yet.
    Led(Lead),
    /// The lease was looked at; the call connects to the provider.
    Connecting(Lead),
    /// The token is sent.
    Calling {
        /// Under this lead.
        lead: Lead,
        /// When it is renewed next.
        renew_in: u8,
        /// What is left until `call_limit`.
        limit_in: u8,
        /// What the provider did: the answer, until the pod has it.
        answer: Outcome,
    },
    /// The answer is there and is to land, after so many ticks.
    Landing {
        /// Under this lead.
        lead: Lead,
        /// What is to land.
        outcome: Outcome,
        /// What is left to wait.
        wait: u8,
    },
    /// An attempt or a lead is to be given back, after so many ticks.
    GivingBack {
        /// The lead's fence, 0 where the pod never heard whether it leads.
        fence: u8,
        /// A renewal was sent and not answered.
        is_unanswered: bool,
        /// What is left to wait.
        wait: u8,
    },
}

/// A flight of the pod, and its callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flight {
    /// Its number in the world.
    pub attempt: u8,
    /// How far it has come.
    pub step: Step,
    /// The fence that it joined, 0 if none.
    pub joined: u8,
    /// It has joined, or waited for Redis.
    pub has_waited: bool,
    /// A `begin` was not answered, and may have run or may still run.
    pub may_have_begun: bool,
    /// Its own call was made, was overtaken, and brought this.
    pub overtaken: Option<Outcome>,
    /// What is left until its callers have waited too long; none once they were given something.
    pub waits: Option<u8>,
}

/// A completion that is kept for the next server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kept {
    /// The command that is sent again.
    pub command: Command,
    /// The pod has asked within this tick whether there is a new server.
    pub has_greeted: bool,
    /// Where it was acknowledged last.
    pub server: u8,
    /// How long it is kept.
    pub left: u8,
}

/// What a process knows of the token, whatever the rules keep: the judges' own note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holds {
    /// The attempt.
    pub attempt: u8,
    /// Its claim.
    pub claim: u8,
    /// The success, or that it is uncertain.
    pub outcome: Outcome,
    /// It was held for the whole of the last tick, and nothing kept the process from saying so.
    pub is_settled: bool,
    /// Since it was acknowledged: how long it counts yet.
    pub left: u8,
}

/// A process, or the place for one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pod {
    /// It runs.
    pub is_alive: bool,
    /// It is stopped, and will go on where it was.
    pub is_paused: bool,
    /// Callers that have not come yet.
    pub callers: u8,
    /// The server that its connection leads to.
    pub lane: u8,
    /// The connection is up, greeted and subscribed.
    pub is_linked: bool,
    /// The newest run id that it knows.
    pub knows: u8,
    /// The highest fence that it has seen.
    pub seen: u8,
    /// The longest lease that it knows to be in force.
    pub longest: u8,
    /// Its flight.
    pub flight: Option<Flight>,
    /// A command that it gave up waiting for, still under way to this server.
    pub late: Option<(u8, Command)>,
    /// What it sends again to a new server.
    pub kept: Option<Kept>,
    /// Note of the judges: how long ago the newest server answered that it leads, as what is left of its lease.
    pub heard: u8,
    /// Note of the judges: the process was stopped or cut off within this tick.
    pub is_disturbed: bool,
    /// Note of the judges: what it holds.
    pub holds: Option<Holds>,
}

impl Pod {
    /// Whether it goes on with what it has to do.
    pub fn runs(&self) -> bool {
        self.is_alive && !self.is_paused
    }

    /// Whether its call is under way.
    pub fn is_calling(&self) -> bool {
        matches!(self.flight, Some(Flight { step: Step::Calling { .. }, .. }))
    }

    /// What its commands say of it.
    pub fn sender(&self, pod: usize, settings: &Settings) -> Sender {
        Sender {
            pod: pod as u8,
            attempt: self.flight.map_or(0, |flight| flight.attempt),
            claim: settings.claim,
            lease: settings.lease,
            longest: self.longest,
            seen: self.seen,
            hello: self.knows,
        }
    }

    /// Sets how far its flight has come.
    pub fn go_on(&mut self, step: Step) {
        self.flight.as_mut().expect("BUG: a pod without a flight went on").step = step;
    }

    /// A tick passes.
    pub fn tick(&mut self) {
        let was_left_in_peace = !self.is_paused && !self.is_disturbed;
        self.is_disturbed &= self.is_paused;
        if self.heard != NEVER {
            count_down(&mut self.heard);
        }
        if let Some(kept) = &mut self.kept {
            count_down(&mut kept.left);
            kept.has_greeted = false;
        }
        self.kept = self.kept.filter(|kept| kept.left > 0);
        if let Some(holds) = &mut self.holds {
            holds.is_settled = was_left_in_peace;
            if holds.left != NEVER {
                count_down(&mut holds.left);
            }
        }
        self.holds = self.holds.filter(|holds| holds.left > 0);
        let Some(flight) = &mut self.flight else { return };
        match &mut flight.step {
            Step::Ask { wait } | Step::Landing { wait, .. } | Step::GivingBack { wait, .. } => count_down(wait),
            Step::Led(lead) | Step::Connecting(lead) => lead.tick(),
            Step::Calling { lead, renew_in, limit_in, .. } => {
                lead.tick();
                if *renew_in != NEVER {
                    count_down(renew_in);
                }
                count_down(limit_in);
            }
        }
        // The time of a stopped process is not counted against the protocol.
        if let (Some(left), false) = (&mut flight.waits, self.is_paused) {
            count_down(left);
        }
    }
}
