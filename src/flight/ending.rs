//! How a flight ended, and what each of its callers is told of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::RefreshError;
use crate::outcome::Outcome;
use crate::secret::Secret;
use crate::token_response::TokenResponse;

/// What all callers of a flight are told.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    result: Result<Arc<Outcome>, RefreshError>,
    fence: u64,
    role: Role,
    /// How old the outcome was when it came to this flight, and when that was.
    age: Duration,
    at: Instant,
    /// Refresh tokens between the one that the callers came with and the one in the outcome.
    passed: Arc<[Secret]>,
}

/// How a caller came to its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Its own refresh function asked the provider.
    Led,
    /// Another caller of this pod was first.
    JoinedHere,
    /// Another pod led.
    JoinedFleet,
    /// The outcome was there already.
    Latecomer,
}

/// Tokens, and how this caller came to them.
#[derive(Clone, Debug)]
pub struct Refreshed {
    tokens: TokenResponse,
    fence: u64,
    role: Role,
    age: Duration,
    passed: Arc<[Secret]>,
}

impl Refreshed {
    /// What the provider answered. For a caller who came more than a second after the answer, `expires_in` is less
    /// by that time.
    pub fn tokens(&self) -> &TokenResponse {
        &self.tokens
    }

    /// The number of the flight's lease; it grows with every lease of the namespace. Write to your session store
    /// only over a lower one, and a late writer cannot put old tokens over new ones.
    pub fn fence(&self) -> u64 {
        self.fence
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
        &self.passed
    }
}

impl Ending {
    /// The outcome of a call that this flight led.
    pub(crate) fn led(outcome: Arc<Outcome>, fence: u64) -> Self {
        Self::with(outcome, fence, Role::Led, Duration::ZERO)
    }

    /// An outcome that came to this flight when the provider had given it `age` ago.
    pub(crate) fn with(outcome: Arc<Outcome>, fence: u64, role: Role, age: Duration) -> Self {
        Self { result: Ok(outcome), fence, role, age, at: Instant::now(), passed: Arc::default() }
    }

    /// No outcome.
    pub(crate) fn failed(error: RefreshError) -> Self {
        Self {
            result: Err(error),
            fence: 0,
            role: Role::Led,
            age: Duration::ZERO,
            at: Instant::now(),
            passed: Arc::default(),
        }
    }

    /// The same, of an answer that was found along a chain.
    pub(crate) fn passing(mut self, passed: &[Secret]) -> Self {
        if !passed.is_empty() {
            self.passed = passed.into();
        }
        self
    }

    /// The outcome, if there is one.
    pub(crate) fn outcome(&self) -> Option<&Arc<Outcome>> {
        self.result.as_ref().ok()
    }

    /// The outcome as a store holds it.
    pub(crate) fn stored(&self) -> Option<(Arc<Outcome>, u64, Duration)> {
        let outcome = Arc::clone(self.outcome()?);
        Some((outcome, self.fence, self.age + self.at.elapsed()))
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// When it came to this flight.
    pub(crate) fn at(&self) -> Instant {
        self.at
    }

    /// What a caller is told that arrived then; the first caller of the flight has the flight's own role.
    pub(crate) fn for_caller(&self, arrived: Instant, is_first: bool) -> Result<Refreshed, RefreshError> {
        let role = if is_first { self.role } else { Role::JoinedHere };
        let age = self.age + arrived.saturating_duration_since(self.at);
        match self.result.as_ref().map_err(RefreshError::clone)?.as_ref() {
            Outcome::Success(tokens) => {
                // Within a second the provider's own bytes are right, and all callers of a flight get the same.
                let tokens = if age > Duration::from_secs(1) { tokens.aged(age) } else { tokens.clone() };
                Ok(Refreshed { tokens, fence: self.fence, role, age, passed: Arc::clone(&self.passed) })
            }
            Outcome::Failure(failure) => Err(RefreshError::Provider { failure: failure.aged(age), fence: self.fence }),
            Outcome::TokenLost(response) => Err(RefreshError::Lost { response: response.clone() }),
        }
    }
}
