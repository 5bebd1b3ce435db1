//! The whole way of a refresh, from the caller to the caller.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use std::{fmt, mem};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::admission::Terms;
use crate::admission::circuit::CircuitState;
use crate::admission::reach::PodReach;
use crate::config::{Config, ConfigError};
use crate::error::{ConnectError, RefreshError, Refusal};
use crate::flight::pace::Pace;
use crate::flight::{Ending, Entered, Flight, Flights, Landing, Role, Waiting};
use crate::joiner::{self, Waited};
use crate::leader::{Attempt, Leader, Led};
use crate::metrics::{Counters, Metrics};
use crate::outcome::{Outcome, ProviderFailure, TokenResponse};
use crate::pressure::Pressure;
use crate::request::Refresh;
use crate::store::memory::MemoryStore;
use crate::store::redis::RedisStore;
use crate::store::{Ask, Begun, Joined, Landed, LeaderSeen, Lease, Queued, Store, StoreError};
use crate::token::Request;

#[cfg(test)]
mod origin;

/// Presents each refresh token once, however many callers ask, and hands the answer to all of them.
///
/// One per process is enough, shared by clones. Coordinators of one namespace in one Redis share their flights.
///
/// # Examples
///
/// ```
/// use refresh_coordinator::{Config, Refresh, RefreshCoordinator, TokenResponse};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let coordinator = RefreshCoordinator::in_memory(Config::default())?;
///
/// let refreshed = coordinator
///     .refresh(Refresh::new("old-token").client("my-app", "secret"), |_attempt| async {
///         // Ask the provider here. This runs once, whoever else asks at the same time.
///         let body = r#"{"access_token":"a","token_type":"Bearer","refresh_token":"new-token"}"#;
///         Ok(TokenResponse::from_json(body).expect("a token response"))
///     })
///     .await?;
///
/// assert_eq!(refreshed.tokens().refresh_token(), Some("new-token"));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RefreshCoordinator {
    inner: Arc<Inner>,
}

struct Inner {
    config: Arc<Config>,
    pod: String,
    flights: Arc<Flights>,
    pace: Pace,
    store: Store,
    counters: Arc<Counters>,
    pressure: Pressure,
    reach: PodReach,
    tasks: TaskTracker,
    /// Cancelled when nothing new is admitted.
    closing: CancellationToken,
    /// Set before that: every caller asks, and the token takes a lock to be asked.
    is_closing: AtomicBool,
    /// Cancelled when what still flies is given up.
    overdue: CancellationToken,
}

/// Tokens, and how this caller came to them.
#[derive(Clone, Debug)]
pub struct Refreshed {
    tokens: TokenResponse,
    fence: u64,
    role: Role,
    age: Duration,
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
}

impl RefreshCoordinator {
    /// A coordinator for one process, which needs nothing else.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the setting that is impossible or contradicts another.
    pub fn in_memory(config: Config) -> Result<Self, ConfigError> {
        Self::in_memory_shared(&MemoryStore::new(), config)
    }

    /// A coordinator that shares flights with all others on the same store, as pods share them over Redis. For
    /// tests, and for processes that need several configurations.
    ///
    /// # Errors
    ///
    /// As [`in_memory`](Self::in_memory).
    pub fn in_memory_shared(store: &MemoryStore, config: Config) -> Result<Self, ConfigError> {
        config.validate()?;
        let config = Arc::new(config);
        let store = Store::Memory(store.pod(Arc::clone(&config)));
        Ok(Self::with_store(config, new_pod(), store, Arc::default()))
    }

    /// A coordinator that shares flights with all pods of its namespace in this Redis (7.0 or newer, 64-bit), given as
    /// `redis://[user:password@]host[:port][/db]`.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when a setting is wrong, Redis is out of reach or too old, the user lacks a right (the ACL
    /// rule is named), or the namespace is used with another protocol, pepper or upstream.
    ///
    /// # Cancellation
    ///
    /// Nothing is left behind but the namespace's `meta`.
    pub async fn connect(redis: &str, config: Config) -> Result<Self, ConnectError> {
        let client = redis::Client::open(redis).map_err(|error| ConnectError::Url { reason: error.to_string() })?;
        Self::connect_with_redis_client(client, config).await
    }

