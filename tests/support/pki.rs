//! A CA of a test's own, and the files that it issues.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Ends with the value, and its files with it.
pub struct Pki {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    /// A CA, whose certificate is in `ca.pem`.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut ca = params(&[], &format!("CA {}", CAS.fetch_add(1, Ordering::Relaxed)));
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), ca.self_signed(&key).expect("a certificate").pem())
            .expect("written");
        Self { folder, issuer: Issuer::new(ca, key) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A certificate for these names or addresses, in `<file>.pem`, and its key, in `<file>.key`.
    pub fn issue(&self, file: &str, names: &[&str]) -> (PathBuf, PathBuf) {
        self.issue_until(file, names, SystemTime::now() + Duration::from_secs(90 * 24 * 3600))
    }

    pub fn issue_until(&self, file: &str, names: &[&str], end: SystemTime) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let mut certificate = params(names, file);
        certificate.not_after = end.into();
        let certificate = certificate.signed_by(&key, &self.issuer).expect("a certificate");
        self.write(file, &certificate.pem(), &key)
    }

    /// One that nobody issued, called a CA's, as `openssl req -x509` makes it.
    pub fn self_signed(&self, file: &str, names: &[&str]) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let mut certificate = params(names, file);
        certificate.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = certificate.self_signed(&key).expect("a certificate");
        self.write(file, &certificate.pem(), &key)
    }

    fn write(&self, file: &str, pem: &str, key: &KeyPair) -> (PathBuf, PathBuf) {
        let (certificate, private) = (self.path(&format!("{file}.pem")), self.path(&format!("{file}.key")));
        std::fs::write(&certificate, pem).expect("written");
        self.write_secret(&format!("{file}.key"), &key.serialize_pem());
        (certificate, private)
    }

    /// A file that nobody else may read.
    pub fn write_secret(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).expect("written");
        std::fs::set_permissions(self.path(file), Permissions::from_mode(0o600)).expect("it is ours");
    }

    /// Arguments of a `redis-server` that speaks TLS at a port, and asks for certificates of this CA.
    pub fn redis_arguments(&self, port: u16, (certificate, key): &(PathBuf, PathBuf), asks: &str) -> Vec<String> {
        let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let pairs = [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", path(certificate)),
            ("--tls-key-file", path(key)),
            ("--tls-ca-cert-file", path(&self.ca())),
            ("--tls-auth-clients", asks.to_owned()),
        ];
        pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
    }
}

/// How many there were: two of one name would be taken for each other, and a bad signature found where an issuer is unknown.
static CAS: AtomicU32 = AtomicU32::new(0);

/// Each with a subject of its own: one that equals its issuer's is taken for self-signed.
fn params(names: &[&str], subject: &str) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name.push(DnType::CommonName, subject);
    params
}
