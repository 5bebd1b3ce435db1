//! TLS to Redis, as the files say it at each connect (feature `tls`).
//!
//! Why not the redis crate's own TLS: it reads all certificates of the system anew for every connection, on the thread of the
//! runtime, takes a file without a certificate for one that trusts nobody, and refuses a server with a certificate of its own that is
//! what the operator named.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::access::TlsFiles;
use crate::tls::validity::Validity;
use crate::tls::{self, TlsError};

/// A certificate that ends within this span is warned about.
const NEAR: Duration = Duration::from_secs(7 * 24 * 3600);
/// Between two warnings about the same one.
const PAUSE: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Default)]
pub(super) struct Certificates {
    files: TlsFiles,
    made: Mutex<Option<Made>>,
    /// Read once: they are many, and seldom change.
    of_system: OnceLock<Arc<RootCertStore>>,
    ends: [Mutex<Option<End>>; 3],
    /// By what servers are verified now, until it is told: when one was. A start that fails has one line to say.
    untold: Mutex<Option<(String, usize)>>,
}

/// What was made of the files.
#[derive(Debug)]
struct Made {
    /// What stood in them. Not the files themselves: a private key is among them.
    digest: [u8; 32],
    config: Arc<ClientConfig>,
}

/// Party certificate it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Party {
    Ca,
    Client,
    Server,
}

/// When a certificate ends, and when that was last told.
#[derive(Clone, Copy, Debug)]
struct End {
    end: SystemTime,
    told: Option<Instant>,
}

/// What stands in the files.
struct Contents {
    ca: Option<Zeroizing<Vec<u8>>>,
    client: Option<[Zeroizing<Vec<u8>>; 2]>,
}

impl Certificates {
    pub(super) fn new(files: TlsFiles) -> Self {
        Self { files, ..Self::default() }
    }

    /// As the files are now. Where they are broken for the moment, such as a key that was replaced before its certificate,
    /// it goes on as they were.
    ///
    /// # Errors
    ///
    /// They are broken, and never were right.
    pub(super) async fn config(self: &Arc<Self>) -> Result<Arc<ClientConfig>, TlsError> {
        let this = Arc::clone(self);
        // Files may lie on a disk that hangs: never on a thread of the runtime.
        let read = tokio::task::spawn_blocking(move || this.read());
        read.await.unwrap_or_else(|error| Err(TlsError::Certificates { reason: error.to_string() }))
    }

    fn read(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let mut made = self.made.lock().expect("BUG: nothing panics with this lock held");
        let made_anew = self.files.read().and_then(|contents| {
            let digest = contents.digest();
            match &*made {
                Some(made) if made.digest == digest => Ok(None),
                _ => Ok(Some(Made { digest, config: Arc::new(self.make(&contents)?) })),
            }
        });
        match (made_anew, &mut *made) {
            // The same one for as long as it can be: it remembers the sessions of TLS that can be resumed.
            (Ok(None), Some(made)) => Ok(Arc::clone(&made.config)),
            (Ok(None), None) => unreachable!("BUG: nothing was made, and yet it was the same"),
            (Ok(Some(anew)), made) => Ok(Arc::clone(&made.insert(anew).config)),
            (Err(error), Some(made)) => {
                warn!(%error, "the certificates cannot be read again: those from before are used on");
                Ok(Arc::clone(&made.config))
            }
            (Err(error), None) => Err(error),
        }
    }

