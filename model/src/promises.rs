//! The promises of `docs/guarantees.md`, by name.

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Promise {
    /// No pod presents the token while another pod's call with it is under way, and the leader of that lives and was
    /// heard of by the primary within its lease.
    OnePresentation,
    /// Under `never` no token is presented that may have been sent before, unless it is known to be untouched.
    NeverTwice,
    /// A success that a living process holds is what callers get: nobody is refused for good or presents again.
    SuccessKept,
    /// Nobody waits for ever.
    NobodyHangs,
    /// Permits and probes come back: nothing gives them to a flight that is over.
    PermitsComeBack,
    /// Everybody of a claim gets the same success.
    SameOutcome,
    /// A token is presented under a higher fence than all that were presented under before.
    FencesGrow,
    /// Who comes while Redis recovers waits, and is not refused.
    RecoveringWaits,
}

impl Promise {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::OnePresentation,
        Self::NeverTwice,
        Self::SuccessKept,
        Self::NobodyHangs,
        Self::PermitsComeBack,
        Self::SameOutcome,
        Self::FencesGrow,
        Self::RecoveringWaits,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnePresentation => "one presentation while a leader lives",
            Self::NeverTwice => "never twice under never",
            Self::SuccessKept => "a held success is handed on",
            Self::NobodyHangs => "nobody hangs",
            Self::PermitsComeBack => "permits and probes come back",
            Self::SameOutcome => "everybody gets the same outcome",
            Self::FencesGrow => "fences grow",
            Self::RecoveringWaits => "who comes while Redis recovers waits",
        }
    }
}
