//! What all flights of a coordinator share, and what they count and answer where they are refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::held_log::HeldLog;
use super::pending_withdrawals::PendingWithdrawals;
use super::refusal_log::RefusalLog;
use crate::admission::AdmissionTerms;
use crate::admission::reach::PodReach;
use crate::admission::strangers::Strangers;
use crate::config::Config;
use crate::error::{RefreshError, Refusal};
use crate::flight::early_timer::EarlyTimer;
use crate::flight::flights::LocalFlights;
use crate::metrics::Counters;
use crate::pressure::Pressure;
use crate::store::{Store, StoreError};

/// When callers are told to come again where nothing better is known, and the pause between a flight's own tries.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Inner {
    pub(super) config: Arc<Config>,
    pub(super) pod: String,
    pub(super) flights: Arc<LocalFlights>,
    pub(super) early_timer: EarlyTimer,
    pub(super) store: Store,
    pub(super) counters: Arc<Counters>,
    pub(super) refusals: RefusalLog,
    pub(super) held: HeldLog,
    pub(super) pressure: Pressure,
    pub(super) reach: PodReach,
    pub(super) strangers: Strangers,
    pub(super) withdrawals: PendingWithdrawals,
    pub(super) tasks: TaskTracker,
    /// Cancelled when nothing new is admitted.
    pub(super) closing: CancellationToken,
    /// Set before `closing` is cancelled. Every caller asks for it, and a token takes a lock to be asked.
    pub(super) is_closing: AtomicBool,
    /// Cancelled when a close has waited long enough: refreshes under way are given up.
    pub(super) overdue: CancellationToken,
}

impl Inner {
    pub(super) fn new(config: Arc<Config>, pod: String, store: Store, counters: Arc<Counters>) -> Self {
        Self {
            pressure: Pressure::new(config.memory_pressure),
            reach: PodReach::default(),
            strangers: Strangers::default(),
            refusals: RefusalLog::new(config.namespace.clone(), pod.clone()),
            held: HeldLog::new(config.namespace.clone(), pod.clone()),
            config,
            pod,
            flights: Arc::default(),
            early_timer: EarlyTimer::new(),
            store,
            counters,
            withdrawals: PendingWithdrawals::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            is_closing: AtomicBool::new(false),
            overdue: CancellationToken::new(),
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::SeqCst)
    }

    /// Keeps one timer registered that is earlier than those of the flight that begins now.
    pub(super) fn keep_early_timer(&self, now: Instant) {
        let Config { refresh_timeout, lease, .. } = &*self.config;
        self.early_timer.keep(now, (*refresh_timeout).min(*lease / 3).min(self.config.store_patience()));
    }

    /// What a flight of such a kind of request brings along when it begins.
    ///
    /// `queueing_since` is when it first queued, `waiting_since` when it first waited for anything: a flight waits for a store
    /// that recovers for as long as its callers do.
    pub(super) fn terms(
        &self,
        kind: u64,
        waiting_since: Option<Instant>,
        queueing_since: Option<Instant>,
    ) -> AdmissionTerms {
        let now = Instant::now();
        let pod_refuses = if self.pressure.is_high(now) {
            Some(Refusal::MemoryPressure { retry_after: RETRY_AFTER })
        } else {
            self.reach.refusal(now)
        };
        let patience = match queueing_since {
            None => self.config.budget_wait(),
            Some(since) => (since + self.config.budget_wait()).saturating_duration_since(now),
        };
        AdmissionTerms { pod_refuses, refuses_strangers: self.strangers.refusal(kind, now), patience, waiting_since }
    }

    /// Counts a refusal. Answers what callers are told.
    pub(super) fn count_refusal(&self, refusal: Refusal) -> RefreshError {
        let counter = match &refusal {
            Refusal::AnotherClaim { .. } => &self.counters.refused_another_claim,
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

    /// As [`count_refusal`](Self::count_refusal), of a coordinator that is being closed.
    pub(super) fn count_closing(&self) -> RefreshError {
        self.count_refusal(Refusal::Closing { retry_after: RETRY_AFTER })
    }

    /// Counts a question that the store did not answer. Answers what callers are told.
    pub(super) fn count_outage(&self, error: StoreError) -> RefreshError {
        self.counters.store_outages.add_one();
        RefreshError::StoreOutage { reason: error.reason, retry_after: RETRY_AFTER }
    }

    /// Waits, unless a close has waited long enough.
    pub(super) async fn pause(&self, span: Duration) {
        _ = self.overdue.run_until_cancelled(tokio::time::sleep(span)).await;
    }

    /// Counts a flight that a close has given up; one that no caller waits for any more counts nowhere, for each of its
    /// callers was counted. Answers what a caller is told that came meanwhile.
    pub(super) fn count_given_up(&self) -> RefreshError {
        if self.closing.is_cancelled() {
            self.count_closing()
        } else {
            RefreshError::TimedOut { retry_after: RETRY_AFTER }
        }
    }
}