    fn make(&self, contents: &Contents) -> Result<ClientConfig, TlsError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Certificates { reason: error.to_string() })?;
        let verified = match (&self.files.ca, &contents.ca) {
            (Some(file), Some(pem)) => builder.dangerous().with_custom_certificate_verifier(self.of_file(file, pem)?),
            _ => builder.with_root_certificates(self.of_system()?),
        };
        let (Some((certificate, key)), Some([chain, private])) = (&self.files.client, &contents.client) else {
            return Ok(verified.with_no_client_auth());
        };
        let chain = tls::certificates(certificate, chain)?;
        let private = tls::private_key(key, private)?;
        // A certificate further up ends the chain as well.
        self.note(Party::Client, chain.iter().filter_map(Validity::of).map(|validity| validity.end()).min());
        verified.with_client_auth_cert(chain, private).map_err(|error| TlsError::Pair {
            certificate: certificate.clone(),
            key: key.clone(),
            reason: error.to_string(),
        })
    }

    fn of_file(&self, file: &Path, pem: &[u8]) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
        let certificates = tls::certificates(file, pem)?;
        let verifier = tls::verifier(&certificates).map_err(|error| TlsError::file(file, error.to_string()))?;
        self.will_tell(file.display().to_string(), certificates.len());
        // Several are the old one and the new one: trust ends with the last.
        self.note(Party::Ca, certificates.iter().filter_map(Validity::of).map(|validity| validity.end()).max());
        Ok(verifier)
    }

    fn of_system(&self) -> Result<Arc<RootCertStore>, TlsError> {
        if let Some(roots) = self.of_system.get() {
            return Ok(Arc::clone(roots));
        }
        let mut roots = RootCertStore::empty();
        let read = rustls_native_certs::load_native_certs();
        // One that cannot be used is none of those that are needed: whom it issued is told to be unknown.
        roots.add_parsable_certificates(read.certs);
        if roots.is_empty() {
            let reason = read.errors.first().map_or("there are none".to_owned(), ToString::to_string);
            return Err(TlsError::Certificates {
                reason: format!("{reason}; install the system's CA certificates, or name a file of the one to trust"),
            });
        }
        self.will_tell("the system".to_owned(), roots.len());
        Ok(Arc::clone(self.of_system.get_or_init(|| Arc::new(roots))))
    }

    fn will_tell(&self, from: String, certificates: usize) {
        *self.untold.lock().expect("BUG: nothing panics with this lock held") = Some((from, certificates));
    }

    /// What a server has shown that is verified.
    pub(super) fn note_server(&self, shown: Option<&[CertificateDer<'_>]>) {
        let untold = self.untold.lock().expect("BUG: nothing panics with this lock held").take();
        if let Some((from, certificates)) = untold {
            info!(from, certificates, "redis is verified by these certificates, and no others");
        }
        let first = shown.and_then(<[_]>::first);
        self.note(Party::Server, first.and_then(Validity::of).map(|validity| validity.end()));
    }

    fn note(&self, party: Party, end: Option<SystemTime>) {
        let Some(end) = end else { return };
        {
            let mut known = self.end_of(party);
            if known.is_none_or(|known| known.end != end) {
                *known = Some(End { end, told: None });
            }
        }
        self.warn_about(party);
    }

    /// Looks after the files and the ends, while no connection is made.
    pub(super) async fn look_after(self: &Arc<Self>) {
        // It says itself what is wrong.
        _ = self.config().await;
        [Party::Ca, Party::Client, Party::Server].into_iter().for_each(|party| self.warn_about(party));
    }

    fn warn_about(&self, party: Party) {
        let mut known = self.end_of(party);
        let Some(End { end, told }) = &mut *known else { return };
        let left = end.duration_since(SystemTime::now()).unwrap_or_default();
        if left > NEAR || told.is_some_and(|told| told.elapsed() < PAUSE) {
            return;
        }
        *told = Some(Instant::now());
        let (party, end) = (party.name(), humantime::format_rfc3339_seconds(*end));
        if left.is_zero() {
            warn!(certificate = party, %end, "a certificate of the way to redis has ended");
        } else {
            let hours = left.as_secs() / 3600;
            warn!(certificate = party, %end, hours, "a certificate of the way to redis ends soon: renew it");
        }
    }

    /// When each certificate that is known ends.
    pub(super) fn ends(&self) -> Vec<(&'static str, SystemTime)> {
        let party = [Party::Ca, Party::Client, Party::Server].into_iter();
        party.filter_map(|party| Some((party.name(), self.end_of(party).as_ref()?.end))).collect()
    }

    fn end_of(&self, party: Party) -> std::sync::MutexGuard<'_, Option<End>> {
        self.ends[party as usize].lock().expect("BUG: nothing panics with this lock held")
    }
}

