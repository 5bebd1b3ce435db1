//! Public keys as JSON has them (RFC 7517): what they are called (RFC 7638), and whether a signature is theirs.
//!
//! The cryptography is `ring`'s, which rustls brings along. It has all algorithms that are in use (RFC 7518, RFC 8037)
//! but ES512: such a signature is believed no more than a wrong one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

/// A public key (RFC 7518 section 6, RFC 8037).
#[derive(Clone)]
pub(super) struct PublicKey {
    kind: Kind,
    thumbprint: String,
    /// `kid`: what a signature calls the key by.
    id: Option<String>,
    /// The one algorithm that it is for, if it says so.
    algorithm: Option<String>,
}

#[derive(Clone)]
enum Kind {
    /// Uncompressed points.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
}

/// A key as it is written.
#[derive(Deserialize)]
struct Written {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    /// There only in a private key.
    d: Option<IgnoredAny>,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Written::deserialize(deserializer)?.read().ok_or_else(|| serde::de::Error::custom("no key that is known here"))
    }
}

impl Written {
    fn read(self) -> Option<PublicKey> {
        let Self { kty, crv, x, y, n, e, d, kid, alg, usage } = self;
        if d.is_some() || usage.is_some_and(|usage| usage != "sig") {
            return None;
        }
        let (kind, canonical) = match (&kty[..], crv.as_deref()) {
            ("EC", Some(crv)) => {
                let (x, y) = (x?, y?);
                let point = |length| {
                    let (x, y) = (bytes(&x)?, bytes(&y)?);
                    (x.len() == length && y.len() == length).then(|| [&[4], &x[..], &y[..]].concat())
                };
                let kind = match crv {
                    "P-256" => Kind::P256(point(32)?),
                    "P-384" => Kind::P384(point(48)?),
                    _ => return None,
                };
                (kind, format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#))
            }
            ("OKP", Some("Ed25519")) => {
                let x = x?;
                (Kind::Ed25519(bytes(&x)?), format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#))
            }
            ("RSA", _) => {
                let (n, e) = (n?, e?);
                let canonical = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
                (Kind::Rsa { n: bytes(&n)?, e: bytes(&e)? }, canonical)
            }
            _ => return None,
        };
        // RFC 7638 section 3: the required members in the order of their names, without spaces. All of them are base64url
        // or the name of a curve: there is nothing to escape.
        let thumbprint = BASE64URL.encode(Sha256::digest(canonical));
        Some(PublicKey { kind, thumbprint, id: kid, algorithm: alg })
    }
}

/// Nothing but base64url, without padding (RFC 7515 section 2).
fn bytes(text: &str) -> Option<Vec<u8>> {
    BASE64URL.decode(text).ok().filter(|bytes| !bytes.is_empty())
}

impl PublicKey {
    /// RFC 7638, with SHA-256.
    pub(super) fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Whether a signature that calls its key so may be of this one.
    pub(super) fn may_be(&self, id: Option<&str>) -> bool {
        match (id, &self.id) {
            (Some(id), Some(own)) => id == own,
            _ => true,
        }
    }

    /// Whether the message was signed by the holder of the private key. The key decides which algorithms can be meant (RFC
    /// 8725 section 3.1): a public key is never a secret of HMAC, and `none` is no algorithm.
    pub(super) fn has_signed(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        if self.algorithm.as_ref().is_some_and(|own| generic(own) != generic(algorithm)) {
            return false;
        }
        let is_by = |by: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(by, key).verify(message, signature).is_ok()
        };
        match (&self.kind, generic(algorithm)) {
            (Kind::P256(point), "ES256") => is_by(&ECDSA_P256_SHA256_FIXED, point),
            (Kind::P384(point), "ES384") => is_by(&ECDSA_P384_SHA384_FIXED, point),
            (Kind::Ed25519(point), "EdDSA") => is_by(&ED25519, point),
            (Kind::Rsa { n, e }, algorithm) => of_rsa(algorithm)
                .is_some_and(|by| RsaPublicKeyComponents { n, e }.verify(by, message, signature).is_ok()),
            (Kind::P256(_) | Kind::P384(_) | Kind::Ed25519(_), _) => false,
        }
    }
}

/// RFC 9864 gives `EdDSA` the name of its curve.
fn generic(algorithm: &str) -> &str {
    if algorithm == "Ed25519" { "EdDSA" } else { algorithm }
}

fn of_rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &RSA_PSS_2048_8192_SHA256,
        "PS384" => &RSA_PSS_2048_8192_SHA384,
        "PS512" => &RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thumbprint(jwk: &str) -> Option<String> {
        serde_json::from_str::<PublicKey>(jwk).ok().map(|key| key.thumbprint)
    }

