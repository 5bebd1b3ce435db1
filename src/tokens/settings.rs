//! What [`AccessTokens`](super::AccessTokens) is told: the provider's function, the client, and how long things may take.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tracing::warn;

use super::grant::Grant;
use crate::leader::Attempt;
use crate::outcome::ProviderFailure;
use crate::request::Refresh;
use crate::secret::Secret;
use crate::token_response::TokenResponse;

pub(super) type Answer = Result<TokenResponse, ProviderFailure>;
pub(super) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
pub(super) type Present = dyn Fn(Attempt, Refresh) -> Boxed<Answer> + Send + Sync;
pub(super) type Revoke = dyn Fn(Refresh) -> Boxed<Result<(), ProviderFailure>> + Send + Sync;

/// The least that is left of an access token when it is refreshed.
const LEAST_LEFT: Duration = Duration::from_secs(5);

/// Who waits for a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// A caller that is served as well by the access token of its row, while that lives.
    Waited,
    /// A caller that cannot use that one, however long it lives.
    Insisted,
    /// Nobody.
    Background,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) present: Arc<Present>,
    pub(super) revoke: Option<Arc<Revoke>>,
    pub(super) clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    /// Every request but for its token and session.
    pub(super) template: Refresh,
    pub(super) refresh_before: Option<Duration>,
    pub(super) patience: Duration,
    pub(super) assumed_lifetime: Duration,
    pub(super) store_timeout: Duration,
}

impl Settings {
    pub(super) fn new(present: Arc<Present>) -> Self {
        Self {
            present,
            revoke: None,
            clock: Arc::new(SystemTime::now),
            template: Refresh::new("").token_from_attempt(),
            refresh_before: None,
            patience: Duration::from_secs(2),
            assumed_lifetime: Duration::from_secs(5 * 60),
            store_timeout: Duration::from_secs(5),
        }
    }

    pub(super) fn now(&self) -> SystemTime {
        (self.clock)()
    }

    /// What is to be sent for this token of the session.
    pub(super) fn request(&self, session: &str, token: Secret) -> Refresh {
        Refresh { token, ..self.template.clone() }.session(session)
    }

    /// The same, of a session that may be ended meanwhile: what came for it is revoked.
    pub(super) fn revocable(&self, session: &str, token: Secret) -> Refresh {
        let request = self.request(session, token);
        let Some(revoke) = self.revoke.clone() else { return request };
        let to_revoke = request.clone();
        request.revoking(move |token| {
            let revoked = revoke(Refresh { token, ..to_revoke.clone() });
            async move {
                revoked.await.inspect_err(|error| {
                    warn!(%error, "a refresh token of a session that is over could not be revoked yet");
                })
            }
        })
    }

    /// Whether there is an access token that can still be used.
    pub(super) fn lives(&self, grant: Option<&Grant>) -> bool {
        self.left(grant) > Duration::ZERO
    }

    /// Whether it is time for the next one, or for the first.
    pub(super) fn is_due(&self, grant: Option<&Grant>) -> bool {
        self.left(grant) <= grant.map_or(Duration::ZERO, |grant| self.before(grant))
    }

    /// How much of the access token's life is left then.
    pub(super) fn before(&self, grant: &Grant) -> Duration {
        let before = self.refresh_before.unwrap_or_else(|| (grant.lifetime / 10).max(LEAST_LEFT));
        // However short it lives, it is used for half of its life.
        before.min(grant.lifetime / 2)
    }

    pub(super) fn left(&self, grant: Option<&Grant>) -> Duration {
        let left = grant.and_then(|grant| grant.expires_at.duration_since(self.now()).ok());
        left.unwrap_or_default()
    }
}
