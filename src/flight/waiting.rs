//! A caller that waits for its flight's ending: `refresh_timeout` for the provider's answer, `wait_timeout` where the
//! flight was held up before it could ask.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep_until};

use super::LocalFlight;
use super::callers::{CallerState, Place};
use crate::config::Config;
use crate::flight::ending::Ending;

#[derive(Debug)]
pub(crate) struct WaitingCaller {
    /// None once it was handed over.
    flight: Option<Arc<LocalFlight>>,
    arrived: Instant,
    /// None: there was an ending when it came.
    place: Option<Place>,
    time: TimeKeeper,
}

/// What tells a caller that its time is over.
#[derive(Debug)]
pub(super) enum TimeKeeper {
    /// The flight's task.
    Flight,
    /// A timer of the caller's own, made when it is first polled: the flight's task may not run.
    Caller(Option<Pin<Box<Sleep>>>),
}

impl WaitingCaller {
    pub(super) fn new(flight: Arc<LocalFlight>, arrived: Instant, place: Option<Place>, time: TimeKeeper) -> Self {
        Self { flight: Some(flight), arrived, place, time }
    }

    pub(crate) fn flight(&self) -> &Arc<LocalFlight> {
        self.flight.as_ref().expect("BUG: a caller that has handed its flight over waits no more")
    }

    /// For a caller that was told: what it holds of the flight is its own from now on.
    pub(crate) fn hand_over(&mut self) -> Arc<LocalFlight> {
        self.flight.take().expect("BUG: it is handed over once")
    }

    pub(crate) fn arrived(&self) -> Instant {
        self.arrived
    }

    /// Whether there is nothing to look at before this caller is woken: the waker that it came with is on the list, the
    /// flight's task keeps its time, and it was told nothing yet, as it is at once where the runtime has ended.
    pub(crate) fn will_be_woken(&self) -> bool {
        let is_timed = matches!(self.time, TimeKeeper::Flight);
        is_timed && self.place.is_some() && self.flight().ending.get().is_none()
    }

    /// None: the caller's time is over.
    pub(crate) fn poll_ending(&mut self, context: &mut Context<'_>, config: &Config) -> Poll<Option<&Ending>> {
        if let Some(place) = self.place
            && self.flight().ending.get().is_none()
        {
            // A statement of its own, so that the lock is released before the old waker is dropped: that may drop a task
            // that holds another caller of this flight.
            let seen = self.flight().callers().see(place, context.waker());
            match seen {
                CallerState::Told => {}
                CallerState::Waiting => ready!(self.poll_time(context, config)),
                CallerState::Moved(left) => {
                    drop(left);
                    if Handle::try_current().is_ok() {
                        // Away from a worker that is blocked, or a runtime that stands still or ends.
                        self.time = TimeKeeper::Caller(None);
                    }
                    ready!(self.poll_time(context, config));
                }
            }
        }
        // Whether its time is over or not: what counts is whether there is an ending now.
        Poll::Ready(self.flight().ending.get())
    }

    /// Ready when the caller's time is over, and nothing but its own timer tells that.
    fn poll_time(&mut self, context: &mut Context<'_>, config: &Config) -> Poll<()> {
        let Self { flight: Some(flight), arrived, time: TimeKeeper::Caller(timer), .. } = self else {
            return Poll::Pending;
        };
        let until = || *arrived + flight.callers().patience(config);
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(until())));
        loop {
            ready!(timer.as_mut().poll(context));
            let until = until();
            if until <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
    }
}

impl Drop for WaitingCaller {
    fn drop(&mut self) {
        if let (Some(flight), Some(place)) = (&self.flight, self.place)
            && flight.ending.get().is_none()
        {
            // Dropped after the lock is released, as in `poll_ending`.
            let mut callers = flight.callers();
            let waker = callers.leave(place);
            let is_waited_for = callers.is_waited_for();
            drop(callers);
            drop(waker);
            if !is_waited_for {
                flight.left.notify_one();
            }
        }
    }
}
