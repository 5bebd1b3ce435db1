//! How the HTTP call ends that brings no answer.

use crate::outcome::ProviderFailure;

/// Why the HTTP call brought no answer. The difference decides what is known of the token: when in doubt, say
/// [`Unknown`](Self::Unknown).
#[derive(Clone, Debug, thiserror::Error)]
pub enum SendError {
    /// Name resolution, connecting or TLS failed: the provider has seen nothing. The reason is for the log and must
    /// not hold a secret.
    #[error("nothing was sent: {0}")]
    NotSent(String),
    /// The provider was reached and vouches for not having processed the request, as by REFUSED_STREAM of HTTP/2 (RFC 9113 section
    /// 8.7): the token is as it was. The reason is for the log and must not hold a secret.
    #[error("the provider did not process the request: {0}")]
    NotProcessed(String),
    /// The request, or a part of it, may have arrived. The reason is for the log and must not hold a secret.
    #[error("sent, and no answer came: {0}")]
    Unknown(String),
}

impl From<SendError> for ProviderFailure {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NotSent(reason) => Self::not_sent(reason),
            SendError::NotProcessed(reason) => Self::not_processed(reason),
            SendError::Unknown(reason) => Self::unknown(reason),
        }
    }
}
