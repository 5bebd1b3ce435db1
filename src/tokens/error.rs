//! Why there is no access token.

use std::time::Duration;

use crate::error::RefreshError;
use crate::verdict::Verdict;

/// Why a caller got no access token. `E` is the error of the session store.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError<E: std::error::Error + 'static> {
    /// There is no such session, it has ended, or the provider has refused its refresh token: the user has to log in.
    #[error("the session is over")]
    SessionOver {
        /// What the refresh brought. None where the store has no such session.
        #[source]
        refusal: Option<RefreshError>,
    },
    /// The access token is over, and could not be refreshed. The session is as good as before.
    #[error("the access token could not be refreshed")]
    Refresh(#[source] RefreshError),
    /// The session store failed.
    #[error("the session store failed")]
    Store(#[source] E),
    /// The session store did not answer in time.
    #[error("the session store did not answer within {patience:?}")]
    StoreTimedOut {
        /// How long was waited ([`store_timeout`](super::AccessTokens::store_timeout)).
        patience: Duration,
    },
}

impl<E: std::error::Error + 'static> TokenError<E> {
    /// What to do about it.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::SessionOver { .. } => Verdict::SessionOver,
            Self::Refresh(error) => Verdict::of(error),
            Self::Store(_) | Self::StoreTimedOut { .. } => Verdict::TryAgain { after: Duration::from_secs(1) },
        }
    }
}