    /// As [`connect`](Self::connect), with a client of the redis crate that is configured already: TLS certificates
    /// (with a TLS feature of that crate switched on), a Unix socket, a name and password from elsewhere. Only its
    /// settings are used. The redis crate's types are part of the public API here and nowhere else.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Cancellation
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_with_redis_client(client: redis::Client, config: Config) -> Result<Self, ConnectError> {
        config.validate()?;
        let config = Arc::new(config);
        let counters = Arc::<Counters>::default();
        let pod = new_pod();
        let store = RedisStore::connect(client, &pod, Arc::clone(&config), Arc::clone(&counters)).await?;
        Ok(Self::with_store(config, pod, Store::Redis(store), counters))
    }

    fn with_store(config: Arc<Config>, pod: String, store: Store, counters: Arc<Counters>) -> Self {
        let inner = Inner {
            pressure: Pressure::new(config.memory_pressure),
            reach: PodReach::default(),
            config,
            pod,
            flights: Arc::default(),
            pace: Pace::new(),
            store,
            counters,
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            is_closing: AtomicBool::new(false),
            overdue: CancellationToken::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Refreshes a token: by `call`, or by whoever in the fleet is asking the provider for the same already.
    ///
    /// `call` runs at most once per flight in the fleet, in a task of its own. Whoever must persist the rotated
    /// token before anybody hears of it does so inside `call`.
    ///
    /// # Errors
    ///
    /// [`RefreshError`] tells whether asking again may help and when.
    ///
    /// # Panics
    ///
    /// When it is polled outside a tokio runtime with timers.
    ///
    /// # Cancellation
    ///
    /// The refresh goes on for everybody else, and its outcome is there for whoever asks again. A future that was
    /// never polled starts nothing.
    pub fn refresh<C, F>(
        &self,
        refresh: Refresh,
        call: C,
    ) -> impl Future<Output = Result<Refreshed, RefreshError>> + use<'_, C, F>
    where
        C: FnOnce(Attempt) -> F + Send + 'static,
        F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
    {
        Caller { inner: &self.inner, step: Step::Asks { refresh, call } }
    }

    /// The settings this coordinator was built with.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// What was counted since it was built.
    pub fn metrics(&self) -> Metrics {
        self.inner.counters.snapshot()
    }

    /// How many flights are under way in this pod, led or joined.
    pub fn in_flight(&self) -> usize {
        self.inner.flights.len()
    }

    /// This pod's id, as it stands in Redis: random, new with every coordinator.
    pub fn pod(&self) -> &str {
        &self.inner.pod
    }

    /// The circuit breaker of the namespace, as it stands for the whole fleet.
    ///
    /// # Errors
    ///
    /// [`RefreshError::StoreOutage`] when the store does not answer.
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn circuit_state(&self) -> Result<CircuitState, RefreshError> {
        self.inner.store.circuit_state().await.map_err(|error| self.inner.outage(error))
    }

    /// Whether a refresh could be begun now: the store answers, or this pod goes on without it
    /// ([`OnStoreOutage::Local`](crate::OnStoreOutage::Local)). In memory always.
    ///
    /// # Errors
    ///
    /// [`RefreshError::StoreOutage`].
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn check_store(&self) -> Result<(), RefreshError> {
        self.inner.store.check().await.map_err(|error| self.inner.outage(error))
    }

    /// Closes the coordinator: admits nothing new, refuses what queues, waits up to `deadline` for what is under way and
    /// for outcomes, and attempts that were given up, of which Redis was not told yet, then gives up the rest. A call
    /// that was never polled is taken back; one that was is completed as unknown, for which the store has up to three
    /// more `store_timeout`. Closing twice is fine.
    ///
    /// # Cancellation
    ///
    /// Nothing new is admitted from the first poll on; what is under way goes on.
    pub async fn close(&self, deadline: Duration) {
        let inner = &self.inner;
        inner.is_closing.store(true, Ordering::SeqCst);
        inner.closing.cancel();
        inner.tasks.close();
        let under_way = async {
            inner.tasks.wait().await;
            inner.store.drained().await;
        };
        if tokio::time::timeout(deadline, under_way).await.is_err() {
            warn!(flights = inner.flights.len(), "closing with refreshes under way");
            inner.overdue.cancel();
            // What is given up still has to be completed: one try at the store.
            _ = tokio::time::timeout(3 * inner.config.store_timeout, inner.tasks.wait()).await;
        }
        // Also for a flight that slipped in: it must not wait for messages that nobody reads any more.
        inner.overdue.cancel();
        inner.store.close();
    }
}

/// A caller, from its question to its answer.
///
/// Why not an async function: that holds its arguments to the end. Here what only the first caller needs is handed over
/// or dropped before anything is waited for, the token too.
struct Caller<'a, C> {
    inner: &'a Arc<Inner>,
    step: Step<'a, C>,
}

enum Step<'a, C> {
    Asks { refresh: Refresh, call: C },
    Waits { waiting: Waiting, is_first: bool, gone: Gone<'a> },
    Told,
}

/// Nothing of it is pinned.
impl<C> Unpin for Caller<'_, C> {}

impl<C, F> Future for Caller<'_, C>
where
    C: FnOnce(Attempt) -> F + Send + 'static,
    F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
{
    type Output = Result<Refreshed, RefreshError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { inner, step } = &mut *self;
        if let Step::Asks { .. } = step
            && let Step::Asks { refresh, call } = mem::replace(step, Step::Told)
        {
            let (waiting, is_first) = inner.enter(refresh, call, context.waker())?;
            *step = Step::Waits { waiting, is_first, gone: Gone(Some(&inner.counters)) };
        }
        let Step::Waits { waiting, is_first, gone } = step else { panic!("a refresh was polled after its end") };
        let (arrived, is_first) = (waiting.arrived(), *is_first);
        let ending = ready!(waiting.poll_ending(context, &inner.config));
        gone.stayed();
        let told = match ending {
            Some(ending) => ending.for_caller(arrived, is_first),
            None => {
                inner.counters.timed_out.add_one();
                Err(RefreshError::TimedOut { retry_after: RETRY_AFTER })
            }
        };
        *step = Step::Told;
        Poll::Ready(told)
    }
}

