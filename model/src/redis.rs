//! A Redis server and what the namespace holds there, for one token: the keys of `lua/README.md`.
//!
//! Stamps are spans that count down with every tick, in the replica's older data too, because Redis stores ends and
//! not spans. A server's data is replaced as a whole: by an older state of it, or by nothing.

use crate::provider::Outcome;
use crate::settings::{LONGEST_LEASE, PODS, RETRY_LOST_AFTER, count_down};

/// `lock:<flight>`: who leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lock {
    /// The owner's pod.
    pub pod: u8,
    /// The owner's fence.
    pub fence: u8,
    /// What is left of the lease.
    pub left: u8,
    /// How long the lease is.
    pub lease: u8,
}

/// A member of `permits`; whoever holds one may hold the circuit's probe, which is given and ends alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Permit {
    /// The holder's attempt.
    pub attempt: u8,
    /// The holder's fence.
    pub fence: u8,
    /// What is left of it.
    pub left: u8,
    /// How long it is when it is new.
    pub lease: u8,
}

/// The field `state` of `flight:<flight>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FlightState {
    /// There is no record, or nothing but marks in it.
    #[default]
    Nothing,
    /// Led, as far as the record knows.
    Leading,
    /// Its lease ended without an outcome; it may be heard of for so long yet.
    Lost {
        /// What is left of that.
        again_in: u8,
    },
    /// The outcome is there.
    Landed(Outcome),
}

/// `flight:<flight>`. Zero is no attempt, and no fence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// The field `state`.
    pub state: FlightState,
    /// The owner's pod.
    pub pod: u8,
    /// Who leads or led.
    pub attempt: u8,
    /// Under which fence.
    pub fence: u8,
    /// For which claim.
    pub claim: u8,
    /// How long ago the lead was taken, up to `retry_lost_after`.
    pub age: u8,
    /// Leaders lost in a row.
    pub lost: u8,
    /// The attempt whose success landed.
    pub success_of: u8,
    /// Marks `gone:<attempt>`, a bit each.
    pub gone: u16,
    /// Pods that wait, a bit each.
    pub waits: u8,
}

/// All that a server holds of the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Db {
    /// `lock:<flight>`.
    pub lock: Option<Lock>,
    /// `flight:<flight>`.
    pub record: Record,
    /// `fence`.
    pub fence: u8,
    /// `permits`.
    pub permits: [Option<Permit>; 2],
    /// What is left of `recovering`.
    pub recovering: u8,
    /// The run id that was noted.
    pub noted: Option<u8>,
    /// Pods in the register, a bit each.
    pub register: u8,
    /// Those that have reported since the run id was noted.
    pub reported: u8,
}

impl Db {
    /// Whether the namespace was never used, as far as anybody can see.
    pub fn is_virgin(&self) -> bool {
        self.fence == 0 && self.record.attempt == 0 && self.lock.is_none()
    }

    /// Gives or renews the permit of an attempt.
    pub fn take_permit(&mut self, permit: Permit) {
        let place = self.permits.iter().position(|held| held.is_some_and(|held| held.attempt == permit.attempt));
        let place = place.or_else(|| self.permits.iter().position(Option::is_none)).unwrap_or(0);
        self.permits[place] = Some(permit);
        self.permits.sort_by_key(|held| held.map_or(u8::MAX, |held| held.attempt));
    }

    /// Takes the permit of an attempt back.
    pub fn free_permit(&mut self, attempt: u8) {
        for held in &mut self.permits {
            if held.is_some_and(|held| held.attempt == attempt) {
                *held = None;
            }
        }
        self.permits.sort_by_key(|held| held.map_or(u8::MAX, |held| held.attempt));
    }

    /// A tick passes.
    pub fn tick(&mut self) {
        if let Some(lock) = &mut self.lock {
            count_down(&mut lock.left);
        }
        self.lock = self.lock.filter(|lock| lock.left > 0);
        for held in &mut self.permits {
            if let Some(permit) = held {
                count_down(&mut permit.left);
            }
            *held = held.filter(|permit| permit.left > 0);
        }
        self.permits.sort_by_key(|held| held.map_or(u8::MAX, |held| held.attempt));
        count_down(&mut self.recovering);
        if let FlightState::Lost { again_in } = &mut self.record.state {
            count_down(again_in);
        }
        if self.record.attempt != 0 {
            self.record.age = (self.record.age + 1).min(RETRY_LOST_AFTER);
        }
    }

    /// Redis' clock is set forward by more than any span.
    pub fn leap(&mut self) {
        for _ in 0..LONGEST_LEASE {
            self.tick();
        }
    }

    /// Redis' clock is set back: every lease begins anew, because none may be longer than it was given.
    pub fn set_back(&mut self) {
        if let Some(lock) = &mut self.lock {
            lock.left = lock.lease;
        }
        for permit in self.permits.iter_mut().flatten() {
            permit.left = permit.lease;
        }
        self.record.age = 0;
    }
}

/// A process that answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Its run id. They grow here, so that the newest is the highest; real ones do not, and only the locator knows.
    pub id: u8,
    /// What it holds.
    pub db: Db,
    /// How long it is until it has been up for the longest lease.
    pub young: u8,
    /// How long it is until it has been primary for the longest lease.
    pub young_primary: u8,
}

impl Server {
    /// A tick passes.
    pub fn tick(&mut self) {
        self.db.tick();
        count_down(&mut self.young);
        count_down(&mut self.young_primary);
    }
}

/// A set of pods, a bit each.
pub fn bit(pod: usize) -> u8 {
    debug_assert!(pod < PODS);
    1 << pod
}