    #[test]
    fn thumbprints_are_those_of_the_standards() {
        // RFC 7638 section 3.1, RFC 9449 section 6.1, RFC 8037 appendix A.3.
        let rsa = concat!(
            r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L"#,
            "6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMi",
            "cAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_",
            r#"xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256"}"#
        );
        let ec = concat!(
            r#"{"kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","#,
            r#""y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256"}"#
        );
        let okp = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

        assert_eq!(thumbprint(rsa).as_deref(), Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
        assert_eq!(thumbprint(ec).as_deref(), Some("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"));
        assert_eq!(thumbprint(okp).as_deref(), Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
    }

    #[test]
    fn what_is_no_public_key_for_signatures_is_none() {
        for jwk in [
            "{}",
            r#"{"kty":"oct","k":"c2VjcmV0"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","x":"a\"b"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo="}"#,
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"AA"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","use":"enc"}"#,
            r#"{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}"#,
            r#"{"kty":"EC","crv":"P-256","x":"AQ"}"#,
        ] {
            assert_eq!(thumbprint(jwk), None, "{jwk}");
        }
    }

    /// Made by `openssl`: the key, and `e30.e30` signed by it.
    const N: &str = concat!(
        "1uvJBdTVLpBnqSShMU4j2L8-585mO0Rdws7nL5jP3tpxky1-MebeTnXnQvfyMD6b1JBB-OFJjhvQc9gIDNefA77m_owvC7TZ5kwxyUQUTRgN7aoF",
        "3uYqSYda6eFNVdZ6P1qasKiq2_PohnhyrG5nH0j5RdPnBHyXtUdlLPYT_6uCeV7RnXBoGf2g-cEC3CnqegWPGwWm0HDHBwYtn-rNrPguiKkVuxNI",
        "q7zUCrcsBIfo8OuFbGXmM37n6acMEF1862rCy1XuAOAAsJ-qabv7J5MT3j0C-xEp-edR0vUihoGEho1o99V8296VmEbCO6ywx2zWJLXQBQnJRsFA",
        "-XLgCw"
    );
    const RS256: &str = concat!(
        "uJ_uwmFLxSt2arZeaYPR11znZHqnKXVKX89XafaIqzD3h6r43g7a4fv_aK_66LsUS8yu9Os8ZQW3rDNSXlgjJNRRuY5OqJLoK-76XcGvBSnycbJu",
        "d9uCiSHMmP5P19BlejUVgHOtvM7AI_osO4o5rB8pvLD4HUhfgdeK-1oiptO-CmAGkxozJVAmbnSuVv7uMOWwvhY5I5NsbUJYAchMYItmRkSYucGk",
        "kIUJdZg356KIfuI2A2KfkrcUX9ppuIhtkcEUNKBh1VG_sf1PdHYw5oNKSoyGaDSxwZqr9pciTMvGlygMMOri1yC3DPych7SHyVFa6ClgBP0vmFKK",
        "YLIlmw"
    );
    const PS512: &str = concat!(
        "1ru_K-oP2RfIIZdI09uBfo-bcElGApgNfcgRi1dHtG8TDNbp_V1pjG3aq9DjVGGZfeH-DVzKei376c75p5zQLSTkYJx3B8YMsQVac4_Z1xQWw7c-",
        "rhRvgqTLwR55Cy7ChHMXlEwtqlf4ghRgKYskqGDZ9tP1Y2vjMcPP7rdweLtfRylEjWVl_TQzVo8pvLe1N-_KyOxqTiTCga4XQHLloioxXaqxuhmF",
        "EvtFRr-fQaE8gQfc7CpcpTMia_zsUZKDAleyCJ2SQ3qEhZTPNtQRXIUqcUOaIpMice85czcUM_Uubem2WQOFpmv-SSjbdf1r22Yy0buYrWrJQ1ix",
        "1GyhYQ"
    );

    #[test]
    fn rsa_signature_is_of_its_key_by_its_algorithm() {
        let key = |more: &str| {
            serde_json::from_str::<PublicKey>(&format!(r#"{{"kty":"RSA","e":"AQAB","n":"{N}"{more}}}"#)).expect("a key")
        };
        let is_signed = |key: &PublicKey, algorithm, message: &[u8], signature| {
            key.has_signed(algorithm, message, &BASE64URL.decode(signature).expect("base64url"))
        };
        let (any, only) = (key(""), key(r#","alg":"PS512""#));

        assert!(is_signed(&any, "RS256", b"e30.e30", RS256) && is_signed(&any, "PS512", b"e30.e30", PS512));
        assert!(is_signed(&only, "PS512", b"e30.e30", PS512) && !is_signed(&only, "RS256", b"e30.e30", RS256));
        for (algorithm, message, signature) in [
            ("RS256", &b"e30.e31"[..], RS256),
            ("PS256", b"e30.e30", RS256),
            ("RS512", b"e30.e30", PS512),
            ("HS256", b"e30.e30", RS256),
            ("ES256", b"e30.e30", RS256),
        ] {
            assert!(!is_signed(&any, algorithm, message, signature), "{algorithm}");
        }
    }
}
