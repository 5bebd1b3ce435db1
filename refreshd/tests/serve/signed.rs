//! Requests that are signed: DPoP proofs and client assertions are believed only when they are verified.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING as ES256, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::daemon::{Daemon, FORM, client, refresh};
use crate::provider::{Gate, Provider, json as answer};
use crate::within;

const TOKENS: &str = r#"{"access_token":"a2","refresh_token":"r2"}"#;

struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ES256, &SystemRandom::new()).expect("a key");
        Self(EcdsaKeyPair::from_pkcs8(&ES256, pkcs8.as_ref(), &SystemRandom::new()).expect("a key"))
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        json!({"kty": "EC", "crv": "P-256", "kid": "k1", "x": BASE64URL.encode(x), "y": BASE64URL.encode(y)})
    }

    fn signed(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(claims.to_string()));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).expect("signed");
        format!("{signed}.{}", BASE64URL.encode(signature))
    }

    fn proof(&self, htu: &str) -> String {
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk()});
        self.signed(&header, &json!({"jti": unique(), "htm": "POST", "htu": htu, "iat": now()}))
    }

    fn assertion(&self, aud: &str) -> String {
        let claims = json!({"iss": "app", "sub": "app", "aud": aud, "exp": now() + 60, "jti": unique()});
        self.signed(&json!({"alg": "ES256", "kid": "k1"}), &claims)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

fn unique() -> String {
    uuid::Uuid::new_v4().to_string()
}

async fn post(daemon: &Daemon, proof: Option<&str>, body: String) -> u16 {
    let request = client().post(daemon.url("/token")).header("content-type", FORM).body(body);
    let request = match proof {
        Some(proof) => request.header("dpop", proof),
        None => request,
    };
    within(request.send()).await.expect("an answer").status().as_u16()
}

fn asserted(token: &str, assertion: &str) -> String {
    let of_type = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
    format!("{}&client_assertion_type={of_type}&client_assertion={assertion}", refresh(token))
}

#[tokio::test]
async fn callers_with_one_proven_key_share_an_answer_and_others_have_their_own() {
    let gate = Gate::closed();
    let provider = Provider::behind(&gate, answer(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &[]).await;
    let (owner, stranger) = (Signer::new(), Signer::new());
    // The stranger knows the owner's public key.
    let claimed = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": owner.jwk()});
    let made_up = stranger.signed(&claimed, &json!({"jti": "1", "htm": "POST", "htu": provider.url(), "iat": now()}));

    let proofs = [owner.proof(&provider.url()), owner.proof(&provider.url())];
    let asking = async {
        tokio::join!(post(&daemon, Some(&proofs[0]), refresh("r1")), post(&daemon, Some(&proofs[1]), refresh("r1")),)
    };
    let opening = async {
        provider.asked(1).await;
        gate.open();
    };
    let (shared, ()) = tokio::join!(asking, opening);
    let late = post(&daemon, Some(&owner.proof(&provider.url())), refresh("r1")).await;
    let refused = post(&daemon, Some(&made_up), refresh("r1")).await;

    assert_eq!((shared, late, refused), ((200, 200), 200, 503));
    assert_eq!(provider.seen().len(), 1);
    let line = daemon.logged("a DPoP proof is not believed").await;
    assert!(line.contains("its signature is not that of its key"), "{line}");
}

#[tokio::test]
async fn proof_for_the_address_of_refreshd_is_passed_on_and_told_in_the_log() {
    let provider = Provider::start(async |_| answer(400, r#"{"error":"invalid_dpop_proof"}"#)).await;
    let daemon = Daemon::start(&provider, &[]).await;
    let signer = Signer::new();

    for _ in 0..2 {
        assert_eq!(post(&daemon, Some(&signer.proof(&daemon.url("/token"))), refresh("r1")).await, 400);
    }
    let grant = "grant_type=authorization_code&code=c".to_owned();
    assert_eq!(post(&daemon, Some(&signer.proof("https://elsewhere.example/")), grant).await, 400);

    let line = daemon.logged("it is made for the address of this endpoint").await;
    assert!(line.contains(&provider.url()), "it says which is right: {line}");
    daemon.logged("it is made for another address than the provider's").await;
    assert_eq!(provider.seen().len(), 3, "they share no answer");
}

#[tokio::test]
async fn proof_may_be_made_for_any_address_that_is_configured() {
    let provider = Provider::start(async |_| answer(200, TOKENS)).await;
    let daemon =
        Daemon::start(&provider, &["--dpop-htu", "https://idp.example/token,https://refresh.example/token"]).await;
    let signer = Signer::new();

    for htu in ["https://idp.example/token", "https://refresh.example/token", "HTTPS://IDP.example:443/token?a"] {
        assert_eq!(post(&daemon, Some(&signer.proof(htu)), refresh("r1")).await, 200);
    }
    assert_eq!(provider.seen().len(), 1);
    assert_eq!(post(&daemon, Some(&signer.proof(&provider.url())), refresh("r1")).await, 503, "it is not among them");
}

#[tokio::test]
async fn clients_that_sign_share_an_answer_where_their_keys_are_known() {
    let signer = Signer::new();
    let jwks = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}, signer.jwk()]}).to_string();
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &jwks).expect("written");
    let provider = Provider::start(move |seen| {
        let body = if seen.target.contains("jwks") { jwks.clone() } else { TOKENS.to_owned() };
        async move { answer(200, &body) }
    })
    .await;
    let url = provider.url().replace("/oauth2/token", "/jwks?a=b");
    let aud = "https://idp.example";

    for place in [file.path().to_str().expect("UTF-8"), &url] {
        let daemon = Daemon::start(&provider, &["--client-jwks", place, "--client-assertion-aud", aud]).await;
        let token = unique();
        let before = provider.seen().len();
        for _ in 0..3 {
            assert_eq!(post(&daemon, None, asserted(&token, &signer.assertion(aud))).await, 200, "{place}");
        }
        assert_eq!(post(&daemon, None, asserted(&token, &Signer::new().assertion(aud))).await, 503);
        assert_eq!(post(&daemon, None, asserted(&token, &signer.assertion("https://refreshd.example"))).await, 503);

        assert_eq!(provider.seen().len(), before + 1, "{place}");
        daemon.logged("client assertions by these keys are believed").await;
        daemon.logged("its signature is by no configured key").await;
        daemon.logged("its audience is not configured").await;
    }
}

