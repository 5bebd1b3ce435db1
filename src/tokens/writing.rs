//! Writes what a refresh brought into the session's row: once the coordinator has the answer, before any caller hears of it, and for
//! as long as it takes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::{error, warn};

use super::access::AccessTokens;
use super::brought::{Brought, Merge, is_same};
use super::error::TokenError;
use super::held::Held;
use super::session_tokens::SessionTokens;
use super::store::{Swap, TokenStore};
use crate::flight::refreshed::Refreshed;

/// So often others may write between a look at the row and a write to it.
const MOST_MERGES: usize = 100;

/// For so long new tokens are tried to be written: as long as the coordinator holds them by default, where it does.
const LATEST: Duration = Duration::from_secs(60 * 60);

/// Between two tries of those that nobody waits for.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// It was logged: the coordinator has the hook tried again.
pub(super) struct NotWritten;

/// The write of what one flight brought, for the row that its caller came with.
pub(super) struct Writing<S> {
    tokens: AccessTokens<S>,
    session: String,
    held: Held,
    /// When it came: tries may be far apart.
    came: OnceLock<SystemTime>,
    swap: OnceLock<Swap>,
    goes_on: AtomicBool,
}

impl<S: TokenStore> Writing<S> {
    pub(super) fn new(tokens: AccessTokens<S>, session: &str, held: Held) -> Self {
        let (came, swap, goes_on) = (OnceLock::new(), OnceLock::new(), AtomicBool::new(false));
        Self { tokens, session: session.to_owned(), held, came, swap, goes_on }
    }

    /// What the store answered. None: nothing was written here, or not yet.
    pub(super) fn done(&self) -> Option<&Swap> {
        self.swap.get()
    }

    /// The hook. It is tried for as long as callers wait; what fails goes on beside that, and behind it: of a client without a credential the
    /// coordinator holds nothing for a next caller.
    pub(super) async fn write(self: Arc<Self>, refreshed: Refreshed) -> Result<(), NotWritten> {
        self.came.get_or_init(|| self.tokens.settings.now());
        let tried = self.try_once(&refreshed).await;
        if tried.is_err() && !self.goes_on.swap(true, Ordering::Relaxed) {
            let (work, overdue) = (Arc::clone(&self), self.tokens.coordinator.overdue());
            self.tokens
                .coordinator
                .spawn(async move { overdue.run_until_cancelled(work.write_late(&refreshed)).await });
        }
        tried
    }

    async fn write_late(&self, refreshed: &Refreshed) {
        let until = Instant::now() + LATEST;
        let mut pause = FIRST_PAUSE;
        while Instant::now() < until {
            tokio::time::sleep(pause).await;
            if self.done().is_some() || self.try_once(refreshed).await.is_ok() {
                return;
            }
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
        error!(fence = refreshed.fence(), "new tokens were never written to the session store");
    }

    async fn try_once(&self, refreshed: &Refreshed) -> Result<(), NotWritten> {
        let Self { tokens, session, held, .. } = self;
        let at = self.came.get().copied().unwrap_or_else(|| tokens.settings.now());
        let new = Brought::of(refreshed, held, at, tokens.settings.assumed_lifetime);
        let swap = tokens.merge(session, held, &new).await.map_err(|error| {
            warn!(%error, "new tokens could not be written to the session store yet");
            NotWritten
        })?;
        if matches!(swap, Swap::Gone) {
            tokens.revoke_late(session, new.refresh_token());
        }
        _ = self.swap.set(swap);
        Ok(())
    }
}

impl<S: TokenStore> AccessTokens<S> {
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
