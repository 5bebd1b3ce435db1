//! TLS to the provider is verified, against the CA file alone where one is given.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::certified::certified;
use crate::daemon::{Daemon, refresh};
use crate::provider::{Provider, json};
use crate::within;

async fn provider_named(name: &str) -> (tempfile::NamedTempFile, Provider) {
    let (file, tls) = certified(name);
    let tls = TlsAcceptor::from(Arc::new(tls));
    let provider = Provider::start_tls(tls, async |_| json(200, r#"{"access_token":"a"}"#)).await;
    (file, provider)
}

#[tokio::test]
async fn provider_of_the_ca_file_is_trusted() {
    let (ca, provider) = provider_named("localhost").await;
    let daemon = Daemon::start(&provider, &["--ca-file", ca.path().to_str().expect("UTF-8")]).await;

    let answer = daemon.post(&refresh("r1")).await;

    assert_eq!(answer.status(), 200);
    assert_eq!(provider.seen().len(), 1);
}

#[tokio::test]
async fn provider_of_another_ca_or_name_is_sent_nothing() {
    let (_own, other) = provider_named("localhost").await;
    let (ca, misnamed) = provider_named("elsewhere.example").await;

    for provider in [other, misnamed] {
        // It may come to stand there later.
        let daemon = Daemon::start(&provider, &["--no-check-upstream", "--ca-file", path(&ca)]).await;

        let answer = daemon.post(&refresh("r1")).await;

        assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"1".parse().unwrap()));
        let body = within(answer.text()).await.expect("text");
        assert!(body.contains("cannot be reached"), "nothing was sent: {body}");
        let (_, metrics) = daemon.get("/metrics").await;
        assert!(metrics.contains("\nrefreshd_not_sent_total 1\n"), "{metrics}");
        let line = daemon.logged("a refresh brought no tokens").await;
        assert!(line.contains("nothing was sent") && line.contains("certificate"), "the operator is told why: {line}");
        assert!(provider.seen().is_empty());
    }
}

/// An operator who renews certificates tells by SIGHUP, an orchestrator that replaces what it mounted tells nobody.
#[tokio::test]
async fn renewed_ca_file_is_read_again_and_a_wrong_one_is_not_used() {
    for is_told in [true, false] {
        let ((own, provider), (other, _)) = (provider_named("localhost").await, provider_named("localhost").await);
        let used = tempfile::NamedTempFile::new().expect("a file");
        let renew = |text: &[u8]| std::fs::write(&used, text).expect("written");
        let ca = |file: &tempfile::NamedTempFile| std::fs::read(file).expect("readable");
        renew(&ca(&other));
        let daemon = Daemon::start(&provider, &["--no-check-upstream", "--ca-file", path(&used)]).await;
        let hangup = || {
            if is_told {
                daemon.signal(nix::sys::signal::Signal::SIGHUP)
            }
        };
        assert_eq!(daemon.post(&refresh("r1")).await.status(), 503, "of another CA");

        renew(&ca(&own));
        hangup();
        daemon.logged("files of the upstream were read again").await;
        assert_eq!(daemon.post(&refresh("r2")).await.status(), 200);

        renew(b"nothing of use");
        hangup();
        let line = daemon.logged("what was read before is kept").await;
        assert!(line.contains("--ca-file"), "{line}");
        assert_eq!(daemon.post(&refresh("r3")).await.status(), 200);
        assert_eq!(provider.seen().len(), 2);
    }
}

