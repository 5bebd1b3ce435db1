//! What is promised to claims, by name.

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Promise {
    /// A claim that comes with the token that it was given last, or came with last, does not reach the provider with it once it
    /// was rotated: it is owed what followed.
    Owed,
    /// A flight presents at most one token.
    OncePerWalk,
    /// A flight asks the store a number of times that does not grow with the rotations that lie between.
    FewLooks,
    /// So many records there are as claims need, and not one for each rotation.
    LittleMemory,
    /// A claim that has come with a later token is handed nothing for an older one.
    LeftBehind,
    /// A claim that was never given a token, and comes with it after somebody has used what followed, is handed nothing.
    StrayIsFound,
    /// A claim is handed only what the provider answered to it.
    OwnScope,
    /// A walker presents no token that was presented.
    OnlyGiven,
    /// Somebody who has stolen a token is not served beside its owner for long. No set of rules keeps this: see README.md.
    ThiefIsFound,
}

impl Promise {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Owed,
        Self::OncePerWalk,
        Self::FewLooks,
        Self::LittleMemory,
        Self::LeftBehind,
        Self::StrayIsFound,
        Self::OwnScope,
        Self::OnlyGiven,
        Self::ThiefIsFound,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Owed => "a claim is owed what followed its token",
            Self::OncePerWalk => "a walk presents once",
            Self::FewLooks => "looks do not grow with rotations",
            Self::LittleMemory => "memory does not grow with rotations",
            Self::LeftBehind => "what a claim has left behind reaches the provider",
            Self::StrayIsFound => "a used token under another claim reaches the provider",
            Self::OwnScope => "a claim is handed its own answers only",
            Self::OnlyGiven => "walkers present only what was given",
            Self::ThiefIsFound => "a thief beside the owner is found",
        }
    }
}
