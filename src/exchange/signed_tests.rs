//! Requests that are signed, in front of a provider that is a closure: who shares an answer with whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use super::trust::signing::{Signer, claims};
use super::*;
use crate::config::Config;

const HTU: &str = "https://idp.example/token";
const AUD: &str = "https://idp.example";
const JWT_BEARER: &str = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

/// An exchange, and how often its provider was asked.
struct Stage {
    exchange: TokenExchange,
    asked: Arc<AtomicU32>,
}

impl Stage {
    fn new(keys: &[(&str, &Signer)]) -> Self {
        let jwks: Vec<String> =
            keys.iter().map(|(kid, key)| key.jwk().replacen('{', &format!(r#"{{"kid":"{kid}","#), 1)).collect();
        let client_keys = (!keys.is_empty())
            .then(|| ClientKeys::from_jwks([format!(r#"{{"keys":[{}]}}"#, jwks.join(","))]).expect("keys"));
        let options = ExchangeOptions {
            dpop_htu: vec![HTU.to_owned()],
            client_keys,
            assertion_audiences: vec![AUD.to_owned()],
            ..Default::default()
        };
        let coordinator = RefreshCoordinator::in_memory(Config::default()).expect("the defaults");
        Self { exchange: TokenExchange::new(coordinator, options), asked: Arc::default() }
    }

    /// The status of what this body is answered with a proof; the provider would give these tokens, or this refusal.
    async fn ask(&self, body: &str, proof: Option<&str>, answer: (u16, &str)) -> u16 {
        let mut request = Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
        if let Some(proof) = proof {
            request = request.header("dpop", proof);
        }
        let answer = Response::builder().status(answer.0).body(answer.1.as_bytes().to_vec()).expect("an answer");
        let asked = Arc::clone(&self.asked);
        let answer = self.exchange.exchange(request.body(body.as_bytes().to_vec()).expect("a request"), move |_| {
            asked.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok(answer))
        });
        answer.await.status().as_u16()
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

const TOKENS: (u16, &str) = (200, r#"{"access_token":"a2","refresh_token":"r2"}"#);
const BAD_PROOF: (u16, &str) = (400, r#"{"error":"invalid_dpop_proof"}"#);
const REFRESH: &str = "grant_type=refresh_token&refresh_token=r1&client_id=app";

fn proof(signer: &Signer, jti: &str) -> String {
    signer.proof(claims!(jti: jti, htm: "POST", htu: HTU, iat: now()))
}

#[tokio::test]
async fn only_holders_of_the_private_key_share_an_answer() {
    let (stage, owner) = (Stage::new(&[]), Signer::p256());
    let claimed = format!(r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{}}}"#, owner.jwk());
    let stranger = |jti: &str| Signer::p256().signed(&claimed, &claims!(jti: jti, htm: "POST", htu: HTU, iat: now()));

    let first = stage.ask(REFRESH, Some(&stranger("1")), BAD_PROOF).await;
    let led = stage.ask(REFRESH, Some(&proof(&owner, "1")), TOKENS).await;
    let shared = stage.ask(REFRESH, Some(&proof(&owner, "2")), TOKENS).await;
    let late = stage.ask(REFRESH, Some(&stranger("3")), TOKENS).await;
    let replayed = proof(&owner, "4");
    let once = stage.ask(REFRESH, Some(&replayed), TOKENS).await;
    let twice = stage.ask(REFRESH, Some(&replayed), TOKENS).await;

    assert_eq!((first, led, shared, late, once, twice), (400, 200, 200, 503, 200, 503));
    assert_eq!(stage.asked(), 2, "the stranger's own, and the owner's");
}

#[tokio::test]
async fn clients_share_by_the_key_that_has_signed_as_by_a_secret() {
    let (app, next, other) = (Signer::p256(), Signer::ed25519(), Signer::p256());
    let stage = Stage::new(&[("1", &app), ("2", &next), ("3", &other)]);
    let assertion = |(kid, key): (&str, &Signer), client: &str, jti: &str| {
        let claims = claims!(iss: client, sub: client, aud: AUD, exp: now() + 60, jti: jti);
        format!("&client_assertion_type={JWT_BEARER}&client_assertion={}", key.assertion(kid, claims))
    };
    let unnamed = "grant_type=refresh_token&refresh_token=r1";
    let of = |key: (&str, &Signer), client: &str, jti: &str| format!("{REFRESH}{}", assertion(key, client, jti));

    let led = stage.ask(&of(("1", &app), "app", "1"), None, TOKENS).await;
    let shared = stage.ask(&of(("1", &app), "app", "2"), None, TOKENS).await;
    let unnamed = stage.ask(&format!("{unnamed}{}", assertion(("1", &app), "app", "3")), None, TOKENS).await;
    let others = [
        ("another key of the set", of(("3", &other), "app", "1")),
        ("the client's next key", of(("2", &next), "app", "1")),
        ("no key of the set", of(("1", &Signer::p256()), "app", "9")),
        ("the same once more", of(("1", &app), "app", "1")),
        ("another client than it names", of(("1", &app), "app2", "4")),
        ("another type", of(("1", &app), "app", "5").replace("jwt-bearer", "saml2-bearer")),
    ];

    assert_eq!((led, shared, unnamed, stage.asked()), (200, 200, 200, 1));
    for (what, body) in others {
        assert_eq!(stage.ask(&body, None, TOKENS).await, 503, "{what}");
    }
    assert_eq!(stage.asked(), 1, "the token is not presented again");
}

#[tokio::test]
async fn assertions_without_keys_are_served_alone() {
    let (stage, app) = (Stage::new(&[]), Signer::p256());
    let body = |jti: &str| {
        let claims = claims!(iss: "app", sub: "app", aud: AUD, exp: now() + 60, jti: jti);
        format!("{REFRESH}&client_assertion_type={JWT_BEARER}&client_assertion={}", app.assertion("1", claims))
    };

    let led = stage.ask(&body("1"), None, TOKENS).await;
    let other = stage.ask(&body("2"), None, TOKENS).await;

    assert_eq!((led, other, stage.asked()), (200, 503, 1));
}

#[tokio::test]
async fn second_secret_of_a_client_is_a_credential_of_its_own() {
    let stage = Stage::new(&[]);
    let of = |secret: &str, token: &str| {
        format!("grant_type=refresh_token&refresh_token={token}&client_id=app&client_secret={secret}")
    };

    let old = stage.ask(&of("old", "r1"), None, TOKENS).await;
    // Its secret may be right or wrong: nobody knows before the provider has said so.
    let new = stage.ask(&of("new", "r1"), None, TOKENS).await;
    // It reads the session again, and comes with what is there by now.
    let after = stage.ask(&of("new", "r2"), None, (200, r#"{"access_token":"a3","refresh_token":"r3"}"#)).await;
    let again = stage.ask(&of("new", "r2"), None, TOKENS).await;
    let old_again = stage.ask(&of("old", "r1"), None, TOKENS).await;

    assert_eq!((old, new, after, again, old_again), (200, 503, 200, 200, 200));
    assert_eq!(stage.asked(), 2, "each token is presented once");
}