/// A refresh, once for all callers of this pod who ask the same: flies, keeps their time meanwhile, and lands.
///
/// Why a block and not an async function: that would hold the call twice, as its argument and as its own.
fn fly<C, F>(inner: Arc<Inner>, landing: Landing, ask: Ask, call: C) -> impl Future<Output = ()> + Send
where
    C: FnOnce(Attempt) -> F + Send + 'static,
    F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
{
    let mut call = Some(call);
    async move {
        // Here and not where the task is made: that may be on a runtime that has ended, where tokio refuses timers.
        let Config { refresh_timeout, lease, store_timeout, .. } = &*inner.config;
        let now = Instant::now();
        inner.pace.keep(now, (*refresh_timeout).min(*lease / 3).min(*store_timeout));
        let mut left_behind = None;
        let ending = {
            let flight = landing.flight();
            let flying = pin!(inner.way(flight, &ask, &mut call, &mut left_behind));
            flight.keep_time(now, &inner.config, flying).await
        };
        if let Some(LeftBehind { queued_since }) = left_behind {
            let tasks = inner.tasks.clone();
            tasks.spawn(async move { inner.disown(&ask, queued_since).await });
        }
        landing.end(ending);
    }
}

/// A `begin` that may still arrive, a lead that was not given back, or a place in the queue.
#[derive(Default)]
struct LeftBehind {
    queued_since: Option<Instant>,
}

