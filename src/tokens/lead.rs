//! What the leader does: it reads the session again, asks the provider, and, once the coordinator has the answer, writes it before
//! any caller hears of it.

use std::sync::OnceLock;

use tracing::warn;

use super::access::AccessTokens;
use super::brought::{Brought, Merge, is_same, walked};
use super::error::TokenError;
use super::held::Held;
use super::session_tokens::SessionTokens;
use super::settings::Answer;
use super::store::{Swap, TokenStore};
use crate::flight::refreshed::Refreshed;
use crate::leader::Attempt;
use crate::request::Refresh;

/// So often others may write between a look at the row and a write to it.
const MOST_MERGES: usize = 100;

/// It was logged: the coordinator has the hook tried again.
pub(super) struct NotWritten;

impl<S: TokenStore> AccessTokens<S> {
    /// The refresh function.
    pub(super) async fn ask_provider(&self, session: &str, held: &Held, request: Refresh, attempt: Attempt) -> Answer {
        // What the coordinator has forgotten, the session store may know: that this token was used, or the session has ended.
        match self.load(session).await {
            Ok(None) => return Err(attempt.give_back("the session has ended")),
            Ok(Some(stored)) => {
                let is_walked =
                    walked(held, attempt.passed()).iter().any(|token| is_same(token, stored.refresh_token()));
                let is_refreshed = !stored.is_unchanged_since(held) && !self.settings.is_due(stored.grant());
                if !is_walked || is_refreshed {
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
        held: &Held,
        refreshed: &Refreshed,
        written: &OnceLock<Swap>,
    ) -> Result<(), NotWritten> {
        let new = self.brought_by(refreshed, held);
        let swap = self.merge(session, held, &new).await.map_err(|error| {
            warn!(%error, "new tokens could not be written to the session store yet");
            NotWritten
        })?;
        if matches!(swap, Swap::Gone) {
            self.revoke(session, new.refresh_token()).await;
        }
        _ = written.set(swap);
        Ok(())
    }

    /// What the session is to hold for this claim after a refresh.
    pub(super) fn brought_by<'a>(&self, refreshed: &Refreshed, held: &'a Held) -> Brought<'a> {
        Brought::of(refreshed, held, self.settings.now(), self.settings.assumed_lifetime)
    }

    /// Puts it into the row as that stands in the store, whatever others write meanwhile. An earlier try may have done so, though its
    /// answer was lost.
    pub(super) async fn merge(
        &self,
        session: &str,
        held: &Held,
        new: &Brought<'_>,
    ) -> Result<Swap, TokenError<S::Error>> {
        let mut row = held.row().clone();
        for _ in 0..MOST_MERGES {
            let merged = match new.merged_into(&row) {
                Merge::Write(merged) => merged,
                Merge::IsThere => return Ok(Swap::Written),
                Merge::Newer => return Ok(Swap::Newer(row)),
            };
            match self.in_time(self.store.swap(session, &[row.refresh_token().clone()], &merged)).await? {
                Swap::Newer(stored) if is_kept_from(&stored, &row, &merged) => {
                    warn!(
                        "the session store does not compare how often a session was written: an access token is not kept"
                    );
                    return Ok(Swap::Written);
                }
                Swap::Newer(stored) => row = stored,
                swap => return Ok(swap),
            }
        }
        Err(TokenError::StoreTimedOut { patience: self.settings.store_timeout })
    }
}

/// Whether a store refuses what replaces just what it holds: one that goes by when the login's own access token ends. Nothing is lost
/// but the access token, where the refresh token stays the same.
fn is_kept_from(stored: &SessionTokens, replaced: &SessionTokens, merged: &SessionTokens) -> bool {
    stored.writes() == replaced.writes()
        && is_same(stored.refresh_token(), replaced.refresh_token())
        && is_same(stored.refresh_token(), merged.refresh_token())
}
