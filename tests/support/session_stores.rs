//! Session stores: that a session is put into each of the shipped ones, and some that go wrong.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use refresh_coordinator::Secret;
use refresh_coordinator::tokens::{MemoryTokens, RedisTokens, SessionTokens, Swap, TokenStore};

/// A store that a session can be put into.
pub trait PutTokens: TokenStore + Clone {
    async fn put_tokens(&self, session: &str, tokens: SessionTokens);
}

impl PutTokens for MemoryTokens {
    async fn put_tokens(&self, session: &str, tokens: SessionTokens) {
        self.put(session, tokens);
    }
}

impl PutTokens for RedisTokens {
    async fn put_tokens(&self, session: &str, tokens: SessionTokens) {
        self.put(session, &tokens).await.expect("redis writes");
    }
}

#[cfg(feature = "postgres")]
impl PutTokens for refresh_coordinator::tokens::PostgresTokens {
    async fn put_tokens(&self, session: &str, tokens: SessionTokens) {
        self.put(session, &tokens).await.expect("postgres writes");
    }
}

/// A store that one caller has read too early.
pub struct StaleOnce<T = MemoryTokens> {
    stale: Mutex<Option<SessionTokens>>,
    store: T,
}

impl<T> StaleOnce<T> {
    pub fn new(stale: SessionTokens, store: T) -> Self {
        Self { stale: Mutex::new(Some(stale)), store }
    }
}

impl<T: TokenStore> TokenStore for StaleOnce<T> {
    type Error = T::Error;

    async fn load(&self, session: &str) -> Result<Option<SessionTokens>, Self::Error> {
        let stale = self.stale.lock().expect("no panics").take();
        if stale.is_some() { Ok(stale) } else { self.store.load(session).await }
    }

    async fn swap(&self, session: &str, walked: &[Secret], new: &SessionTokens) -> Result<Swap, Self::Error> {
        self.store.swap(session, walked, new).await
    }

    async fn end(&self, session: &str, refused: &[Secret]) -> Result<Swap, Self::Error> {
        self.store.end(session, refused).await
    }
}

#[derive(Clone)]
pub struct Failing<T = MemoryTokens> {
    pub inner: T,
    pub fails: Arc<AtomicBool>,
    never_writes: bool,
}

impl<T> Failing<T> {
    pub fn new(inner: T) -> Self {
        Self { inner, fails: Arc::default(), never_writes: false }
    }

    /// It can be read.
    pub fn to_write(inner: T) -> Self {
        Self { never_writes: true, ..Self::new(inner) }
    }

    fn works(&self) -> Result<(), std::io::Error> {
        if self.fails.load(Ordering::SeqCst) { Err(std::io::ErrorKind::ConnectionRefused.into()) } else { Ok(()) }
    }
}

impl<T: TokenStore> TokenStore for Failing<T> {
    type Error = std::io::Error;

    async fn load(&self, session: &str) -> Result<Option<SessionTokens>, Self::Error> {
        self.works()?;
        self.inner.load(session).await.map_err(std::io::Error::other)
    }

    async fn swap(&self, session: &str, walked: &[Secret], new: &SessionTokens) -> Result<Swap, Self::Error> {
        self.works()?;
        if self.never_writes {
            return Err(std::io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.inner.swap(session, walked, new).await.map_err(std::io::Error::other)
    }

    async fn end(&self, session: &str, refused: &[Secret]) -> Result<Swap, Self::Error> {
        self.works()?;
        self.inner.end(session, refused).await.map_err(std::io::Error::other)
    }
}
