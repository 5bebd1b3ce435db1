//! What a core of the daemon tells a second after its last answer: no token, and no client's secret.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use tokio_rustls::TlsAcceptor;

use crate::certified::certified;
use crate::daemon::{Daemon, FORM, client};
use crate::provider::{Answer, Gate, Provider, Seen, json};
use crate::redis::RedisServer;
use crate::within;

/// Its connections to the provider are closed by then; the failures are not to open the circuit.
const ARGUMENTS: [&str; 3] = ["--upstream-idle", "300ms", "--breaker-max-failures=100"];

/// Secrets that stand nowhere else in the process, by what they are of.
struct Secrets(Vec<(String, String)>);

impl Secrets {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn make(&mut self, of: &str) -> String {
        let secret = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        self.0.push((of.to_owned(), secret.clone()));
        secret
    }

    /// Those of which the process holds a half, with the kind of memory that they are in.
    fn found_in(&self, daemon: &Daemon) -> BTreeSet<String> {
        let halves = self.0.iter().flat_map(|(of, secret)| {
            let (one, other) = secret.as_bytes().split_at(secret.len() / 2);
            [(of, one), (of, other)]
        });
        let halves: Vec<_> = halves.collect();
        // Read once, whatever is looked for.
        let mut begins = vec![false; 1 << 16];
        let beginning = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
        halves.iter().for_each(|(_, half)| begins[beginning(half)] = true);
        let mut found = BTreeSet::new();
        for (place, bytes) in memory_of(daemon) {
            for at in (0..bytes.len().saturating_sub(1)).filter(|at| begins[beginning(&bytes[*at..])]) {
                let here = halves.iter().filter(|(_, half)| bytes[at..].starts_with(half));
                found.extend(here.map(|(of, _)| format!("{of} in {place}")));
            }
        }
        found
    }
}

/// All that the process can write to: what a core holds but for the files that are mapped.
fn memory_of(daemon: &Daemon) -> Vec<(String, Vec<u8>)> {
    let process = format!("/proc/{}", daemon.pid());
    let maps = std::fs::read_to_string(format!("{process}/maps")).expect("it is our child");
    let memory = File::open(format!("{process}/mem")).expect("it is our child");
    let part = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (range, rights) = (words.next()?, words.next()?);
        let name = words.nth(3).unwrap_or("anonymous memory").to_owned();
        let (start, end) = range.split_once('-')?;
        let address = |hex| u64::from_str_radix(hex, 16).ok();
        let (start, end) = (address(start)?, address(end)?);
        let mut bytes = vec![0; usize::try_from(end - start).ok()?];
        // What was unmapped meanwhile holds nothing any more.
        (rights.starts_with("rw") && memory.read_exact_at(&mut bytes, start).is_ok()).then_some((name, bytes))
    };
    maps.lines().filter_map(part).collect()
}

