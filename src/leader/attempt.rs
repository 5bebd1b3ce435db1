//! What a refresh function is given: until when it may run, under which fence, and the leave to send the token.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use crate::flight::LocalFlight;
use crate::identity::Hash;
use crate::outcome::ProviderFailure;
use crate::secret::Secret;
use crate::store::Lease;

/// What the refresh function is told about the call it makes.
#[derive(Clone)]
#[non_exhaustive]
pub struct Attempt {
    /// When the call is given up and its future dropped (`call_limit`).
    pub deadline: Instant,
    /// The number of this flight's lease. It grows with every lease of the namespace; what a write to a session store compares
    /// is the presented token ([`Refreshed::passed`](crate::Refreshed::passed)).
    pub fence: u64,
    /// The flight that is led in the store: that of the token to present, which a caller with an older one may have come to.
    led: Hash,
    flight: Arc<LocalFlight>,
    token: Secret,
    passed: Vec<Secret>,
}

impl Attempt {
    pub(super) fn new(
        deadline: Instant,
        lease: &Lease,
        flight: Arc<LocalFlight>,
        token: Secret,
        passed: Vec<Secret>,
    ) -> Self {
        Self { deadline, fence: lease.fence, led: lease.flight, flight, token, passed }
    }

    /// The refresh token to present: the request's own. With
    /// [`Refresh::token_from_attempt`](crate::Refresh::token_from_attempt) it may be a newer one.
    pub fn token(&self) -> &str {
        self.token.expose()
    }

    /// The refresh tokens after the caller's own, up to the one to present, oldest first: none, unless
    /// [`token`](Self::token) is a newer one. A session store writes the new tokens over any of these, or over the caller's.
    pub fn passed(&self) -> &[Secret] {
        &self.passed
    }

    pub(crate) fn flight(&self) -> &LocalFlight {
        &self.flight
    }

    /// The flight's name in the store, for log lines of your own that should match the coordinator's, and, as a
    /// [`RedisName`](crate::RedisName), for [`Operator::inspect`](crate::Operator::inspect). It is the
    /// SHA-256 of [`token`](Self::token), or its HMAC where there is a pepper, as 64 hex digits.
    pub fn flight_name(&self) -> impl fmt::Display + Send + Sync + use<> {
        self.led
    }

    /// Asks for leave to send the token, as late as can be: when the connection is there, and before the first byte of
    /// the request is written.
    ///
    /// The function is called only while its lease stands. But connecting takes time, and a process may be stopped or its
    /// machine suspended meanwhile, for longer than the `lease`: then another pod may have presented the token. While the
    /// lease stands, this answers at once and asks nobody. If the lease is over, this asks for a renewal and waits for
    /// its answer, for `store_timeout` at most.
    ///
    /// To ask is optional. A function that does not may present a token beside another pod if its process is stopped
    /// after it was called. One that does may do so only if it is stopped between this check and its write.
    ///
    /// # Errors
    ///
    /// A [`ProviderFailure`] that says that nothing was sent: another pod may lead, or all callers have gone away. Return it as the outcome of the call.
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    ///
    /// # Examples
    ///
    /// ```
    /// use refresh_coordinator::{Attempt, Config, ProviderFailure, Refresh, RefreshCoordinator, TokenResponse};
    ///
    /// async fn ask_provider(attempt: Attempt) -> Result<TokenResponse, ProviderFailure> {
    ///     // First connect, then:
    ///     attempt.before_sending().await?;
    ///     // Now write the request, and read the answer.
    ///     Ok(TokenResponse::from_json(r#"{"access_token":"a","token_type":"Bearer"}"#).expect("a token response"))
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let coordinator = RefreshCoordinator::in_memory(Config::default())?;
    /// let refreshed = coordinator.refresh(Refresh::new("old-token"), ask_provider).await?;
    /// assert_eq!(refreshed.tokens().access_token(), "a");
    /// # Ok(()) }
    /// ```
    pub async fn before_sending(&self) -> Result<(), ProviderFailure> {
        self.flight.lease().may_send().await.map_err(ProviderFailure::not_sent)?;
        if self.flight.retire_deserted() {
            return Err(self.give_back("all callers had gone away before anything was sent"));
        }
        Ok(())
    }

    /// Gives the lead back, for a function that has found out, before it sent anything, that there is nothing to send: the
    /// session holds newer tokens, or has ended. Return what this answers as the outcome of the call.
    ///
    /// Nothing is charged or kept, and it says nothing of the provider's health: the next caller leads at once. The callers of
    /// this flight get [`NotSent`](ProviderFailure::NotSent) with this reason.
    #[must_use = "it is the outcome of the call"]
    pub fn give_back(&self, reason: &'static str) -> ProviderFailure {
        ProviderFailure::not_sent(self.flight.lease().give_back(reason))
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the flight: it holds the outcome.
        f.debug_struct("Attempt").field("deadline", &self.deadline).field("fence", &self.fence).finish_non_exhaustive()
    }
}