#[tokio::test]
async fn provider_that_asks_for_a_certificate_is_shown_the_one_that_was_given() {
    let (server, client) = (Certificate::of("localhost"), Certificate::of("refreshd"));
    let mut trusted = RootCertStore::empty();
    trusted.add(client.root).expect("a certificate");
    let ring = Arc::new(ring::default_provider());
    let asking = WebPkiClientVerifier::builder_with_provider(Arc::new(trusted), Arc::clone(&ring));
    let tls = ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(asking.build().expect("a verifier"))
        .with_single_cert(vec![server.der], PrivateKeyDer::try_from(server.key.serialize_der()).expect("a key"))
        .expect("they fit");
    let tls = TlsAcceptor::from(Arc::new(tls));
    let provider = Provider::start_tls(tls, async |_| json(200, r#"{"access_token":"a"}"#)).await;
    let (certificate, key) = (file(&client.pem), file(&client.key.serialize_pem()));
    let ca = file(&server.root_pem);
    let (ca, certificate, key) = (path(&ca), path(&certificate), path(&key));

    let with = Daemon::start(&provider, &["--ca-file", ca, "--client-cert", certificate, "--client-key", key]).await;
    let without = Daemon::start(&provider, &["--no-check-upstream", "--ca-file", ca]).await;

    assert_eq!(with.post(&refresh("r1")).await.status(), 200);
    assert_eq!(without.post(&refresh("r2")).await.status(), 503);
    assert_eq!(provider.seen().len(), 1);
}

#[tokio::test]
async fn self_signed_certificate_of_the_provider_is_trusted_where_it_is_the_ca_file() {
    let key = KeyPair::generate().expect("a key");
    let mut itself = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    // As `openssl req -x509` makes them.
    itself.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let itself = itself.self_signed(&key).expect("a certificate");
    let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![itself.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).expect("a key"))
        .expect("they fit");
    let tls = TlsAcceptor::from(Arc::new(tls));
    let provider = Provider::start_tls(tls, async |_| json(200, r#"{"access_token":"a"}"#)).await;
    let (ca, other) = (file(&itself.pem()), file(&Certificate::of("localhost").pem));

    let trusts = Daemon::start(&provider, &["--ca-file", path(&ca)]).await;
    let refuses = Daemon::start(&provider, &["--no-check-upstream", "--ca-file", path(&other)]).await;

    assert_eq!(trusts.post(&refresh("r1")).await.status(), 200);
    assert_eq!(refuses.post(&refresh("r2")).await.status(), 503);
    assert_eq!(provider.seen().len(), 1);
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().expect("UTF-8")
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    file
}

/// A certificate, and the CA that has issued it.
struct Certificate {
    root: CertificateDer<'static>,
    root_pem: String,
    der: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Certificate {
    fn of(name: &str) -> Self {
        let ca_key = KeyPair::generate().expect("a key");
        let mut ca = CertificateParams::new(Vec::new()).expect("no names");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = ca.self_signed(&ca_key).expect("a certificate");
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new([name.to_owned()])
            .expect("a name")
            .signed_by(&key, &Issuer::new(ca, ca_key))
            .expect("a certificate");
        Self {
            root: root.der().clone(),
            root_pem: root.pem(),
            der: certificate.der().clone(),
            pem: certificate.pem(),
            key,
        }
    }
}

#[tokio::test]
async fn http2_is_spoken_on_one_connection_where_the_provider_offers_it() {
    let (ca, mut tls) = certified("localhost");
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let provider = Provider::start_tls(TlsAcceptor::from(Arc::new(tls)), async |seen| {
        if seen.body.contains("lost") { None } else { json(200, r#"{"access_token":"a"}"#) }
    })
    .await;
    let daemon = Daemon::start(&provider, &["--ca-file", ca.path().to_str().expect("UTF-8")]).await;

    assert_eq!(daemon.post(&refresh("r1")).await.status(), 200);
    let (second, third) =
        tokio::join!(async { daemon.post(&refresh("r2")).await }, async { daemon.post(&refresh("r3")).await });
    let lost = daemon.post(&refresh("lost")).await;

    assert_eq!((second.status().as_u16(), third.status().as_u16()), (200, 200));
    assert_eq!(lost.status(), 503);
    assert!(within(lost.text()).await.expect("text").contains("was asked"));
    let seen = provider.seen();
    assert!(seen.iter().all(|seen| seen.version == http::Version::HTTP_2), "{seen:?}");
    assert!(seen.iter().all(|other| other.connection == seen[0].connection), "{seen:?}");
    assert_eq!(seen.iter().filter(|seen| seen.body == refresh("lost")).count(), 1);
    assert_eq!(seen[0].target, provider.url());
}
