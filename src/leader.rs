//! Steps 3 and 4: calls the provider and keeps the lease meanwhile; [`land`] lands the outcome.
//!
//! The call runs in a task of its own, so that one that blocks or panics does not take the lease with it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, warn};

use crate::admission::attempts;
use crate::admission::reach::PodReach;
use crate::config::Config;
use crate::flight::Flight;
use crate::flight::ending::Ending;
use crate::metrics::Counters;
use crate::outcome::{Class, Outcome, ProviderFailure, ProviderHealth};
use crate::store::{Ask, Completion, Lease, Renewed, Store, TokenHistory};
use crate::token_response::TokenResponse;

mod land;

/// What the refresh function is told about the call it makes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// When the call is given up and its future dropped (`call_limit`).
    pub deadline: Instant,
    /// The number of this flight's lease. It grows with every lease of the namespace: write to your session store
    /// only over a lower one.
    pub fence: u64,
}

type Answer = Result<TokenResponse, ProviderFailure>;

/// How leading ends.
pub(crate) enum LeadEnd {
    Ended(Ending),
    /// The token is as it was, and the store was not told: the lead is to be given back.
    Untouched(Ending),
    /// Another leader has the flight, and this one's failure came too late to matter: its callers wait for the
    /// other, and get this only where there is none.
    Overtaken(Ending),
}

/// The refresh function was never called, for this reason: nothing can have been sent.
struct Withdrawn(&'static str);

/// A flight of this pod that was given the lead, with all it needs.
pub(crate) struct Leader<'a> {
    pub(crate) store: &'a Store,
    pub(crate) config: &'a Config,
    pub(crate) counters: &'a Counters,
    /// Whether this pod reaches the provider.
    pub(crate) reach: &'a PodReach,
    /// Cancelled when a close has waited long enough.
    pub(crate) overdue: &'a CancellationToken,
    pub(crate) lease: &'a Lease,
    pub(crate) ask: &'a Ask,
    pub(crate) flight: &'a Arc<Flight>,
}

/// The pause after a renewal that failed: soon enough to keep the lease, and no burden for a store that is down.
const RENEWAL_RETRY: Duration = Duration::from_millis(100);

