//! TLS to the provider is verified, against the CA file alone where one is given.

use std::sync::Arc;

use tokio_rustls::TlsAcceptor;

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
        let daemon = Daemon::start(&provider, &["--ca-file", ca.path().to_str().expect("UTF-8")]).await;

        let answer = daemon.post(&refresh("r1")).await;

        assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"1".parse().unwrap()));
        let body = within(answer.text()).await.expect("text");
        assert!(body.contains("cannot be reached"), "nothing was sent: {body}");
        let (_, metrics) = daemon.get("/metrics").await;
        assert!(metrics.contains("\nrefresh_coordinator_not_sent_total 1\n"), "{metrics}");
        let line = daemon.logged("a refresh brought no tokens").await;
        assert!(line.contains("nothing was sent") && line.contains("certificate"), "the operator is told why: {line}");
        assert!(provider.seen().is_empty());
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
    let (second, third) = tokio::join!(daemon.post("grant_type=password"), async { daemon.post(&refresh("r3")).await });
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
