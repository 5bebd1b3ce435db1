//! How far a flight of this pod has come, for the person on call. It decides nothing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::identity::Hash;

/// What a flight of this pod does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlightStage {
    /// It asks the store what it is to do.
    Beginning = 0,
    /// It leads: it asks the provider, or lands what the provider said.
    Leading = 1,
    /// It waits for the leader of another pod, or of another claim.
    Joined = 2,
    /// It waits for a permit.
    Queued = 3,
    /// It waits until the store has recovered.
    WaitingForRecovery = 4,
}

impl FlightStage {
    /// One word for a page or a label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Beginning => "beginning",
            Self::Leading => "leading",
            Self::Joined => "joined",
            Self::Queued => "queued",
            Self::WaitingForRecovery => "waiting_for_recovery",
        }
    }
}

/// A flight of this pod, as it stood for a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalFlightSeen {
    /// What its token is called, as in logs and by [`Operator`](crate::Operator): a hash, never the token. None for a flight that
    /// was not begun yet.
    pub name: Option<String>,
    /// What it does.
    pub stage: FlightStage,
    /// How long ago its first caller came.
    pub age: Duration,
}

/// Written by the flight's own task, read by whoever looks.
#[derive(Debug)]
pub(crate) struct Progress {
    began: Instant,
    name: OnceLock<Hash>,
    stage: AtomicU8,
}

impl Progress {
    pub(super) fn new(began: Instant) -> Self {
        Self { began, name: OnceLock::new(), stage: AtomicU8::new(FlightStage::Beginning as u8) }
    }

    /// The flight is called so from now on. The first name stays: by it callers ask, wherever a chain leads.
    pub(crate) fn is_called(&self, name: Hash) {
        _ = self.name.set(name);
    }

    /// What it is called, if it is by now.
    pub(crate) fn name(&self) -> Option<&Hash> {
        self.name.get()
    }

    /// The flight has come to this stage.
    pub(crate) fn is_at(&self, stage: FlightStage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    pub(super) fn seen(&self, now: Instant) -> LocalFlightSeen {
        LocalFlightSeen {
            name: self.name().map(Hash::to_string),
            stage: match self.stage.load(Ordering::Relaxed) {
                1 => FlightStage::Leading,
                2 => FlightStage::Joined,
                3 => FlightStage::Queued,
                4 => FlightStage::WaitingForRecovery,
                _ => FlightStage::Beginning,
            },
            age: now.saturating_duration_since(self.began),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_stage_is_seen_as_it_was_noted() {
        use FlightStage::{Beginning, Joined, Leading, Queued, WaitingForRecovery};
        let progress = Progress::new(Instant::now());
        assert_eq!(progress.seen(Instant::now()).name, None);
        progress.is_called(Hash::unkeyed("first"));
        progress.is_called(Hash::unkeyed("second"));
        tokio::time::advance(Duration::from_secs(3)).await;

        for stage in [Beginning, Leading, Joined, Queued, WaitingForRecovery] {
            progress.is_at(stage);

            let seen = progress.seen(Instant::now());
            assert_eq!((seen.stage, seen.age), (stage, Duration::from_secs(3)));
            assert_eq!(seen.name, Some(Hash::unkeyed("first").to_string()));
        }
    }
}