impl Inner {
    /// The way of a refresh. What waits for others is boxed: a flight that is led at once is not to be as large.
    async fn way<C, F>(
        &self,
        flight: &Arc<Flight>,
        ask: &Ask,
        call: &mut Option<C>,
        left_behind: &mut Option<LeftBehind>,
    ) -> Ending
    where
        C: FnOnce(Attempt) -> F + Send + 'static,
        F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
    {
        let Self { config, store, counters, reach, overdue, .. } = self;
        let mut overtaken = None;
        let mut joined_before = false;
        let mut fence = None;
        let mut queued_since = None;
        let mut may_have_begun = false;

        loop {
            // Whose call is spent can use no permit: it does not queue for one.
            let terms = if call.is_some() { self.terms(queued_since) } else { self.terms(None).without_queueing() };
            let begun = store.begin(ask, fence, &terms).await;
            may_have_begun = begun.as_ref().is_err_and(|error| may_have_begun || error.may_have_run);
            match begun {
                Ok(Begun::Landed(landed)) => break self.landed(landed, joined_before || queued_since.is_some()),
                // Whoever leads what was joined puts it back at its next renewal, and who queued has waited already.
                Ok(Begun::Rejected(Refusal::Recovering { retry_after }))
                    if (joined_before || queued_since.is_some())
                        && flight.deadline().is_some_and(|deadline| Instant::now() + RETRY_AFTER < deadline) =>
                {
                    tokio::time::sleep(retry_after.min(RETRY_AFTER)).await;
                }
                Ok(Begun::Rejected(refusal)) => {
                    break overtaken.unwrap_or_else(|| Ending::failed(self.refused(refusal)));
                }
                Ok(Begun::Lead(lease)) => {
                    queued_since = None;
                    let leader = Leader { store, config, counters, reach, overdue };
                    if self.is_closing.load(Ordering::SeqCst) {
                        *left_behind = self.give_back(&lease, ask).await;
                        break overtaken.unwrap_or_else(|| Ending::failed(self.refused(closing())));
                    }
                    if call.is_none() {
                        // It has been called, and whoever overtook it is gone: what it brought is all there is.
                        *left_behind = self.give_back(&lease, ask).await;
                        break overtaken.expect("BUG: a call that is spent was led or overtaken");
                    }
                    match leader.lead(&lease, ask, flight, call).await {
                        Led::Ended(ending) => break ending,
                        Led::NeverPolled(ending) => {
                            *left_behind = self.give_back(&lease, ask).await;
                            break ending;
                        }
                        Led::Overtaken(ending) => {
                            overtaken = Some(ending);
                            fence = Some(lease.fence);
                        }
                    }
                }
                Ok(Begun::Queued(Queued { since, mut waiting })) => {
                    flight.hold_up();
                    if queued_since.is_none() {
                        counters.queued.add_one();
                        debug!(flight = %ask.identity.flight, "queued");
                    }
                    queued_since = Some(since);
                    let patience_until = Some(since + config.budget_wait);
                    match Box::pin(joiner::wait(&mut waiting, patience_until, flight, &self.closing)).await {
                        // Also when nobody called and the patience is over: it may have landed meanwhile.
                        Waited::Landed(_) | Waited::Look => {}
                        Waited::Over => {
                            *left_behind = Some(LeftBehind { queued_since });
                            break overtaken.unwrap_or_else(|| Ending::failed(self.over()));
                        }
                    }
                }
                Ok(Begun::Join(Joined { fence: led, leader, mut waiting })) => {
                    queued_since = None;
                    if leader == LeaderSeen::Lost || led.is_none() {
                        flight.hold_up();
                    }
                    if !joined_before {
                        counters.joined_fleet.add_one();
                        debug!(flight = %ask.identity.flight, fence = led, "joined");
                    }
                    joined_before = true;
                    fence = led.or(fence);
                    match Box::pin(joiner::wait(&mut waiting, None, flight, overdue)).await {
                        Waited::Landed(landed) => break self.landed(landed, joined_before),
                        Waited::Look => {}
                        Waited::Over => break overtaken.unwrap_or_else(|| Ending::failed(self.over())),
                    }
                }
                // Somebody else has the token in hand: waiting loses nothing.
                Err(error)
                    if joined_before
                        && flight.deadline().is_some_and(|deadline| Instant::now() + RETRY_AFTER < deadline) =>
                {
                    warn!(flight = %ask.identity.flight, %error, "waiting for a flight while the store is out of reach");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Err(error) => {
                    if may_have_begun || queued_since.is_some() {
                        *left_behind = Some(LeftBehind { queued_since });
                    }
                    break overtaken.unwrap_or_else(|| Ending::failed(self.outage(error)));
                }
            }
        }
    }
}

impl Inner {
    /// Gives back a lead whose refresh function was never polled. Answers what is to be disowned where it could not be.
    async fn give_back(&self, lease: &Lease, ask: &Ask) -> Option<LeftBehind> {
        let error = self.store.abandon(lease, ask).await.err()?;
        warn!(flight = %lease.flight, fence = lease.fence, %error, "the lead could not be given back yet");
        Some(LeftBehind::default())
    }

