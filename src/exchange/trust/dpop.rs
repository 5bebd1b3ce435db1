//! Which key the tokens will be bound to: that of a DPoP proof (RFC 9449), once the proof is verified.
//!
//! A proof that is not its key's own would let a stranger who knows token and public key be taken for the owner. The
//! provider judges every proof that it is sent, but those of joiners it never sees.

use http::{HeaderMap, Method, Uri, header};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::jwk::PublicKey;
use super::jws::Jws;
use super::seen::Seen;

/// How far the clock of the caller may be from that of this pod, in seconds.
const MOST_APART: u64 = 300;

pub(super) struct Proofs {
    /// What a proof may name as the address it is made for.
    addresses: Vec<Address>,
    seen: Seen,
}

#[derive(Deserialize)]
struct Header {
    typ: String,
    alg: String,
    jwk: PublicKey,
    /// Extensions that have to be understood (RFC 7515 section 4.1.11). None is.
    crit: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    jti: String,
    htm: String,
    htu: String,
    iat: f64,
}

/// Why a proof is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    Unreadable,
    Method,
    Age,
    Signature,
    Replayed,
    /// It is made for an address that is not configured.
    Elsewhere,
    /// The address it is made for is the one that the request was sent to.
    Here,
}

impl Doubt {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Unreadable => "it is no proof with a public key that is known here",
            Self::Method => "it is made for another method",
            Self::Age => "it was made more than 5 minutes ago or ahead, by the clock of this pod",
            Self::Signature => "its signature is not that of its key",
            Self::Replayed => "it was here before",
            Self::Elsewhere => "it is made for another address than the provider's",
            Self::Here => "it is made for the address of this endpoint, which is not configured as one (dpop_htu)",
        }
    }
}

impl Proofs {
    pub(super) fn made_for(addresses: &[String]) -> Self {
        Self { addresses: addresses.iter().filter_map(|address| Address::of(address)).collect(), seen: Seen::default() }
    }

    /// The thumbprint (RFC 7638) of the key in a proof that is its own (RFC 9449 section 4.3). `now` is in seconds since
    /// 1970.
    pub(super) fn key(&self, proof: &str, method: &Method, headers: &HeaderMap, now: u64) -> Result<String, Doubt> {
        let jws = Jws::read(proof).ok_or(Doubt::Unreadable)?;
        let Header { typ, alg, jwk, crit } = jws.header().ok_or(Doubt::Unreadable)?;
        let Claims { jti, htm, htu, iat } = jws.claims().ok_or(Doubt::Unreadable)?;
        if !typ.eq_ignore_ascii_case("dpop+jwt") || crit.is_some() {
            return Err(Doubt::Unreadable);
        }
        self.check_address(&htu, headers)?;
        if htm != method.as_str() {
            return Err(Doubt::Method);
        }
        if (now as f64 - iat).abs() > MOST_APART as f64 {
            return Err(Doubt::Age);
        }
        // Last what costs most, and then the note, which only the key's own proofs are to leave.
        if !jws.is_signed_by(&jwk, &alg) {
            return Err(Doubt::Signature);
        }
        if !self.seen.is_first(jwk.thumbprint(), &jti, now, now + 2 * MOST_APART) {
            return Err(Doubt::Replayed);
        }
        Ok(jwk.thumbprint().to_owned())
    }

    /// Whether a proof that nothing else is read of is made for an address that the provider takes.
    pub(super) fn address(&self, proof: &str, headers: &HeaderMap) -> Result<(), Doubt> {
        #[derive(Deserialize)]
        struct Address {
            htu: String,
        }
        match Jws::read(proof).and_then(|jws| jws.claims()) {
            Some(Address { htu }) => self.check_address(&htu, headers),
            None => Ok(()),
        }
    }

    fn check_address(&self, htu: &str, headers: &HeaderMap) -> Result<(), Doubt> {
        match Address::of(htu) {
            Some(address) if self.addresses.contains(&address) => Ok(()),
            Some(address) if address.is_host(headers) => Err(Doubt::Here),
            Some(_) => Err(Doubt::Elsewhere),
            None => Err(Doubt::Unreadable),
        }
    }
}

/// Scheme, host, port and path; query and fragment do not count (RFC 9449 section 4.3, RFC 3986 section 6.2).
#[derive(Debug, PartialEq, Eq)]
struct Address {
    scheme: String,
    host: String,
    port: Option<u16>,
    path: String,
}

impl Address {
    fn of(url: &str) -> Option<Self> {
        let uri: Uri = url.split('#').next()?.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let port = uri.port_u16().or(match &scheme[..] {
            "https" => Some(443),
            "http" => Some(80),
            _ => None,
        });
        Some(Self { host: uri.host()?.to_ascii_lowercase(), port, path: uri.path().to_owned(), scheme })
    }

