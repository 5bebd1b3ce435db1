//! What this pod does when Redis may have forgotten: leaders put back their flights, and what has landed lately lands again. Where
//! the endpoint leads to another server, all connections have been made anew by then.

use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::keeper::Keeper;
use super::locator::Locator;

/// Told by whatever hears that Redis has forgotten.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    heard: Notify,
    /// Until when it is known already: every flight that begins meanwhile hears of it.
    known_until: Mutex<Option<Instant>>,
}

impl Forgotten {
    /// A server says so, once.
    pub(super) fn is_told(&self) {
        self.heard.notify_one();
    }

    /// A flight was told to wait for so long, until Redis has recovered. Answers whether that is news.
    pub(super) fn is_recovering_for(&self, left: Duration) -> bool {
        let now = Instant::now();
        let mut known_until = self.known_until.lock().expect("BUG: nothing panics with this lock held");
        if known_until.is_some_and(|until| until > now) {
            return false;
        }
        *known_until = Some(now + left);
        self.heard.notify_one();
        true
    }
}

pub(super) struct Handover {
    pub(super) forgotten: Arc<Forgotten>,
    pub(super) locator: Arc<Locator>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) gaps: Arc<watch::Sender<u64>>,
}

impl Handover {
    pub(super) async fn run(self: Arc<Self>, closed: CancellationToken) {
        let mut moves = self.locator.moves();
        let mut landing: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(pending());
        let (mut is_landing, mut is_told_meanwhile) = (false, false);
        loop {
            tokio::select! {
                () = closed.cancelled() => return,
                moved = moves.changed() => {
                    if moved.is_err() {
                        return;
                    }
                    // What is being landed is landed where nobody looks any more.
                    is_landing = false;
                }
                () = self.forgotten.heard.notified() => self.locator.may_have_moved(),
                () = &mut landing, if is_landing => {
                    is_landing = false;
                    if !std::mem::take(&mut is_told_meanwhile) {
                        continue;
                    }
                }
            }
            // Leaders renew: what the server does not know of is put back.
            self.gaps.send_modify(|gaps| *gaps += 1);
            if is_landing {
                is_told_meanwhile = true;
            } else {
                is_landing = true;
                // Beside this loop: a server that is slow to answer must not hide that the endpoint leads to another one.
                landing = Box::pin(Arc::clone(&self.keeper).land_again());
            }
        }
    }
}
