//! Writes what a refresh brought into the session's row: once the coordinator has the answer, before any caller hears of it, and for
//! as long as it takes.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::time::Instant;
use tracing::{error, warn};

use super::access::AccessTokens;
use super::access_token::AccessToken;
use super::brought::{Brought, Merge, is_same};
use super::claim::Claim;
use super::error::TokenError;
use super::held::Held;
use super::session_tokens::SessionTokens;
use super::store::{Swap, TokenStore};
use super::unwritten::Pending;
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
    /// What is to be written, and when it came: tries may be far apart.
    came: OnceLock<(Refreshed, SystemTime)>,
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

    /// The hook. It is tried for as long as callers wait.
    pub(super) async fn write(self: Arc<Self>, refreshed: Refreshed) -> Result<(), NotWritten> {
        self.came.get_or_init(|| (refreshed, self.tokens.settings.now()));
        // Also where this is cut short: the coordinator gives a hook up that takes too long.
        let _unless_written = GoesOn(&self);
        self.try_once().await
    }

    async fn try_once(&self) -> Result<(), NotWritten> {
        let Self { tokens, session, held, .. } = self;
        let Some(new) = self.brought() else { return Err(NotWritten) };
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

    /// A caller that did not lead could not write it either.
    pub(super) fn go_on_with(self: &Arc<Self>, refreshed: &Refreshed) {
        self.came.get_or_init(|| (refreshed.clone(), self.tokens.settings.now()));
        self.go_on();
    }

    /// Goes on beside the callers, and behind them: of a client without a credential the coordinator holds nothing for a next one.
    fn go_on(self: &Arc<Self>) {
        let pending: Arc<dyn Pending> = Arc::clone(self) as _;
        if self.goes_on.swap(true, Ordering::Relaxed) || !self.tokens.unwritten.note(&self.session, &pending) {
            return;
        }
        let (work, overdue) = (Arc::clone(self), self.tokens.coordinator.overdue());
        self.tokens.coordinator.spawn(async move { overdue.run_until_cancelled(work.write_late()).await });
    }

    async fn write_late(&self) {
        let until = Instant::now() + LATEST;
        let mut pause = FIRST_PAUSE;
        while Instant::now() < until {
            tokio::time::sleep(pause).await;
            if self.done().is_some() || self.try_once().await.is_ok() {
                return;
            }
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
        error!(fence = self.brought_by().0, "new tokens were never written to the session store");
    }

    fn brought(&self) -> Option<Brought<'_>> {
        let (refreshed, at) = self.came.get()?;
        Some(Brought::of(refreshed, &self.held, *at, self.tokens.settings.assumed_lifetime))
    }
}

impl<S: TokenStore> Pending for Writing<S> {
    fn is_done(&self) -> bool {
        self.done().is_some()
    }

    fn brought_by(&self) -> (Option<u64>, &Claim) {
        (self.came.get().map(|(refreshed, _)| refreshed.fence()), self.held.claim())
    }

    fn is_of_login_of(&self, held: &Held) -> bool {
        self.held.row().is_of_login_of(held.row())
    }

    fn has_rotated(&self, token: &str) -> bool {
        self.brought().is_some_and(|new| new.has_rotated(token))
    }

    fn access_token(&self, claim: &Claim) -> Option<AccessToken> {
        self.brought().filter(|_| self.held.claim() == claim).map(|new| new.access_token())
    }

    fn try_again(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async { self.try_once().await.is_ok() })
    }
}

/// Goes on with what is not written when this is dropped.
struct GoesOn<'a, S: TokenStore>(&'a Arc<Writing<S>>);

impl<S: TokenStore> Drop for GoesOn<'_, S> {
    fn drop(&mut self) {
        if self.0.done().is_none() && Handle::try_current().is_ok() {
            self.0.go_on();
        }
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
