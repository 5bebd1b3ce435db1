//! PEM files of certificates and keys that flags name.

use std::path::Path;

use refresh_coordinator_cli::{BadSetting, warn_if_open_to_all};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// All certificates of a file; there is one at least.
pub(crate) fn certificates(flag: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, BadSetting> {
    let expected =
        |error: String| BadSetting::new(format!("{flag} {}: {error}; PEM certificates are expected", file.display()));
    let pem = read(flag, file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|error| expected(error.to_string()))?;
    if all.is_empty() {
        return Err(expected("no certificate in it".to_owned()));
    }
    Ok(all)
}

/// The private key of a file.
pub(crate) fn private_key(flag: &str, file: &Path) -> Result<PrivateKeyDer<'static>, BadSetting> {
    warn_if_open_to_all(flag, file);
    PrivateKeyDer::from_pem_slice(&read(flag, file)?)
        .map_err(|error| BadSetting::new(format!("{flag} {}: {error}; a PEM private key is expected", file.display())))
}

fn read(flag: &str, file: &Path) -> Result<Vec<u8>, BadSetting> {
    std::fs::read(file)
        .map_err(|error| BadSetting::new(format!("{flag} {}: {error}; name a readable PEM file", file.display())))
}
