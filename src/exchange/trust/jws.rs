//! A signed text as it comes in a request: JWS in its compact form (RFC 7515 section 7.1).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::de::DeserializeOwned;

use super::jwk::PublicKey;

/// A longer text is not looked at. Proofs and assertions have about 1 KiB.
const LONGEST: usize = 16 * 1024;

pub(super) struct Jws<'a> {
    /// What is signed: header and payload, encoded.
    signed: &'a [u8],
    header: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    /// None where it is no such text.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let text = text.trim();
        if text.len() > LONGEST {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let decoded = |part: &str| BASE64URL.decode(part).ok();
        Some(Self {
            signed: signed.as_bytes(),
            header: decoded(header)?,
            payload: decoded(payload)?,
            signature: decoded(signature)?,
        })
    }

    pub(super) fn header<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.header).ok()
    }

    /// What it claims, no matter who has signed it.
    pub(super) fn claims<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.payload).ok()
    }

    pub(super) fn is_signed_by(&self, key: &PublicKey, algorithm: &str) -> bool {
        key.has_signed(algorithm, self.signed, &self.signature)
    }
}
