//! Steps 1 and 6: callers of this pod share one flight per token and claim, and get the same ending.
//!
//! The map is the fast path in front of the store: a caller who finds a flight here costs the fleet nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::Config;
use crate::error::RefreshError;
use crate::outcome::{Outcome, ProviderFailure};
use crate::token::{Hash, Scatter};

/// All flights of this pod, by the key of their requests: token and claim.
#[derive(Debug, Default)]
pub(crate) struct Flights(DashMap<Hash, Arc<Flight>, Scatter>);

/// One refresh of one token, as the callers of this pod see it.
#[derive(Debug)]
pub(crate) struct Flight {
    key: Hash,
    ending: OnceLock<Ending>,
    ended: Notify,
    /// When the last of its callers stops waiting.
    /// None once nobody may join any more.
    last_deadline: Mutex<Option<Instant>>,
    /// Set when the flight queued or waited for a lost leader: its callers then wait for `wait_timeout`.
    held_up: AtomicBool,
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
    New(Arc<Flight>),
    Joined(Arc<Flight>),
}

impl Flights {
    pub(crate) fn enter(&self, key: Hash, deadline: Instant) -> Entered {
        match self.0.entry(key) {
            Entry::Occupied(flight) if flight.get().wait_until(deadline) => Entered::Joined(Arc::clone(flight.get())),
            Entry::Occupied(mut over) => {
                let flight = Flight::new(key, deadline);
                over.insert(Arc::clone(&flight));
                Entered::New(flight)
            }
            Entry::Vacant(vacant) => {
                let flight = Flight::new(key, deadline);
                vacant.insert(Arc::clone(&flight));
                Entered::New(flight)
            }
        }
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
    fn new(key: Hash, deadline: Instant) -> Arc<Self> {
        Arc::new(Self {
            key,
            ending: OnceLock::new(),
            ended: Notify::new(),
            last_deadline: Mutex::new(Some(deadline)),
            held_up: AtomicBool::new(false),
        })
    }

    /// Waits for the ending: `refresh_timeout` for the provider's answer, `wait_timeout` where the flight was held
    /// up before it could ask. None: the caller's time is over.
    pub(crate) async fn ending(&self, arrived: Instant, config: &Config) -> Option<&Ending> {
        let ended = self.ended.notified();
        // First the notice, then the look: an ending between the two is caught by one of them.
        if let Some(ending) = self.ending.get() {
            return Some(ending);
        }
        tokio::pin!(ended);
        let answered = tokio::time::timeout_at(arrived + config.refresh_timeout, ended.as_mut()).await;
        if answered.is_err() && self.held_up.load(Ordering::Relaxed) {
            // Whether it is over or not: what counts is whether there is an ending now.
            _ = tokio::time::timeout_at(arrived + config.wait_timeout, ended).await;
        }
        self.ending.get()
    }

    /// Tells every caller. The first ending stays; the flight can still be entered, and tells newcomers the same.
    pub(crate) fn tell(&self, ending: Ending) {
        if self.ending.set(ending).is_ok() {
            self.ended.notify_waiters();
        }
    }

    pub(crate) fn hold_up(&self) {
        self.held_up.store(true, Ordering::Relaxed);
    }

    /// When nobody waits for it any more. None: that was decided already.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        *self.last_deadline.lock().expect("BUG: nothing panics with this lock held")
    }

    /// Lets nobody join any more, unless somebody did who still waits.
    pub(crate) fn retire(&self, now: Instant) -> bool {
        let mut last = self.last_deadline.lock().expect("BUG: nothing panics with this lock held");
        if last.is_some_and(|last| last > now) {
            return false;
        }
        *last = None;
        true
    }

    /// Whether one more caller may wait for it.
    fn wait_until(&self, deadline: Instant) -> bool {
        let mut last = self.last_deadline.lock().expect("BUG: nothing panics with this lock held");
        *last = last.map(|last| last.max(deadline));
        last.is_some()
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

    pub(crate) fn flight(&self) -> &Flight {
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
