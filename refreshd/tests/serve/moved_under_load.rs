//! What an operator changes while callers come: settings that are read again, the password of Redis, the CA and the certificate of
//! the provider, and where it is. Nobody is logged out for it, no pod is started again, and no token comes twice.
//!
//! `REFRESHES` is how many refreshes there are while the settings are read again; default 1,000.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::Signal;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::daemon::{Daemon, FORM, client};
use crate::pki::Pki;
use crate::provider::{Provider, Seen, json};
use crate::redis::RedisServer;
use crate::several::ConfigFile;
use crate::{within, within_time};

const SESSIONS: usize = 30;

/// A token endpoint of tokens for one use, wherever it is asked: `session.number`.
#[derive(Default)]
struct Strict {
    newest: Mutex<HashMap<String, u32>>,
    reused: AtomicUsize,
    served: AtomicUsize,
}

impl Strict {
    fn answer(&self, seen: &Seen) -> crate::provider::Answer {
        let token = seen.body.rsplit("refresh_token=").next().unwrap_or_default();
        let (session, number) = token.split_once('.').expect("a token of the test");
        let number: u32 = number.parse().expect("a number");
        let mut newest = self.newest.lock().expect("no panic");
        let newest = newest.entry(session.to_owned()).or_insert(1);
        if *newest != number {
            self.reused.fetch_add(1, Ordering::SeqCst);
            return json(400, r#"{"error":"invalid_grant"}"#);
        }
        *newest += 1;
        self.served.fetch_add(1, Ordering::SeqCst);
        json(200, &format!(r#"{{"access_token":"a","expires_in":300,"refresh_token":"{session}.{newest}"}}"#))
    }
}

/// A certificate that is replaced while its server goes on.
#[derive(Debug)]
struct Shown(Mutex<Arc<CertifiedKey>>);

impl Shown {
    fn show(&self, issued: &(PathBuf, PathBuf)) {
        *self.0.lock().expect("no panic") = read(issued);
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.lock().expect("no panic")))
    }
}

fn read((certificate, key): &(PathBuf, PathBuf)) -> Arc<CertifiedKey> {
    let read = |path: &Path| std::fs::read(path).expect("readable");
    let chain = CertificateDer::pem_slice_iter(&read(certificate)).collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_slice(&read(key)).expect("a key");
    Arc::new(CertifiedKey::new(chain, ring::sign::any_supported_type(&key).expect("a key of a known kind")))
}

async fn provider(strict: &Arc<Strict>, shown: &Arc<Shown>) -> Provider {
    let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(shown) as _;
    let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    let strict = Arc::clone(strict);
    Provider::start_tls(TlsAcceptor::from(Arc::new(tls)), move |seen| {
        let answer = strict.answer(&seen).map(|mut answer| {
            // Each refresh has a handshake of its own.
            answer.headers_mut().insert("connection", "close".parse().expect("a value"));
            answer
        });
        async move { answer }
    })
    .await
}

/// What became of the callers.
#[derive(Default)]
struct Callers {
    is_over: AtomicBool,
    served: AtomicUsize,
    refused: AtomicUsize,
    /// How many answers each session has.
    answers: [AtomicUsize; SESSIONS],
    lost: Mutex<Vec<String>>,
}

/// A session that refreshes without a pause, at one pod after the other, and comes again where it is refused.
async fn session(number: usize, urls: Vec<String>, callers: Arc<Callers>) {
    let (client, mut token) = (client(), format!("s{number}.1"));
    for round in 0.. {
        let body = format!("grant_type=refresh_token&client_id=app&client_secret=pw&refresh_token={token}");
        let url = &urls[(number + round) % urls.len()];
        let sent = within(client.post(url).header("content-type", FORM).body(body).send()).await.expect("an answer");
        let status = sent.status().as_u16();
        let text = within(sent.text()).await.expect("text");
        callers.answers[number].fetch_add(1, Ordering::SeqCst);
        match status {
            200 => {
                let tokens: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                token = tokens["refresh_token"].as_str().expect("a token").to_owned();
                callers.served.fetch_add(1, Ordering::SeqCst);
                if callers.is_over.load(Ordering::SeqCst) {
                    return;
                }
            }
            503 => {
                callers.refused.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            _ => {
                return callers
                    .lost
                    .lock()
                    .expect("no panic")
                    .push(format!("s{number} after {round}: {status} {text}"));
            }
        }
    }
}

impl Callers {
    /// Waits until all that was asked by now is answered: on a busy machine a request that began with the old settings may still
    /// be connecting.
    async fn what_is_under_way(&self) {
        let count = || self.answers.each_ref().map(|answers| answers.load(Ordering::SeqCst));
        let before = count();
        within_time(Duration::from_secs(300), async {
            while before.iter().zip(count()).any(|(before, now)| now <= *before) {
                assert!(self.lost.lock().expect("no panic").is_empty(), "{:?}", self.lost);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Waits until so many more were served.
    async fn served_more(&self, count: usize) {
        let aim = self.served.load(Ordering::SeqCst) + count;
        within_time(Duration::from_secs(300), async {
            while self.served.load(Ordering::SeqCst) < aim {
                assert!(self.lost.lock().expect("no panic").is_empty(), "{:?}", self.lost);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_password_certificates_and_address_change_under_load_and_nobody_is_logged_out() {
    let refreshes: usize = std::env::var("REFRESHES").ok().and_then(|count| count.parse().ok()).unwrap_or(1000);
    let (redis, old, new) = (RedisServer::start_own(&[]).await, Pki::new(), Pki::new());
    redis.in_use("moving").await;
    redis.cli(&["ACL", "SETUSER", "refreshd", "on", ">old-password", "~*", "&*", "+@all"]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (password, ca) = (folder.path().join("password"), folder.path().join("ca.pem"));
    std::fs::write(&password, "old-password\n").expect("written");
    std::fs::copy(old.ca(), &ca).expect("written");

    let strict = Arc::new(Strict::default());
    let shown = Arc::new(Shown(Mutex::new(read(&old.issue("provider", &["localhost"])))));
    let (here, there) = (provider(&strict, &shown).await, provider(&strict, &shown).await);
    // A refusal while the machine stands still would be none of what is read again.
    let file = |upstream: &Provider, more: &str| {
        format!(
            "redis = \"{}\"\nstore-timeout = \"5s\"\nredis-username = \"refreshd\"\nredis-password-file = \"{}\"\n{more}\n[provider.idp]\nupstream = \
             \"{}\"\nprovider-name = \"idp\"\nnamespace = \"moving\"\nca-file = \"{}\"\nmax-concurrent-refreshes = 50\n",
            redis.url(),
            password.display(),
            upstream.url(),
            ca.display()
        )
    };
    let config = ConfigFile::new(&file(&here, ""));
    let mut pods = Vec::new();
    for _ in 0..3 {
        pods.push(config.serve(&[]).await);
    }
    let hangup = async |times: usize| {
        pods.iter().for_each(|pod| pod.signal(Signal::SIGHUP));
        for pod in &pods {
            pod.logged_times("the file of --config was read again", times).await;
        }
    };

    let (callers, mut sessions) = (Arc::new(Callers::default()), JoinSet::new());
    let urls: Vec<_> = pods.iter().map(|pod: &Daemon| pod.url("/idp/token")).collect();
    for number in 0..SESSIONS {
        sessions.spawn(session(number, urls.clone(), Arc::clone(&callers)));
    }
    callers.served_more(100).await;

    // Settings are read again and again.
    for times in 1..=10 {
        hangup(times).await;
        callers.served_more(refreshes / 10).await;
    }
    let refused = callers.refused.load(Ordering::SeqCst);
    assert_eq!(refused, 0, "of {} refreshes while settings were read again", callers.served.load(Ordering::SeqCst));

    // The provider gets a certificate of another CA.
    let both = [std::fs::read(old.ca()).expect("readable"), std::fs::read(new.ca()).expect("readable")].concat();
    std::fs::write(&ca, both).expect("written");
    hangup(11).await;
    callers.what_is_under_way().await;
    shown.show(&new.issue("provider", &["localhost"]));
    callers.served_more(200).await;
    std::fs::copy(new.ca(), &ca).expect("written");
    hangup(12).await;
    callers.served_more(200).await;

    // It moves.
    config.write(&file(&there, ""));
    hangup(13).await;
    callers.what_is_under_way().await;
    there.asked(100).await;
    drop(here);
    callers.served_more(200).await;
    assert_eq!(callers.refused.load(Ordering::SeqCst), 0, "while the provider changed its certificate and its address");

    // The password of Redis is another one, and connections with the old one are ended.
    redis.cli(&["ACL", "SETUSER", "refreshd", ">new-password"]).await;
    std::fs::write(&password, "new-password\n").expect("written");
    redis.cli(&["ACL", "SETUSER", "refreshd", "<old-password"]).await;
    redis.cli(&["CLIENT", "KILL", "USER", "refreshd"]).await;
    callers.served_more(300).await;

    callers.is_over.store(true, Ordering::SeqCst);
    while let Some(ended) = within(sessions.join_next()).await {
        ended.expect("no panic");
    }
    assert_eq!(*callers.lost.lock().expect("no panic"), Vec::<String>::new());
    let (served, reused) = (callers.served.load(Ordering::SeqCst), strict.reused.load(Ordering::SeqCst));
    assert_eq!((reused, strict.served.load(Ordering::SeqCst)), (0, served), "reused, and served by the provider");
    println!("{served} refreshes, {} refused and served later", callers.refused.load(Ordering::SeqCst));
}
