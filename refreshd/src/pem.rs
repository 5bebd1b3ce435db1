//! PEM files of certificates and keys that flags name.

use std::path::Path;

use refresh_coordinator::tls;
use refresh_coordinator_cli::{BadSetting, warn_if_open_to_all};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// All certificates of a file; there is one at least.
pub(crate) fn certificates(flag: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, BadSetting> {
    tls::certificates(file, &read(flag, file)?).map_err(|wrong| BadSetting::new(format!("{flag} {wrong}")))
}

/// The private key of a file.
pub(crate) fn private_key(flag: &str, file: &Path) -> Result<PrivateKeyDer<'static>, BadSetting> {
    warn_if_open_to_all(flag, file);
    tls::private_key(file, &read(flag, file)?).map_err(|wrong| BadSetting::new(format!("{flag} {wrong}")))
}

fn read(flag: &str, file: &Path) -> Result<Vec<u8>, BadSetting> {
    std::fs::read(file)
        .map_err(|error| BadSetting::new(format!("{flag} {}: {error}; name a readable PEM file", file.display())))
}
