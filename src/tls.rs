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
use rustls::pki_types::pem::{self, PemObject};
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

/// All certificates of a PEM file that holds this; there is one at least.
///
/// # Errors
///
/// [`TlsError::File`], which quotes nothing of it.
pub fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let wrong = |why| TlsError::file(file, format!("{why}; PEM certificates are expected"));
    match all {
        Err(error) => Err(wrong(told(&error))),
        Ok(all) if all.is_empty() => Err(wrong("no certificate in it")),
        Ok(all) => Ok(all),
    }
}

/// The private key of a PEM file that holds this.
///
/// # Errors
///
/// [`TlsError::File`], which quotes nothing of it.
pub fn private_key(file: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        let is_encrypted = pem.windows(9).any(|word| word == b"ENCRYPTED");
        let reason = match (is_encrypted, &error) {
            (true, _) => "the key is encrypted; one without a passphrase is expected".to_owned(),
            (false, pem::Error::NoItemsFound) => "no private key in it; one in PEM is expected".to_owned(),
            (false, error) => format!("{}; a private key in PEM is expected", told(error)),
        };
        TlsError::file(file, reason)
    })
}

/// In words of our own: those of the error quote lines of the file, and where a key has lost its line ends such a line is the key.
fn told(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "a section has no line that ends it: the file is cut short, or has lost its line ends"
        }
        pem::Error::IllegalSectionStart { .. } => {
            "more stands on a line that begins a section: the file has lost its line ends, or has \\n in their place"
        }
        pem::Error::Base64Decode(_) => "what stands in a section is no base64",
        pem::Error::SectionTooLarge => "a section is too large",
        _ => "it cannot be read as PEM",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "-----BEGIN PRIVATE KEY-----\nSECRETSECRETSECRET\nSECRETSECRETSECRET\n-----END PRIVATE KEY-----\n";

    /// As they come from variables, templates and copies.
    #[test]
    fn what_is_wrong_with_a_key_is_told_without_a_word_of_it() {
        let cases = [
            (KEY.replace('\n', ""), "lost its line ends"),
            (KEY.replace('\n', " "), "lost its line ends"),
            (KEY.replace('\n', "\\n"), "has \\n in their place"),
            (KEY[..60].to_owned(), "cut short"),
            (KEY.replace("SECRET\n-", "SECRET*\n-"), "no base64"),
            (KEY.replace("PRIVATE KEY", "SECRET"), "no private key in it"),
            (KEY.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), "without a passphrase"),
            (String::new(), "no private key in it"),
        ];
        for (pem, reason) in cases {
            let wrong = private_key(Path::new("key.pem"), pem.as_bytes()).expect_err("no key").to_string();

            assert!(wrong.starts_with("key.pem: ") && wrong.contains(reason), "{pem:?}: {wrong}");
            // "SE", as text and as numbers.
            assert!(!wrong.contains("SECRET") && !wrong.contains("83, 69"), "{wrong}");
        }
        let cut = certificates(Path::new("ca.pem"), b"-----BEGIN CERTIFICATE-----\nMIIB").expect_err("none");
        assert!(cut.to_string().contains("cut short"), "{cut}");
    }
}
