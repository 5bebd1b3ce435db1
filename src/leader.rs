//! Steps 3 and 4: `call` asks the provider and keeps the lease meanwhile; [`land`] lands the outcome.
//!
//! The call runs in a task of its own, so that one that blocks or panics does not take the lease with it.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::admission::attempts;
use crate::admission::reach::PodReach;
use crate::admission::strangers::Strangers;
use crate::config::{Config, RefreshTokens};
use crate::flight::LocalFlight;
use crate::flight::before_told::BeforeTold;
use crate::flight::ending::Ending;
use crate::identity::Payer;
use crate::metrics::Counters;
use crate::moment::Moment;
use crate::outcome::{Class, Outcome, ProviderFailure};
use crate::own_lease::LeaseAge;
use crate::store::{Ask, Lease, Renewed, Store, StoreError, TokenHistory};
use crate::token_response::TokenResponse;

mod attempt;
mod call;
mod cut_off;
mod in_hand;
mod land;
mod pauses;
mod telling;

pub use self::attempt::Attempt;
pub(crate) use self::in_hand::InHand;
pub(crate) use self::telling::Hook;

type Answer = Result<TokenResponse, ProviderFailure>;

/// How leading ends.
pub(crate) enum LeadEnd {
    Ended(Ending),
    /// The lease counted for nothing before the refresh function was called, which is left for the next lead.
    BeginAgain,
    /// The store did not say whether the lease counts: the lead is to be abandoned.
    Outage(StoreError),
    /// The token is as it was, and the store was not told: the lead is to be abandoned.
    Untouched(Ending),
    /// The client has ended the session meanwhile: this is for nobody.
    SessionEnded(Arc<Outcome>),
    /// Another leader has the flight, and this one's failure came too late to matter: its callers wait for the
    /// other, and get this only where there is none.
    Overtaken(Ending),
}

/// The refresh function was never called: nothing can have been sent.
enum NotCalled {
    /// For this reason, and it will not be.
    Cancelled(&'static str),
    /// Others may lead by now.
    LeaseOver,
    /// Another server has taken over from the one that gave the lead.
    ServerReplaced,
    /// Nobody could say which server decides.
    Outage(StoreError),
}

/// What came of a renewal.
enum Renewal {
    Granted,
    /// Another flight leads, or this one is over.
    Superseded,
    /// The store gave no answer.
    Failed,
}

/// A flight of this pod that was given the lead, with all it needs.
pub(crate) struct Leader<'a> {
    pub(crate) store: &'a Store,
    pub(crate) config: &'a Config,
    pub(crate) pod: &'a str,
    pub(crate) counters: &'a Counters,
    /// Whether this pod reaches the provider.
    pub(crate) reach: &'a PodReach,
    /// The breakers of this pod for callers that are not known.
    pub(crate) strangers: &'a Strangers,
    /// Cancelled when a close has waited long enough.
    pub(crate) overdue: &'a CancellationToken,
    pub(crate) lease: &'a mut Lease,
    pub(crate) ask: &'a Ask,
    pub(crate) flight: &'a Arc<LocalFlight>,
    /// What is to be done before any caller hears of new tokens.
    pub(crate) before_told: Option<&'a Arc<BeforeTold>>,
    /// What the store is owed, should this be dropped before it is over.
    pub(crate) in_hand: InHand,
}

