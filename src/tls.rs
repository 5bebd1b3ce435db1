//! TLS by files that an operator names: what is trusted, what is shown, and until when (feature `tls`).
//!
//! A file of certificates is understood as curl understands it. A server is trusted where a certificate of the file has issued its
//! own, and where its own stands in the file, such as the self-signed one of a single server. The latter is
//! refused by rustls alone where that certificate says of itself that it is a CA's, as those of `openssl req -x509` do.
//!
//! Names, addresses and dates are verified always, and there is no switch that turns it off.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

mod error;
mod pinned;
pub(crate) mod validity;

pub use self::error::TlsError;
use self::pinned::FileVerifier;
use self::validity::Validity;

/// Trusts servers with a certificate that one of these has issued, or that is one of these: what a CA file means to curl. The rustls
/// crate's types are part of the public API here and nowhere else.
///
/// # Errors
///
/// [`TlsError::Certificates`] where there is none, or one that nothing can be verified by.
///
/// # Examples
///
/// ```
/// use refresh_coordinator::tls;
/// use rustls::ClientConfig;
///
/// # fn config(certificates: &[rustls::pki_types::CertificateDer<'static>]) -> Result<ClientConfig, Box<dyn std::error::Error>> {
/// let ring = std::sync::Arc::new(rustls::crypto::ring::default_provider());
/// let config = ClientConfig::builder_with_provider(ring)
///     .with_safe_default_protocol_versions()?
///     .dangerous() // as rustls calls each verifier that is not its own
///     .with_custom_certificate_verifier(tls::verifier(certificates)?)
///     .with_no_client_auth();
/// # Ok(config) }
/// ```
pub fn verifier(certificates: &[CertificateDer<'static>]) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    Ok(Arc::new(FileVerifier::new(certificates)?))
}

/// When a certificate ends. None: it is none, or its dates cannot be read.
pub fn end_of(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    Validity::of(certificate).map(|validity| validity.end())
}

/// All certificates of a PEM file; there is one at least.
pub(crate) fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Err(error) => Err(TlsError::file(file, format!("{error}; PEM certificates are expected"))),
        Ok(all) if all.is_empty() => Err(TlsError::file(file, "no certificate in it; PEM certificates are expected")),
        Ok(all) => Ok(all),
    }
}

/// The private key of a PEM file.
pub(crate) fn private_key(file: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        let is_encrypted = pem.windows(9).any(|word| word == b"ENCRYPTED");
        let reason = if is_encrypted {
            "the key is encrypted; one without a passphrase is expected".to_owned()
        } else {
            format!("{error}; a private key in PEM is expected")
        };
        TlsError::file(file, reason)
    })
}
