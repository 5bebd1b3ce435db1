//! The rules by which chains go, one bit each: every one can be taken out.

/// A rule. Its comment says what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Rule {
    /// The answer is held until somebody has used the token that it gave.
    HeldAnswers,
    /// Only a caller of the same claim is handed an outcome or what is held, and only its credential opens it.
    SameClaim,
    /// A caller that comes with a token itself marks it as used.
    DirectMarks,
    /// Only a holder of the credential marks it.
    OnlyHolderMarks,
    /// A walker goes on along no token that was used after the one that it came with.
    UseEnds,
    /// A walker notes where it comes from at every token that it asks about: a way that was made short misses no use.
    FromIsNoted,
    /// A walker presents no token that is known to be rotated or dead.
    GivenOnly,
    /// A walker presents no token of which no record says that an answer gave it.
    MissingBreaks,
    /// A walker presents no token that was given before Redis last lost writes.
    LossBreaks,
    /// An answer is held only where nobody has come with its token yet.
    NewLinkOnly,
    /// An answer that lands later than `keep_outcome` is not held.
    LateNotHeld,
    /// A token that was left untouched, or of which nobody knows, is given again.
    UntouchedStaysGiven,
    /// Once a used token was rotated, the answer that gave it is over.
    ReleaseBefore,
    /// A flight presents once, whatever it walked along.
    OncePerWalk,
    /// That a token is lost or uncertain is held against the client and credential that presented it.
    KeyedByClient,
    /// It is kept when another client leads.
    OthersKept,
    /// Under `never` an uncertain token is not presented.
    NeverRefuses,
    /// A known client that waits leads before strangers.
    TurnOfKnown,
    /// Pods land their successes, and under `never` what is uncertain, again where another server took over.
    LandAgain,
    /// Nobody is given a lead before leaders and successes are back.
    Recovering,
    /// Mend: a walker that joined is handed what it waited for, also when somebody used the token meanwhile.
    WaiterIsServed,
    /// Mend: a flight that goes back to its own token waits for nothing that it had joined further on.
    PastWaitsForNothing,
    /// Mend: a use is noted at the token that followed, too: an older way may lead there at once.
    UseReachesTip,
    /// Mend: a completion says that its token was used: the mark may be lost with the server.
    CompletionTellsUse,
    /// Mend: the record of a token whose answer is not held stays for as long as older answers may lead there.
    UnheldStays,
    /// Mend: what is held for a token is over once the provider has called that token dead.
    DeadIsOver,
    /// Mend: what is held for a token is looked at whatever its record says, unless somebody leads it.
    HeldWhateverStands,
    /// Mend: that a token is dead is believed where its own client was told so.
    DeadIsOwn,
    /// Mend: a way is made short only to a token of which the record says that an answer gave it.
    TipNeedsLink,
    /// Mend: a token is given for as long as any answer that leads to it is held.
    TipKeepsLink,
}

use Rule::*;

/// What stood before this model looked.
pub const BEFORE: &[Rule] = &[
    HeldAnswers,
    SameClaim,
    DirectMarks,
    OnlyHolderMarks,
    UseEnds,
    FromIsNoted,
    GivenOnly,
    MissingBreaks,
    LossBreaks,
    NewLinkOnly,
    LateNotHeld,
    UntouchedStaysGiven,
    ReleaseBefore,
    OncePerWalk,
    KeyedByClient,
    OthersKept,
    NeverRefuses,
    TurnOfKnown,
    LandAgain,
    Recovering,
];

/// What it found missing.
pub const MENDS: &[Rule] = &[
    WaiterIsServed,
    PastWaitsForNothing,
    UseReachesTip,
    CompletionTellsUse,
    UnheldStays,
    DeadIsOver,
    HeldWhateverStands,
    DeadIsOwn,
    TipNeedsLink,
    TipKeepsLink,
];

/// A set of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules(u32);

impl Rules {
    /// Those that stood before.
    pub fn before() -> Self {
        BEFORE.iter().fold(Self(0), |rules, &rule| rules.with(rule))
    }

    /// Those that stand.
    pub fn today() -> Self {
        MENDS.iter().fold(Self::before(), |rules, &rule| rules.with(rule))
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
