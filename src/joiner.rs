//! Step 5: waits for a flight that somebody else leads.

use tokio_util::sync::CancellationToken;

use crate::flight::Flight;
use crate::store::{Joined, Landed, LeaderSeen, News};

/// How waiting for somebody else's flight ends.
pub(crate) enum Waited {
    Landed(Landed),
    /// Something may have changed: begin again.
    Look,
    /// Nobody waits for this flight any more.
    Over,
}

/// Waits for news, for as long as a caller of this pod waits.
pub(crate) async fn wait(joined: &mut Joined, flight: &Flight, overdue: &CancellationToken) -> Waited {
    if joined.leader == LeaderSeen::Lost || joined.fence.is_none() {
        flight.hold_up();
    }
    loop {
        let Some(deadline) = flight.deadline() else { return Waited::Over };
        tokio::select! {
            news = joined.waiting.news() => {
                return match news {
                    News::Landed(landed) => Waited::Landed(landed),
                    News::Look => Waited::Look,
                };
            }
            () = tokio::time::sleep_until(deadline) => {
                // A caller who came meanwhile has moved it.
                if flight.retire(deadline) {
                    return Waited::Over;
                }
            }
            () = overdue.cancelled() => return Waited::Over,
        }
    }
}
