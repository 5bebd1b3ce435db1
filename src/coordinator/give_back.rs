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
    UnansweredBegin,
    /// A lead that the store could not be told is given back. `disown` does that as well as `abandon`: it knows the lead by
    /// its attempt instead of its fence.
    Lead,
    /// A place in the queue, which the flight had since then.
    QueuePlace { since: Instant },
}

impl ToGiveBack {
    fn queued_since(&self) -> Option<Instant> {
        match self {
            Self::UnansweredBegin | Self::Lead => None,
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
    // While Redis answers with errors: every second, for so long since it is back. While it is away: when it is back.
    let patience = config.lease.max(config.retry_lost_after());
    let (mut give_up_at, give_up_at_latest) = (Instant::now() + patience, Instant::now() + LONGEST_OUTAGE);
    while let Err(error) = store.disown(&ask, to_give_back.queued_since()).await {
        let is_away = store.is_out_of_reach();
        let end = if is_away { give_up_at_latest } else { give_up_at };
        if Instant::now() >= end || overdue.is_cancelled() {
            warn!(flight = %ask.identity.flight, %error, "an attempt could not be taken back; its lease will end");
            return;
        }
        tokio::select! {
            () = tokio::time::sleep_until(if is_away { give_up_at_latest } else { Instant::now() + RETRY_AFTER }) => {}
            // The store is back.
            () = gaps.passed() => give_up_at = Instant::now() + patience,
            () = overdue.cancelled() => {}
        }
    }
}
