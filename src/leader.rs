//! Steps 3 and 4: calls the provider, keeps the lease meanwhile, lands the outcome.
//!
//! The call runs in a task of its own, so that one that blocks or panics does not take the lease with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, warn};

use crate::admission::attempts;
use crate::admission::reach::PodReach;
use crate::config::{Config, Uncertain};
use crate::flight::{Ending, Flight, Role};
use crate::metrics::Counters;
use crate::outcome::{Class, Outcome, ProviderFailure, TokenResponse, TokenState, Verdict};
use crate::retention::Retention;
use crate::store::{Ask, Before, Completion, Gaps, Landed, Lease, Renewed, Standing, Store, StoreError};

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

/// What came of the call.
enum Called {
    Answered(Answer),
    /// It was ended, and nobody knows what the provider did.
    GivenUp {
        why: &'static str,
        /// What that says of the provider.
        verdict: Verdict,
    },
    /// The refresh function was never polled: nothing can have been sent.
    NeverPolled(&'static str),
}

/// How leading ends.
pub(crate) enum Led {
    Ended(Ending),
    /// The token is as it was, and the store was not told: the lead is to be given back.
    Untouched(Ending),
    /// Another leader has the flight, and this one's failure came too late to matter: its callers wait for the
    /// other, and get this only where there is none.
    Overtaken(Ending),
}

pub(crate) struct Leader<'a> {
    pub(crate) store: &'a Store,
    pub(crate) config: &'a Config,
    pub(crate) counters: &'a Counters,
    /// Whether this pod reaches the provider.
    pub(crate) reach: &'a PodReach,
    /// Cancelled when a close has waited long enough.
    pub(crate) overdue: &'a CancellationToken,
}

