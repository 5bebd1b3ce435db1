//! Which key the tokens will be bound to: the thumbprint (RFC 7638) of the key in a DPoP proof (RFC 9449).
//!
//! The proof is not verified: that is the provider's to do for the leader. A joiner that only claims another's key
//! would get a token it cannot use.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use http::HeaderMap;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::request::Refresh;

/// Adds the key of the proof to the refresh, if there is a proof. One that cannot be read is compared with no
/// other: the provider will say what is wrong with it.
pub(super) fn bound(refresh: Refresh, headers: &HeaderMap) -> Refresh {
    let mut proofs = headers.get_all("dpop").iter();
    match (proofs.next(), proofs.next()) {
        (None, _) => refresh,
        (Some(proof), None) => match proof.to_str().ok().and_then(thumbprint) {
            Some(thumbprint) => refresh.dpop_key(thumbprint),
            None => refresh.alone(),
        },
        (Some(_), Some(_)) => refresh.alone(),
    }
}

#[derive(Deserialize)]
struct ProofHeader {
    jwk: Key,
}

/// A public key (RFC 7518 section 6, RFC 8037), and of it what the thumbprint is made of.
#[derive(Deserialize)]
#[serde(tag = "kty")]
enum Key {
    #[serde(rename = "EC")]
    Ec { crv: String, x: String, y: String },
    #[serde(rename = "RSA")]
    Rsa { e: String, n: String },
    #[serde(rename = "OKP")]
    Okp { crv: String, x: String },
}

/// The thumbprint of the key in a proof's header.
fn thumbprint(proof: &str) -> Option<String> {
    let mut parts = proof.trim().split('.');
    let header = BASE64URL.decode(parts.next()?).ok()?;
    if parts.count() != 2 {
        return None;
    }
    let ProofHeader { jwk } = serde_json::from_slice(&header).ok()?;
    // RFC 7638 section 3: the required members in the order of their names, without spaces.
    let (values, canonical) = match &jwk {
        Key::Ec { crv, x, y } => (vec![crv, x, y], format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#)),
        Key::Rsa { e, n } => (vec![e, n], format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)),
        Key::Okp { crv, x } => (vec![crv, x], format!(r#"{{"crv":"{crv}","kty":"OKP","x":"{x}"}}"#)),
    };
    // Base64url and names of curves: nothing to escape. Anything else could pretend to be another key.
    let is_plain = |value: &&String| {
        !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    values.iter().all(is_plain).then(|| BASE64URL.encode(Sha256::digest(canonical)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(header: &str) -> String {
        format!("{}.e30.c2ln", BASE64URL.encode(header))
    }

    #[test]
    fn thumbprints_are_those_of_the_standards() {
        // RFC 7638 section 3.1, RFC 9449 section 6.1, RFC 8037 appendix A.3.
        let rsa = concat!(
            r#"{"jwk":{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L"#,
            "6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMi",
            "cAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_",
            r#"xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256"}}"#
        );
        let ec = concat!(
            r#"{"typ":"dpop+jwt","jwk":{"kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","#,
            r#""y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256"}}"#
        );
        let okp = r#"{"jwk":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}"#;

        assert_eq!(thumbprint(&proof(rsa)).as_deref(), Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
        assert_eq!(thumbprint(&proof(ec)).as_deref(), Some("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"));
        assert_eq!(thumbprint(&proof(okp)).as_deref(), Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
    }

    #[test]
    fn what_is_no_proof_has_no_thumbprint() {
        let headers = ["", "{}", r#"{"jwk":{"kty":"oct","k":"a"}}"#, r#"{"jwk":{"kty":"OKP","crv":"a\"b","x":"c"}}"#];
        for header in headers {
            assert_eq!(thumbprint(&proof(header)), None, "{header}");
        }
        for proof in ["", "a", "a.b.c", "e30.e30"] {
            assert_eq!(thumbprint(proof), None, "{proof}");
        }
    }
}
