//! What an application wants done with new tokens before any caller hears of them: mostly to write them down.

use std::fmt;
use std::pin::Pin;

use super::refreshed::Refreshed;

type Try = Pin<Box<dyn Future<Output = bool> + Send>>;

/// The hook of a refresh. It may be tried more than once.
pub(crate) struct BeforeTold(Box<dyn Fn(Refreshed) -> Try + Send + Sync>);

impl BeforeTold {
    pub(crate) fn new<H, F, E>(hook: H) -> Self
    where
        H: Fn(Refreshed) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        // Its error is the application's to log: it may quote a token.
        Self(Box::new(move |refreshed| {
            let tried = hook(refreshed);
            Box::pin(async move { tried.await.is_ok() })
        }))
    }

    /// Whether it succeeded.
    pub(crate) async fn try_once(&self, refreshed: Refreshed) -> bool {
        (self.0)(refreshed).await
    }
}

impl fmt::Debug for BeforeTold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BeforeTold")
    }
}
