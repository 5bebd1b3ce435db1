//! How Redis is entered, beside what its URL says: a name, a password, and certificates.

use std::fmt;
use std::path::PathBuf;

use redis::{ConnectionAddr, ConnectionInfo};
use zeroize::Zeroizing;

use super::target::{Target, TargetError, Whereabouts};
use crate::secret::Secret;

/// Where Redis is, and how it is entered.
///
/// Files are read again at every connect, so that a password or a certificate is renewed without a restart: connections are
/// made anew when Redis refuses the user, and those that stand stay as they are.
///
/// # Examples
///
/// ```no_run
/// use refresh_coordinator::{Config, RedisTarget, RefreshCoordinator};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let redis = RedisTarget::new("rediss://redis.internal")
///     .username("refreshd")
///     .password_file("/run/secrets/redis-password")
///     .ca_file("/etc/redis/ca.pem")
///     .client_certificate("/etc/redis/client.pem", "/etc/redis/client.key");
/// let coordinator = RefreshCoordinator::connect_with(redis, Config::default()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RedisTarget {
    pub(crate) url: Url,
    pub(crate) access: Access,
}

/// The URL, or whom to ask for it.
#[derive(Clone)]
pub(crate) enum Url {
    Given(Secret),
    Asked(Target),
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Url(..)")
    }
}

/// What is beside the URL.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    username: Option<String>,
    password: Option<Password>,
    pub(super) files: TlsFiles,
}

#[derive(Clone, Debug)]
enum Password {
    Given(Secret),
    File(PathBuf),
}

/// Files of PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// Trusted instead of the system's.
    pub(crate) ca: Option<PathBuf>,
    /// What the pod shows of itself, and the key of it.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

impl RedisTarget {
    /// Redis at a URL, as [`connect`](crate::RefreshCoordinator::connect) takes it.
    pub fn new(url: impl Into<Secret>) -> Self {
        Self { url: Url::Given(url.into()), access: Access::default() }
    }

    /// Redis at a URL that is asked for at every connect, as by
    /// [`connect_with_url`](crate::RefreshCoordinator::connect_with_url).
    pub fn asking<U, F>(url: U) -> Self
    where
        U: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = std::io::Result<Secret>> + Send + 'static,
    {
        Self { url: Url::Asked(Target::asking(url)), access: Access::default() }
    }

    /// The user to log in as. Default: that of the URL, else Redis' own `default`. Not both here and in the URL.
    pub fn username(mut self, name: impl Into<String>) -> Self {
        self.access.username = Some(name.into());
        self
    }

    /// The password to log in with. Default: that of the URL, else none. Not both here and in the URL.
    pub fn password(mut self, password: impl Into<Secret>) -> Self {
        self.access.password = Some(Password::Given(password.into()));
        self
    }

    /// A file with one line, the password to log in with, instead of [`password`](Self::password).
    pub fn password_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.access.password = Some(Password::File(file.into()));
        self
    }

    /// A PEM file with the certificates that are trusted. Default: the system's. A server is trusted where one of these
    /// has issued its certificate, or is its certificate. With a URL of TLS only (`rediss://`), and the feature `tls`.
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.access.files.ca = Some(file.into());
        self
    }

    /// PEM files with the certificate that is shown to a Redis that asks for one, its issuers behind it, and its private key
    /// without a passphrase. Default: none. With a URL of TLS only, and the feature `tls`.
    pub fn client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.access.files.client = Some((certificate.into(), key.into()));
        self
    }
}

impl From<Target> for RedisTarget {
    fn from(target: Target) -> Self {
        Self { url: Url::Asked(target), access: Access::default() }
    }
}

impl From<&str> for RedisTarget {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<&String> for RedisTarget {
    fn from(url: &String) -> Self {
        Self::new(url.as_str())
    }
}

impl From<String> for RedisTarget {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

impl From<redis::Client> for RedisTarget {
    fn from(client: redis::Client) -> Self {
        Target::from(client).into()
    }
}

impl Access {
    /// Where Redis is, with the login as it is now. Sentinels have one of their own, which the URL says.
    pub(super) async fn to_all(&self, whereabouts: Whereabouts) -> Result<Whereabouts, TargetError> {
        Ok(match whereabouts {
            Whereabouts::Fixed(info) => Whereabouts::Fixed(self.to(info).await?),
            Whereabouts::Sentinel { sentinels, master, node } => {
                Whereabouts::Sentinel { sentinels, master, node: self.to(node).await? }
            }
            Whereabouts::Cluster { mut seeds } => {
                for seed in &mut seeds {
                    *seed = self.to(seed.clone()).await?;
                }
                Whereabouts::Cluster { seeds }
            }
        })
    }