impl Party {
    fn name(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

impl TlsFiles {
    fn read(&self) -> Result<Contents, TlsError> {
        let read = |file: &Path| match std::fs::read(file) {
            Ok(bytes) => Ok(Zeroizing::new(bytes)),
            Err(error) => Err(TlsError::file(file, format!("{error}; a readable PEM file is expected"))),
        };
        let client = self.client.as_ref().map(|(certificate, key)| Ok([read(certificate)?, read(key)?]));
        Ok(Contents { ca: self.ca.as_deref().map(read).transpose()?, client: client.transpose()? })
    }
}

impl Contents {
    fn digest(&self) -> [u8; 32] {
        let all = self.ca.iter().chain(self.client.iter().flatten());
        // Each by its own digest: what moves from one file to the next is a change.
        let each = all.fold(Sha256::new(), |all, file| all.chain_update(Sha256::digest(file.as_slice())));
        each.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    struct Files {
        folder: tempfile::TempDir,
    }

    impl Files {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().expect("a folder") }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            std::fs::write(self.path(name), text).expect("written");
            self.path(name)
        }

        /// A certificate that ends after so long, and its key.
        fn pair(&self, left: Duration) -> (PathBuf, PathBuf) {
            let key = KeyPair::generate().expect("a key");
            let mut certificate = CertificateParams::new(["h".to_owned()]).expect("a name");
            certificate.not_after = (SystemTime::now() + left).into();
            let certificate = certificate.self_signed(&key).expect("a certificate");
            (self.write("a.pem", &certificate.pem()), self.write("a.key", &key.serialize_pem()))
        }
    }

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn certificates(ca: Option<PathBuf>, client: Option<(PathBuf, PathBuf)>) -> Arc<Certificates> {
        Arc::new(Certificates::new(TlsFiles { ca, client }))
    }

    #[tokio::test]
    async fn each_wrong_file_is_named_with_what_is_expected() {
        let files = Files::new();
        let (certificate, key) = files.pair(DAY);
        let missing = files.path("missing.pem");
        let no_pem = files.write("no.pem", "hello\n");
        let encrypted = files.write(
            "encrypted.key",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        );
        let broken = files.write("broken.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
        let other = files.write("other.key", &KeyPair::generate().expect("a key").serialize_pem());

        for (ca, client, expected) in [
            (Some(&missing), None, "missing.pem: No such file"),
            (Some(&no_pem), None, "no.pem: no certificate in it; PEM certificates are expected"),
            (Some(&key), None, "a.key: no certificate in it"),
            (Some(&broken), None, "broken.pem: "),
            (None, Some((&certificate, &encrypted)), "encrypted.key: the key is encrypted; one without a passphrase"),
            (None, Some((&certificate, &certificate)), "a.pem: "),
            (None, Some((&no_pem, &key)), "no.pem: no certificate in it"),
            (None, Some((&certificate, &other)), "other.key is none of the certificate"),
        ] {
            // Without the certificates of this machine, which may have none.
            let ca = ca.or(Some(&certificate)).cloned();
            let client = client.map(|(certificate, key)| (certificate.clone(), key.clone()));

            let error = certificates(ca, client).config().await.expect_err(expected).to_string();

            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    #[tokio::test]
    async fn files_are_read_again_and_what_is_broken_for_a_moment_changes_nothing() {
        let files = Files::new();
        let (certificate, key) = files.pair(30 * DAY);
        let certificates = certificates(Some(certificate.clone()), Some((certificate.clone(), key.clone())));
        let first = certificates.config().await.expect("files");

        assert!(Arc::ptr_eq(&certificates.config().await.expect("files"), &first), "sessions can be resumed");
        let ends = certificates.ends();
        std::fs::write(&key, "half of a k").expect("written");
        assert!(Arc::ptr_eq(&certificates.config().await.expect("those from before"), &first));
        files.pair(90 * DAY);
        let second = certificates.config().await.expect("the new ones");

        assert!(!Arc::ptr_eq(&second, &first));
        let later = certificates.ends();
        assert_eq!(later.iter().map(|(party, _)| *party).collect::<Vec<_>>(), ["ca", "client"]);
        assert!(later.iter().zip(&ends).all(|((_, later), (_, end))| *later > *end + 59 * DAY), "{later:?} {ends:?}");
    }

    #[tokio::test]
    async fn certificate_is_warned_about_once_a_day_from_seven_days_before_its_end() {
        let files = Files::new();
        for (left, is_told) in [(8 * DAY, false), (6 * DAY, true)] {
            let (certificate, key) = files.pair(left);
            let certificates = certificates(Some(certificate.clone()), Some((certificate, key)));
            certificates.config().await.expect("files");

            let told = || certificates.end_of(Party::Client).expect("an end").told;
            assert_eq!(told().is_some(), is_told, "{left:?} before its end");
            let before = told();
            certificates.look_after().await;
            assert_eq!(told(), before, "told once");
        }
    }
}
