//! Which rule is needed for what: without it, and with all others but those named beside it, a scenario has a
//! counterexample.

use crate::promises::Promise;
use crate::rules::Rule::{self, *};
use crate::rules::Rules;

/// A rule that is taken out.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// The rule.
    pub rule: Rule,
    /// Mends that close the same history, and are taken out with it: under these rules it is the one that is needed.
    pub beside: &'static [Rule],
    /// Where it is missed.
    pub scenario: &'static str,
    /// What is broken then.
    pub promise: Promise,
}

const fn cut(rule: Rule, scenario: &'static str, promise: Promise) -> Cut {
    Cut { rule, beside: &[], scenario, promise }
}

/// All rules whose absence is seen.
pub const ALL: &[Cut] = &[
    cut(Incarnation, "failover", Promise::OnePresentation),
    cut(ServerNamesItself, "failover-hidden", Promise::OnePresentation),
    Cut { beside: &[LeaseHasBound], ..cut(LongestLease, "long-lease", Promise::OnePresentation) },
    cut(RecoveringWaits, "failover", Promise::RecoveringWaits),
    cut(VirginUptime, "restart-empty", Promise::OnePresentation),
    cut(VirginListeners, "flushed", Promise::OnePresentation),
    cut(FenceAboveLast, "clock-back", Promise::FencesGrow),
    cut(FenceAboveSeen, "clock-back", Promise::FencesGrow),
    cut(FenceAboveTime, "failover-crash", Promise::FencesGrow),
    cut(OwnLease, "pause", Promise::OnePresentation),
    cut(LookAgain, "pause", Promise::OnePresentation),
    cut(Superseded, "demoted-told", Promise::OnePresentation),
    cut(KeepSuccess, "failover", Promise::SuccessKept),
    cut(Gone, "failover-late", Promise::PermitsComeBack),
    cut(AskLocator, "demoted", Promise::OnePresentation),
    cut(PromotedIsYoung, "promoted-empty", Promise::OnePresentation),
    cut(KeepUncertain, "failover-never", Promise::NeverTwice),
    cut(PutBackOverOlder, "failover-again", Promise::OnePresentation),
    cut(GreetWhileKeeping, "failover-hidden", Promise::SuccessKept),
    cut(GoneBegin, "failover-late", Promise::PermitsComeBack),
    cut(LeaseHasBound, "long-lease-forgotten", Promise::OnePresentation),
];

/// Rules whose absence breaks nothing here; README.md says why.
pub const UNSEEN: &[Rule] = &[RenewBeforeCall, PutBackOnlyStanding];

impl Cut {
    /// All rules but those that close the same history.
    pub fn base(&self) -> Rules {
        self.beside.iter().fold(Rules::mended(), |rules, &other| rules.without(other))
    }

    /// The same without the rule.
    pub fn rules(&self) -> Rules {
        self.base().without(self.rule)
    }
}
