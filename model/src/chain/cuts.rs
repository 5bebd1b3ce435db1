//! Which rule is needed for what: without it, and with all others but those named beside it, a scenario has a
//! counterexample.

use super::promises::Promise;
use super::rules::Rule::{self, *};
use super::rules::Rules;

/// A rule that is taken out.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// The rule.
    pub rule: Rule,
    /// Rules that close the same history, and are taken out with it.
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
    cut(HeldAnswers, "chain-tab", Promise::SuccessorIsThere),
    cut(SameClaim, "chain-stranger", Promise::EntitledOnly),
    cut(DirectMarks, "chain-tabs", Promise::UsedIsOver),
    cut(OnlyHolderMarks, "chain-stranger-new", Promise::SuccessorIsThere),
    cut(UseEnds, "chain-tabs", Promise::UsedIsOver),
    cut(GivenOnly, "chain-held", Promise::OnlyGiven),
    cut(MissingBreaks, "chain-evicted", Promise::OnlyGiven),
    cut(LossBreaks, "chain-failover-crash", Promise::OnlyGiven),
    cut(NewLinkOnly, "chain-early", Promise::UsedIsOver),
    cut(LateNotHeld, "chain-early", Promise::SuccessorIsThere),
    cut(UntouchedStaysGiven, "chain-busy", Promise::UsedIsOver),
    cut(OncePerWalk, "chain-busy", Promise::OncePerWalk),
    cut(KeyedByClient, "chain-strangers-never", Promise::StrangerLosesNothing),
    cut(OthersKept, "chain-strangers-never", Promise::NeverTwice),
    cut(NeverRefuses, "chain-never", Promise::NeverTwice),
    cut(TurnOfKnown, "chain-stranger", Promise::KnownFirst),
    cut(LandAgain, "chain-failover", Promise::SuccessorIsThere),
    cut(Recovering, "chain-failover", Promise::SuccessorIsThere),
    cut(WaiterIsServed, "chain-news", Promise::WaiterGetsIt),
    cut(UseReachesTip, "chain-tabs", Promise::UsedIsOver),
    cut(CompletionTellsUse, "chain-failover", Promise::UsedIsOver),
    cut(UnheldStays, "chain-held", Promise::UsedIsOver),
    cut(HeldWhateverStands, "chain-stranger", Promise::SuccessorIsThere),
    cut(DeadIsOwn, "chain-stranger-new", Promise::SuccessorIsThere),
    cut(TipNeedsLink, "chain-early", Promise::UsedIsOver),
    cut(TipKeepsLink, "chain-ends", Promise::UsedIsOver),
];

/// Rules whose absence breaks nothing here; README.md says why.
pub const UNSEEN: &[Rule] = &[FromIsNoted, ReleaseBefore, PastWaitsForNothing, DeadIsOver];

impl Cut {
    /// All rules but those that close the same history.
    pub fn base(&self) -> Rules {
        self.beside.iter().fold(Rules::today(), |rules, &other| rules.without(other))
    }

    /// The same without the rule.
    pub fn rules(&self) -> Rules {
        self.base().without(self.rule)
    }
}
