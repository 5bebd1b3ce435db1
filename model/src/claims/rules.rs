//! The rules by which other claims of a credential share a chain, one bit each: every one can be taken out.

/// A rule. Its comment says what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Rule {
    /// A claim that comes with a token that another claim has had rotated goes on to the newest token.
    OthersWalk,
    /// A claim that comes before the first answer is noted, too: it waits for another's flight, or nothing came of its own.
    NotedBeforeFirst,
    /// With which token somebody came is noted per claim.
    UsedPerClaim,
    /// A claim that has come with a later token is answered no more for an older one.
    LeftBehindEnds,
    /// A claim that was not given this token walks only while nobody has come with a later one.
    StrangerNeedsUnused,
    /// A claim is owed the newest token only for the token that it came with last, and for the one that it was given last.
    HolderIsExact,
    /// A claim is handed only what was answered to itself.
    OwnAnswers,
    /// A walker presents only a token that was given, and that nobody has presented.
    GivenOnly,
    /// A walker presents no token of which there is no record.
    MissingBreaks,
    /// Where there is none, it begins again with its own token, once: the newest may be another since.
    MissingLooksAgain,
    /// A token that was rotated stays rotated, whatever becomes of a flight that presents it once more.
    RotatedStays,
    /// A flight presents once.
    OncePerWalk,
    /// One record of the family names the newest token: the way there is one step, however many rotations lie between.
    TipOfFamily,
    /// Claims that want the newest token get it in the order in which they asked.
    Turn,
    /// What a claim is owed stays for as long as the claim.
    KeptForHolders,
    /// A claim is remembered for longer than the access token lives that it was given.
    OutlivesAccess,
    /// A record of a rotated token that no claim is owed anything for is deleted.
    DropsUnheld,
    /// Where all places for claims are taken, a new claim gets none.
    FullAdmitsNobody,
    /// A claim that is owed the newest token presents it, also where Redis has lost writes since it was given.
    OwedCrossesLoss,
    /// Pods land their successes again where another server took over.
    LandAgain,
    /// A completion tells with which token its claim came, and what it was given.
    CompletionTellsClaim,
    /// The family is made when a second claim comes with a token of the login. The rules after this one are about that alone.
    LazyFamily,
    /// Nothing happens between the answer that other claims come with a token and the question where they went.
    AsksAtOnce,
    /// What lands again at another server comes in time to be held there.
    LandsInTime,
    /// A token tells to which claim it was given: another that comes with it makes the family.
    ToIsTold,
    /// Who makes the family notes the claim that its token was given to, and the one that presents it.
    OthersNoted,
    /// What another claim was given for the token comes into the family with the first landing.
    AnswerIsTaken,
    /// The token in an answer that another claim goes on by leads to the family.
    NextIsMember,
    /// The same already while that claim waits for who presents the token.
    NextIsToldOf,
    /// A claim that comes first with a token is a stranger where somebody came with the one that followed, also where that was not rotated.
    ComingIsUse,
    /// What is held leads nowhere where nothing is known of the token in it.
    MissingIsSpent,
    /// What followed a token without the family's key is known for as long as a claim is owed that.
    KeptForKeyless,
    /// A claim that comes with the token in its answer, which the family was made without, is the one that came before.
    OneEntryEach,
    /// The first landing notes the claim that its token was given to, where that was lost with the server.
    LandingNotesTo,
    /// The claim that a token was given to is noted by the name that it has with the token before, too, which it may come with still.
    NamedBefore,
    /// Who presents a token of the family is noted there as what it came with, and not by that token, too.
    PresenterHasEntry,
    /// When a claim has presented a token, all its entries are one, whatever it was called with the tokens of the others: those that its pod
    /// has, and those by whose keys the family names claims that have presented none.
    AllNamesAreOne,
    /// An answer on the way leads on, where somebody outside of the family had its token rotated, and comes into the family as the first does.
    AnswerOnTheWay,
    /// A token that is given outside of the family leads to it.
    LandingTellsNext,
    /// What is held leads nowhere where the token in it was presented for a family of which nothing is known.
    UnknownIsSpent,
    /// Where the record of a token of the family was lost, the token counts as used.
    LostIsUsed,
    /// Where the token in an answer stands is told by its own record: the way to it may have been made short.
    PlaceOfNext,
    /// Claims that were known before the first landing are remembered from then on for as long as that one's.
    LifeOfAnswer,
}

use Rule::*;

/// All rules.
pub const ALL: &[Rule] = &[
    OthersWalk,
    NotedBeforeFirst,
    UsedPerClaim,
    LeftBehindEnds,
    StrangerNeedsUnused,
    HolderIsExact,
    OwnAnswers,
    GivenOnly,
    MissingBreaks,
    MissingLooksAgain,
    RotatedStays,
    OncePerWalk,
    TipOfFamily,
    Turn,
    KeptForHolders,
    OutlivesAccess,
    DropsUnheld,
    FullAdmitsNobody,
    OwedCrossesLoss,
    LandAgain,
    CompletionTellsClaim,
    LazyFamily,
    AsksAtOnce,
    LandsInTime,
    ToIsTold,
    OthersNoted,
    AnswerIsTaken,
    NextIsMember,
    NextIsToldOf,
    ComingIsUse,
    MissingIsSpent,
    KeptForKeyless,
    OneEntryEach,
    NamedBefore,
    PresenterHasEntry,
    LandingNotesTo,
    AllNamesAreOne,
    AnswerOnTheWay,
    LandingTellsNext,
    UnknownIsSpent,
    LostIsUsed,
    PlaceOfNext,
    LifeOfAnswer,
];

/// Rules that the stores do not have.
pub const PROPOSED: &[Rule] = &[ComingIsUse];

/// A set of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules(u64);

impl Rules {
    /// All of them.
    pub fn lazy() -> Self {
        ALL.iter().fold(Self(0), |rules, &rule| Self(rules.0 | 1 << rule as u64))
    }

    /// As the stores have them: without what is only proposed.
    pub fn stores() -> Self {
        PROPOSED.iter().fold(Self::lazy(), |rules, &rule| rules.without(rule))
    }

    /// Those with a family from the login on.
    pub fn all() -> Self {
        Self::lazy().without(LazyFamily)
    }

    /// These but one.
    pub fn without(self, rule: Rule) -> Self {
        Self(self.0 & !(1 << rule as u64))
    }

    /// Whether the rule stands.
    pub fn has(self, rule: Rule) -> bool {
        self.0 & 1 << rule as u64 != 0
    }
}
