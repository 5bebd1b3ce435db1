//! What is found of the provider at start: one that is away is told and served later, one whose TLS cannot be right is refused.

use std::path::Path;
use std::sync::Arc;

use nix::sys::signal::Signal;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::certified::certified;
use crate::daemon::{Daemon, refresh, refreshd};
use crate::provider::{Provider, json};
use crate::several::{ConfigFile, provider, text};
use crate::start::refused;

const TOKENS: &str = r#"{"access_token":"a"}"#;

/// A port at which nobody listens, until this one does.
struct Reserved(TcpSocket);

impl Reserved {
    fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        Self(socket)
    }

    fn url(&self) -> String {
        format!("http://{}/token", self.0.local_addr().expect("it is bound"))
    }

    fn listen(self) -> TcpListener {
        self.0.listen(64).expect("it listens")
    }
}

async fn serve(url: &str, more: &[&str]) -> Daemon {
    Daemon::spawn(command(url, more)).await
}

fn command(url: &str, more: &[&str]) -> tokio::process::Command {
    let common = ["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--upstream", url];
    refreshd(&[&common, more].concat())
}

#[tokio::test]
async fn provider_that_is_away_is_told_and_served_as_soon_as_it_is_back() {
    let port = Reserved::new();
    let url = port.url();

    let daemon = serve(&url, &[]).await;
    let line = daemon.logged("the provider cannot be asked now").await;
    let early = daemon.post(&refresh("r1")).await;
    let _provider = Provider::on(port.listen(), async |_| json(200, TOKENS));
    let late = daemon.post(&refresh("r2")).await;

    let place = url.trim_start_matches("http://").trim_end_matches("/token");
    assert!(line.contains(&format!("--upstream: {place} cannot be reached")) && line.contains("refused"), "{line}");
    assert_eq!((early.status().as_u16(), late.status().as_u16()), (503, 200));
}

/// Nobody was served so far, so there is nothing to wait for.
#[tokio::test]
async fn signal_ends_a_start_at_once_that_waits_for_a_provider_or_a_redis_that_says_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let place = silent.local_addr().expect("it is bound");
    let (provider, redis) = (format!("https://{place}/token"), format!("redis://{place}"));
    let patient = ["--connect-timeout", "50s", "--store-timeout", "50s", "--lease", "1m", "--drain-delay", "20s"];

    for (upstream, more) in [(&provider[..], &[][..]), ("http://127.0.0.1:1/token", &["--redis", &redis])] {
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
            let child = command(upstream, &[&patient, more].concat()).spawn().expect("refreshd starts");
            let _connection = crate::within(silent.accept()).await.expect("it connects");

            let pid = child.id().expect("it runs").try_into().expect("a pid");
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("it is ours");

            let ended = tokio::time::timeout(std::time::Duration::from_secs(10), child.wait_with_output());
            let output = ended.await.expect("it does not end").expect("it is ours");
            let log = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && log.contains(signal.as_str()), "{upstream}: {log}");
        }
    }
}

/// A name that nobody knows may be a resolver that is not up yet.
#[tokio::test]
async fn name_that_is_not_known_and_keys_that_are_away_keep_nobody_from_serving() {
    let daemon = serve("http://idp.invalid/token", &["--client-jwks", "http://127.0.0.1:1/jwks"]).await;

    let line = daemon.logged("the provider cannot be asked now").await;
    assert!(line.contains("idp.invalid:80"), "{line}");
    let line = daemon.logged("keys of clients cannot be read now").await;
    assert!(line.contains("http://127.0.0.1:1/jwks") && line.contains("refused"), "{line}");
}

/// The same server, which wants a certificate of this CA.
fn asking_for_certificates(tls: &ServerConfig, file: &Path) -> ServerConfig {
    let mut trusted = RootCertStore::empty();
    trusted.add(CertificateDer::from_pem_file(file).expect("a certificate")).expect("a CA");
    let ring = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(trusted), Arc::clone(&ring));
    ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_cert_resolver(Arc::clone(&tls.cert_resolver))
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_named_at_start() {
    let (ca, tls) = certified("localhost");
    let (other, named_otherwise) = certified("elsewhere.example");
    let asking = asking_for_certificates(&tls, ca.path());
    let start = async |tls| Provider::start_tls(TlsAcceptor::from(Arc::new(tls)), async |_| json(200, TOKENS)).await;
    let (good, misnamed, asking) = (start(tls).await, start(named_otherwise).await, start(asking).await);
    let plain = Provider::start(async |_| json(200, TOKENS)).await;
    let in_clear = plain.url().replace("http://", "https://");

    for (url, trusted, parts) in [
        (good.url(), &other, ["invalid peer certificate", "who has issued its certificate by --ca-file"]),
        (misnamed.url(), &other, ["elsewhere.example", "with a name that its certificate is for"]),
        (asking.url(), &ca, ["CertificateRequired", "--client-cert and --client-key"]),
        (in_clear, &ca, ["InvalidContentType", "no TLS is spoken there"]),
    ] {
        let trusted = trusted.path().to_str().expect("UTF-8");

        let line = refused(&mut command(&url, &["--ca-file", trusted])).await;

        assert!(line.contains("--upstream: localhost:") || line.contains("--upstream: 127.0.0.1:"), "{line}");
        assert!(parts.iter().all(|part| line.contains(part)) && line.contains("--no-check-upstream"), "{line}");
    }
    for provider in [&good, &misnamed, &asking, &plain] {
        assert!(provider.seen().is_empty(), "it was sent a request");
    }
}

