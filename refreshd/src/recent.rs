//! What was refused in the last minutes: the difference to what had been counted by then.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use refresh_coordinator::{Metrics, RefreshCoordinator};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::providers::Providers;

/// How far back it is told.
const SPAN: Duration = Duration::from_secs(5 * 60);
/// Between two notes.
const OFTEN: Duration = Duration::from_secs(10);

/// By the pod id of the coordinator, which is its own: the refusals that it had counted, at some times.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<HashMap<String, VecDeque<(Instant, Refused)>>>);

type Refused = Vec<(&'static str, u64)>;

/// Refusals by their reasons, those that came about.
pub(crate) struct RecentRefusals {
    pub(crate) within: Duration,
    pub(crate) by_reason: Refused,
}

impl Recent {
    /// Notes what was counted. Never ends.
    pub(crate) async fn keep(&self, providers: &watch::Receiver<Arc<Providers>>) {
        let mut often = tokio::time::interval(OFTEN);
        loop {
            let now = often.tick().await;
            let providers = Arc::clone(&providers.borrow());
            self.note(providers.iter().map(|provider| &provider.coordinator), now);
        }
    }

    fn note<'a>(&self, coordinators: impl Iterator<Item = &'a RefreshCoordinator>, now: Instant) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *noted);
        for coordinator in coordinators {
            // Those that are served no more are forgotten.
            let mut notes = before.remove(coordinator.pod()).unwrap_or_default();
            notes.push_back((now, refused(&coordinator.metrics())));
            while notes.get(1).is_some_and(|(at, _)| *at + SPAN <= now) {
                notes.pop_front();
            }
            noted.insert(coordinator.pod().to_owned(), notes);
        }
    }

    /// What was refused since some five minutes, or since the coordinator was noted first.
    pub(crate) fn of(&self, coordinator: &RefreshCoordinator) -> RecentRefusals {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = noted.get(coordinator.pod()).and_then(VecDeque::front);
        let mut by_reason = refused(&coordinator.metrics());
        if let Some((_, before)) = first {
            for ((_, count), (_, before)) in by_reason.iter_mut().zip(before) {
                *count = count.saturating_sub(*before);
            }
        }
        by_reason.retain(|(_, count)| *count > 0);
        RecentRefusals { within: first.map_or(Duration::ZERO, |(at, _)| at.elapsed()), by_reason }
    }
}

/// By the words of the counters, in their order.
fn refused(metrics: &Metrics) -> Refused {
    let refused = metrics.iter().filter_map(|(name, count, _)| Some((name.strip_prefix("refused_")?, count)));
    refused.collect()
}

#[cfg(test)]
mod tests {
    use refresh_coordinator::{Config, ProviderFailure, Refresh};

    use super::*;

    const S: Duration = Duration::from_secs(1);

    async fn refuse(coordinator: &RefreshCoordinator) {
        // No refresh can have an empty token.
        let refused = coordinator
            .refresh(Refresh::new(""), |_| async { Err(ProviderFailure::not_sent("it is not asked")) })
            .await;
        refused.expect_err("it is refused");
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_count_for_five_minutes_and_then_no_more() {
        let coordinator = RefreshCoordinator::in_memory(Config::default()).expect("a good config");
        let (recent, start) = (Recent::default(), Instant::now());
        let mut is_noted_until = 0;
        let mut note_until = |second: u32| {
            while is_noted_until < second {
                recent.note([&coordinator].into_iter(), start + is_noted_until * S);
                is_noted_until += 10;
            }
        };
        note_until(10);
        refuse(&coordinator).await;
        note_until(20);
        assert_eq!(recent.of(&coordinator).by_reason, [("invalid", 1)]);

        note_until(310);
        assert_eq!(recent.of(&coordinator).by_reason, [("invalid", 1)]);
        note_until(330);
        assert_eq!(recent.of(&coordinator).by_reason, []);
    }
}