    /// A `begin` that was given up may still arrive; the attempt is then to find itself abandoned. A place in the queue
    /// is given up with it.
    ///
    /// For as long as a lost leader is remembered: a Redis that hangs runs what it was sent when it goes on, however
    /// late that is, and what the attempt takes then counts as a lost leader until it is given back.
    async fn disown(&self, ask: &Ask, queued_since: Option<Instant>) {
        let mut gaps = self.store.gaps();
        let patience = self.config.lease.max(self.config.retry_lost_after());
        let forgotten = Instant::now() + self.config.memory_of_lost();
        let mut until = Instant::now() + patience;
        while let Err(error) = self.store.disown(ask, queued_since).await {
            let now = Instant::now();
            let (next, end) = if self.store.is_out_of_reach() {
                (forgotten, forgotten)
            } else {
                (now + RETRY_AFTER, until.min(forgotten))
            };
            if now >= end || self.overdue.is_cancelled() {
                warn!(flight = %ask.identity.flight, %error, "an attempt could not be taken back; its lease will end");
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                // The store is back.
                () = gaps.passed() => until = Instant::now() + patience,
                () = self.overdue.cancelled() => {}
            }
        }
    }
}

/// A pause that is short for a person and long for a store or a flight that is in trouble.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Inner {
    /// Joins the flight of this pod, or starts it. Answers whether it was started.
    fn enter<C, F>(self: &Arc<Self>, refresh: Refresh, call: C, waker: &Waker) -> Result<(Waiting, bool), RefreshError>
    where
        C: FnOnce(Attempt) -> F + Send + 'static,
        F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
    {
        let arrived = Instant::now();
        self.counters.callers.add_one();
        let request = Request::checked(refresh).inspect_err(|_| {
            self.counters.refused_invalid.add_one();
        })?;
        if self.is_closing.load(Ordering::SeqCst) {
            self.counters.refused_closing.add_one();
            return Err(closing().into());
        }
        match self.flights.enter(request.key(), arrived, waker, &self.config) {
            Entered::New(waiting) => {
                let landing = Landing::new(Arc::clone(&self.flights), Arc::clone(waiting.flight()));
                let identity = self.store.identity(request, self.config.pepper.as_ref());
                let ask = Ask { identity, attempt: Uuid::new_v4() };
                // Boxed: tokio moves what it spawns several times.
                self.tasks.spawn(Box::pin(fly(Arc::clone(self), landing, ask, call)));
                Ok((waiting, true))
            }
            Entered::Joined(waiting) => {
                self.counters.joined_here.add_one();
                Ok((waiting, false))
            }
        }
    }

