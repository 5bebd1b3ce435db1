//! All flights of a pod, where a caller finds the one it can share or starts its own.
//!
//! The map is the fast path in front of the store: a caller that finds a flight here costs the fleet nothing.

use std::sync::{Arc, Mutex, OnceLock};
use std::task::Waker;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use foldhash::fast::RandomState;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::LocalFlight;
use super::call_lease::CallLease;
use super::callers::Callers;
use super::stage::{LocalFlightSeen, Progress};
use super::waiting::{TimeKeeper, WaitingCaller};
use crate::config::Config;
use crate::flight::intent::Intent;
use crate::identity::Hash;

/// The flights of this pod, by the key of their requests: token and claim.
#[derive(Debug, Default)]
pub(crate) struct LocalFlights(DashMap<Hash, Arc<LocalFlight>, RandomState>);

/// Whether a caller found a flight, or has to see to one.
pub(crate) enum Entered {
    New(WaitingCaller),
    Joined(WaitingCaller),
}

impl LocalFlights {
    /// The caller of `waker` waits from now on.
    pub(crate) fn enter(&self, key: Hash, arrived: Instant, waker: &Waker, config: &Config) -> Entered {
        // Callers that join do not wait for each other here, only one that starts a flight has its part of the map alone.
        if let Some(waiting) = self.join(&key, arrived, waker, config) {
            return Entered::Joined(waiting);
        }
        let flight = match self.0.entry(key) {
            Entry::Occupied(mut occupied) => match join(occupied.get(), arrived, waker, config) {
                Some(waiting) => return Entered::Joined(waiting),
                None => {
                    let flight = start(key, arrived, waker, config);
                    occupied.insert(Arc::clone(&flight));
                    flight
                }
            },
            Entry::Vacant(vacant) => Arc::clone(&vacant.insert(start(key, arrived, waker, config))),
        };
        Entered::New(WaitingCaller::new(flight, arrived, Some(Callers::FIRST), TimeKeeper::Flight))
    }

    /// The caller of `waker` waits from now on for the flight that is under way, if one is that may be joined.
    pub(crate) fn join(&self, key: &Hash, arrived: Instant, waker: &Waker, config: &Config) -> Option<WaitingCaller> {
        join(&*self.0.get(key)?, arrived, waker, config)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The oldest `most`, the oldest first.
    pub(crate) fn seen(&self, most: usize) -> Vec<LocalFlightSeen> {
        let mut flights: Vec<_> = self.0.iter().map(|entry| Arc::clone(entry.value())).collect();
        flights.sort_by_key(|flight| flight.progress.began());
        let now = Instant::now();
        flights.iter().take(most).map(|flight| flight.progress.seen(now)).collect()
    }

    pub(super) fn remove(&self, flight: &Arc<LocalFlight>) {
        // Another may have taken the place of one that is over.
        self.0.remove_if(&flight.key, |_, there| Arc::ptr_eq(there, flight));
    }
}

fn start(key: Hash, arrived: Instant, waker: &Waker, config: &Config) -> Arc<LocalFlight> {
    let mut callers = Callers::new(arrived, waker, config);
    let runtime = Handle::current();
    if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
        // A task that blocks the one thread blocks all: the flight's task is as good as polled.
        callers.set_timekeeper(runtime.id());
    }
    Arc::new(LocalFlight {
        key,
        ending: OnceLock::new(),
        callers: Mutex::new(callers),
        intent: Intent::default(),
        left: Notify::new(),
        lease: CallLease::default(),
        progress: Progress::new(arrived),
    })
}

/// None where nobody may join any more.
fn join(flight: &Arc<LocalFlight>, arrived: Instant, waker: &Waker, config: &Config) -> Option<WaitingCaller> {
    let runtime = Handle::current().id();
    let (mut place, mut time) = (None, TimeKeeper::Flight);
    let mut callers = flight.callers();
    // Under the guard: the ending is told under it too, to every caller that was too early to see it.
    if flight.ending.get().is_none() {
        place = Some(callers.join(arrived, waker, config)?);
        if !callers.is_time_kept(runtime) {
            time = TimeKeeper::Caller(None);
        }
    } else {
        callers.deadline()?;
    }
    drop(callers);
    Some(WaitingCaller::new(Arc::clone(flight), arrived, place, time))
}
