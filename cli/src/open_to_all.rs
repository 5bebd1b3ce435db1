//! Files of secrets that everybody on the machine may read are warned about, each once.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The files that were told. As many as flags name.
static TOLD: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);

/// One line, where any user of this machine may read this file, or of the container. Nothing where its rights cannot be read.
pub fn warn_if_open_to_all(flag: &str, file: &Path) {
    if !is_open_to_all(file) {
        return;
    }
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.get_or_insert_default().insert(file.to_owned()) {
        tracing::warn!(
            file = %file.display(),
            setting = flag,
            "every user of this machine may read this secret: take the right from others (chmod o-r; defaultMode: 0400 or 0440 in \
             Kubernetes)"
        );
    }
}

#[cfg(unix)]
fn is_open_to_all(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    std::fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn is_open_to_all(_: &Path) -> bool {
    false
}
