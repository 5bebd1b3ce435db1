//! Logout: ends a session for the whole fleet, along the chain of its tokens.

use uuid::Uuid;

use super::RefreshCoordinator;
use crate::error::RefreshError;
use crate::identity::CheckedRequest;
use crate::outcome::Outcome;
use crate::request::Refresh;
use crate::secret::Secret;
use crate::store::{Ask, EndedFlight, StoredOutcome};

/// So many tokens of a chain are ended in a row.
const LONGEST: usize = 64;

/// A session that was ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndedSession {
    newest: Option<Secret>,
    is_under_way: bool,
    is_revoked: Option<bool>,
}

impl EndedSession {
    /// The newest refresh token of the session, as far as the fleet knows: what is to be revoked. None where it is the one that the
    /// session was ended with.
    pub fn newest(&self) -> Option<&Secret> {
        self.newest.as_ref()
    }

    /// Whether a refresh was under way, on any pod. Its callers are told that the session is over, and its pod revokes what it
    /// brings, where it was asked by a [`Refresh`] that can ([`Refresh::revoking`]).
    pub fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    /// Whether the newest token was revoked. None where the request did not say how ([`Refresh::revoking`]).
    pub fn is_revoked(&self) -> Option<bool> {
        self.is_revoked
    }
}

impl RefreshCoordinator {
    /// Ends the session of a token, for the whole fleet: a logout.
    ///
    /// Once it returns, no flight of this client presents the token or hands out tokens for it. If the token was rotated, the
    /// session of its successors ends, too. A refresh under way on any pod goes on, because the provider may have rotated the
    /// token; its callers get [`SessionEnded`](RefreshError::SessionEnded), and what it brings is revoked. Last, the newest
    /// token is revoked by [`Refresh::revoking`], if the request has that.
    ///
    /// The request needs the token and the client with its credential; parameters and session do not matter. A caller with another
    /// credential ends only what it would get itself. A public client with DPoP must name the key of its refreshes
    /// ([`Refresh::dpop_key`]). The end is remembered for `keep_until_used`, at least for `lease` plus `uncertain_memory`; for
    /// `wait_timeout` if nothing is known of token and client.
    ///
    /// Calling it again changes nothing. One limit, told in the guarantees: if the store takes longer than 20 ms, a caller in the
    /// leader's own pod may have the tokens already.
    ///
    /// # Errors
    ///
    /// [`RefreshError::StoreOutage`]: the session may not have ended everywhere, come again. [`RefreshError::Invalid`], and
    /// [`RefreshError::Refused`] when the coordinator is closing. A revocation that fails is no error.
    ///
    /// # Cancellation
    ///
    /// The session may have ended, with its newest token not revoked.
    ///
    /// # Examples
    ///
    /// ```
    /// use refresh_coordinator::{Config, ProviderFailure, Refresh, RefreshCoordinator, RefreshError};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let coordinator = RefreshCoordinator::in_memory(Config::default())?;
    /// let refresh = || Refresh::new("token").client("my-app", "secret");
    ///
    /// let logout = refresh().revoking(|token| async move {
    ///     assert_eq!(token.expose(), "token"); // POST it to the provider's revocation endpoint
    ///     Ok::<_, std::io::Error>(())
    /// });
    /// assert_eq!(coordinator.end_session(logout).await?.is_revoked(), Some(true));
    ///
    /// // Nobody asks the provider any more.
    /// let late = coordinator.refresh(refresh(), |_attempt| async { Err(ProviderFailure::not_sent("asked")) });
    /// assert!(matches!(late.await, Err(RefreshError::SessionEnded)));
    /// # Ok(()) }
    /// ```
    pub async fn end_session(&self, refresh: Refresh) -> Result<EndedSession, RefreshError> {
        let inner = &self.inner;
        if inner.is_closing() {
            return Err(inner.count_closing());
        }
        // What is held for the token is its holder's, however the request was made.
        let mut refresh = refresh.token_from_attempt();
        let mut ended = EndedSession { newest: None, is_under_way: false, is_revoked: None };
        for _ in 0..LONGEST {
            let request = CheckedRequest::of(refresh.clone(), inner.config.max_token)?;
            let ask = Ask::new(inner.store.identity(request, &inner.config), Uuid::new_v4());
            let found = inner.store.end_session(&ask).await.map_err(|error| inner.count_outage(error))?;
            let next = match found {
                EndedFlight::Idle => None,
                EndedFlight::UnderWay => {
                    ended.is_under_way = true;
                    None
                }
                EndedFlight::Rotated(landed) => next_token(&landed),
                EndedFlight::FurtherOn(newest) => Some(newest),
            };
            let Some(next) = next else { break };
            ended.newest = Some(next.clone());
            refresh.token = next;
        }
        inner.counters.sessions_ended.add_one();
        if let Some(revoking) = refresh.revoking {
            ended.is_revoked = Some(inner.revoke(&revoking, refresh.token).await);
        }
        Ok(ended)
    }
}

fn next_token(landed: &StoredOutcome) -> Option<Secret> {
    let Outcome::Success(tokens) = &*landed.outcome else { return None };
    tokens.refresh_token().filter(|_| !tokens.is_kept()).map(Secret::from)
}
