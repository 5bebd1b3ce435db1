//! What a flight leaves in the store when it ends, and how that is given back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::inner::{Inner, RETRY_AFTER};
use crate::store::Ask;

/// The longest time that a pod tries to give something back to a Redis that is out of reach.
const LONGEST_OUTAGE: Duration = Duration::from_secs(24 * 60 * 60);

/// What is to be given back.
#[derive(Debug)]
pub(super) enum ToGiveBack {
    /// A `begin` without an answer: it may still arrive, and is then to find its attempt abandoned.
    Attempt,
    /// A lead that the store could not be told is given back.
    Lead,
    /// A place in the queue, which the flight had since then.
    QueuePlace { since: Instant },
}

impl ToGiveBack {
    fn queued_since(&self) -> Option<Instant> {
        match self {
            Self::Attempt | Self::Lead => None,
            Self::QueuePlace { since } => Some(*since),
        }
    }
}

/// Gives back what a flight left behind: one verb of the store does it for all three.
///
/// However long Redis is out of reach, up to a day: one that hangs runs what it was sent when it goes on, and what
/// the attempt takes then counts as a lost leader until it is given back.
pub(super) async fn to_store(inner: Arc<Inner>, ask: Ask, to_give_back: ToGiveBack) {
    let Inner { config, store, overdue, .. } = &*inner;
    let mut gaps = store.gaps();
    let patience = config.lease.max(config.retry_lost_after());
    let (mut until, last) = (Instant::now() + patience, Instant::now() + LONGEST_OUTAGE);
    while let Err(error) = store.disown(&ask, to_give_back.queued_since()).await {
        let is_away = store.is_out_of_reach();
        let end = if is_away { last } else { until };
        if Instant::now() >= end || overdue.is_cancelled() {
            warn!(flight = %ask.identity.flight, %error, "an attempt could not be taken back; its lease will end");
            return;
        }
        tokio::select! {
            () = tokio::time::sleep_until(if is_away { last } else { Instant::now() + RETRY_AFTER }) => {}
            // The store is back.
            () = gaps.passed() => until = Instant::now() + patience,
            () = overdue.cancelled() => {}
        }
    }
}
