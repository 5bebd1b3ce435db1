//! What the leader does before it asks the provider: it reads the session again.

use tracing::warn;

use super::access::AccessTokens;
use super::brought::{is_same, walked};
use super::held::Held;
use super::settings::Answer;
use super::store::TokenStore;
use crate::leader::Attempt;
use crate::request::Refresh;

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
                if self.unwritten.of(session).iter().any(|writing| writing.has_rotated(attempt.token())) {
                    return Err(attempt.give_back("new tokens of the session are not written yet"));
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
}