    /// What a flight brings along when it begins.
    fn terms(&self, queued_since: Option<Instant>) -> Terms {
        let now = Instant::now();
        let pod_refuses = if self.pressure.is_high(now) {
            Some(Refusal::MemoryPressure { retry_after: RETRY_AFTER })
        } else {
            self.reach.judge(now)
        };
        let patience = match queued_since {
            None => self.config.budget_wait,
            Some(since) => (since + self.config.budget_wait).saturating_duration_since(now),
        };
        Terms { pod_refuses, patience, queued_since }
    }

    fn landed(&self, landed: Landed, joined_before: bool) -> Ending {
        let role = if joined_before { Role::JoinedFleet } else { Role::Latecomer };
        if role == Role::Latecomer {
            self.counters.latecomers.add_one();
        }
        Ending { result: Ok(landed.outcome), fence: landed.fence, role, age: landed.age, at: Instant::now() }
    }

    fn refused(&self, refusal: Refusal) -> RefreshError {
        let counter = match &refusal {
            Refusal::AnotherClaim { .. } => &self.counters.refused_another_claim,
            Refusal::Recovering { .. } => &self.counters.refused_recovering,
            Refusal::CoolingDown { .. } => &self.counters.refused_cooling_down,
            Refusal::Limited { .. } => &self.counters.refused_limited,
            Refusal::Budget { .. } => &self.counters.refused_budget,
            Refusal::CircuitOpen { .. } => &self.counters.refused_circuit_open,
            Refusal::NotReaching { .. } => &self.counters.refused_not_reaching,
            Refusal::MemoryPressure { .. } => &self.counters.refused_memory_pressure,
            Refusal::Closing { .. } => &self.counters.refused_closing,
        };
        counter.add_one();
        refusal.into()
    }

    fn outage(&self, error: StoreError) -> RefreshError {
        self.counters.store_outages.add_one();
        RefreshError::StoreOutage { reason: error.reason, retry_after: RETRY_AFTER }
    }

    /// A flight that nobody waits for any more, or that a close has given up.
    fn over(&self) -> RefreshError {
        if self.closing.is_cancelled() {
            self.refused(closing())
        } else {
            RefreshError::TimedOut { retry_after: RETRY_AFTER }
        }
    }
}

fn closing() -> Refusal {
    Refusal::Closing { retry_after: RETRY_AFTER }
}

impl Ending {
    fn for_caller(&self, arrived: Instant, first: bool) -> Result<Refreshed, RefreshError> {
        let role = if first { self.role } else { Role::JoinedHere };
        let age = self.age + arrived.saturating_duration_since(self.at);
        match self.result.as_ref().map_err(RefreshError::clone)?.as_ref() {
            Outcome::Success(tokens) => {
                // Within a second the provider's own bytes are right, and everybody of a flight gets the same.
                let tokens = if age > Duration::from_secs(1) { tokens.aged(age) } else { tokens.clone() };
                Ok(Refreshed { tokens, fence: self.fence, role, age })
            }
            Outcome::Failure(failure) => Err(RefreshError::Provider { failure: failure.aged(age), fence: self.fence }),
            Outcome::Lost(response) => Err(RefreshError::Lost { response: response.clone() }),
        }
    }
}

/// Counts a caller that goes away before its flight ends.
struct Gone<'a>(Option<&'a Counters>);

impl Gone<'_> {
    fn stayed(&mut self) {
        self.0 = None;
    }
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        if let Some(counters) = self.0 {
            counters.gone.add_one();
        }
    }
}

/// Random per start: a pod that comes back must not take itself for the one it was.
fn new_pod() -> String {
    Uuid::new_v4().simple().to_string()
}

impl fmt::Debug for RefreshCoordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshCoordinator")
            .field("namespace", &self.inner.config.namespace)
            .field("pod", &self.inner.pod)
            .field("flights", &self.inner.flights.len())
            .finish_non_exhaustive()
    }
}
