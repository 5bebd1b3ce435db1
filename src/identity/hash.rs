//! Hashes that name something without telling it, and the keys of those that are keyed.

use std::fmt;
use std::hash::Hasher;
use std::sync::LazyLock;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, digest};
use zeroize::Zeroizing;

use crate::authentication::Authentication;
use crate::secret::Secret;

/// A SHA-256 or HMAC-SHA-256 that names something without telling it. Prints as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hash(pub(super) [u8; 32]);

impl Hash {
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Another key in this process, for requests that lead nothing.
    pub(crate) fn of_those_who_wait(mut self) -> Self {
        self.0.iter_mut().for_each(|byte| *byte = !*byte);
        self
    }

    /// Another key in this process, for requests that nobody waits for.
    pub(crate) fn of_the_background(mut self) -> Self {
        self.0[31] = !self.0[31];
        self
    }

    /// Another key in this process, for requests that know the answer of this fence.
    pub(crate) fn of_those_who_know(mut self, fence: u64) -> Self {
        for (byte, other) in self.0.iter_mut().zip(fence.to_be_bytes().into_iter().chain([!0])) {
            *byte ^= other;
        }
        self
    }

    /// Another key in this process, for requests whose client authenticates in other ways: what refuses it so says nothing of these.
    pub(crate) fn of_authentication(mut self, authentication: Authentication) -> Self {
        self.0[30] ^= authentication.number();
        self
    }

    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn from_hex(hex: &str) -> Option<Self> {
        let digits = hex.as_bytes().as_chunks::<2>();
        let (pairs, []) = digits else { return None };
        let mut bytes = [0u8; 32];
        if pairs.len() != bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// A name that is not longer than a number.
    pub(super) fn of_number(number: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        Self(bytes)
    }

    /// Enough of it to tell apart what nobody gains by making alike.
    pub(super) fn beginning(&self) -> u64 {
        let (beginning, _) = self.0.split_first_chunk().expect("BUG: 8 bytes are less than 32");
        u64::from_be_bytes(*beginning)
    }

    /// The SHA-256 of a text.
    pub(crate) fn unkeyed(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// The HMAC of a text under a key.
    pub(crate) fn keyed(key: &Secret, text: &str) -> Self {
        let mut mac = hmac(key.expose().as_bytes());
        mac.update(text.as_bytes());
        Self(mac.finalize().into_bytes().into())
    }

    /// A name that is no token's: nobody knows a token that hashes to the hash of a hash.
    pub(crate) fn of_probe(pod: &str) -> Self {
        Self(Sha256::digest(Self::unkeyed(&format!("probe of {pod}")).0).into())
    }

    /// Keyed with the pepper if there is one, so that weak tokens cannot be guessed from their hash.
    pub(super) fn of(text: &str, pepper: Option<&Secret>) -> Self {
        match pepper {
            None => Self::unkeyed(text),
            Some(pepper) => Self::keyed(pepper, text),
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0u8; 64];
        for (i, byte) in self.0.iter().enumerate() {
            hex[2 * i] = HEX[usize::from(byte >> 4)];
            hex[2 * i + 1] = HEX[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&hex).expect("BUG: hex digits are ASCII"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What all keys of this process begin with: one whole block of SHA-256 that nobody else knows, so that a key found in
/// a dump tells nothing of a weak token, and nobody can choose tokens so that their keys meet in a map. Hashed once: a key
/// costs no more for it.
pub(super) static KEYS_OF_THIS_PROCESS: LazyLock<Sha256> = LazyLock::new(|| {
    let mut key = Sha256::new();
    for _ in 0..4 {
        key.update(uuid::Uuid::new_v4().as_bytes());
    }
    key
});

/// The MAC of the claim, keyed by HKDF from the token.
///
/// Why not HMAC keyed with the token itself: HMAC hashes a key longer than its block, and the hash of the token
/// is the flight, which stands in Redis. An attacker who reads Redis could then try client secrets against the claim.
pub(super) fn claim_key(token: &Secret, pepper: Option<&Secret>) -> Hmac<Sha256> {
    hmac(&*claim_key_bytes(token, pepper))
}

/// What that is keyed with.
pub(super) fn claim_key_bytes(token: &Secret, pepper: Option<&Secret>) -> Zeroizing<[u8; 32]> {
    let salt = pepper.map(|pepper| pepper.expose().as_bytes());
    let mut key = Zeroizing::new([0u8; 32]);
    Hkdf::<Sha256>::new(salt, token.expose().as_bytes())
        .expand(b"refresh-coordinator/1 claim", &mut *key)
        .expect("BUG: 32 bytes are a valid HKDF-SHA-256 length");
    key
}

pub(super) fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("BUG: HMAC takes keys of any length")
}

/// Length-prefixed, and absent told from empty, so that no two requests run into one claim.
pub(super) fn update_field(claim: &mut impl digest::Update, field: Option<&str>) {
    match field {
        None => claim.update(&[0]),
        Some(text) => {
            claim.update(&[1]);
            claim.update(&(text.len() as u64).to_be_bytes());
            claim.update(text.as_bytes());
        }
    }
}

impl std::hash::Hash for Hash {
    /// A part of a hash is a hash. Strangers know the hash of every token they make up where there is no pepper: maps
    /// are keyed by `foldhash`, so that they cannot choose hashes that meet.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (part, _) = self.0.split_first_chunk().expect("BUG: 8 bytes are less than 32");
        state.write_u64(u64::from_le_bytes(*part));
    }
}
