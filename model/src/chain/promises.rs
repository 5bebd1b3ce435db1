//! What chains promise, by name.

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Promise {
    /// A flight presents at most one token, however far it walked.
    OncePerWalk,
    /// A walker presents only what was given and never presented; where that is not known, as the policy says.
    OnlyGiven,
    /// A rotated token comes to the provider only once somebody has come with a later one: until then what followed is there
    /// for everybody who comes with it.
    SuccessorIsThere,
    /// Once somebody came with a later token, the old one is answered no more, but by what is fresh.
    UsedIsOver,
    /// A flight that waits for another's outcome gets it, also where the message is lost.
    WaiterGetsIt,
    /// Nobody is handed tokens without the credential.
    EntitledOnly,
    /// Under `never` no token is presented of which nobody knows what the provider did.
    NeverTwice,
    /// Nobody is told that a token is lost because of what a stranger did with it.
    StrangerLosesNothing,
    /// While a known client waits for its turn no stranger is given the lead.
    KnownFirst,
}

impl Promise {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::OncePerWalk,
        Self::OnlyGiven,
        Self::SuccessorIsThere,
        Self::UsedIsOver,
        Self::WaiterGetsIt,
        Self::EntitledOnly,
        Self::NeverTwice,
        Self::StrangerLosesNothing,
        Self::KnownFirst,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::OncePerWalk => "a walk presents once",
            Self::OnlyGiven => "walkers present only what was given",
            Self::SuccessorIsThere => "what followed is there until it is used",
            Self::UsedIsOver => "after a use the old token reaches the provider",
            Self::WaiterGetsIt => "who waits gets the outcome",
            Self::EntitledOnly => "entitled only",
            Self::NeverTwice => "never twice under never, per client",
            Self::StrangerLosesNothing => "a stranger loses nobody's token",
            Self::KnownFirst => "known clients lead first",
        }
    }
}
