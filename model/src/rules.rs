//! The rules of the protocol that can be switched on and off, one bit each.
//!
//! [`Rules::today`] is what the scripts do now. [`Rules::proposed`] is what is to be built next, as it was decided on
//! paper. [`Rules::mended`] is that with what this model found wrong in it put right.

/// A rule of the protocol. Its comment says which history it closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Rule {
    /// Today's: Redis has forgotten if the last fence it knows is lower than one that the asking pod has seen.
    ForgottenByFence,
    /// Redis' run id is noted in the namespace. Another one means that writes may be lost: no new leads for a lease.
    Incarnation,
    /// The run id is read by the script itself. Without it the pod says it, as its connection learnt it.
    ServerNamesItself,
    /// Recovering lasts as long as the longest lease in force, not as long as the asking pod's.
    LongestLease,
    /// A caller that comes while Redis recovers waits, and is not refused.
    RecoveringWaits,
    /// Recovering ends when every pod of the register has reported to the new server.
    EarlyEnd,
    /// A pod that finds nothing at all waits a lease, unless the server has been up for one.
    VirginUptime,
    /// A pod that finds nothing at all waits a lease if another pod listens on the channel of the fleet.
    VirginListeners,
    /// A fence is above the last one that Redis gave.
    FenceAboveLast,
    /// A fence is above those that the asking pod has seen.
    FenceAboveSeen,
    /// A fence is above Redis' time, and so above all that were given before, wherever.
    FenceAboveTime,
    /// Before the call, the leader's lease must stand by its pod's own clock; else the pod begins again.
    OwnLease,
    /// A lease older than a third is renewed before the call.
    RenewBeforeCall,
    /// The lease is looked at again after connecting to the provider, in one step with the sending.
    LookAgain,
    /// A lead that a superseded server gave is not presented: its run id must be the newest that the pod knows.
    Superseded,
    /// Pods keep their acknowledged successes for one longest lease and send them again to a new incarnation.
    KeepSuccess,
    /// `complete` and `abandon` after an unanswered renewal leave `gone:<attempt>`: a late renewal puts nothing back.
    Gone,
    /// A renewal puts back what Redis does not hold only while the leader's own lease stands.
    PutBackOnlyStanding,
    /// Mend: the locator is asked which server is the newest, after `begin` has answered and before the call.
    AskLocator,
    /// Mend: a server that was promoted counts as up from its promotion on.
    PromotedIsYoung,
    /// Mend: an uncertain outcome under `never` is kept and sent again like a success.
    KeepUncertain,
    /// Mend: a renewal puts its flight back over the failure of an older fence, which ended before it began and which
    /// Redis knows again because it came back with older data.
    PutBackOverOlder,
    /// Mend: a pod that keeps something for the next server asks every third of a lease whether that is there.
    GreetWhileKeeping,
    /// Mend: a flight with an unanswered `begin` behind it gives its attempt back when it ends, though a later `begin`
    /// was answered; and `complete` leaves `gone:<attempt>` after it, too.
    GoneBegin,
    /// Mend: no lease is longer than the protocol's longest, and recovering lasts that long where the register of
    /// leases may be lost, too.
    LeaseHasBound,
}

use Rule::*;

/// The rules that stand today.
const TODAY: &[Rule] = &[ForgottenByFence, FenceAboveLast];

/// The rules that were decided on for the next step.
pub const PROPOSED: &[Rule] = &[
    Incarnation,
    ServerNamesItself,
    LongestLease,
    RecoveringWaits,
    EarlyEnd,
    VirginUptime,
    VirginListeners,
    FenceAboveLast,
    FenceAboveSeen,
    FenceAboveTime,
    OwnLease,
    RenewBeforeCall,
    LookAgain,
    Superseded,
    KeepSuccess,
    Gone,
    PutBackOnlyStanding,
];

/// What was found missing.
pub const MENDS: &[Rule] =
    &[AskLocator, PromotedIsYoung, KeepUncertain, PutBackOverOlder, GreetWhileKeeping, GoneBegin, LeaseHasBound];

/// A set of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules(u32);

impl Rules {
    /// What the scripts and pods do now.
    pub fn today() -> Self {
        Self::of(TODAY)
    }

    /// The next step, as it was decided on paper.
    pub fn proposed() -> Self {
        Self::of(PROPOSED)
    }

    /// The next step with what the model found put right: the mends, and recovering never ends early.
    pub fn mended() -> Self {
        MENDS.iter().fold(Self::proposed().without(EarlyEnd), |rules, &mend| rules.with(mend))
    }

    fn of(rules: &[Rule]) -> Self {
        rules.iter().fold(Self(0), |all, &rule| all.with(rule))
    }

    /// These and one more.
    pub fn with(self, rule: Rule) -> Self {
        Self(self.0 | 1 << rule as u8)
    }

    /// These but one.
    pub fn without(self, rule: Rule) -> Self {
        Self(self.0 & !(1 << rule as u8))
    }

    /// Whether the rule stands.
    pub fn has(self, rule: Rule) -> bool {
        self.0 & 1 << rule as u8 != 0
    }
}
