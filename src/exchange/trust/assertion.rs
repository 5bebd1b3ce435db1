//! Which client has signed an assertion (`private_key_jwt`: RFC 7523, OpenID Connect Core section 9), by the keys that the
//! operator names.
//!
//! The client's credential is then the key, as a secret is that of other clients: requests that are signed by one key
//! share an answer. A key speaks for no other client than its own also where several clients' keys are in one set: what
//! one key has signed is never compared with what another one has.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::client_keys::ClientKeys;
use super::jws::Jws;
use super::seen::Seen;
use crate::exchange::proven::Signatory;

/// How far the clock of the client may be from that of this pod, in seconds.
const MOST_APART: u64 = 30;

/// An assertion that lives for longer is not believed: it is remembered until it is over, and no client needs more than
/// minutes. In seconds.
const LONGEST_LIFE: u64 = 3600;

pub(super) struct Assertions {
    keys: ClientKeys,
    audiences: Vec<String>,
    seen: Seen,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audiences,
    exp: f64,
    nbf: Option<f64>,
    jti: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Several(Vec<String>),
}

impl Assertions {
    pub(super) fn by(keys: ClientKeys, audiences: &[String]) -> Self {
        Self { keys, audiences: audiences.to_vec(), seen: Seen::default() }
    }

    /// Who has signed it; else why it is not believed. `now` is in seconds since 1970.
    pub(super) fn signatory(&self, assertion: &str, now: u64) -> Result<Signatory, &'static str> {
        const UNREADABLE: &str = "it is no assertion with iss, sub, aud, exp and jti";
        let jws = Jws::read(assertion).ok_or(UNREADABLE)?;
        let Header { alg, kid, crit } = jws.header().ok_or(UNREADABLE)?;
        let Claims { iss, sub, aud, exp, nbf, jti } = jws.claims().ok_or(UNREADABLE)?;
        if crit.is_some() {
            return Err(UNREADABLE);
        }
        if iss != sub {
            return Err("its issuer is not its subject");
        }
        let is_ours = |aud: &String| self.audiences.contains(aud);
        let is_for_the_provider = match &aud {
            Audiences::One(aud) => is_ours(aud),
            Audiences::Several(all) => all.iter().any(is_ours),
        };
        if !is_for_the_provider {
            return Err("its audience is not configured");
        }
        let (apart, time) = (MOST_APART as f64, now as f64);
        if exp + apart <= time || nbf.is_some_and(|nbf| nbf - apart > time) {
            return Err("it is over, or does not yet count");
        }
        if exp > time + LONGEST_LIFE as f64 {
            return Err("it lives for longer than an hour");
        }
        let key = self.keys.signing(&jws, kid.as_deref(), &alg).ok_or("its signature is by no configured key")?;
        if !self.seen.is_first(key.thumbprint(), &jti, now, exp as u64 + MOST_APART) {
            return Err("it was here before");
        }
        Ok(Signatory { client: sub, thumbprint: key.thumbprint().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::signing::{Signer, claims};
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const AUD: &str = "https://idp.example";

    fn believing(signer: &Signer) -> Assertions {
        let key = signer.jwk().replacen('{', r#"{"kid":"k1","#, 1);
        let keys = ClientKeys::from_jwks([format!(r#"{{"keys":[{key}]}}"#)]).expect("a set");
        Assertions::by(keys, &[AUD.to_owned(), format!("{AUD}/token")])
    }

    #[test]
    fn assertion_that_a_configured_key_has_signed_is_believed_once() {
        let signer = Signer::p256();
        let assertions = believing(&signer);
        let aud = serde_json::json!([format!("{AUD}/token"), "https://other.example"]);
        let all = [
            claims!(iss: "app", sub: "app", aud: AUD, exp: NOW + 60, jti: "1"),
            claims!(iss: "app", sub: "app", aud: aud, exp: NOW - 20, nbf: NOW + 20, jti: "2"),
        ];

        for claims in &all {
            let assertion = signer.assertion("k1", claims);
            let expected = Signatory { client: "app".to_owned(), thumbprint: signer.thumbprint() };
            assert_eq!(assertions.signatory(&assertion, NOW), Ok(expected), "{claims}");
            assert_eq!(assertions.signatory(&assertion, NOW), Err("it was here before"));
        }
    }

    #[test]
    fn assertion_that_is_not_the_clients_own_or_not_for_here_or_not_for_now_is_not_believed() {
        let signer = Signer::p256();
        let assertions = believing(&signer);
        let good = || claims!(iss: "app", sub: "app", aud: AUD, exp: NOW + 60, jti: "1");
        let cases = [
            signer.assertion("k1", claims!(iss: "other", sub: "app", aud: AUD, exp: NOW + 60, jti: "1")),
            signer.assertion(
                "k1",
                claims!(iss: "app", sub: "app", aud: "https://refreshd/token", exp: NOW + 60, jti: "1"),
            ),
            signer.assertion("k1", claims!(iss: "app", sub: "app", aud: AUD, exp: NOW - 60, jti: "1")),
            signer.assertion("k1", claims!(iss: "app", sub: "app", aud: AUD, exp: NOW + 60, nbf: NOW + 60, jti: "1")),
            signer.assertion("k1", claims!(iss: "app", sub: "app", aud: AUD, exp: NOW + 86400, jti: "1")),
            signer.assertion("k1", claims!(iss: "app", sub: "app", aud: AUD, exp: NOW + 60)),
            signer.assertion("k1", claims!(iss: "app", sub: "app", aud: AUD, jti: "1")),
            signer.assertion("k2", good()),
            signer.signed(r#"{"alg":"HS256","kid":"k1"}"#, &good()),
            signer.signed(r#"{"alg":"ES256","kid":"k1","crit":["b64"],"b64":false}"#, &good()),
            Signer::p256().assertion("k1", good()),
            Signer::ed25519().assertion("k1", good()),
            "hush".to_owned(),
        ];

        for assertion in cases {
            assert!(assertions.signatory(&assertion, NOW).is_err(), "{assertion}");
        }
        assert!(assertions.signatory(&signer.assertion("k1", good()), NOW).is_ok(), "none has used up the jti");
    }
}
