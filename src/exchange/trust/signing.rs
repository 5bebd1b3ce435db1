//! For tests: keys, and what they sign.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};

use super::jwk::PublicKey;

/// A key pair.
pub(in crate::exchange) enum Signer {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    pub(in crate::exchange) fn p256() -> Self {
        let (by, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(by, &random).expect("a key");
        Self::P256(EcdsaKeyPair::from_pkcs8(by, pkcs8.as_ref(), &random).expect("a key"))
    }

    pub(in crate::exchange) fn p384() -> Self {
        let (by, random) = (&ECDSA_P384_SHA384_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(by, &random).expect("a key");
        Self::P384(EcdsaKeyPair::from_pkcs8(by, pkcs8.as_ref(), &random).expect("a key"))
    }

    pub(in crate::exchange) fn ed25519() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key"))
    }

    pub(in crate::exchange) fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::P384(_) => "ES384",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    /// The public key.
    pub(in crate::exchange) fn jwk(&self) -> String {
        let of_point = |crv: &str, pair: &EcdsaKeyPair| {
            let point = &pair.public_key().as_ref()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            format!(r#"{{"kty":"EC","crv":"{crv}","x":"{}","y":"{}"}}"#, BASE64URL.encode(x), BASE64URL.encode(y))
        };
        match self {
            Self::P256(pair) => of_point("P-256", pair),
            Self::P384(pair) => of_point("P-384", pair),
            Self::Ed25519(pair) => {
                format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, BASE64URL.encode(pair.public_key()))
            }
        }
    }

    pub(in crate::exchange) fn thumbprint(&self) -> String {
        serde_json::from_str::<PublicKey>(&self.jwk()).expect("a public key").thumbprint().to_owned()
    }

    /// A DPoP proof.
    pub(in crate::exchange) fn proof(&self, claims: impl AsRef<str>) -> String {
        let header = format!(r#"{{"typ":"dpop+jwt","alg":"{}","jwk":{}}}"#, self.algorithm(), self.jwk());
        self.signed(&header, claims.as_ref())
    }

    /// A client assertion by a key of this name.
    pub(in crate::exchange) fn assertion(&self, kid: &str, claims: impl AsRef<str>) -> String {
        self.signed(&format!(r#"{{"alg":"{}","kid":"{kid}"}}"#, self.algorithm()), claims.as_ref())
    }

    pub(in crate::exchange) fn signed(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
        let signature = match self {
            Self::P256(pair) | Self::P384(pair) => {
                pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("signed").as_ref().to_vec()
            }
            Self::Ed25519(pair) => pair.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        format!("{signed}.{}", BASE64URL.encode(signature))
    }
}

/// Claims as JSON.
macro_rules! claims {
    ($($name:ident: $value:expr),* $(,)?) => {
        serde_json::json!({ $(stringify!($name): $value),* }).to_string()
    };
}

pub(in crate::exchange) use claims;