impl Leader<'_> {
    /// Calls the refresh function, which must not have been called before, and lands what comes of it.
    pub(crate) async fn lead<C, F>(&self, call: &mut Option<C>) -> LeadEnd
    where
        C: FnOnce(Attempt) -> F + Send + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        self.announce();
        let completion = match self.call_with_lease(call).await {
            Ok(completion) => completion,
            Err(Withdrawn(why)) => {
                let outcome = Arc::new(Outcome::Failure(ProviderFailure::not_sent(why)));
                return LeadEnd::Untouched(Ending::led(outcome, self.lease.fence));
            }
        };
        self.count(&completion.outcome);
        let Lease { flight, fence, .. } = self.lease;
        debug!(%flight, session = %self.ask.identity.session, fence, class = completion.outcome.class().word(), "called");
        self.land(completion).await
    }

    /// Runs the refresh function and renews the lease until it is over.
    async fn call_with_lease<C, F>(&self, call: &mut Option<C>) -> Result<Completion, Withdrawn>
    where
        C: FnOnce(Attempt) -> F + Send + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let deadline = self.lease.granted + self.config.call_limit();
        let attempt = Attempt { deadline, fence: self.lease.fence };
        // By reference until here: whatever a function is handed by value, its future holds twice.
        let call = call.take().expect("BUG: a call that is spent was led");
        let call = call_unless_withdrawn(call, attempt, Arc::clone(self.flight));
        let mut task = AbortOnDropHandle::new(tokio::spawn(call));

        // A third of the lease: two renewals may fail before it ends.
        let interval = self.config.lease / 3;
        let mut next_renewal = self.lease.started + interval;
        let mut gaps = self.store.gaps();
        loop {
            tokio::select! {
                biased;
                ended = &mut task => return self.call_ended(ended),
                () = tokio::time::sleep_until(deadline.min(next_renewal)) => {
                    if deadline <= Instant::now() {
                        return self.give_up("the refresh function ran longer than call_limit", ProviderHealth::Failing);
                    }
                }
                () = self.overdue.cancelled() => {
                    return self.give_up("the coordinator was closed meanwhile", ProviderHealth::Neutral);
                }
                // The store may have forgotten the lease.
                () = gaps.passed() => {}
            }
            // Awaited, not raced: a renewal still on its way could arrive after the completion.
            next_renewal = Instant::now() + self.renew().await.unwrap_or(interval);
        }
    }

    /// The call's task has ended.
    fn call_ended(&self, ended: Result<Answer, JoinError>) -> Result<Completion, Withdrawn> {
        match ended {
            Ok(answer) => {
                let outcome = outcome_of(self.lease, answer);
                self.see_reach(&outcome);
                self.see_lifetime(&outcome);
                let health = outcome.health();
                Ok(Completion { outcome: Arc::new(outcome), health, age: Duration::ZERO })
            }
            Err(error) if error.is_panic() => {
                self.counters.panics.add_one();
                // Its message may quote a token, so it is not repeated here.
                error!(flight = %self.lease.flight, fence = self.lease.fence, "the refresh function panicked");
                self.give_up("the refresh function panicked", ProviderHealth::Neutral)
            }
            Err(_) => self.give_up("the runtime is shutting down", ProviderHealth::Neutral),
        }
    }

    /// Ends the call without an answer: nobody knows what the provider did, unless the function was never called. `health`
    /// is what that says of the provider.
    fn give_up(&self, why: &'static str, health: ProviderHealth) -> Result<Completion, Withdrawn> {
        // The intent is declared from the flight's start; it can be withdrawn only until the function is called.
        match self.flight.intent().withdraw() {
            Ok(()) => Err(Withdrawn(why)),
            Err(_started) => {
                let outcome = Arc::new(Outcome::Failure(ProviderFailure::unknown(why)));
                Ok(Completion { outcome, health, age: Duration::ZERO })
            }
        }
    }

    /// Says when to renew next, if not after the usual time.
    async fn renew(&self) -> Option<Duration> {
        let Lease { flight, fence, .. } = self.lease;
        match self.store.renew(self.lease).await {
            Ok(Renewed::Renewed) => None,
            Ok(Renewed::Superseded) => {
                self.counters.leases_lost.add_one();
                warn!(%flight, fence, "the lease was lost; a success will still land");
                // Nothing to renew any more, but the call goes on: it may have rotated the token.
                Some(self.config.call_limit())
            }
            Err(error) => {
                warn!(%flight, fence, %error, "the lease could not be renewed");
                Some(RENEWAL_RETRY)
            }
        }
    }

    fn announce(&self) {
        let Lease { flight, fence, .. } = self.lease;
        self.counters.led.add_one();
        debug!(%flight, session = %self.ask.identity.session, fence, "led");
        match self.lease.history {
            TokenHistory::Unremarkable => {}
            TokenHistory::LostLeaders => {
                self.flight.allow_wait_timeout();
                self.counters.taken_over.add_one();
                warn!(%flight, fence, "taking over from a lost leader");
            }
            TokenHistory::Rotated => {
                self.counters.reused.add_one();
                warn!(%flight, fence, "a rotated token comes again; the provider judges");
            }
        }
    }

    fn see_reach(&self, outcome: &Outcome) {
        match outcome.class() {
            Class::NotSent => self.reach.failed(Instant::now(), &self.config.breaker),
            Class::Success | Class::Denied | Class::Busy | Class::Unknown | Class::TokenLost => self.reach.succeeded(),
        }
    }

    /// A session that outlives its refresh tokens refreshes whenever its access token expires. Where that is more
    /// often than it may, it is refused through no fault of its own: told once, counted always.
    fn see_lifetime(&self, outcome: &Outcome) {
        let Outcome::Success(tokens) = outcome else { return };
        let Some(lifetime) = tokens.expires_in() else { return };
        let identity = &self.ask.identity;
        let outlives_its_tokens = identity.session != identity.flight || tokens.refresh_token().is_none();
        if outlives_its_tokens && attempts::would_starve(lifetime, self.config) && self.counters.starving.add_one() == 0
        {
            warn!(?lifetime, max_refresh_attempts = self.config.max_refresh_attempts,
                refresh_attempt_window = ?self.config.refresh_attempt_window,
                "access tokens live so short that sessions will use up their attempts: raise max_refresh_attempts, \
                 or shorten refresh_attempt_window");
        }
    }

    fn count(&self, outcome: &Outcome) {
        let counter = match outcome.class() {
            Class::Success => &self.counters.successes,
            Class::Denied => &self.counters.denied,
            Class::Busy => &self.counters.busy,
            Class::NotSent => &self.counters.not_sent,
            Class::Unknown => &self.counters.unknown,
            Class::TokenLost => &self.counters.lost,
        };
        counter.add_one();
    }
}

/// First the mark, then the call: a function that sends before it returns its future has sent, too.
#[expect(clippy::manual_async_fn, reason = "an async function would hold the call twice: as argument and as its own")]
fn call_unless_withdrawn<C, F>(call: C, attempt: Attempt, flight: Arc<Flight>) -> impl Future<Output = Answer>
where
    C: FnOnce(Attempt) -> F,
    F: Future<Output = Answer>,
{
    async move {
        if flight.intent().start() {
            call(attempt).await
        } else {
            Err(ProviderFailure::not_sent("the refresh was given up"))
        }
    }
}

/// A refusal after a lost leader most likely speaks of the lost answer, not of a token that was always bad.
fn outcome_of(lease: &Lease, answer: Answer) -> Outcome {
    match answer {
        Ok(tokens) => Outcome::Success(tokens),
        Err(ProviderFailure::Denied { error, response })
            if error == "invalid_grant" && lease.history == TokenHistory::LostLeaders =>
        {
            Outcome::TokenLost(response)
        }
        Err(failure) => Outcome::Failure(failure),
    }
}
