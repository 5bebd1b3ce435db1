//! TLS of the token port: the certificate that callers are shown, and whom of them one is asked for.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use refresh_coordinator::tls;
use refresh_coordinator_cli::BadSetting;
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::watch;

use crate::metrics::TLS_CERTIFICATE_END;
use crate::pem;
use crate::stamps::Stamps;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// An operator has so long to renew a certificate.
const SOON: Duration = Duration::from_secs(7 * DAY.as_secs());

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "TLS of callers")]
pub(crate) struct CallerTls {
    /// The certificate (PEM, with its chain) that --listen shows to callers: it speaks TLS alone then, and --admin as before. Read
    /// again at SIGHUP and when it changes [default: none, --listen is http://]
    #[arg(long, value_name = "FILE", env = "REFRESHD_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of --tls-cert (PEM, without a passphrase)
    #[arg(long, value_name = "FILE", env = "REFRESHD_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Take callers alone that show a certificate which one of these (PEM) has issued [default: none is asked for]
    #[arg(long, value_name = "FILE", env = "REFRESHD_TLS_CLIENT_CA", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
}

/// What was read of the files.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) config: Arc<ServerConfig>,
    /// When the certificate ends, where it says so.
    ends: Option<SystemTime>,
    stamps: Stamps,
}

/// What new connections of callers go by. None: in clear.
pub(crate) type Current = watch::Receiver<Option<Shown>>;

/// The files, and what was read of them last.
pub(crate) struct Showing {
    files: CallerTls,
    shown: watch::Sender<Option<Shown>>,
    told: Mutex<Option<Instant>>,
}

impl CallerTls {
    pub(crate) fn is_on(&self) -> bool {
        self.tls_cert.is_some()
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.tls_cert, &self.tls_key, &self.tls_client_ca].into_iter().flatten()
    }

    /// Reads the files.
    ///
    /// # Errors
    ///
    /// One line with the flag, the file, and what would be right.
    pub(crate) fn read(&self) -> Result<Option<Shown>, BadSetting> {
        let stamps = Stamps::of(self.files());
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else { return Ok(None) };
        let chain = pem::certificates("--tls-cert", certificate)?;
        let ends = chain.first().and_then(tls::end_of);
        let private = pem::private_key("--tls-key", key)?;
        let provider = Arc::new(ring::default_provider());
        let versions = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("BUG: ring has ciphers for all of them");
        let versions = match &self.tls_client_ca {
            None => versions.with_no_client_auth(),
            Some(file) => {
                let wrong = |error: &dyn std::error::Error| {
                    BadSetting::new(format!(
                        "--tls-client-ca {}: {error}; certificates of CAs are expected",
                        file.display()
                    ))
                };
                let mut roots = RootCertStore::empty();
                for certificate in pem::certificates("--tls-client-ca", file)? {
                    roots.add(certificate).map_err(|error| wrong(&error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                versions.with_client_cert_verifier(verifier.map_err(|error| wrong(&error))?)
            }
        };
        let mut config = versions.with_single_cert(chain, private).map_err(|error| {
            BadSetting::new(format!(
                "--tls-key {} does not go with --tls-cert {}: {error}",
                key.display(),
                certificate.display()
            ))
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Shown { config: Arc::new(config), ends, stamps }))
    }
}

impl Showing {
    pub(crate) fn new(files: CallerTls, shown: Option<Shown>) -> Self {
        Self { files, shown: watch::Sender::new(shown), told: Mutex::default() }
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.files()
    }

    /// The files, as they were when they were read.
    pub(crate) fn stamps(&self) -> Stamps {
        self.shown.borrow().as_ref().map(|shown| shown.stamps.clone()).unwrap_or_default()
    }

    pub(crate) fn subscribe(&self) -> Current {
        self.shown.subscribe()
    }

    /// Reads the files again, where there are any: what is wrong keeps what was read before.
    pub(crate) fn read_again(&self) {
        if !self.files.is_on() {
            return;
        }
        match self.files.read() {
            Ok(read) => {
                self.shown.send_replace(read);
                *self.told() = None;
                tracing::info!("the certificate that callers are shown was read again");
            }
            Err(wrong) => tracing::error!(reason = %wrong, "what was read before is kept"),
        }
    }

    /// Tells the operator when the certificate ends: by a metric, and once a day, where that is soon, by a line.
    pub(crate) fn tell_of_end(&self) {
        let Some(ends) = self.shown.borrow().as_ref().and_then(|shown| shown.ends) else { return };
        let mut told = self.told();
        if told.is_some_and(|told| told.elapsed() < DAY) {
            return;
        }
        *told = Some(Instant::now());
        metrics::gauge!(TLS_CERTIFICATE_END)
            .set(ends.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        match ends.duration_since(SystemTime::now()) {
            Ok(left) if left > SOON => {}
            Ok(left) => {
                let days = left.as_secs() / DAY.as_secs();
                tracing::warn!(days, "the certificate that callers are shown (--tls-cert) ends soon");
            }
            Err(_) => tracing::error!("the certificate that callers are shown (--tls-cert) is over"),
        }
    }

    fn told(&self) -> MutexGuard<'_, Option<Instant>> {
        self.told.lock().expect("BUG: nothing panics under this lock")
    }
}
