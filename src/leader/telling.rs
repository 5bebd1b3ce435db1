//! Between the landing of new tokens and the telling: runs the application's hook (`before_told`).
//!
//! The store has the tokens already. Callers of other pods wait meanwhile, as for a leader; should this pod be lost, they find
//! the tokens, and have their own hooks run.

use std::pin::pin;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::pauses::{RENEWAL_RETRY, TOLD_AFTER, pauses};
use crate::config::Config;
use crate::flight::LocalFlight;
use crate::flight::before_told::BeforeTold;
use crate::flight::ending::Ending;
use crate::flight::refreshed::Refreshed;
use crate::metrics::Counters;
use crate::outcome::{Class, Outcome};
use crate::store::{Ask, Store, StoreError, Telling};

/// The hook of a flight, and what it needs.
pub(crate) struct Hook<'a> {
    pub(crate) hook: &'a Arc<BeforeTold>,
    pub(crate) store: &'a Store,
    pub(crate) config: &'a Config,
    pub(crate) counters: &'a Counters,
    pub(crate) flight: &'a LocalFlight,
    pub(crate) ask: &'a Ask,
    pub(crate) overdue: &'a CancellationToken,
}

impl Hook<'_> {
    /// Runs the hook, and tells the store and this pod's callers that it is over. Answers whether it succeeded; not run where
    /// there are no new tokens.
    pub(crate) async fn run_and_tell(&self, ending: &Ending) -> bool {
        let Some(done) = self.run(ending).await else { return false };
        let told = if done { Telling::Done } else { Telling::Failed };
        let mut telling = pin!(self.tell(ending, told));
        // As with `complete`: a process that ends when its caller is told has had some time to tell the others.
        let told = tokio::time::timeout(TOLD_AFTER, &mut telling).await;
        self.flight.tell(ending.clone());
        let told = match told {
            Ok(told) => told,
            Err(_) => telling.await,
        };
        if let Err(error) = told {
            warn!(flight = %self.ask.identity.flight, %error, "other pods hear of new tokens when the lease is over");
        }
        done
    }

    /// The store did not hear so far that the tokens are in use.
    pub(super) async fn tell_of_use(&self, ending: &Ending) {
        if let Err(error) = self.tell(ending, Telling::Done).await {
            warn!(flight = %self.ask.identity.flight, %error, "the store was not told that new tokens are in use");
        }
    }

    /// Tries the hook until it succeeds, or until the time of the callers that wait is over, whether they are there or not. Answers
    /// whether it succeeded. None where there are no new tokens.
    async fn run(&self, ending: &Ending) -> Option<bool> {
        ending.outcome().filter(|outcome| outcome.class() == Class::Success)?;
        let refreshed = Refreshed::of(ending, Instant::now(), true).ok()?;
        self.flight.allow_wait_timeout();
        let now = Instant::now();
        let over = self.flight.deadline().unwrap_or(now + self.config.wait_timeout).max(now + self.config.lease);
        let done = tokio::select! {
            biased;
            () = self.until_it_succeeds(&refreshed) => true,
            () = self.keep_others_waiting(ending) => unreachable!("BUG: it ends with the hook"),
            () = tokio::time::sleep_until(over) => false,
            () = self.overdue.cancelled() => false,
        };
        if !done {
            warn!(flight = %self.ask.identity.flight, fence = refreshed.fence(),
                "before_told did not succeed in time: callers are told of tokens that it was not done for");
        }
        Some(done)
    }

    async fn until_it_succeeds(&self, refreshed: &Refreshed) {
        let mut pauses = pauses();
        loop {
            let (hook, refreshed) = (Arc::clone(self.hook), refreshed.clone());
            // In a task of its own: one that blocks or panics does not take the lease with it.
            let tried = AbortOnDropHandle::new(tokio::spawn(async move { hook.try_once(refreshed).await })).await;
            if let Ok(true) = tried {
                return;
            }
            if self.counters.hooks_failed.add_one() == 0 {
                warn!(flight = %self.ask.identity.flight, "before_told failed, and is tried again");
            }
            tokio::time::sleep(pauses.next().unwrap_or(RENEWAL_RETRY)).await;
        }
    }

    async fn keep_others_waiting(&self, ending: &Ending) {
        loop {
            tokio::time::sleep(self.config.lease / 3).await;
            if let Err(error) = self.tell(ending, Telling::Waits).await {
                warn!(flight = %self.ask.identity.flight, %error, "others may hear of new tokens before before_told is over");
            }
        }
    }

    async fn tell(&self, ending: &Ending, telling: Telling) -> Result<(), StoreError> {
        let Some((outcome, fence, _)) = ending.stored() else { return Ok(()) };
        let outcome: &Outcome = &outcome;
        self.store.tell(self.ask, fence, outcome, telling).await
    }
}