impl Leader<'_> {
    pub(crate) async fn lead<C, F>(&self, lease: &Lease, ask: &Ask, flight: &Arc<Flight>, call: &mut Option<C>) -> Led
    where
        C: FnOnce(Attempt) -> F + Send + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        self.announce(lease, ask, flight);

        let (outcome, verdict) = match self.call_with_lease(lease, flight, call).await {
            Called::Answered(answer) => {
                let outcome = judge(lease, answer);
                self.see_reach(&outcome);
                self.see_lifetime(ask, &outcome);
                let verdict = outcome.verdict();
                (Arc::new(outcome), verdict)
            }
            Called::GivenUp { why, verdict } => (Arc::new(Outcome::Failure(ProviderFailure::unknown(why))), verdict),
            Called::NeverPolled(why) => {
                return Led::Untouched(ended(lease, Arc::new(Outcome::Failure(ProviderFailure::not_sent(why)))));
            }
        };

        self.count(&outcome);
        debug!(flight = %lease.flight, session = %ask.identity.session, fence = lease.fence, class = outcome.class().word(), "called");
        self.land(lease, ask, flight, outcome, verdict).await
    }

    /// Runs the refresh function and renews the lease until it is over.
    async fn call_with_lease<C, F>(&self, lease: &Lease, flight: &Arc<Flight>, call: &mut Option<C>) -> Called
    where
        C: FnOnce(Attempt) -> F + Send + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let deadline = lease.granted + self.config.call_limit();
        let attempt = Attempt { deadline, fence: lease.fence };
        // By reference until here: whatever a function is handed by value, its future holds twice.
        let call = call.take().expect("BUG: a call that is spent was led");
        let mut task = AbortOnDropHandle::new(tokio::spawn(call_unless_withdrawn(call, attempt, Arc::clone(flight))));
        // Taking the lead declares the intent; it is taken back only where the function was never called.
        let ended_early = |why: &'static str, verdict| match flight.intent().withdraw() {
            Ok(()) => Called::NeverPolled(why),
            Err(Started) => Called::GivenUp { why, verdict },
        };

        // A third of the lease: two renewals may fail before it ends.
        let interval = self.config.lease / 3;
        let mut next_renewal = lease.started + interval;
        let mut gaps = self.store.gaps();
        loop {
            tokio::select! {
                biased;
                joined = &mut task => {
                    return match joined {
                        Ok(answer) => Called::Answered(answer),
                        Err(error) if error.is_panic() => {
                            self.counters.panics.add_one();
                            // Its message may quote a token, so it is not repeated here.
                            error!(flight = %lease.flight, fence = lease.fence, "the refresh function panicked");
                            ended_early("the refresh function panicked", Verdict::Neutral)
                        }
                        Err(_) => ended_early("the runtime is shutting down", Verdict::Neutral),
                    };
                }
                () = tokio::time::sleep_until(deadline.min(next_renewal)) => {
                    if deadline <= Instant::now() {
                        return ended_early("the refresh function ran longer than call_limit", Verdict::Failing);
                    }
                }
                () = self.overdue.cancelled() => {
                    return ended_early("the coordinator was closed meanwhile", Verdict::Neutral);
                }
                // The store may have forgotten the lease.
                () = gaps.passed() => {}
            }
            // Awaited, not raced: a renewal still on its way could arrive after the completion.
            next_renewal = Instant::now() + self.renew(lease).await.unwrap_or(interval);
        }
    }

    /// Says when to renew next, if not after the usual time.
    async fn renew(&self, lease: &Lease) -> Option<Duration> {
        match self.store.renew(lease).await {
            Ok(Renewed::Renewed) => None,
            Ok(Renewed::Lost) => {
                self.counters.leases_lost.add_one();
                warn!(flight = %lease.flight, fence = lease.fence, "the lease was lost; a success will still land");
                // Nothing to renew any more, but the call goes on: it may have rotated the token.
                Some(self.config.call_limit())
            }
            Err(error) => {
                warn!(flight = %lease.flight, fence = lease.fence, %error, "the lease could not be renewed");
                Some(RENEWAL_RETRY)
            }
        }
    }

    /// Lands the outcome, and says what this leader's own callers are told.
    async fn land(&self, lease: &Lease, ask: &Ask, flight: &Flight, outcome: Arc<Outcome>, verdict: Verdict) -> Led {
        let gaps = self.store.gaps();
        let in_hand = InHand { flight, ending: Some(ended(lease, Arc::clone(&outcome))) };
        let completion = Completion { outcome, verdict, held: Duration::ZERO };
        let completed = self.store.complete(lease, ask, &completion).await;
        let ours = in_hand.taken();
        match completed {
            Ok(standing) => self.led(lease, ours, &completion.outcome, standing),
            // Boxed, because it is rare, and every flight would be as large.
            Err(error) => Box::pin(self.land_later((lease, ask, flight), ours, completion, gaps, error)).await,
        }
    }

    /// Repeats `complete` until it is acknowledged: a rotated token that nobody hears of is a lost session.
    async fn land_later(
        &self,
        (lease, ask, flight): (&Lease, &Ask, &Flight),
        ours: Ending,
        mut completion: Completion,
        mut gaps: Gaps,
        mut error: StoreError,
    ) -> Led {
        let outcome = Arc::clone(&completion.outcome);
        let hold = match outcome.class() {
            Class::Success if outcome.token_state() == TokenState::Rotated => self.config.uncertain_memory,
            // The old refresh token still works: nobody is to be given an access token that has expired.
            Class::Success => Retention::of(&outcome, self.config).fresh_at(Duration::ZERO),
            // Only this pod knows that it was presented, should the store come back empty.
            Class::Unknown if self.config.uncertain == Uncertain::Never => self.config.uncertain_memory,
            // Others are to stay away for as long as the provider asks.
            Class::Busy => self.config.lease.max(Retention::of(&outcome, self.config).fresh),
            // Once the lease is over, others have found out that this leader is lost.
            Class::Denied | Class::NotSent | Class::Unknown | Class::Lost => self.config.lease,
        };
        let answered = ours.at;
        let mut renewed = answered;
        let _held = self.store.hold();
        let mut pauses = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(20))
            .with_max_delay(Duration::from_secs(1))
            .without_max_times()
            .with_jitter()
            .build();
        loop {
            // The callers of this pod need not wait for the store. The flight stays: who comes here meanwhile gets
            // the outcome too, instead of asking a store that does not know it yet.
            flight.tell(ours.clone());
            if answered.elapsed() >= hold || self.overdue.is_cancelled() {
                error!(flight = %lease.flight, fence = lease.fence, class = outcome.class().word(), %error,
                    "the outcome could not be shared: unless the lead is given back, other pods will find a lost leader");
                return match outcome.token_state() {
                    TokenState::Untouched | TokenState::Kept => Led::Untouched(ours),
                    TokenState::Rotated | TokenState::Dead | TokenState::Unknown => Led::Ended(ours),
                };
            }
            warn!(flight = %lease.flight, fence = lease.fence, %error, "the outcome could not be shared yet");
            if renewed.elapsed() >= self.config.lease / 3 {
                renewed = Instant::now();
                _ = self.renew(lease).await;
            }
            tokio::select! {
                () = tokio::time::sleep(pauses.next().unwrap_or(RENEWAL_RETRY)) => {}
                // Redis is back: first what this pod holds, then what others begin.
                () = gaps.passed() => {}
                () = self.overdue.cancelled() => {}
            }
            completion.held = answered.elapsed();
            error = match self.store.complete(lease, ask, &completion).await {
                Ok(standing) => return self.led(lease, ours, &outcome, standing),
                Err(error) => error,
            };
        }
    }

    fn led(&self, lease: &Lease, ours: Ending, outcome: &Outcome, standing: Standing) -> Led {
        match standing {
            Standing::Ours => Led::Ended(ours),
            Standing::Stale if outcome.class() == Class::Success => Led::Ended(ours),
            Standing::Stale => Led::Overtaken(ours),
            Standing::Theirs(landed) => {
                if outcome.class() == Class::Success && landed.outcome.class() == Class::Success {
                    self.counters.second_successes.add_one();
                    warn!(flight = %lease.flight, fence = lease.fence, first = landed.fence, "a second success");
                }
                let Landed { outcome, fence, age } = landed;
                Led::Ended(Ending { result: Ok(outcome), fence, age, ..ours })
            }
        }
    }

    fn announce(&self, lease: &Lease, ask: &Ask, flight: &Flight) {
        self.counters.led.add_one();
        debug!(flight = %lease.flight, session = %ask.identity.session, fence = lease.fence, "led");
        match lease.before {
            Before::Nothing => {}
            Before::LostLeaders => {
                flight.hold_up();
                self.counters.taken_over.add_one();
                warn!(flight = %lease.flight, fence = lease.fence, "taking over from a lost leader");
            }
            Before::Rotated => {
                self.counters.reused.add_one();
                warn!(flight = %lease.flight, fence = lease.fence, "a rotated token comes again; the provider judges");
            }
        }
    }

    fn see_reach(&self, outcome: &Outcome) {
        match outcome.class() {
            Class::NotSent => self.reach.failed(Instant::now(), &self.config.breaker),
            Class::Success | Class::Denied | Class::Busy | Class::Unknown | Class::Lost => self.reach.succeeded(),
        }
    }

    /// A session that outlives its refresh tokens refreshes whenever its access token expires. Where that is more
    /// often than it may, it is refused through no fault of its own: told once, counted always.
    fn see_lifetime(&self, ask: &Ask, outcome: &Outcome) {
        let Outcome::Success(tokens) = outcome else { return };
        let Some(lifetime) = tokens.expires_in() else { return };
        let outlives_its_tokens = ask.identity.session != ask.identity.flight || tokens.refresh_token().is_none();
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
            Class::Lost => &self.counters.lost,
        };
        counter.add_one();
    }
}

