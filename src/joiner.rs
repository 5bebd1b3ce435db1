//! Step 5: waits for a flight that somebody else leads, or for a turn at the provider.

use std::pin::pin;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::flight::LocalFlight;
use crate::store::{News, NewsSource, Store, StoredOutcome};

/// How waiting ends.
pub(crate) enum Waited {
    Landed(StoredOutcome),
    /// Something may have changed: begin again.
    BeginAgain,
    /// No caller waits for this flight any more, or a close gave it up.
    Over,
}

/// Waits for news of a leader, or for its turn in the queue: until `wait_timeout` after the last caller of this pod came,
/// until `patience_until` where there is one, and until `give_up` is cancelled.
pub(crate) async fn wait(
    source: &mut NewsSource,
    patience_until: Option<Instant>,
    flight: &LocalFlight,
    give_up: &CancellationToken,
    store: &Store,
) -> Waited {
    let mut keeps_running = pin!(store.keep_running());
    loop {
        let Some(deadline) = flight.deadline() else { return Waited::Over };
        tokio::select! {
            news = source.news() => {
                return match news {
                    News::Landed(landed) => Waited::Landed(landed),
                    News::BeginAgain => Waited::BeginAgain,
                };
            }
            () = sleep_until(patience_until) => return Waited::BeginAgain,
            () = tokio::time::sleep_until(deadline) => {
                // A caller that came meanwhile has moved it.
                if flight.retire(deadline) {
                    return Waited::Over;
                }
            }
            () = give_up.cancelled() => return Waited::Over,
            never = &mut keeps_running => match never {},
        }
    }
}

async fn sleep_until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}
