//! What TLS trusts: the certificates of the system, or those of a file alone.

use std::path::Path;

use refresh_coordinator_cli::BadSetting;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

/// As the system verifies.
pub(super) fn of_system() -> Result<ClientConfig, BadSetting> {
    let verified = ClientConfig::builder().with_platform_verifier().map_err(|error| {
        BadSetting::new(format!(
            "--upstream needs TLS, which cannot be set up: {error}; install the system's CA certificates or name a \
             --ca-file"
        ))
    })?;
    Ok(with_http2(verified.with_no_client_auth()))
}

/// These certificates and no others.
pub(super) fn of_file(file: &Path) -> Result<ClientConfig, BadSetting> {
    let wrong = |what: String| BadSetting::new(format!("--ca-file {}: {what}", file.display()));
    let pem = std::fs::read(file).map_err(|error| wrong(format!("{error}; name a readable PEM file")))?;
    let expected = |error: String| wrong(format!("{error}; PEM certificates are expected"));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| expected(error.to_string()))?;
        roots.add(certificate).map_err(|error| expected(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(expected("no certificate in it".to_owned()));
    }
    Ok(with_http2(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// No certificate, for an upstream without TLS: the system need not have certificates.
pub(super) fn of_nobody() -> ClientConfig {
    ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth()
}

fn with_http2(mut tls: ClientConfig) -> ClientConfig {
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    tls
}