/// What the provider answered, until the store has it. Told as it is where the runtime ends meanwhile: callers may wait
/// on another one.
struct InHand<'a> {
    flight: &'a Flight,
    ending: Option<Ending>,
}

impl InHand<'_> {
    fn taken(mut self) -> Ending {
        self.ending.take().expect("BUG: it is taken once")
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        if let Some(ending) = self.ending.take() {
            self.flight.tell(ending);
        }
    }
}

/// Soon enough to keep a lease whose renewal failed, and no burden for a store that is down.
const RENEWAL_RETRY: Duration = Duration::from_millis(100);

/// Whether a flight's refresh function was called. Decided once: it is either called or withdrawn, never both.
#[derive(Debug, Default)]
pub(crate) struct Intent(AtomicU8);

/// It was called, and the provider may have heard of the token.
struct Started;

impl Intent {
    const DECLARED: u8 = 0;
    const STARTED: u8 = 1;
    const WITHDRAWN: u8 = 2;

    fn start(&self) -> bool {
        self.0.compare_exchange(Self::DECLARED, Self::STARTED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    fn withdraw(&self) -> Result<(), Started> {
        match self.0.compare_exchange(Self::DECLARED, Self::WITHDRAWN, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) | Err(Self::WITHDRAWN) => Ok(()),
            Err(_) => Err(Started),
        }
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
fn judge(lease: &Lease, answer: Answer) -> Outcome {
    match answer {
        Ok(tokens) => Outcome::Success(tokens),
        Err(ProviderFailure::Denied { error, response })
            if error == "invalid_grant" && lease.before == Before::LostLeaders =>
        {
            Outcome::Lost(response)
        }
        Err(failure) => Outcome::Failure(failure),
    }
}

fn ended(lease: &Lease, outcome: Arc<Outcome>) -> Ending {
    Ending { result: Ok(outcome), fence: lease.fence, role: Role::Led, age: Duration::ZERO, at: Instant::now() }
}