impl Leader<'_> {
    /// Calls the refresh function, which must not have been called before, and lands what comes of it.
    pub(crate) async fn lead<C, F>(&mut self, call: &mut Option<C>) -> LeadEnd
    where
        C: FnOnce(Attempt) -> F + Send + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        self.flight.lease().begin(self.lease.own);
        // It was given just now.
        let called = match self.may_call(LeaseAge::Young).await {
            Ok(()) => {
                self.announce();
                self.call_with_lease(call).await
            }
            Err(not_called) => Err(not_called),
        };
        self.flight.lease().end();
        let completion = match called {
            Ok(completion) => completion,
            Err(not_called) => {
                // The flight gives the lead back, or begins again with it.
                self.in_hand = InHand::Nothing;
                return self.not_called(not_called);
            }
        };
        self.count(&completion.outcome);
        self.in_hand = InHand::outcome(&completion);
        let Lease { flight, fence, .. } = *self.lease;
        debug!(%flight, session = %self.ask.identity.session, fence, class = completion.outcome.class().word(), "called");
        self.land(completion).await
    }

    /// Says how leading ends without a call.
    fn not_called(&self, not_called: NotCalled) -> LeadEnd {
        let Lease { flight, fence, .. } = &*self.lease;
        match not_called {
            NotCalled::Cancelled(why) => {
                let outcome = Arc::new(Outcome::Failure(ProviderFailure::not_sent(why)));
                LeadEnd::Untouched(Ending::led(outcome, *fence))
            }
            NotCalled::LeaseOver => {
                self.counters.leases_over.add_one();
                warn!(%flight, fence, "the lease was over before the refresh function was called");
                LeadEnd::BeginAgain
            }
            NotCalled::ServerReplaced => {
                warn!(%flight, fence, "another redis server has taken over from the one that gave the lead");
                LeadEnd::BeginAgain
            }
            NotCalled::Outage(error) => LeadEnd::Outage(error),
        }
    }

    /// Asks the store for a renewal. The lease is moved on to when that was asked.
    async fn renew(&mut self) -> Renewal {
        let asked = Moment::now();
        self.flight.lease().renewal_asked();
        let renewed = self.store.renew(self.lease, self.ask).await;
        let Lease { flight, fence, .. } = *self.lease;
        let (renewal, left) = match renewed {
            Ok(Renewed::Renewed) => {
                self.lease.own.renewed(asked);
                (Renewal::Granted, Some(self.lease.own))
            }
            Ok(Renewed::Superseded) => {
                self.counters.leases_lost.add_one();
                warn!(%flight, fence, "the lease was lost; a success will still land");
                (Renewal::Superseded, None)
            }
            Err(error) => {
                warn!(%flight, fence, %error, "the lease could not be renewed");
                (Renewal::Failed, Some(self.lease.own))
            }
        };
        self.flight.lease().renewal_answered(left);
        renewal
    }

    fn announce(&self) {
        let Lease { flight, fence, .. } = *self.lease;
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
            // It was told not to send: that says nothing of the way to the provider.
            Class::NotSent if self.flight.lease().has_refused() => {}
            Class::NotSent => self.reach.failed(Instant::now(), &self.config.breaker),
            Class::Success | Class::Denied | Class::Busy | Class::NotProcessed | Class::Unknown | Class::TokenLost => {
                self.reach.succeeded()
            }
        }
    }

    /// A session that outlives its refresh tokens refreshes whenever its access token expires. Where that is more
    /// often than it may, it is refused through no fault of its own: told once, counted always.
    fn see_lifetime(&self, outcome: &Outcome) {
        let Outcome::Success(tokens) = outcome else { return };
        let Some(lifetime) = tokens.expires_in() else { return };
        let identity = &self.ask.identity;
        let outlives_its_tokens = identity.payer == Payer::Session || tokens.is_kept();
        if outlives_its_tokens && attempts::would_starve(lifetime, self.config) && self.counters.starving.add_one() == 0
        {
            warn!(?lifetime, max_refresh_attempts = self.config.max_refresh_attempts,
                refresh_attempt_window = ?self.config.refresh_attempt_window,
                "access tokens live so short that sessions will use up their attempts: raise max_refresh_attempts, \
                 or shorten refresh_attempt_window");
        }
    }

    /// A provider that accepts a token which it rotated, though its tokens are said to be used once: told once, counted
    /// always.
    fn see_reuse(&self, outcome: &Outcome) {
        let is_accepted = self.lease.history == TokenHistory::Rotated && outcome.class() == Class::Success;
        if is_accepted
            && self.config.refresh_tokens == RefreshTokens::SingleUse
            && self.counters.accepted_again.add_one() == 0
        {
            warn!(flight = %self.lease.flight, fence = self.lease.fence,
                "the provider accepted a token that it had rotated: where its refresh tokens can be used many times, set \
                 refresh_tokens to reusable");
        }
    }

    /// What an answer means for this token.
    fn outcome_of(&self, answer: Answer) -> Outcome {
        match answer {
            Ok(tokens) => Outcome::Success(match self.config.refresh_tokens {
                RefreshTokens::SingleUse => tokens.answering(&self.ask.identity.entitlement.token),
                RefreshTokens::Reusable => tokens.keeping(true),
            }),
            Err(failure) => match failure.told_in(&self.config.dialect) {
                // It most likely speaks of the lost answer, not of a token that was always bad.
                ProviderFailure::Denied { is_token_dead: true, response, .. }
                    if self.lease.history == TokenHistory::LostLeaders
                        && self.config.refresh_tokens == RefreshTokens::SingleUse =>
                {
                    Outcome::TokenLost(response)
                }
                failure => Outcome::Failure(failure),
            },
        }
    }

    fn count(&self, outcome: &Outcome) {
        let counter = match outcome.class() {
            Class::Success => &self.counters.successes,
            Class::Denied => &self.counters.denied,
            Class::Busy => &self.counters.busy,
            Class::NotSent => &self.counters.not_sent,
            Class::NotProcessed => &self.counters.not_processed,
            Class::Unknown => &self.counters.unknown,
            Class::TokenLost => &self.counters.lost,
        };
        counter.add_one();
    }
}
