//! What a caller does when its access token is about to end: it asks the coordinator, and goes by what the store then holds.

use std::ops::ControlFlow::{self, Break, Continue};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use super::access::AccessTokens;
use super::access_token::AccessToken;
use super::brought::Brought;
use super::error::TokenError;
use super::held::Held;
use super::session_tokens::SessionTokens;
use super::settings::Urgency;
use super::store::{Swap, TokenStore};
use super::writing::Writing;
use crate::error::{Differs, RefreshError, Refusal};
use crate::flight::ending::Role;
use crate::flight::refreshed::Refreshed;

/// So many times a caller goes on from tokens with an access token that is over to newer ones.
const MOST_ROUNDS: usize = 4;

type Answered<E> = Result<AccessToken, TokenError<E>>;

impl<S: TokenStore> AccessTokens<S> {
    /// Refreshes what the session holds.
    pub(super) async fn refreshed(&self, session: &str, mut held: Held, urgency: Urgency) -> Answered<S::Error> {
        match self.caught_up(session, held, urgency).await {
            Break(answered) => return answered,
            Continue(now) => held = now,
        }
        for _ in 0..MOST_ROUNDS {
            match self.refresh_once(session, held, urgency).await {
                Break(answered) => return answered,
                Continue(newer) => held = newer,
            }
        }
        if urgency == Urgency::Waited && self.settings.lives(held.grant()) {
            return self.old_one(held);
        }
        // The session is refreshed faster than this caller reads it.
        let (differs, retry_after) = (Differs::Claim, Duration::from_secs(1));
        Err(TokenError::Refresh(Refusal::AnotherClaim { differs, retry_after }.into()))
    }

    /// Where the row is behind what this pod has: what is not due is handed out, else it is written first. Where it cannot be, it is
    /// handed out while it lives.
    async fn caught_up(&self, session: &str, held: Held, urgency: Urgency) -> ControlFlow<Answered<S::Error>, Held> {
        let mut unwritten = self.unwritten.of(session);
        unwritten.retain(|writing| writing.is_of_login_of(&held));
        if unwritten.is_empty() {
            return Continue(held);
        }
        let newest = unwritten.iter().rev().find_map(|writing| writing.access_token(&self.claim));
        let newest = newest.filter(|token| {
            let is_refused = urgency == Urgency::Insisted && held.has_access_token(token.expose());
            self.settings.lives(Some(token.grant())) && !is_refused
        });
        // The row is seen to already, and a store that is sick is not to be asked by every caller.
        if let Some(token) = newest.as_ref().filter(|token| !self.settings.is_due(Some(token.grant()))) {
            return Break(Ok(token.clone()));
        }
        for writing in &unwritten {
            if !writing.try_again().await {
                return newest.map_or(Continue(held), |token| Break(Ok(token)));
            }
        }
        match self.load(session).await {
            Ok(Some(stored)) => self.go_on_with(&held, stored.into_row(), urgency),
            Ok(None) => Break(Err(TokenError::SessionOver { refusal: None })),
            Err(error) => Break(Err(error)),
        }
    }

    /// One round. Goes on with what the store holds by now, where that has to be refreshed, too.
    async fn refresh_once(&self, session: &str, held: Held, urgency: Urgency) -> ControlFlow<Answered<S::Error>, Held> {
        let request = self.settings.request(session, held.refresh_token().clone());
        let call = {
            let (tokens, session, held) = (self.clone(), session.to_owned(), held.clone());
            move |attempt| async move { tokens.ask_provider(&session, &held, request, attempt).await }
        };
        let writing = Arc::new(Writing::new(self.clone(), session, held.clone()));
        let before_told = {
            let writing = Arc::clone(&writing);
            move |refreshed: Refreshed| Arc::clone(&writing).write(refreshed)
        };
        let mut request = self.settings.revocable(session, held.refresh_token().clone());
        request.newer_than = held.fence();
        request.is_background = urgency == Urgency::Background;
        let mut refresh = pin!(self.coordinator.refresh_with(request, call, before_told));
        let left = self.settings.left(held.grant());
        let refreshed = if left.is_zero() || urgency != Urgency::Waited {
            refresh.await
        } else {
            // The old access token is as good as the new one for this caller.
            match tokio::time::timeout(left.min(self.settings.patience), &mut refresh).await {
                Ok(refreshed) => refreshed,
                Err(_elapsed) if self.settings.lives(held.grant()) => return Break(self.old_one(held)),
                // It was, until now.
                Err(_elapsed) => refresh.await,
            }
        };
        match refreshed {
            Ok(refreshed) => self.brought(session, held, &refreshed, &writing, urgency).await,
            Err(error) => self.failed(session, held, error, urgency).await,
        }
    }

