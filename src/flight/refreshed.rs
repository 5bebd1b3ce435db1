//! What a caller is told where its flight brought tokens.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::LocalFlight;
use super::ending::{Ending, Passed, Role};
use crate::error::RefreshError;
use crate::secret::Secret;
use crate::token_response::TokenResponse;

/// Tokens, and how this caller came to them.
#[derive(Clone)]
pub struct Refreshed {
    answer: Answer,
    role: Role,
    age: Duration,
}

/// Where the tokens are.
#[derive(Clone)]
enum Answer {
    /// In the flight, which the caller held while it waited and goes on to hold. Why not the tokens alone: it would count
    /// itself in there and out here, on two counters that all other callers raise and lower at that moment.
    OfFlight(Arc<LocalFlight>),
    /// Of an ending that was not told yet, or for a caller that came late.
    Own { tokens: TokenResponse, fence: u64, passed: Passed },
}

impl Refreshed {
    /// What the flight has told a caller that arrived then.
    pub(crate) fn told_by(flight: Arc<LocalFlight>, arrived: Instant, is_first: bool) -> Result<Self, RefreshError> {
        let ending = ending_of(&flight);
        let (role, age) = (ending.role_for(is_first), ending.age_for(arrived));
        if is_late(age) {
            return Self::of(ending, arrived, is_first);
        }
        ending.for_caller(arrived)?;
        Ok(Self { answer: Answer::OfFlight(flight), role, age })
    }

    /// The same, where the flight has this ending and did not tell it yet.
    pub(crate) fn of(ending: &Ending, arrived: Instant, is_first: bool) -> Result<Self, RefreshError> {
        let (tokens, age) = (ending.for_caller(arrived)?, ending.age_for(arrived));
        let tokens = if is_late(age) { tokens.aged(age) } else { tokens.clone() };
        let answer = Answer::Own { tokens, fence: ending.fence(), passed: ending.passed().clone() };
        Ok(Self { answer, role: ending.role_for(is_first), age })
    }

    /// What the provider answered. For a caller who came more than a second after the answer, `expires_in` is less
    /// by that time.
    pub fn tokens(&self) -> &TokenResponse {
        match &self.answer {
            Answer::OfFlight(flight) => ending_of(flight).tokens().expect("BUG: it was told of tokens"),
            Answer::Own { tokens, .. } => tokens,
        }
    }

    /// The number of the flight's lease; it grows with every lease of the namespace. Do not order writes to
    /// your session store by it alone: fences from before and after a loss of data in Redis have no order. Swap by the presented
    /// token, or by one of [`passed`](Self::passed).
    pub fn fence(&self) -> u64 {
        match &self.answer {
            Answer::OfFlight(flight) => ending_of(flight).fence(),
            Answer::Own { fence, .. } => *fence,
        }
    }

    /// How this caller came to the outcome.
    pub fn role(&self) -> Role {
        self.role
    }

    /// How long ago the provider gave the answer.
    pub fn age(&self) -> Duration {
        self.age
    }

    /// The refresh tokens between the one that was asked with and the new one, oldest first: none, unless the caller came with
    /// a token that was rotated more than once since ([`keep_until_used`](crate::Config::keep_until_used)). A session store
    /// writes the new tokens over any of these, or over the one that was asked with, and over nothing else. At most 16.
    pub fn passed(&self) -> &[Secret] {
        let passed = match &self.answer {
            Answer::OfFlight(flight) => ending_of(flight).passed(),
            Answer::Own { passed, .. } => passed,
        };
        passed.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for Refreshed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refreshed")
            .field("tokens", self.tokens())
            .field("fence", &self.fence())
            .field("role", &self.role)
            .field("age", &self.age)
            .field("passed", &self.passed())
            .finish()
    }
}

/// Within a second the provider's own bytes are right, and all callers of a flight get the same.
fn is_late(age: Duration) -> bool {
    age > Duration::from_secs(1)
}

fn ending_of(flight: &LocalFlight) -> &Ending {
    flight.ending.get().expect("BUG: who was told has an ending")
}
