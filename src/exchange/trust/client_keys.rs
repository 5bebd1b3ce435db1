//! The public keys of clients that authenticate by `private_key_jwt`.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Deserialize;
use serde_json::Value;

use super::jwk::PublicKey;
use super::jws::Jws;

/// More than any fleet's clients have.
const MOST: usize = 1000;

/// A signature that does not name its key is tried with so many of them: each try costs time.
const MOST_TRIED: usize = 8;

/// The public keys by which clients sign their assertions (RFC 7523), as JWK sets (RFC 7517). Clones are the same keys.
///
/// ```
/// use refresh_coordinator::exchange::ClientKeys;
///
/// let keys = ClientKeys::from_jwks([
///     r#"{"keys":[{"kid":"1","kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
/// ])?;
/// assert_eq!(keys.len(), 1);
/// assert!(keys.replace(["{}"]).is_err());
/// assert_eq!(keys.len(), 1, "it stays as it was");
/// # Ok::<(), refresh_coordinator::exchange::UnusableKeys>(())
/// ```
#[derive(Clone)]
pub struct ClientKeys(Arc<RwLock<Arc<[PublicKey]>>>);

/// Why there are no keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnusableKeys {
    /// A text is no JWK set.
    #[error("no JWK set: expected {{\"keys\":[...]}} (RFC 7517 section 5)")]
    NoSet,
    /// No set has a public key for signatures.
    #[error("no public key for signatures: EC (P-256, P-384), OKP (Ed25519) and RSA are known")]
    NoKey,
    /// There are more than 1000.
    #[error("more than {MOST} keys")]
    TooMany,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

impl ClientKeys {
    /// The keys of these sets together. Keys that are not public or not for signatures are left out.
    ///
    /// # Errors
    ///
    /// [`UnusableKeys`] for a text that is no JWK set, and where no key is left or there are more than 1000.
    pub fn from_jwks<T: AsRef<[u8]>>(sets: impl IntoIterator<Item = T>) -> Result<Self, UnusableKeys> {
        Ok(Self(Arc::new(RwLock::new(read(sets)?))))
    }

    /// No keys so far: nothing that a client signs is believed, and requests that sign share no answer, until
    /// [`replace`](Self::replace) has brought some.
    pub fn none_yet() -> Self {
        Self(Arc::new(RwLock::new(Arc::from([]))))
    }

    /// Puts the keys of these sets in the place of those before: of a request that comes from now on.
    ///
    /// # Errors
    ///
    /// As [`from_jwks`](Self::from_jwks); the keys before stay.
    pub fn replace<T: AsRef<[u8]>>(&self, sets: impl IntoIterator<Item = T>) -> Result<(), UnusableKeys> {
        let keys = read(sets)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.all().len()
    }

    /// Whether there are none: only of [`none_yet`](Self::none_yet), as no others take their place.
    pub fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// The key that a text is signed by.
    pub(super) fn signing(&self, jws: &Jws<'_>, id: Option<&str>, algorithm: &str) -> Option<PublicKey> {
        let all = self.all();
        all.iter().filter(|key| key.may_be(id)).take(MOST_TRIED).find(|key| jws.is_signed_by(key, algorithm)).cloned()
    }

    fn all(&self) -> Arc<[PublicKey]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read<T: AsRef<[u8]>>(sets: impl IntoIterator<Item = T>) -> Result<Arc<[PublicKey]>, UnusableKeys> {
    let mut keys = Vec::new();
    for set in sets {
        let Set { keys: written } = serde_json::from_slice(set.as_ref()).map_err(|_| UnusableKeys::NoSet)?;
        // What is not known is left out, as the standard wants it.
        keys.extend(written.into_iter().filter_map(|key| serde_json::from_value::<PublicKey>(key).ok()));
    }
    match keys.len() {
        0 => Err(UnusableKeys::NoKey),
        1..=MOST => Ok(keys.into()),
        _ => Err(UnusableKeys::TooMany),
    }
}

impl fmt::Debug for ClientKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientKeys({})", self.len())
    }
}
