//! What the leader does: it reads the session again, asks the provider, and, once the coordinator has the answer, writes it before
//! any caller hears of it.

use std::sync::OnceLock;

use tracing::warn;

use super::access::AccessTokens;
use super::error::TokenError;
use super::session_tokens::SessionTokens;
use super::settings::Answer;
use super::store::{Swap, TokenStore};
use crate::flight::refreshed::Refreshed;
use crate::leader::Attempt;
use crate::request::Refresh;
use crate::secret::Secret;

/// It was logged: the coordinator has the hook tried again.
pub(super) struct NotWritten;

impl<S: TokenStore> AccessTokens<S> {
    /// The refresh function.
    pub(super) async fn ask_provider(
        &self,
        session: &str,
        held: &SessionTokens,
        request: Refresh,
        attempt: Attempt,
    ) -> Answer {
        // What the coordinator has forgotten, the session store may know: that this token was used, or the session has ended.
        match self.load(session).await {
            Ok(None) => return Err(attempt.give_back("the session has ended")),
            Ok(Some(stored)) => {
                if !walked(held, attempt.passed()).iter().any(|token| is_same(token, stored.refresh_token())) {
                    return Err(attempt.give_back("the session holds newer tokens"));
                }
            }
            // New tokens could not be written either.
            Err(error) => {
                warn!(%error, "nothing is presented while the session store fails");
                return Err(attempt.give_back("the session store fails"));
            }
        }
        (self.settings.present)(attempt, request).await
    }

    /// The hook: writes what a refresh brought. Says in `written` what the store answered.
    pub(super) async fn write(
        &self,
        session: &str,
        held: &SessionTokens,
        refreshed: &Refreshed,
        written: &OnceLock<Swap>,
    ) -> Result<(), NotWritten> {
        let new = self.brought_by(refreshed, held);
        let swap = self.swap(session, held, refreshed, &new).await.map_err(|error| {
            warn!(%error, "new tokens could not be written to the session store yet");
            NotWritten
        })?;
        if matches!(swap, Swap::Gone) {
            self.revoke(session, new.refresh_token()).await;
        }
        _ = written.set(swap);
        Ok(())
    }

    /// What the session is to hold after a refresh.
    pub(super) fn brought_by(&self, refreshed: &Refreshed, held: &SessionTokens) -> SessionTokens {
        let presented = refreshed.passed().last().unwrap_or(held.refresh_token());
        let (at, assumed) = (self.settings.now(), self.settings.assumed_lifetime);
        SessionTokens::given(refreshed.tokens(), Some(presented), at, assumed)
            .expect("BUG: there is a refresh token, the one that was presented")
            .following(held)
            .of_fence(refreshed.fence())
    }

    /// Writes it over what is of the walk. An earlier try may have done so, though its answer was lost.
    pub(super) async fn swap(
        &self,
        session: &str,
        held: &SessionTokens,
        refreshed: &Refreshed,
        new: &SessionTokens,
    ) -> Result<Swap, TokenError<S::Error>> {
        let walked = walked(held, refreshed.passed());
        Ok(match self.in_time(self.store.swap(session, &walked, new)).await? {
            Swap::Newer(stored) if is_same(stored.access_token(), new.access_token()) => Swap::Written,
            swap => swap,
        })
    }
}

/// The refresh tokens that new ones may replace.
fn walked(held: &SessionTokens, passed: &[Secret]) -> Vec<Secret> {
    [held.refresh_token()].into_iter().chain(passed).cloned().collect()
}

fn is_same(one: &Secret, other: &Secret) -> bool {
    one.expose() == other.expose()
}
