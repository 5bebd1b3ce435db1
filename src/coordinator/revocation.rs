//! Revokes what came for a session that was ended: tokens that nobody is to have.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::inner::Inner;
use crate::outcome::Outcome;
use crate::request::Revoking;
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
