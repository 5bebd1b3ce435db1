//! What is set: the time, in ticks of a third of the usual lease, and the settings of each pod.

/// How many pods there are at most.
pub const PODS: usize = 3;
/// The usual lease. A leader renews every third of it: at every tick.
pub const LEASE: u8 = 3;
/// The longest lease that a pod may have.
pub const LONGEST_LEASE: u8 = 4;
/// How long a lost leader may still be heard of, from when it is first missed on: two `store_timeout`.
pub const GRACE: u8 = 1;
/// `retry_lost_after`, from the start of the lost flight.
pub const RETRY_LOST_AFTER: u8 = 4;
/// How long a call may run: longer than Redis can be recovering, so that calls outlast it.
pub const CALL_LIMIT: u8 = 6;

/// What a pod does with a token of which nobody knows whether it was rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Uncertain {
    /// Present it again.
    Retry,
    /// Never present it again.
    Never,
}

/// Whether a pod is there when the history begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// It runs, and is in the register.
    Running,
    /// It may be started later, as a process that has seen nothing.
    ToStart,
}

/// The settings of one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Its `lease`, in ticks.
    pub lease: u8,
    /// Its `uncertain`.
    pub uncertain: Uncertain,
    /// What must be equal for an answer to be shared.
    pub claim: u8,
    /// How many callers come to it, one after the other.
    pub callers: u8,
    /// Whether it runs from the beginning.
    pub presence: Presence,
}

impl Settings {
    /// A pod with the usual settings, to which one caller comes.
    pub const USUAL: Self =
        Self { lease: LEASE, uncertain: Uncertain::Retry, claim: 0, callers: 1, presence: Presence::Running };

    /// The same with another number of callers.
    pub const fn callers(self, callers: u8) -> Self {
        Self { callers, ..self }
    }

    /// The same, not running yet.
    pub const fn to_start(self) -> Self {
        Self { presence: Presence::ToStart, ..self }
    }

    /// The same with the policy `never`.
    pub const fn never(self) -> Self {
        Self { uncertain: Uncertain::Never, ..self }
    }

    /// The same with the longest lease.
    pub const fn longest(self) -> Self {
        Self { lease: LONGEST_LEASE, ..self }
    }

    /// The same with another claim.
    pub const fn other_claim(self) -> Self {
        Self { claim: 1, ..self }
    }
}

/// Counts down, and stays at zero.
pub fn count_down(left: &mut u8) {
    *left = left.saturating_sub(1);
}
