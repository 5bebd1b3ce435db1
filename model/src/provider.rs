//! The provider: one token, single-use. To present it is to consume it, whatever becomes of the answer.

/// How a call ends, or a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The provider rotated the token; told apart by the attempt that brought it.
    Success(u8),
    /// `invalid_grant`: the token is dead.
    Denied,
    /// The provider has not touched the token.
    Untouched,
    /// It was sent, and nobody knows what the provider did.
    Unknown,
}

impl Outcome {
    /// Whether it brought tokens.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Success(_))
    }
}

/// The token was sent once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Presentation {
    /// Who sent it.
    pub pod: u8,
    /// Under which attempt.
    pub attempt: u8,
    /// Under which fence.
    pub fence: u8,
    /// What the provider did.
    pub outcome: Outcome,
}

/// What the provider has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Provider {
    /// In the order of the sending.
    pub presentations: Vec<Presentation>,
}

impl Provider {
    /// The token arrives. One that was rotated before is a reuse; a busy provider touches nothing.
    pub fn present(&mut self, pod: u8, attempt: u8, fence: u8, is_busy: bool) -> Outcome {
        let is_spent = self.presentations.iter().any(|before| before.outcome != Outcome::Untouched);
        let outcome = match (is_busy, is_spent) {
            (true, _) => Outcome::Untouched,
            (false, true) => Outcome::Denied,
            (false, false) => Outcome::Success(attempt),
        };
        self.presentations.push(Presentation { pod, attempt, fence, outcome });
        outcome
    }
}
