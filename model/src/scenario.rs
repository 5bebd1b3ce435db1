//! A configuration: which pods there are, and how often what may go wrong.

use crate::settings::{PODS, Settings};

/// How a server is replaced by another, under a new run id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Replacement {
    /// The replica is promoted without the last writes, as many as this. The old primary is gone.
    Promote(u8),
    /// The same, and the old primary goes on answering those that it holds.
    Demote(u8),
    /// A replica that never got anything is promoted; it has been up for long.
    PromoteEmpty,
    /// The server restarts from its disk, without the last writes.
    RestartOld(u8),
    /// The server restarts and holds nothing.
    RestartEmpty,
}

/// How often each fault may happen in one history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// A process stops and goes on later.
    pub pauses: u8,
    /// A process ends.
    pub crashes: u8,
    /// A process starts that has seen nothing.
    pub starts: u8,
    /// A command or its answer is lost.
    pub losses: u8,
    /// A command arrives after its pod has given it up.
    pub lates: u8,
    /// The server is replaced.
    pub replacements: u8,
    /// The data is flushed, the server stays.
    pub flushes: u8,
    /// Redis' clock is set forward, by more than any span.
    pub leaps: u8,
    /// Redis' clock is set back: fences can no longer be above all by its time.
    pub set_backs: u8,
    /// The provider's answer is lost.
    pub lost_answers: u8,
    /// The provider is busy and touches nothing.
    pub busies: u8,
}

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What `--only` calls it.
    pub name: &'static str,
    /// What happens in it.
    pub about: &'static str,
    /// The pods.
    pub pods: [Option<Settings>; PODS],
    /// What may go wrong, and how often.
    pub faults: Faults,
    /// How servers are replaced. Each loses up to the number of writes that it names.
    pub replacements: &'static [Replacement],
    /// A proxy hides from the pods that the server was replaced, until a script says so.
    pub hidden_by_proxy: bool,
    /// Running pods hear of a promotion at once, though their connections stay where they are.
    pub told_of_promotion: bool,
    /// Pods are never woken: the channels are forbidden.
    pub deaf: bool,
    /// A process may stop even between its last look at its lease and the sending, which nothing can rule out.
    pub last_gap: bool,
    /// Too large for the tests: only `--deep` looks at all of it.
    pub is_deep: bool,
    /// After how many ticks a caller that was given nothing has waited too long.
    pub patience: u8,
}

impl Scenario {
    /// Nothing goes wrong.
    pub const CALM: Self = Self {
        name: "calm",
        about: "nothing goes wrong",
        pods: [Some(Settings::USUAL), Some(Settings::USUAL), Some(Settings::USUAL.other_claim())],
        faults: NO_FAULTS,
        replacements: &[],
        hidden_by_proxy: false,
        told_of_promotion: false,
        deaf: false,
        last_gap: false,
        is_deep: false,
        patience: 36,
    };
}

/// None.
pub const NO_FAULTS: Faults = Faults {
    pauses: 0,
    crashes: 0,
    starts: 0,
    losses: 0,
    lates: 0,
    replacements: 0,
    flushes: 0,
    leaps: 0,
    set_backs: 0,
    lost_answers: 0,
    busies: 0,
};
