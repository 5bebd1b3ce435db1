//! Which rule is needed for what: without it a scenario has a counterexample.

use super::promises::Promise;
use super::rules::Rule::{self, *};

/// A rule that is taken out.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// The rule.
    pub rule: Rule,
    /// Where it is missed.
    pub scenario: &'static str,
    /// What is broken then.
    pub promise: Promise,
}

const fn cut(rule: Rule, scenario: &'static str, promise: Promise) -> Cut {
    Cut { rule, scenario, promise }
}

/// All rules whose absence is seen.
pub const ALL: &[Cut] = &[
    cut(OthersWalk, "claims-three", Promise::Owed),
    cut(NotedBeforeFirst, "claims-two", Promise::Owed),
    cut(UsedPerClaim, "claims-two", Promise::Owed),
    cut(LeftBehindEnds, "claims-thief-shared", Promise::LeftBehind),
    cut(StrangerNeedsUnused, "claims-two", Promise::StrayIsFound),
    cut(HolderIsExact, "claims-thief-other", Promise::StrayIsFound),
    cut(OwnAnswers, "claims-shared", Promise::OwnScope),
    cut(GivenOnly, "claims-crash", Promise::OnlyGiven),
    cut(MissingBreaks, "claims-evicted", Promise::OnlyGiven),
    cut(MissingLooksAgain, "claims-failover", Promise::Owed),
    cut(OncePerWalk, "claims-busy", Promise::OncePerWalk),
    cut(TipOfFamily, "claims-rare", Promise::FewLooks),
    cut(Turn, "claims-rare", Promise::FewLooks),
    cut(KeptForHolders, "claims-rare", Promise::Owed),
    cut(OutlivesAccess, "claims-two", Promise::Owed),
    cut(DropsUnheld, "claims-rare", Promise::LittleMemory),
    cut(FullAdmitsNobody, "claims-thief-full", Promise::Owed),
    cut(OwedCrossesLoss, "claims-failover", Promise::Owed),
    cut(LandAgain, "claims-failover", Promise::Owed),
    cut(CompletionTellsClaim, "claims-failover", Promise::StrayIsFound),
];

/// The same where the family is made lazily, of the rules that are about that.
pub const LAZY: &[Cut] = &[
    cut(AsksAtOnce, "claims-failover", Promise::Owed),
    cut(LandsInTime, "claims-failover", Promise::Owed),
    cut(ToIsTold, "claims-thief-shared", Promise::Owed),
    cut(OthersNoted, "claims-busy", Promise::Owed),
    cut(AnswerIsTaken, "lazy-lulls", Promise::Owed),
    cut(NextIsMember, "claims-two", Promise::Owed),
    cut(NextIsToldOf, "lazy-lulls", Promise::Owed),
    cut(AnswerOnTheWay, "claims-missed", Promise::Owed),
    cut(NamedBefore, "claims-missed", Promise::Owed),
    cut(ComingIsUse, "lazy-long", Promise::StrayIsFound),
    cut(MissingIsSpent, "claims-mixed", Promise::OnlyGiven),
    cut(KeptForKeyless, "claims-crash", Promise::Owed),
    cut(OneEntryEach, "claims-tabs", Promise::LeftBehind),
    cut(PresenterHasEntry, "lazy-lulls", Promise::Owed),
    cut(LandingNotesTo, "claims-failover-shared", Promise::Owed),
    cut(AllNamesAreOne, "claims-thief-shared", Promise::LeftBehind),
    cut(LandingTellsNext, "claims-two", Promise::Owed),
    cut(PlaceOfNext, "claims-missed", Promise::Owed),
    cut(LifeOfAnswer, "lazy-long", Promise::Owed),
];

/// Rules whose absence breaks nothing here; README.md says why.
pub const UNSEEN: &[Rule] = &[RotatedStays, LazyFamily, UnknownIsSpent, LostIsUsed];
