//! Real providers beyond plain HTTP. The built-in provider stands in for one, behind TLS or a proxy.
#![cfg(feature = "tls")]

#[path = "../../tests/support/certified.rs"]
mod certified;
mod support {
    pub(crate) mod storm;
}

use std::path::Path;
use std::sync::Arc;

use certified::certified;
use serde_json::{Value, json};
use support::storm::{Provider, refresh_storm};
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Takes connections for `localhost` and hands on what is in them. The CA's file and the URL of the token endpoint.
async fn behind_tls(provider: String) -> (NamedTempFile, String) {
    let (ca, tls) = certified("localhost");
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, provider) = (acceptor.clone(), provider.clone());
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                tokio::io::copy_bidirectional(&mut stream, &mut TcpStream::connect(provider).await?).await
            });
        }
    });
    (ca, format!("https://localhost:{port}/token"))
}

/// A storm on a provider that is given by its URL, with these variables.
async fn storm(url: &str, tokens: &Path, variables: &[(&str, &str)]) -> Value {
    let mut command = refresh_storm();
    command.args(["--json", "--pods", "2", "--callers", "3", "--client-id", "c", "--provider-url", url]);
    command.arg("--tokens-file").arg(tokens).envs(variables.iter().copied());
    let ran = tokio::process::Command::from(command).output().await.expect("refresh-storm runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn provider_behind_tls_is_asked_once_for_each_token() {
    let provider = Provider::start();
    let logins = provider.open(2);
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, logins.tokens.join("\n")).expect("written");
    let (ca, url) = behind_tls(provider.address().to_owned()).await;

    let storm = storm(&url, &tokens, &[("SSL_CERT_FILE", ca.path().to_str().expect("UTF-8"))]).await;

    assert_eq!(storm["with"]["callers_in_error"], 0, "{storm:#}");
    assert_eq!(provider.verdict(logins.batch), json!({ "presentations": 2, "rotations": 2, "families_revoked": 0 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn provider_elsewhere_is_asked_through_the_proxy_that_is_named() {
    let provider = Provider::start();
    let logins = provider.open(2);
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, logins.tokens.join("\n")).expect("written");
    let proxy = format!("http://{}", provider.address());

    let storm = storm("http://idp.example/token", &tokens, &[("HTTP_PROXY", &proxy)]).await;

    assert_eq!(storm["with"]["callers_in_error"], 0, "{storm:#}");
    assert_eq!(provider.verdict(logins.batch), json!({ "presentations": 2, "rotations": 2, "families_revoked": 0 }));
}
