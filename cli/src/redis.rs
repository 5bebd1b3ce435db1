//! Where Redis is and how it is entered, as flags and environment: without a password or a key in the list of processes.

use std::io;
use std::path::PathBuf;

use refresh_coordinator::{RedisTarget, Secret};

use crate::bad_setting::BadSetting;
use crate::open_to_all::warn_if_open_to_all;
use crate::secrets::{is_shown_to_everybody, read_secret, secret};

// Where a fleet agrees.
#[allow(missing_docs, reason = "clap would take it for the command's own text")]
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Redis")]
pub struct RedisSettings {
    // Not a doc comment, which rustdoc would read for links.
    #[arg(long, value_name = "URL", env = "REFRESHD_REDIS", hide_env_values = true, value_parser = secret(),
        help = "The Redis that all pods share: redis://[user:password@]host[:port][/db], redis+unix:///path, \
                redis+sentinel://host,host/MASTER[/db] or redis+cluster://host,host; rediss for TLS. A URL with a password is \
                taken from the environment or from --redis-file only. Without it the store is embedded: this process \
                coordinates alone")]
    redis: Option<Secret>,
    /// A file with one line, the URL of --redis. It is read again at every connect, so a password can be renewed while
    /// this runs
    #[arg(long, value_name = "FILE", env = "REFRESHD_REDIS_FILE", conflicts_with = "redis")]
    redis_file: Option<PathBuf>,
    /// The user to log in to Redis as [default: that of the URL]
    #[arg(long, value_name = "NAME", env = "REFRESHD_REDIS_USERNAME")]
    redis_username: Option<String>,
    /// A file with one line, the password to log in to Redis with, read again at every connect [default: that of the URL].
    /// Or give the password itself in the environment: REFRESHD_REDIS_PASSWORD
    #[arg(long, value_name = "FILE", env = "REFRESHD_REDIS_PASSWORD_FILE")]
    redis_password_file: Option<PathBuf>,
    /// A PEM file with the certificates that are trusted for rediss:// instead of the system's: of CAs, or the server's own.
    /// Read again at every connect, as are the next two
    #[arg(long, value_name = "FILE", env = "REFRESHD_REDIS_CA_FILE")]
    redis_ca_file: Option<PathBuf>,
    /// A PEM file with the certificate to show to a Redis that asks for one, its issuers behind it
    #[arg(long, value_name = "FILE", env = "REFRESHD_REDIS_CERT_FILE", requires = "redis_key_file")]
    redis_cert_file: Option<PathBuf>,
    /// A PEM file with the private key of --redis-cert-file, without a passphrase
    #[arg(long, value_name = "FILE", env = "REFRESHD_REDIS_KEY_FILE", requires = "redis_cert_file")]
    redis_key_file: Option<PathBuf>,
}

/// It is no flag: an argument is no place for a secret.
const PASSWORD_VARIABLE: &str = "REFRESHD_REDIS_PASSWORD";

/// Where Redis is, and how it is entered.
#[derive(Clone, Debug)]
pub struct Redis {
    /// As it is at start.
    pub url: Secret,
    /// The file that the URL was read from, where it was one.
    pub url_file: Option<PathBuf>,
    /// Instead of the URL's.
    pub username: Option<String>,
    /// Instead of the URL's.
    pub password: Option<Secret>,
    /// Instead of `password`.
    pub password_file: Option<PathBuf>,
    /// Certificates that are trusted.
    pub ca_file: Option<PathBuf>,
    /// The own certificate, and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl RedisSettings {
    /// None means the embedded store.
    ///
    /// # Errors
    ///
    /// [`BadSetting`] for a file that cannot be read, for a password that the list of processes shows, for one that is given
    /// twice, and for a login or a certificate without a Redis.
    pub fn redis(&self) -> Result<Option<Redis>, BadSetting> {
        let Some(url) = self.url()? else {
            return match self.first_beside_the_url() {
                None => Ok(None),
                Some(flag) => Err(BadSetting::new(format!(
                    "{flag} is given without --redis: say where Redis is, or leave {flag} out to run alone"
                ))),
            };
        };
        if let Some(file) = &self.redis_password_file {
            read_secret("--redis-password-file", file)?;
        }
        if let Some(file) = &self.redis_key_file {
            warn_if_open_to_all("--redis-key-file", file);
        }
        Ok(Some(Redis {
            url,
            url_file: self.redis_file.clone(),
            username: self.redis_username.clone(),
            password: self.password()?,
            password_file: self.redis_password_file.clone(),
            ca_file: self.redis_ca_file.clone(),
            client: self.redis_cert_file.clone().zip(self.redis_key_file.clone()),
        }))
    }

    fn url(&self) -> Result<Option<Secret>, BadSetting> {
        if let Some(file) = &self.redis_file {
            return read_secret("--redis-file", file).map(Some);
        }
        let Some(url) = &self.redis else { return Ok(None) };
        if is_shown_to_everybody(url) {
            return Err(BadSetting::new(
                "--redis holds a password, which everybody on this machine can read in the list of processes: \
                 give the password by --redis-password-file, or the URL by --redis-file or the environment variable \
                 REFRESHD_REDIS",
            ));
        }
        Ok(Some(url.clone()))
    }

    fn password(&self) -> Result<Option<Secret>, BadSetting> {
        match std::env::var(PASSWORD_VARIABLE) {
            Ok(_) if self.redis_password_file.is_some() => Err(BadSetting::new(format!(
                "--redis-password-file and {PASSWORD_VARIABLE} are both given: keep one of them"
            ))),
            Ok(password) => Ok(Some(Secret::from(password))),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(BadSetting::new(format!("{PASSWORD_VARIABLE} is not UTF-8"))),
        }
    }

    fn first_beside_the_url(&self) -> Option<&'static str> {
        let given = [
            ("--redis-username", self.redis_username.is_some()),
            ("--redis-password-file", self.redis_password_file.is_some()),
            ("--redis-ca-file", self.redis_ca_file.is_some()),
            ("--redis-cert-file", self.redis_cert_file.is_some()),
            (PASSWORD_VARIABLE, std::env::var_os(PASSWORD_VARIABLE).is_some_and(|password| !password.is_empty())),
        ];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(flag, _)| flag)
    }
}

impl Redis {
    /// As the library takes it: the URL's file is read again at every connect.
    pub fn target(&self) -> RedisTarget {
        let mut target = match self.url_file.clone() {
            None => RedisTarget::new(self.url.clone()),
            Some(file) => RedisTarget::asking(move || read_again(file.clone())),
        };
        if let Some(name) = &self.username {
            target = target.username(name);
        }
        if let Some(password) = &self.password {
            target = target.password(password.clone());
        }
        if let Some(file) = &self.password_file {
            target = target.password_file(file);
        }
        if let Some(file) = &self.ca_file {
            target = target.ca_file(file);
        }
        if let Some((certificate, key)) = &self.client {
            target = target.client_certificate(certificate, key);
        }
        target
    }
}

async fn read_again(file: PathBuf) -> io::Result<Secret> {
    let read = tokio::task::spawn_blocking(move || read_secret("--redis-file", &file));
    read.await.map_err(io::Error::other)?.map_err(io::Error::other)
}
