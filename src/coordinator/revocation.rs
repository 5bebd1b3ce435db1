//! Revokes what came for a session that was ended: tokens that nobody is to have.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::RefreshCoordinator;
use super::inner::Inner;
use crate::outcome::Outcome;
use crate::request::{Refresh, Revoking};
use crate::secret::Secret;

/// A pause between two tries.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Revokes the refresh token in an outcome, beside whatever the flight does then. The presented one, where that is used again.
pub(super) fn later(inner: &Arc<Inner>, revoking: Option<&Revoking>, presented: &Secret, outcome: &Outcome) {
    let Outcome::Success(tokens) = outcome else { return };
    let Some(revoking) = revoking.cloned() else {
        warn!("a session was ended while its token was refreshed: its new tokens live on (Refresh::revoking)");
        return;
    };
    let token = tokens.refresh_token().map_or_else(|| presented.clone(), Secret::from);
    let work = Arc::clone(inner);
    inner.tasks.spawn(async move { work.revoke(&revoking, token).await });
}

impl RefreshCoordinator {
    /// Revokes the token of this request, where it says how, as a logout does: tried for `wait_timeout` at most. Answers whether it did.
    pub(crate) async fn revoke(&self, refresh: Refresh) -> bool {
        match refresh.revoking {
            Some(revoking) => self.inner.revoke(&revoking, refresh.token).await,
            None => false,
        }
    }

    /// Goes on with this when its caller has gone. A [`close`](Self::close) waits for it.
    pub(crate) fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        // Boxed: tokio moves what it spawns several times.
        self.inner.tasks.spawn(Box::pin(work))
    }
}

impl Inner {
    /// Tries until it succeeds, for `wait_timeout` at most. Answers whether it did.
    pub(super) async fn revoke(&self, revoking: &Revoking, token: Secret) -> bool {
        let until = Instant::now() + self.config.wait_timeout;
        let mut pause = PAUSE;
        loop {
            // In a task of its own: one that panics has failed once.
            let (revoking, token) = (revoking.clone(), token.clone());
            let tried = AbortOnDropHandle::new(tokio::spawn(async move { revoking.try_once(token).await }));
            if let Ok(Ok(true)) = tokio::time::timeout_at(until, tried).await {
                self.counters.revoked.add_one();
                return true;
            }
            if Instant::now() + pause >= until || self.overdue.is_cancelled() {
                self.counters.not_revoked.add_one();
                warn!("a refresh token of a session that is over could not be revoked: it lives until it ends");
                return false;
            }
            self.pause(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }
}