/// Answers as the presented token says: `<kind>-<tokens of the answer>-<secret>`.
fn told(seen: &Seen, access: &str, successor: &str) -> Answer {
    let tokens = format!(r#"{{"access_token":"{access}","refresh_token":"{successor}","expires_in":3600}}"#);
    match seen.body.as_str() {
        body if body.contains("refused") => json(400, r#"{"error":"invalid_grant"}"#),
        body if body.contains("failing") => json(500, &tokens),
        body if body.contains("cut") => None,
        body if body.contains("envelope") => json(200, &format!(r#"{{"body":{tokens}}}"#)),
        body if body.contains("form") => {
            let body = format!("access_token={access}&refresh_token={successor}");
            let answer = http::Response::builder().header("content-type", FORM);
            Some(answer.body(body.into_bytes()).expect("a response"))
        }
        _ => json(200, &tokens),
    }
}

async fn ask(daemon: &Daemon, content_type: &str, authorization: Option<String>, body: String) -> u16 {
    let mut request = client().post(daemon.url("/token")).header("content-type", content_type).body(body);
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    let answer = within(request.send()).await.expect("an answer");
    let status = answer.status().as_u16();
    within(answer.bytes()).await.expect("a body");
    status
}

#[tokio::test]
async fn a_second_after_the_last_answer_no_token_and_no_secret_is_in_memory() {
    nothing_stays(None).await;
}

#[tokio::test]
async fn a_second_after_the_last_answer_over_tls_no_token_and_no_secret_is_in_memory() {
    nothing_stays(Some(&["http/1.1"])).await;
}

#[tokio::test]
async fn a_second_after_the_last_answer_over_http2_no_token_and_no_secret_is_in_memory() {
    nothing_stays(Some(&["h2"])).await;
}

/// In front of a provider in clear, or one with TLS that offers these protocols.
async fn nothing_stays(protocols: Option<&[&str]>) {
    let mut secrets = Secrets::new();
    let (access, successor) = (secrets.make("an access token"), secrets.make("the next refresh token"));
    let gate = Gate::closed();
    let answers = {
        let gate = gate.clone();
        move |seen: Seen| {
            let (gate, answer) = (gate.clone(), told(&seen, &access, &successor));
            async move {
                if seen.body.contains("left") {
                    gate.passed().await;
                }
                answer
            }
        }
    };
    let (ca, mut tls) = certified("localhost");
    let provider = match protocols {
        None => Provider::start(answers).await,
        Some(protocols) => {
            tls.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
            Provider::start_tls(TlsAcceptor::from(Arc::new(tls)), answers).await
        }
    };
    let redis = RedisServer::start().await;
    let namespace = format!("memory-{}", uuid::Uuid::new_v4());
    redis.in_use(&namespace).await;
    let ca = ca.path().to_str().expect("UTF-8");
    let arguments = ["--redis", redis.url(), "--namespace", &namespace, "--ca-file", ca];
    let daemon = Daemon::start(&provider, &[&arguments[..], &ARGUMENTS].concat()).await;

    // A caller that goes away: the flight goes on, and its outcome lands.
    let token = secrets.make("the token of a caller that left");
    let left = format!("POST /token HTTP/1.1\r\nhost: x\r\ncontent-type: {FORM}\r\ncontent-length: ");
    let body = format!("grant_type=refresh_token&client_id=left&refresh_token={token}");
    let stream = daemon.write(format!("{left}{}\r\n\r\n{body}", body.len()).as_bytes()).await;
    provider.asked(1).await;
    // The look itself finds what is there.
    assert!(!secrets.found_in(&daemon).is_empty(), "the token of a flight that is under way is not found");
    drop(stream);
    gate.open();

    for (kind, status) in
        [("success", 200), ("envelope", 200), ("form", 200), ("refused", 400), ("failing", 500), ("cut", 503)]
    {
        let (token, secret) = (secrets.make(&format!("the token of {kind}")), secrets.make(&format!("{kind}: secret")));
        let body =
            format!("grant_type=refresh_token&client_id={kind}&client_secret={secret}&refresh_token={kind}-{token}");
        for _ in 0..2 {
            assert_eq!(ask(&daemon, FORM, None, body.clone()).await, status, "{kind}");
        }
    }
    let (token, secret) = (secrets.make("a token in JSON"), secrets.make("a secret in Basic"));
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("basic:{secret}"));
    secrets.0.push(("Basic as it came".to_owned(), basic.clone()));
    let body = format!(r#"{{"grant_type":"refresh_token","refresh_token":"{token}"}}"#);
    assert_eq!(ask(&daemon, "application/json", Some(format!("Basic {basic}")), body).await, 200);
    let (password, secret) = (secrets.make("a password passed on"), secrets.make("its client's secret"));
    let body = format!("grant_type=password&username=u&password={password}&client_id=c&client_secret={secret}");
    assert_eq!(ask(&daemon, FORM, None, body).await, 200);
    let token = secrets.make("a token that is refused here");
    let body = format!("grant_type=refresh_token&refresh_token={token}&refresh_token=another");
    assert_eq!(ask(&daemon, FORM, None, body).await, 400);

    tokio::time::sleep(Duration::from_secs(1)).await;

    let found = secrets.found_in(&daemon);
    assert!(found.is_empty(), "{found:#?}");
}
