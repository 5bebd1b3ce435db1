//! What a leader owes the store.

use tokio::time::Instant;

use crate::store::Completion;

/// What the store is owed.
#[derive(Debug, Default)]
pub(crate) enum InHand {
    /// The lead, and an outcome as soon as the function is called.
    #[default]
    Lead,
    /// What the provider answered then.
    Outcome { completion: Completion, answered: Instant },
    /// Nothing any more, or what the flight gives back.
    Nothing,
}

impl InHand {
    pub(super) fn outcome(completion: &Completion) -> Self {
        Self::Outcome { completion: completion.clone(), answered: Instant::now() - completion.age }
    }
}