    /// Whether the password stands beside the URL, and not in it.
    pub(super) fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// A server's address with the login as it is now. Reads the password's file.
    async fn to(&self, info: ConnectionInfo) -> Result<ConnectionInfo, TargetError> {
        if !self.files.is_empty() && !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            return Err(TargetError::new(
                "certificates are given, and it has no TLS: it begins with rediss://, or leave the certificates out",
            ));
        }
        let mut login = info.redis_settings().clone();
        if let Some(name) = &self.username {
            if login.username().is_some() {
                return Err(TargetError::new("it holds a user, and another is given beside it: keep one of them"));
            }
            login = login.set_username(name);
        }
        if let Some(password) = &self.password {
            if login.password().is_some_and(|password| !password.is_empty()) {
                return Err(TargetError::new("it holds a password, and another is given beside it: keep one of them"));
            }
            login = login.set_password(password.read().await?.as_str());
        }
        if login.username().is_some() && login.password().is_none() {
            // Without a password nothing would be sent, and the user that needs none never be logged in.
            login = login.set_password("");
        }
        Ok(info.set_redis_settings(login))
    }
}

impl Password {
    async fn read(&self) -> Result<Zeroizing<String>, TargetError> {
        let file = match self {
            Self::Given(password) => return Ok(Zeroizing::new(password.expose().to_owned())),
            Self::File(file) => file.clone(),
        };
        let read = tokio::task::spawn_blocking(move || {
            let wrong = |reason: String| TargetError::new(format!("the password's file {} {reason}", file.display()));
            let text = std::fs::read_to_string(&file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
            let text = Zeroizing::new(text);
            let line = text.trim_end_matches(['\r', '\n']);
            if line.is_empty() || line.contains('\n') {
                return Err(wrong("must hold one line".to_owned()));
            }
            Ok(Zeroizing::new(line.to_owned()))
        });
        read.await.unwrap_or_else(|error| Err(TargetError::new(error.to_string())))
    }
}

impl TlsFiles {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn login(url: &str, target: RedisTarget) -> Result<(Option<String>, Option<String>), String> {
        let info = redis::IntoConnectionInfo::into_connection_info(url).expect("a URL");
        let info = target.access.to(info).await.map_err(|error| error.to_string())?;
        let login = info.redis_settings();
        Ok((login.username().map(str::to_owned), login.password().map(str::to_owned)))
    }

    fn target() -> RedisTarget {
        RedisTarget::new("")
    }

    #[tokio::test]
    async fn login_is_made_of_the_url_and_what_is_beside_it() {
        let some = |text: &str| Some(text.to_owned());

        assert_eq!(login("redis://h", target()).await, Ok((None, None)));
        assert_eq!(login("redis://u:p@h", target()).await, Ok((some("u"), some("p"))));
        assert_eq!(login("redis://h", target().username("u")).await, Ok((some("u"), some(""))));
        assert_eq!(login("redis://u@h", target().password("p")).await, Ok((some("u"), some("p"))));
        assert_eq!(login("redis://h", target().username("u").password("p")).await, Ok((some("u"), some("p"))));
        for wrong in [target().username("v"), target().password("q")] {
            let error = login("redis://u:p@h", wrong).await.expect_err("given twice");
            assert!(error.contains("keep one of them"), "{error}");
        }
        let error = login("redis://h", target().ca_file("/ca.pem")).await.expect_err("no TLS");
        assert!(error.contains("rediss://"), "{error}");
    }

    #[tokio::test]
    async fn password_is_the_line_that_its_file_holds_now() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let with = || target().username("u").password_file(file.path());

        for (text, password) in [("first\n", "first"), ("second\r\n", "second"), (" third", " third")] {
            std::fs::write(file.path(), text).expect("written");
            assert_eq!(login("redis://h", with()).await, Ok((Some("u".to_owned()), Some(password.to_owned()))));
        }
        for text in ["", "\n", "a\nb"] {
            std::fs::write(file.path(), text).expect("written");
            let error = login("redis://h", with()).await.expect_err("not one line");
            assert!(error.contains("must hold one line"), "{error}");
        }
        let path = file.path().to_owned();
        drop(file);
        let error = login("redis://h", target().password_file(path)).await.expect_err("gone");
        assert!(error.contains("cannot be read"), "{error}");
    }
}
