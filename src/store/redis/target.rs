//! Where Redis is, who says so, and with which name and password it is entered: asked anew at every connect.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use redis::{Client, ErrorKind, RedisError};

pub(super) use self::whereabouts::{Whereabouts, at};
use crate::secret::Secret;

mod url;
mod whereabouts;

/// What says where Redis is.
///
/// Why it is asked at every connect and not once: a password is renewed and an endpoint moves while pods run, and a pod
/// that kept what it was told at start would have to be restarted.
#[derive(Clone)]
pub(crate) struct Target(Arc<dyn Fn() -> Asked + Send + Sync>);

type Asked = Pin<Box<dyn Future<Output = Result<Whereabouts, TargetError>> + Send>>;

/// Why it cannot be said where Redis is. Without the URL: it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct TargetError(String);

impl From<TargetError> for RedisError {
    fn from(error: TargetError) -> Self {
        Self::from((ErrorKind::InvalidClientConfig, "the redis URL cannot be used", error.0))
    }
}

impl TargetError {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl Target {
    /// A URL that never changes.
    ///
    /// # Errors
    ///
    /// In one line what is wrong, and what would be right. Without what may be a password.
    pub(crate) fn fixed(url: &str) -> Result<Self, TargetError> {
        url::read(url).map(Self::from).map_err(TargetError)
    }

    /// A URL that is asked for.
    pub(crate) fn asking<U, F>(url: U) -> Self
    where
        U: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = std::io::Result<Secret>> + Send + 'static,
    {
        Self(Arc::new(move || {
            let asked = url();
            Box::pin(async move {
                let url = asked.await.map_err(|error| TargetError(format!("it could not be read: {error}")))?;
                url::read(url.expose()).map_err(TargetError)
            })
        }))
    }

    pub(super) async fn ask(&self) -> Result<Whereabouts, TargetError> {
        (self.0)().await
    }
}

impl From<Whereabouts> for Target {
    fn from(place: Whereabouts) -> Self {
        Self(Arc::new(move || {
            let place = place.clone();
            Box::pin(async move { Ok(place) })
        }))
    }
}

impl From<Client> for Target {
    fn from(client: Client) -> Self {
        Whereabouts::Fixed(client.get_connection_info().clone()).into()
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Target(..)")
    }
}
