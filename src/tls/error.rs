//! Why files of TLS cannot be used.

use std::path::{Path, PathBuf};

/// Why TLS cannot be set up. Says which file is wrong, and what would be right.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("{}: {reason}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it, and what is expected.
        reason: String,
    },
    /// None of the certificates can be trusted by.
    #[error("the certificates cannot be used: {reason}")]
    Certificates {
        /// What is wrong with them.
        reason: String,
    },
    /// A key and a certificate do not belong together.
    #[error("the key {} is none of the certificate {}: {reason}", key.display(), certificate.display())]
    Pair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What tells them apart.
        reason: String,
    },
}

impl TlsError {
    pub(crate) fn file(file: &Path, reason: impl Into<String>) -> Self {
        Self::File { file: file.to_owned(), reason: reason.into() }
    }
}
