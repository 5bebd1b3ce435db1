//! Logout: a session leaves the store, and nothing of it lives on elsewhere.

use tracing::{Instrument, warn};

use super::access::AccessTokens;
use super::error::TokenError;
use super::store::{Swap, TokenStore};
use crate::secret::Secret;

/// So many times others may write between a look at the row and its end.
const MOST_LOOKS: usize = 100;

impl<S: TokenStore> AccessTokens<S> {
    /// Ends the session: takes it out of the store, whatever it holds, ends it at the coordinator
    /// ([`end_session`](crate::RefreshCoordinator::end_session)), and revokes its refresh token ([`revoking`](Self::revoking)). A refresh
    /// that is under way, on any pod, brings nobody a token any more; what it brings is revoked. Answers whether there was one.
    ///
    /// # Errors
    ///
    /// [`TokenError::Store`] and [`TokenError::StoreTimedOut`], where the session may still be in the store: come again. Where it was
    /// read, its refresh token is revoked all the same. A revocation that fails is logged, and so is a coordinator that cannot be reached:
    /// the session is over, because it is gone from the store.
    ///
    /// # Cancellation
    ///
    /// It goes on, in a task of its own: a tab that is closed right after the click is logged out, too. A future that was never polled
    /// starts nothing.
    pub async fn end_session(&self, session: &str) -> Result<bool, TokenError<S::Error>> {
        if let Some(used) = &self.used {
            used.forget(session);
        }
        let (tokens, session) = (self.clone(), session.to_owned());
        let ending = async move { tokens.end(&session).await }.in_current_span();
        match self.coordinator.spawn(ending).await {
            Ok(ended) => ended,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // With its runtime.
                Err(_cancelled) => Err(TokenError::StoreTimedOut { patience: self.settings.store_timeout }),
            },
        }
    }

    async fn end(&self, session: &str) -> Result<bool, TokenError<S::Error>> {
        let mut held = self.in_time(self.store.load(session)).await?;
        for _ in 0..MOST_LOOKS {
            let Some(tokens) = held else { return Ok(false) };
            let token = tokens.refresh_token();
            let ended = match self.in_time(self.store.end(session, std::slice::from_ref(token))).await {
                Ok(Swap::Newer(newer)) => {
                    held = Some(newer);
                    continue;
                }
                // It was there just now: an earlier try has ended it, whose answer was lost, or another caller has.
                Ok(Swap::Written | Swap::Gone) => Ok(true),
                // It may be gone, and with it all that would be known of its token when the caller comes again.
                Err(error) => Err(error),
            };
            self.end_at_coordinator(session, token).await;
            return ended;
        }
        Err(TokenError::StoreTimedOut { patience: self.settings.store_timeout })
    }

    async fn end_at_coordinator(&self, session: &str, token: &Secret) {
        let request = self.settings.revocable(session, token.clone());
        // Boxed, because it is rare.
        if let Err(error) = Box::pin(self.coordinator.end_session(request.clone())).await {
            warn!(%error, "a session that is gone from the store could not be ended at the coordinator");
            self.coordinator.revoke(request).await;
        }
    }

    /// Revokes a token that came for a session which is gone, beside whatever goes on.
    pub(super) fn revoke_late(&self, session: &str, token: &Secret) {
        let (coordinator, request) = (self.coordinator.clone(), self.settings.revocable(session, token.clone()));
        self.coordinator.spawn(async move { coordinator.revoke(request).await });
    }
}
