//! How a flight ended.

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
    passed: Passed,
}

/// Refresh tokens between the one that the callers came with and the one in the outcome. None where there are none: an
/// empty `Arc<[_]>` is one for the whole process, and all callers would count themselves in and out there.
pub(super) type Passed = Option<Arc<[Secret]>>;

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

impl Ending {
    /// The outcome of a call that this flight led.
    pub(crate) fn led(outcome: Arc<Outcome>, fence: u64) -> Self {
        Self::with(outcome, fence, Role::Led, Duration::ZERO)
    }

    /// An outcome that came to this flight when the provider had given it `age` ago.
    pub(crate) fn with(outcome: Arc<Outcome>, fence: u64, role: Role, age: Duration) -> Self {
        Self { result: Ok(outcome), fence, role, age, at: Instant::now(), passed: None }
    }

    /// No outcome.
    pub(crate) fn failed(error: RefreshError) -> Self {
        Self { result: Err(error), fence: 0, role: Role::Led, age: Duration::ZERO, at: Instant::now(), passed: None }
    }

    /// The same, of an answer that was found along a chain.
    pub(crate) fn passing(mut self, passed: &[Secret]) -> Self {
        if !passed.is_empty() {
            self.passed = Some(passed.into());
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

    /// How a caller came to the outcome, if there is one; the first caller of the flight has the flight's own role.
    pub(crate) fn role_of_caller(&self, is_first: bool) -> Option<Role> {
        self.outcome().map(|_| self.role_for(is_first))
    }

    pub(super) fn role_for(&self, is_first: bool) -> Role {
        if is_first { self.role } else { Role::JoinedHere }
    }

    /// When it came to this flight.
    pub(crate) fn at(&self) -> Instant {
        self.at
    }

    /// How old the outcome is for a caller that arrived then.
    pub(super) fn age_for(&self, arrived: Instant) -> Duration {
        self.age + arrived.saturating_duration_since(self.at)
    }

    /// The tokens as they came, or what a caller is told that arrived then.
    pub(super) fn for_caller(&self, arrived: Instant) -> Result<&TokenResponse, RefreshError> {
        match self.result.as_ref().map_err(RefreshError::clone)?.as_ref() {
            Outcome::Success(tokens) => Ok(tokens),
            Outcome::Failure(failure) => {
                let failure = failure.aged(self.age_for(arrived));
                Err(RefreshError::Provider { failure, fence: self.fence })
            }
            Outcome::TokenLost(response) => Err(RefreshError::Lost { response: response.clone() }),
        }
    }

    /// The tokens as they came, where it is a success.
    pub(crate) fn tokens(&self) -> Option<&TokenResponse> {
        match &**self.outcome()? {
            Outcome::Success(tokens) => Some(tokens),
            Outcome::Failure(_) | Outcome::TokenLost(_) => None,
        }
    }

    pub(super) fn fence(&self) -> u64 {
        self.fence
    }

    pub(super) fn passed(&self) -> &Passed {
        &self.passed
    }
}