/// It is the provider's to renew, and what else is served is served on.
#[tokio::test]
async fn certificate_that_is_over_is_told_and_keeps_nobody_from_serving() {
    let key = KeyPair::generate().expect("a key");
    let mut over = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    (over.not_before, over.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    over.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let over = over.self_signed(&key).expect("a certificate");
    let ca = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&ca, over.pem()).expect("written");
    let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![over.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).expect("a key"))
        .expect("they fit");
    let provider = Provider::start_tls(TlsAcceptor::from(Arc::new(tls)), async |_| json(200, TOKENS)).await;

    let daemon = Daemon::start(&provider, &["--ca-file", ca.path().to_str().expect("UTF-8")]).await;

    let line = daemon.logged("the provider cannot be asked now").await;
    assert!(line.contains("is sent nothing") && line.contains("Expired"), "{line}");
}

/// A file that is mounted is swapped by nobody who could signal.
#[tokio::test]
async fn file_that_changes_is_read_again_by_itself_and_a_provider_that_is_away_then_is_served_when_it_is_back() {
    let (okta, entra, port) = (provider("okta").await, provider("entra").await, Reserved::new());
    let table = |name: &str, url: &str| format!("[provider.{name}]\nupstream = \"{url}\"\n");
    let file = ConfigFile::new(&table("okta", &okta.url()));
    let daemon = file.serve(&[]).await;

    file.write(&[table("okta", &okta.url()), table("entra", &entra.url())].concat());
    daemon.logged(r#""providers":2"#).await;
    let by_itself = text(daemon.post_to("/entra/token", &refresh("a")).await).await;

    let bank = table("bank", &port.url());
    file.write(&[table("okta", &okta.url()), bank].concat());
    daemon.signal(Signal::SIGHUP);
    let line = daemon.logged("what was read before is kept").await;
    let kept = daemon.post_to("/entra/token", &refresh("b")).await.status();
    let _bank = Provider::on(port.listen(), async |_| json(200, TOKENS));
    daemon.logged_times("the file of --config was read again", 2).await;
    let back = daemon.post_to("/bank/token", &refresh("c")).await.status();
    let gone = daemon.post_to("/entra/token", &refresh("d")).await.status();

    assert_eq!(by_itself.0, 200, "{}", by_itself.1);
    assert!(line.contains("refreshd.toml:") && line.contains("provider bank") && line.contains("refused"), "{line}");
    assert_eq!((kept.as_u16(), back.as_u16(), gone.as_u16()), (200, 200, 404));
}

/// What belongs together is not mounted at the same moment.
#[tokio::test]
async fn file_that_was_refused_is_taken_once_what_it_names_is_there_and_a_changed_one_is_told_anew() {
    let (okta, bank) = (provider("okta").await, provider("bank").await);
    let folder = tempfile::tempdir().expect("a folder");
    let ca = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let table = |name: &str, url: &str| format!("[provider.{name}]\nupstream = \"{url}\"\n");
    let with = |file: &str| {
        [table("okta", &okta.url()), table("bank", &bank.url()), format!("ca-file = \"{}\"\n", ca(file))].concat()
    };
    let file = ConfigFile::new(&table("okta", &okta.url()));
    let daemon = file.serve(&[]).await;

    file.write(&with("first.pem"));
    daemon.signal(Signal::SIGHUP);
    daemon.logged("first.pem").await;
    file.write(&with("second.pem"));
    let line = daemon.logged("second.pem").await;
    assert!(line.contains("what was read before is kept"), "{line}");
    assert_eq!(daemon.post_to("/bank/token", &refresh("a")).await.status(), 404);
    std::fs::copy(certified("localhost").0.path(), ca("second.pem")).expect("written");

    daemon.logged(r#""providers":2"#).await;
    assert_eq!(daemon.post_to("/bank/token", &refresh("b")).await.status(), 200);
}

#[tokio::test]
async fn provider_with_a_wrong_certificate_keeps_no_other_from_being_served() {
    let (_other, tls) = certified("localhost");
    let wrong = Provider::start_tls(TlsAcceptor::from(Arc::new(tls)), async |_| json(200, TOKENS)).await;
    let okta = provider("okta").await;
    let (ca, _) = certified("localhost");
    let table = |name: &str, url: &str| format!("[provider.{name}]\nupstream = \"{url}\"\n");
    let trusts = format!("ca-file = \"{}\"\n", ca.path().to_str().expect("UTF-8"));
    let file = ConfigFile::new(&[table("okta", &okta.url()), table("wrong", &wrong.url()), trusts].concat());

    let daemon = file.serve(&[]).await;

    let line = daemon.logged("the provider cannot be asked: the others are served").await;
    assert!(line.contains("provider wrong") && line.contains("invalid peer certificate"), "{line}");
    assert_eq!(daemon.post_to("/okta/token", &refresh("a")).await.status(), 200);
    assert_eq!(daemon.post_to("/wrong/token", &refresh("b")).await.status(), 503);
    assert!(wrong.seen().is_empty());
}