#[tokio::test]
async fn start_says_that_assertions_are_not_verified() {
    let provider = Provider::start(async |_| answer(200, TOKENS)).await;
    let daemon = Daemon::start(&provider, &[]).await;

    daemon.logged("no --client-jwks: requests that authenticate by client_assertion wait for each other").await;

    let signer = Signer::new();
    let first = post(&daemon, None, asserted("r1", &signer.assertion(&provider.url()))).await;
    let second = post(&daemon, None, asserted("r1", &signer.assertion(&provider.url()))).await;
    assert_eq!((first, second, provider.seen().len()), (200, 503, 1));
}

#[tokio::test]
async fn public_client_with_dpop_ends_its_session_with_the_key_of_its_refreshes_only() {
    let provider = Provider::start(async |_| answer(200, TOKENS)).await;
    let revocation_url = provider.url().replace("/token", "/revoke");
    let daemon = Daemon::start(&provider, &["--revocation-upstream", &revocation_url]).await;
    let (owner, stranger) = (Signer::new(), Signer::new());
    assert_eq!(post(&daemon, Some(&owner.proof(&provider.url())), refresh("r1")).await, 200);
    let logout = async |proof: Option<String>| {
        let request = client().post(daemon.url("/revoke")).header("content-type", FORM);
        let request = proof.into_iter().fold(request, |request, proof| request.header("dpop", proof));
        let answer = within(request.body("token=r1&client_id=app").send()).await.expect("an answer");
        assert_eq!(answer.status(), 200, "the provider's own");
    };

    for proof in [None, Some(stranger.proof(&revocation_url))] {
        logout(proof).await;
        assert_eq!(post(&daemon, Some(&owner.proof(&provider.url())), refresh("r1")).await, 200, "still served");
    }
    logout(Some(owner.proof(&revocation_url))).await;

    assert_eq!(post(&daemon, Some(&owner.proof(&provider.url())), refresh("r1")).await, 400);
    let revoked = provider.seen().into_iter().filter(|seen| seen.target == "/oauth2/revoke");
    let revoked: Vec<String> = revoked.map(|seen| seen.body).collect();
    assert_eq!(revoked, ["token=r1&client_id=app", "token=r1&client_id=app", "token=r2&client_id=app"]);
}
