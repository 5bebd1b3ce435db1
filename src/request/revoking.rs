//! How a refresh token is revoked: a function of the application.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use crate::secret::Secret;

type Try = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Revokes a token at the provider. It may be tried more than once.
#[derive(Clone)]
pub(crate) struct Revoking(Arc<dyn Fn(Secret) -> Try + Send + Sync>);

impl Revoking {
    pub(super) fn new<R, F, E>(revoke: R) -> Self
    where
        R: Fn(Secret) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        // Its error is the application's to log: it may quote a token.
        Self(Arc::new(move |token| {
            let tried = revoke(token);
            Box::pin(async move { tried.await.is_ok() })
        }))
    }

    /// Whether it succeeded.
    pub(crate) async fn try_once(&self, token: Secret) -> bool {
        (self.0)(token).await
    }
}

impl fmt::Debug for Revoking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revoking")
    }
}
