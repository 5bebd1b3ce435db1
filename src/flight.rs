//! Steps 1 and 6: callers of this pod share one flight per token and claim, and get the same ending.
//!
//! The map is the fast path in front of the store: a caller who finds a flight here costs the fleet nothing.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::{Instant, Sleep, sleep_until};

use self::callers::{Callers, Place};
use crate::config::Config;
use crate::error::RefreshError;
use crate::identity::{Hash, Scatter};
use crate::leader::Intent;
use crate::outcome::{Outcome, ProviderFailure};

mod callers;
pub(crate) mod pace;

/// All flights of this pod, by the key of their requests: token and claim.
#[derive(Debug, Default)]
pub(crate) struct Flights(DashMap<Hash, Arc<Flight>, Scatter>);

/// One refresh of one token, as the callers of this pod see it.
#[derive(Debug)]
pub(crate) struct Flight {
    key: Hash,
    ending: OnceLock<Ending>,
    callers: Mutex<Callers>,
    /// Here, because the flight and its call share this already.
    intent: Intent,
}

/// What all callers of a flight are told.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) result: Result<Arc<Outcome>, RefreshError>,
    pub(crate) fence: u64,
    pub(crate) role: Role,
    /// How old the outcome was when it came to this flight, and when that was.
    pub(crate) age: Duration,
    pub(crate) at: Instant,
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

/// Whether a caller found a flight, or has to see to one.
pub(crate) enum Entered {
    New(Waiting),
    Joined(Waiting),
}

impl Flights {
    /// The caller of `waker` waits from now on.
    pub(crate) fn enter(&self, key: Hash, arrived: Instant, waker: &Waker, config: &Config) -> Entered {
        let flight = match self.0.entry(key) {
            Entry::Occupied(mut occupied) => match Flight::join(occupied.get(), arrived, waker, config) {
                Some(waiting) => return Entered::Joined(waiting),
                None => {
                    let flight = Flight::new(key, arrived, waker, config);
                    occupied.insert(Arc::clone(&flight));
                    flight
                }
            },
            Entry::Vacant(vacant) => Arc::clone(&vacant.insert(Flight::new(key, arrived, waker, config))),
        };
        Entered::New(Waiting { flight, arrived, place: Some(Callers::FIRST), is_time_kept: true, own_timer: None })
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn remove(&self, flight: &Arc<Flight>) {
        // Another may have taken the place of one that is over.
        self.0.remove_if(&flight.key, |_, there| Arc::ptr_eq(there, flight));
    }
}

impl Flight {
    fn new(key: Hash, arrived: Instant, waker: &Waker, config: &Config) -> Arc<Self> {
        let mut callers = Callers::new(arrived, waker, config);
        let runtime = Handle::current();
        if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
            // Where there is one thread, whoever blocks it blocks all: the flight's task is as good as polled.
            callers.set_timekeeper(runtime.id());
        }
        Arc::new(Self { key, ending: OnceLock::new(), callers: Mutex::new(callers), intent: Intent::default() })
    }

    /// None where nobody may join any more.
    fn join(self: &Arc<Self>, arrived: Instant, waker: &Waker, config: &Config) -> Option<Waiting> {
        let runtime = Handle::current().id();
        let flight = Arc::clone(self);
        let mut waiting = Waiting { flight, arrived, place: None, is_time_kept: true, own_timer: None };
        let mut callers = self.callers();
        // Under the guard: whoever tells the ending takes it after that, and finds whoever was too early to see it.
        if self.ending.get().is_none() {
            waiting.place = Some(callers.join(arrived, waker, config)?);
            waiting.is_time_kept = callers.is_time_kept(runtime);
        } else {
            callers.deadline()?;
        }
        Some(waiting)
    }

    /// Tells every caller. The first ending stays; the flight can still be entered, and tells newcomers the same.
    pub(crate) fn tell(&self, ending: Ending) {
        if self.ending.set(ending).is_ok() {
            let waiting = self.callers().take_all();
            wake_all(waiting);
        }
    }

    /// Flies from `now` on, and tells callers whose time is over meanwhile: in the flight's own task, for a caller may
    /// stop to poll its future and still hold it.
    pub(crate) async fn keep_time<T>(
        &self,
        now: Instant,
        config: &Config,
        mut flying: Pin<&mut impl Future<Output = T>>,
    ) -> T {
        let look_at = {
            let mut callers = self.callers();
            callers.set_timekeeper(Handle::current().id());
            callers.next_late(now, config)
        };
        let mut timer = pin!(sleep_until(look_at));
        poll_fn(|context| {
            let ended = flying.as_mut().poll(context);
            while ended.is_pending() && timer.as_mut().poll(context).is_ready() {
                timer.as_mut().reset(self.tell_late(config));
            }
            ended
        })
        .await
    }