    /// A refresh brought tokens. The leader has written them, unless its store failed; a caller that did not lead sees to it.
    async fn brought(
        &self,
        session: &str,
        held: Held,
        refreshed: &Refreshed,
        writing: &Arc<Writing<S>>,
        urgency: Urgency,
    ) -> ControlFlow<Answered<S::Error>, Held> {
        let written = writing.done();
        let new = Brought::of(refreshed, &held, self.settings.now(), self.settings.assumed_lifetime);
        let found = match written {
            Some(swap) => Ok(swap.clone()),
            None => self.merge(session, &held, &new).await,
        };
        match found {
            Ok(Swap::Written) => Break(Ok(new.access_token())),
            Ok(Swap::Newer(stored)) => self.go_on_with(&held, stored, urgency),
            Ok(Swap::Gone) => {
                if written.is_none() && refreshed.role() == Role::Led {
                    // The hook did not come to it.
                    self.revoke_late(session, new.refresh_token());
                }
                Break(Err(TokenError::SessionOver { refusal: None }))
            }
            // This pod goes on trying; and they are held for the caller that comes with the old refresh token, and written then.
            Err(error) => {
                warn!(%error, "new tokens could not be written to the session store yet");
                writing.go_on_with(refreshed);
                Break(self.living(&new).ok_or(error))
            }
        }
    }

    /// A refresh brought no tokens.
    async fn failed(
        &self,
        session: &str,
        held: Held,
        error: RefreshError,
        urgency: Urgency,
    ) -> ControlFlow<Answered<S::Error>, Held> {
        let refused = [held.refresh_token().clone()];
        let found = if error.is_session_over() {
            self.in_time(self.store.end(session, &refused)).await
        } else {
            self.load(session).await.map(|stored| match stored {
                None => Swap::Gone,
                Some(stored) if stored.is_newer_than(&held) => Swap::Newer(stored.into_row()),
                Some(_) => Swap::Written,
            })
        };
        match found {
            Ok(Swap::Newer(stored)) => self.go_on_with(&held, stored, urgency),
            // Gone: it may have been ended by an earlier try, whose answer was lost.
            Ok(Swap::Written | Swap::Gone) if error.is_session_over() => {
                Break(Err(TokenError::SessionOver { refusal: Some(error) }))
            }
            Ok(Swap::Gone) => Break(Err(TokenError::SessionOver { refusal: None })),
            // Nobody to hand the old one to, or one who cannot use it.
            Ok(Swap::Written) if urgency == Urgency::Waited && self.settings.lives(held.grant()) => {
                Break(self.old_one(held))
            }
            Ok(Swap::Written) => Break(Err(TokenError::Refresh(error))),
            // It is known to be over, though the store still has it.
            Err(_) if error.is_session_over() => Break(Err(TokenError::SessionOver { refusal: Some(error) })),
            Err(_) if urgency != Urgency::Insisted && self.settings.lives(held.grant()) => Break(self.old_one(held)),
            Err(store) => Break(Err(store)),
        }
    }

    /// The session holds other tokens than this caller came with. Those of its claim are what counts: where others have had the
    /// refresh token rotated and nobody has refreshed this claim, it is as due as before.
    fn go_on_with(
        &self,
        held: &Held,
        stored: SessionTokens,
        urgency: Urgency,
    ) -> ControlFlow<Answered<S::Error>, Held> {
        let stored = Held::new(stored, &self.claim);
        let will_do = urgency != Urgency::Insisted && !self.settings.is_due(stored.grant());
        let is_refreshed = !stored.is_unchanged_since(held) || will_do;
        if is_refreshed && self.settings.lives(stored.grant()) {
            return Break(Ok(stored.into_access_token()));
        }
        Continue(stored)
    }

    /// What could not be written, where it lives.
    fn living(&self, new: &Brought<'_>) -> Option<AccessToken> {
        self.settings.lives(Some(new.grant())).then(|| new.access_token())
    }

    fn old_one(&self, held: Held) -> Answered<S::Error> {
        debug!("no new access token yet: the old one is handed out, which lives");
        Ok(held.into_access_token())
    }
}