    /// Whether it is the host that the request was sent to.
    fn is_host(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        Self::of(&format!("{}://{host}{}", self.scheme, self.path)).as_ref() == Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::signing::{Signer, claims};
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const HTU: &str = "https://idp.example/token";

    fn judged(proofs: &Proofs, proof: &str) -> Result<String, Doubt> {
        let headers = HeaderMap::from_iter([(header::HOST, "refreshd:8400".parse().expect("a value"))]);
        proofs.key(proof, &Method::POST, &headers, NOW)
    }

    #[test]
    fn key_of_a_proof_that_is_its_own_is_believed() {
        let proofs = Proofs::made_for(&[HTU.to_owned(), "http://internal:8080/token".to_owned()]);

        for signer in [Signer::p256(), Signer::p384(), Signer::ed25519()] {
            for (index, htu) in
                [HTU, "HTTPS://IdP.example:443/token?a=b#c", "http://internal:8080/token"].iter().enumerate()
            {
                for iat in [NOW - 300, NOW, NOW + 300] {
                    let proof = signer.proof(claims!(jti: format!("{index} {iat}"), htm: "POST", htu: htu, iat: iat));
                    assert_eq!(judged(&proofs, &proof), Ok(signer.thumbprint()), "{htu} {iat}");
                }
            }
        }
    }

    #[test]
    fn proof_that_is_not_its_own_or_not_for_here_or_not_for_now_is_not_believed() {
        let proofs = Proofs::made_for(&[HTU.to_owned()]);
        let signer = Signer::p256();
        let good = || claims!(jti: "1", htm: "POST", htu: HTU, iat: NOW);
        let cases = [
            (signer.proof(claims!(jti: "1", htm: "GET", htu: HTU, iat: NOW)), Doubt::Method),
            (signer.proof(claims!(jti: "1", htm: "post", htu: HTU, iat: NOW)), Doubt::Method),
            (signer.proof(claims!(jti: "1", htm: "POST", htu: HTU, iat: NOW - 301)), Doubt::Age),
            (signer.proof(claims!(jti: "1", htm: "POST", htu: HTU, iat: NOW + 301)), Doubt::Age),
            (signer.proof(claims!(jti: "1", htm: "POST", htu: "http://idp.example/token", iat: NOW)), Doubt::Elsewhere),
            (
                signer.proof(claims!(jti: "1", htm: "POST", htu: "https://idp.example/other", iat: NOW)),
                Doubt::Elsewhere,
            ),
            (signer.proof(claims!(jti: "1", htm: "POST", htu: "https://refreshd:8400/token", iat: NOW)), Doubt::Here),
            (signer.proof(claims!(jti: "1", htm: "POST", htu: "token", iat: NOW)), Doubt::Unreadable),
            (signer.proof(claims!(htm: "POST", htu: HTU, iat: NOW)), Doubt::Unreadable),
            (signer.proof(claims!(jti: "1", htm: "POST", htu: HTU, iat: "now")), Doubt::Unreadable),
            (
                signer.signed(&format!(r#"{{"typ":"JWT","alg":"ES256","jwk":{}}}"#, signer.jwk()), &good()),
                Doubt::Unreadable,
            ),
            (
                signer.signed(&format!(r#"{{"typ":"dpop+jwt","alg":"none","jwk":{}}}"#, signer.jwk()), &good()),
                Doubt::Signature,
            ),
            (
                signer.signed(&format!(r#"{{"typ":"dpop+jwt","alg":"HS256","jwk":{}}}"#, signer.jwk()), &good()),
                Doubt::Signature,
            ),
            (signer.signed(r#"{"typ":"dpop+jwt","alg":"ES256"}"#, &good()), Doubt::Unreadable),
            (
                signer.signed(
                    &format!(r#"{{"typ":"dpop+jwt","alg":"ES256","crit":["x"],"jwk":{}}}"#, signer.jwk()),
                    &good(),
                ),
                Doubt::Unreadable,
            ),
            (
                // A stranger who knows the owner's public key.
                Signer::p256()
                    .signed(&format!(r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{}}}"#, signer.jwk()), &good()),
                Doubt::Signature,
            ),
            ("e30.e30.c2ln".to_owned(), Doubt::Unreadable),
            ("hush".to_owned(), Doubt::Unreadable),
            (format!("{}.e30.c2ln", "e".repeat(20_000)), Doubt::Unreadable),
        ];

        for (proof, doubt) in cases {
            assert_eq!(judged(&proofs, &proof), Err(doubt), "{proof}");
        }
        assert_eq!(judged(&proofs, &signer.proof(good())), Ok(signer.thumbprint()), "none of them has used up the jti");
    }

    #[test]
    fn proof_counts_once_and_only_where_an_address_is_known() {
        let (signer, proofs) = (Signer::p256(), Proofs::made_for(&[HTU.to_owned()]));
        let proof = signer.proof(claims!(jti: "1", htm: "POST", htu: HTU, iat: NOW));

        assert_eq!(judged(&proofs, &proof), Ok(signer.thumbprint()));
        assert_eq!(judged(&proofs, &proof), Err(Doubt::Replayed));
        assert_eq!(judged(&Proofs::made_for(&[]), &proof), Err(Doubt::Elsewhere));
    }
}