    /// Tells those whose time is over. Answers when to do so again.
    fn tell_late(&self, config: &Config) -> Instant {
        let now = Instant::now();
        let mut callers = self.callers();
        let (late, next) = (callers.take_late(now, config), callers.next_late(now, config));
        drop(callers);
        wake_all(late);
        next
    }

    /// Whether this caller waits still, and then whether it moved to another task since it was seen last.
    fn see(&self, place: Place, waker: &Waker) -> Option<bool> {
        // The waker it had is dropped after the guard: it may own a task, and that another caller of this flight.
        let replaced = self.callers().see(place, waker)?;
        Some(replaced.is_some())
    }

    pub(crate) fn intent(&self) -> &Intent {
        &self.intent
    }

    pub(crate) fn hold_up(&self) {
        self.callers().hold_up();
    }

    /// When nobody waits for it any more. None: that was decided already.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.callers().deadline()
    }

    /// Lets nobody join any more, unless somebody did who still waits.
    pub(crate) fn retire(&self, now: Instant) -> bool {
        self.callers().retire(now)
    }

    fn callers(&self) -> MutexGuard<'_, Callers> {
        self.callers.lock().expect("BUG: nothing panics with this lock held")
    }
}

/// A waker is a stranger's code: one that panics keeps nobody else from being told, and ends no refresh.
fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        // Told by the panic hook already.
        _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }
}

/// A caller that waits for its flight's ending: `refresh_timeout` for the provider's answer, `wait_timeout` where the
/// flight was held up before it could ask.
#[derive(Debug)]
pub(crate) struct Waiting {
    flight: Arc<Flight>,
    arrived: Instant,
    /// None: there was an ending when it came.
    place: Option<Place>,
    /// Whether the flight's task can be relied on to tell that the time is over.
    is_time_kept: bool,
    /// Where it cannot.
    own_timer: Option<Pin<Box<Sleep>>>,
}

impl Waiting {
    pub(crate) fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    pub(crate) fn arrived(&self) -> Instant {
        self.arrived
    }

    /// None: the caller's time is over.
    pub(crate) fn poll_ending(&mut self, context: &mut Context<'_>, config: &Config) -> Poll<Option<&Ending>> {
        let flight = &self.flight;
        if let Some(place) = self.place
            && flight.ending.get().is_none()
            && let Some(has_moved) = flight.see(place, context.waker())
        {
            if has_moved && Handle::try_current().is_ok() {
                // Away from a worker that is blocked, or a runtime that stands still or ends.
                (self.is_time_kept, self.own_timer) = (false, None);
            }
            if self.is_time_kept {
                return Poll::Pending;
            }
            let timer = self.own_timer.get_or_insert_with(|| {
                let until = self.arrived + flight.callers().patience(config);
                Box::pin(sleep_until(until))
            });
            loop {
                ready!(timer.as_mut().poll(context));
                let until = self.arrived + flight.callers().patience(config);
                if until <= Instant::now() {
                    break;
                }
                timer.as_mut().reset(until);
            }
        }
        // Whether it is over or not: what counts is whether there is an ending now.
        Poll::Ready(flight.ending.get())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(place) = self.place
            && self.flight.ending.get().is_none()
        {
            // Dropped after the guard, as in `see`.
            let waker = self.flight.callers().leave(place);
            drop(waker);
        }
    }
}

/// Ends a flight, whatever becomes of the task that flies it: nobody is left hanging by a panic of ours or by a
/// runtime that shuts down.
///
/// Made before the task is, so that a task that is never polled ends its flight, too.
pub(crate) struct Landing {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
}

impl Landing {
    pub(crate) fn new(flights: Arc<Flights>, flight: Arc<Flight>) -> Self {
        Self { flights, flight }
    }

    pub(crate) fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    pub(crate) fn end(self, ending: Ending) {
        self.flight.tell(ending);
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if self.flight.ending.get().is_none() {
            let failure = ProviderFailure::unknown("the task of this refresh was ended before it was over");
            self.flight.tell(Ending::failed(RefreshError::Provider { failure, fence: 0 }));
        }
        // Last: whoever enters until here is told the same.
        self.flights.remove(&self.flight);
    }
}

impl Ending {
    pub(crate) fn failed(error: RefreshError) -> Self {
        Self { result: Err(error), fence: 0, role: Role::Led, age: Duration::ZERO, at: Instant::now() }
    }
}
