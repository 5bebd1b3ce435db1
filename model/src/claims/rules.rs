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
];

/// A set of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules(u32);

impl Rules {
    /// All of them.
    pub fn all() -> Self {
        ALL.iter().fold(Self(0), |rules, &rule| Self(rules.0 | 1 << rule as u8))
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
