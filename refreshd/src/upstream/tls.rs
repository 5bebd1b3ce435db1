//! What TLS trusts: the certificates of the system, or those of a file alone. And what refreshd shows of itself to a provider
//! that asks for a certificate (RFC 8705).

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use refresh_coordinator_cli::BadSetting;
use rustls::client::WantsClientCert;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::pem::{certificates, private_key};

/// Where the certificate and the key are that refreshd shows to the provider.
pub(super) type ClientFiles<'a> = Option<(&'a PathBuf, &'a PathBuf)>;

/// As the system verifies; `flag` is that of the URL.
pub(super) fn of_system(flag: &str, client: ClientFiles<'_>) -> Result<ClientConfig, BadSetting> {
    let verified = ClientConfig::builder().with_platform_verifier().map_err(|error| {
        BadSetting::new(format!(
            "{flag} needs TLS, which cannot be set up: {error}; install the system's CA certificates or name a \
             --ca-file"
        ))
    })?;
    finished(verified, client)
}

/// These certificates and no others, and what they have issued.
pub(super) fn of_file(file: &Path, client: ClientFiles<'_>) -> Result<ClientConfig, BadSetting> {
    let verifier = refresh_coordinator::tls::verifier(&certificates("--ca-file", file)?).map_err(|error| {
        BadSetting::new(format!("--ca-file {}: {error}; PEM certificates are expected", file.display()))
    })?;
    finished(ClientConfig::builder().dangerous().with_custom_certificate_verifier(verifier), client)
}

/// Without HTTP/2, as a proxy is spoken to.
pub(super) fn http1_only(mut tls: ClientConfig) -> ClientConfig {
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    tls
}

/// No certificate, for an upstream without TLS: the system need not have certificates.
pub(super) fn of_nobody() -> ClientConfig {
    ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth()
}

fn finished(
    verified: ConfigBuilder<ClientConfig, WantsClientCert>,
    client: ClientFiles<'_>,
) -> Result<ClientConfig, BadSetting> {
    let mut tls = match client {
        None => verified.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates("--client-cert", certificate)?;
            let private = private_key("--client-key", key)?;
            verified.with_client_auth_cert(chain, private).map_err(|error| {
                BadSetting::new(format!(
                    "--client-key {} does not go with --client-cert {}: {error}",
                    key.display(),
                    certificate.display()
                ))
            })?
        }
    };
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

/// What TLS found wrong.
pub(super) fn fault_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        // What an I/O error holds is not its source, but its source is that one's.
        let inner =
            error.downcast_ref::<io::Error>().and_then(io::Error::get_ref).map(|inner| inner as &(dyn Error + 'static));
        let found = inner.unwrap_or(error).downcast_ref();
        if found.is_some() {
            return found;
        }
        next = inner.filter(|inner| inner.is::<io::Error>()).or_else(|| error.source());
    }
    None
}
